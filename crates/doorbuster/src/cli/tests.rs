//! Tests of the argument definitions, and of every command that a document shows.

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;

#[test]
fn the_argument_definitions_are_valid() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_and_argument_has_help() {
    fn check(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        assert!(command.get_about().is_some(), "{path} has no help");
        for argument in command.get_arguments() {
            assert!(
                argument.get_help().is_some() || argument.is_hide_set(),
                "{path} {argument} has no help"
            );
        }
        for inner in command.get_subcommands() {
            check(inner, &path);
        }
    }
    check(&Cli::command(), "");
}

/// The commands that print no report, and so have no `--json`.
const WITHOUT_JSON: [&str; 3] = [
    // This command prints a script for a shell.
    "doorbuster completions",
    // This command prints a file of settings.
    "doorbuster config default",
    // This command runs until someone stops it. Its log can be JSON.
    "doorbuster serve",
];

#[test]
fn every_command_that_reports_something_has_a_form_for_programs() {
    fn find(command: &clap::Command, path: &str, has_json: bool, lacking: &mut Vec<String>) {
        let path = format!("{path} {}", command.get_name()).trim_start().to_owned();
        let has_json =
            has_json || command.get_arguments().any(|argument| argument.get_long() == Some("json"));
        let mut inner = command.get_subcommands().peekable();
        if inner.peek().is_none() && !has_json {
            lacking.push(path.clone());
        }
        // Hidden commands need no `--json`, because only programs of this project start them.
        for command in inner.filter(|command| !command.is_hide_set()) {
            find(command, &path, has_json, lacking);
        }
    }
    let mut lacking = Vec::new();
    find(&Cli::command(), "", false, &mut lacking);
    lacking.sort();
    assert_eq!(lacking, WITHOUT_JSON);
}

/// The documents show at least this number of commands. If the test finds fewer, its search is
/// broken.
const SHOWN_MIN: usize = 30;

fn shell_commands(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut block = None;
    let mut partial = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(language) = line.strip_prefix("```") {
            block = if block.is_some() { None } else { Some(language.trim()) };
            continue;
        }
        let line = match (block, line.strip_prefix("$ ")) {
            (Some("sh" | "console"), Some(line)) => line,
            (Some("sh"), None) => line,
            // This line continues the command of the previous line. A line that neither starts nor
            // continues a command is a program's output.
            (Some("console"), None) if !partial.is_empty() => line,
            _ => continue,
        };
        match line.strip_suffix('\\') {
            Some(part) => partial += part,
            None => commands.push(std::mem::take(&mut partial) + line),
        }
    }
    commands
}

/// Splits a command into words as a shell does. Stops at a comment or at one of `<`, `>`, `|`, `;`
/// and `&`.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(next) = chars.next() {
        match (quote, next) {
            (Some(end), _) if next == end => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some(_), _) => word.get_or_insert_default().push(next),
            (None, '\'' | '"') => {
                quote = Some(next);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            (None, '<' | '>' | '|' | ';' | '&') => {
                // The number of a stream, as in `2>`, is not an argument.
                word =
                    word.filter(|word| !matches!(next, '<' | '>') || word.parse::<u8>().is_err());
                break;
            }
            (None, _) => word.get_or_insert_default().push(next),
        }
    }
    words.extend(word);
    words
}

/// Returns whether the word has the form `NAME=value`. Before a command, such a word sets an
/// environment variable for the command.
fn is_setting(word: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|part| part.is_ascii_alphanumeric() || part == '_')
    };
    word.split_once('=').is_some_and(|(name, _)| is_name(name))
}

fn has_placeholder(line: &str) -> bool {
    let command = line.split(" #").next().unwrap_or(line);
    command.contains('…')
        || command.split_whitespace().any(|word| word.contains('<') && word.ends_with('>'))
}

const DOCUMENT_DIRS: [&str; 3] = ["docs", "docs/how-to", "docs/tutorial"];

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = vec![root.join("README.md")];
    for dir in DOCUMENT_DIRS {
        let files = std::fs::read_dir(root.join(dir)).unwrap_or_else(|error| {
            panic!("cannot read {dir}, which has documents: {error}");
        });
        let files = files.map(|file| file.expect("a directory entry is readable").path());
        pages.extend(files.filter(|file| file.extension().is_some_and(|end| end == "md")));
    }
    pages.sort();
    pages
}

#[test]
fn every_command_in_a_document_is_valid() {
    let (mut valid, mut skipped) = (0, Vec::new());
    for page in documents() {
        let text = std::fs::read_to_string(&page).expect("a readable document");
        for line in shell_commands(&text) {
            let words: Vec<String> =
                words(&line).into_iter().skip_while(|word| is_setting(word)).collect();
            let Some(program) = words.first() else { continue };
            if Path::new(program).file_name().is_none_or(|name| name != "doorbuster") {
                continue;
            }
            if has_placeholder(&line) {
                skipped.push(line);
                continue;
            }
            if let Err(error) = Cli::try_parse_from(&words) {
                let is_asked_for =
                    matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
                assert!(is_asked_for, "{}: {line}\n{error}", page.display());
            }
            valid += 1;
        }
    }
    assert!(valid >= SHOWN_MIN, "only {valid} commands were found");
    assert!(
        skipped.len() * 10 <= valid,
        "{valid} commands are valid, and too many have placeholders: {skipped:#?}"
    );
}

#[test]
fn a_command_of_a_document_is_split_as_in_a_shell() {
    let check = |line: &str, expected: &[&str]| assert_eq!(words(line), expected, "{line}");
    check("a --b 'c d' \"e \\\" f\" g\\ h ''", &["a", "--b", "c d", "e \" f", "g h", ""]);
    check("a b#c # d", &["a", "b#c"]);
    check("a 7 2>b", &["a", "7"]);
    for rest in ["> b", "| b", "; b", "&& b", "&", "< b"] {
        check(&format!("a {rest}"), &["a"]);
    }
    let text = "$ a\n```sh\nb \\\n  c\n```\n```text\nd\n```\n```console\n$ e\nsaid\n$ f\n```\n";
    assert_eq!(shell_commands(text), ["b c", "e", "f"]);
    assert!(is_setting("A_1=b c") && !is_setting("--a=b") && !is_setting("id"));
    assert!(
        has_placeholder("a <ID>")
            && has_placeholder("a b_…")
            && !has_placeholder("a < b > c  # d…")
    );
}

#[test]
fn a_fraction_of_a_second_is_refused_where_only_whole_seconds_count() {
    for command in [
        &["token", "buyer", "alice", "--ttl", "500ms"][..],
        &["webhook", "endpoint", "rotate", "end_1", "--overlap", "900ms"],
        &["webhook", "endpoint", "rotate", "end_1", "--overlap", "1500ms"],
    ] {
        let words = ["doorbuster"].iter().chain(command);
        let error = Cli::try_parse_from(words).expect_err("a fraction of a second");
        assert!(error.to_string().contains("is not a whole number of seconds"), "{error}");
    }
}
