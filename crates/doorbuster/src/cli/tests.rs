//! The definitions, and the commands that documents show: whoever copies one gets what it says.

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;

#[test]
fn the_definitions_hold_together() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_and_argument_has_help() {
    fn check(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        assert!(command.get_about().is_some(), "{path} says what it does");
        for argument in command.get_arguments() {
            assert!(
                argument.get_help().is_some() || argument.is_hide_set(),
                "{path} {argument} is explained"
            );
        }
        for inner in command.get_subcommands() {
            check(inner, &path);
        }
    }
    check(&Cli::command(), "");
}

/// Commands that documents show, at least: fewer would mean that they are not found.
const SHOWN_MIN: usize = 30;

/// What is typed in the blocks of a document that hold commands: one command each, its lines
/// joined.
fn typed(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut block = None;
    let mut begun = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(language) = line.strip_prefix("```") {
            block = if block.is_some() { None } else { Some(language.trim()) };
            continue;
        }
        let line = match (block, line.strip_prefix("$ ")) {
            (Some("sh" | "console"), Some(line)) => line,
            (Some("sh"), None) => line,
            // What a command goes on with; anything else is what a program said.
            (Some("console"), None) if !begun.is_empty() => line,
            _ => continue,
        };
        match line.strip_suffix('\\') {
            Some(part) => begun += part,
            None => commands.push(std::mem::take(&mut begun) + line),
        }
    }
    commands
}

/// The words of a command as a shell reads them, up to a remark, its end, or where its input and
/// output are sent elsewhere.
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
                // The number of a stream, as in `2>`, is no word.
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

/// Whether the word sets a variable for the command after it.
fn is_setting(word: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|part| part.is_ascii_alphanumeric() || part == '_')
    };
    word.split_once('=').is_some_and(|(name, _)| is_name(name))
}

/// Whether the reader is to put something in: `<ID>`, `…`.
fn has_placeholder(line: &str) -> bool {
    let command = line.split(" #").next().unwrap_or(line);
    command.contains('…')
        || command.split_whitespace().any(|word| word.contains('<') && word.ends_with('>'))
}

/// Directories whose pages show commands.
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
fn every_command_in_a_document_is_understood() {
    let (mut understood, mut passed_over) = (0, Vec::new());
    for page in documents() {
        let text = std::fs::read_to_string(&page).expect("it can be read");
        for line in typed(&text) {
            let words: Vec<String> =
                words(&line).into_iter().skip_while(|word| is_setting(word)).collect();
            let Some(program) = words.first() else { continue };
            if Path::new(program).file_name().is_none_or(|name| name != "doorbuster") {
                continue;
            }
            if has_placeholder(&line) {
                passed_over.push(line);
                continue;
            }
            if let Err(error) = Cli::try_parse_from(&words) {
                let is_asked_for =
                    matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
                assert!(is_asked_for, "{}: {line}\n{error}", page.display());
            }
            understood += 1;
        }
    }
    assert!(understood >= SHOWN_MIN, "{understood} commands were found");
    assert!(
        passed_over.len() * 10 <= understood,
        "{understood} commands, and not looked at: {passed_over:#?}"
    );
}

#[test]
fn a_line_of_a_document_is_read_as_a_shell_reads_it() {
    let check = |line: &str, expected: &[&str]| assert_eq!(words(line), expected, "{line}");
    check("a --b 'c d' \"e \\\" f\" g\\ h ''", &["a", "--b", "c d", "e \" f", "g h", ""]);
    check("a b#c # d", &["a", "b#c"]);
    check("a 7 2>b", &["a", "7"]);
    for rest in ["> b", "| b", "; b", "&& b", "&", "< b"] {
        check(&format!("a {rest}"), &["a"]);
    }
    let text = "$ a\n```sh\nb \\\n  c\n```\n```text\nd\n```\n```console\n$ e\nsaid\n$ f\n```\n";
    assert_eq!(typed(text), ["b c", "e", "f"]);
    assert!(is_setting("A_1=b c") && !is_setting("--a=b") && !is_setting("id"));
    assert!(
        has_placeholder("a <ID>")
            && has_placeholder("a b_…")
            && !has_placeholder("a < b > c  # d…")
    );
}
