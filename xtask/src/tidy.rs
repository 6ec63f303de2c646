//! `cargo xtask tidy`: checks the repository's rules for source files and documents.

mod circles;
mod language;
mod prose;
mod scan;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::logs;

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
/// The files and functions that are longer than allowed, each with its present number of lines.
/// When a file or function of this list becomes shorter, lower its number. Never raise a number or
/// add an entry. If you need to change a file or function of this list, split it.
const LONG: &str = include_str!("tidy/long.txt");
/// Words that must not be in the repository.
const FORBIDDEN: [&str; 5] = ["todo!(", "dbg!(", "unimplemented!(", "FIXME", "XXX"];
/// Each crate, with the workspace crates on which it may depend. A crate comes after the crates on
/// which it depends.
const ALLOWED_DEPENDENCIES: [(&str, &str); 27] = [
    ("types", ""),
    ("brokers", ""),
    ("challenge", ""),
    ("postgres-tls", ""),
    ("testkit", ""),
    ("core", "types"),
    ("api", "types"),
    ("slots", "core"),
    ("steps", "core"),
    ("store", "core postgres-tls types"),
    ("base", "core"),
    ("config", "api base core store"),
    ("secrets", "base config core store"),
    ("telemetry", "api base config"),
    ("auth", "api base config core store"),
    ("backup", "base config core secrets store"),
    ("engine", "api base config core secrets slots steps store telemetry"),
    ("gate", "api auth base challenge config core engine slots store"),
    ("payments", "api base config core engine gate steps store"),
    ("outbox", "api base brokers config core engine gate steps store"),
    (
        "web",
        "api auth base challenge config core engine gate outbox payments slots \
         steps store telemetry",
    ),
    ("node", "auth backup base config core engine secrets store telemetry web"),
    ("harness", "api postgres-tls"),
    ("lab", "harness"),
    ("sim", "core steps"),
    ("sim-backends", "core sim slots store"),
    ("doorbuster", "api auth backup base config harness lab node secrets telemetry web"),
];
/// The files that may read the system clock, in addition to the crates in [`MAY_READ_CLOCK`].
const CLOCK_FILES: [&str; 1] = ["crates/base/src/clock.rs"];
/// The crates in which every file may read the system clock, because these crates do not serve
/// buyers.
const MAY_READ_CLOCK: [&str; 5] = ["doorbuster", "harness", "lab", "sim", "testkit"];
/// Functions that read the system clock.
const CLOCK_READS: [&str; 3] = ["SystemTime::now", "Timestamp::now", "Zoned::now"];

/// Runs every check and prints the findings.
pub fn run() -> Result<()> {
    let found = check(&root()?)?;
    if !found.is_empty() {
        bail!("tidy found:\n{}", found.join("\n"));
    }
    println!("tidy: no findings");
    Ok(())
}

fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(Path::to_path_buf).context("xtask has no parent directory")
}

fn logs_events(file: &str) -> bool {
    let harness = ["crates/harness/", "crates/lab/", "crates/sim/", "crates/sim-backends/"];
    file.starts_with("crates/")
        && file.contains("/src/")
        && file.ends_with(".rs")
        && !file.contains("/tests")
        && !harness.iter().any(|start| file.starts_with(start))
}

fn check(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut log_codes = BTreeSet::new();
    for file in tracked_files(root)? {
        let Ok(text) = fs::read_to_string(root.join(&file)) else { continue };
        let source =
            [".rs", ".js", ".css", ".sql", ".lua", ".html"].iter().any(|e| file.ends_with(e));
        let is_ours = !file.contains("vendor");
        if source && is_ours {
            check_source(&file, &text, &mut found);
        }
        if file.ends_with(".rs") {
            check_rust(&file, &text, &mut found);
        }
        if logs_events(&file) {
            found.extend(logs::check(&file, &text, &mut log_codes));
        }
        check_language(&file, &text, is_ours, &mut found);
    }
    found.extend(logs::unused(&log_codes));
    check_dependencies(root, &mut found)?;
    let files = tracked_files(root)?;
    for (name, _) in ALLOWED_DEPENDENCIES {
        circles::check(root, name, &files, &mut found)?;
    }
    check_failpoints(root, &mut found)?;
    check_documents(root, &mut found)?;
    check_readme(root, &mut found)?;
    Ok(found)
}

fn check_language(file: &str, text: &str, is_ours: bool, found: &mut Vec<String>) {
    let is_list = file == "xtask/src/tidy/language.rs";
    if !is_ours || is_list {
        return;
    }
    if [".rs", ".js", ".css", ".sql", ".lua", ".html"].iter().any(|end| file.ends_with(end)) {
        prose::check_width(file, text, found);
    }
    if file.ends_with(".rs") {
        language::check_rust(file, text, found);
    } else if [".md", ".js", ".sql", ".lua", ".html", ".css", ".toml", ".yaml"]
        .iter()
        .any(|end| file.ends_with(end))
    {
        language::check_text(file, text, found);
    }
    if file.ends_with(".md") {
        prose::check_page(file, text, found);
    }
}

/// Checks that the first shell block of the README runs the demo and the tests, and nothing else.
fn check_readme(root: &Path, found: &mut Vec<String>) -> Result<()> {
    let text = fs::read_to_string(root.join("README.md"))?;
    let first = text.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
    if first != Some("cargo run --release -- demo\nscripts/test\n") {
        found.push(
            "README.md: the first shell block must contain only the demo and the tests".to_owned(),
        );
    }
    Ok(())
}

fn tracked_files(root: &Path) -> Result<Vec<String>> {
    let output = std::process::Command::new("git")
        .current_dir(root)
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("failed to run git ls-files")?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

fn check_source(file: &str, text: &str, found: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > lines_max(file, FILE_LINES_MAX) {
        found.push(format!("{file}: {lines} lines, more than {FILE_LINES_MAX}"));
    }
    if file.ends_with("xtask/src/tidy.rs") {
        return;
    }
    for (number, line) in text.lines().enumerate() {
        for word in FORBIDDEN.iter().filter(|w| line.contains(*w)) {
            found.push(format!("{file}:{}: {word} must not be in the repository", number + 1));
        }
    }
}

fn check_rust(file: &str, text: &str, found: &mut Vec<String>) {
    if !text.starts_with("//!") {
        found
            .push(format!("{file}: must begin with a header (//!) that says what the file is for"));
    }
    if file.ends_with("/mod.rs") {
        found.push(format!(
            "{file}: give this file the name of its folder, with .rs, and put it beside the folder"
        ));
    }
    let is_product = file.starts_with("crates/")
        && !MAY_READ_CLOCK.iter().any(|part| file.starts_with(&format!("crates/{part}/")));
    let is_test = file.contains("/tests") || file.contains("/examples/");
    if is_product && !is_test && !CLOCK_FILES.contains(&file) {
        for (number, line) in
            text.lines().enumerate().filter(|(_, l)| CLOCK_READS.iter().any(|r| l.contains(r)))
        {
            found.push(format!("{file}:{}: must not read the wall clock: {line}", number + 1));
        }
    }
    check_functions(file, text, found);
}

/// Finds functions that are too long. A function ends at the first `}` with the indentation of its
/// first line, because rustfmt guarantees this indentation.
fn check_functions(file: &str, text: &str, found: &mut Vec<String>) {
    let mut open: Option<(usize, String, String)> = None;
    for (number, line) in text.lines().enumerate() {
        let indent: String = line.chars().take_while(|c| *c == ' ').collect();
        let code = line.trim_start();
        let starts = [
            "fn ",
            "pub fn ",
            "pub(crate) fn ",
            "pub(super) fn ",
            "async fn ",
            "pub async fn ",
            "pub(crate) async fn ",
            "pub(super) async fn ",
        ]
        .iter()
        .any(|s| code.starts_with(s));
        if open.is_none() && starts && !code.ends_with(';') && !code.ends_with('}') {
            open = Some((number, indent, code.to_owned()));
        } else if let Some((from, at, head)) = &open
            && code == "}"
            && indent == *at
        {
            let lines = number - from + 1;
            if lines > lines_max(&function_key(file, head), FUNCTION_LINES_MAX) {
                found.push(format!(
                    "{file}:{}: a function has {lines} lines, more than {FUNCTION_LINES_MAX}: {head}",
                    from + 1
                ));
            }
            open = None;
        }
    }
}

fn lines_max(key: &str, bound: usize) -> usize {
    let listed = LONG.lines().filter_map(|line| line.split_once(' '));
    let lines =
        listed.filter(|(_, listed)| *listed == key).find_map(|(lines, _)| lines.parse().ok());
    lines.unwrap_or(bound)
}

/// Returns the name of a function in [`LONG`], such as `xtask/src/tidy.rs:run`.
fn function_key(file: &str, head: &str) -> String {
    let name = head.split("fn ").nth(1).unwrap_or(head);
    let name = name.split(['(', '<']).next().unwrap_or(name);
    format!("{file}:{name}")
}

fn check_dependencies(root: &Path, found: &mut Vec<String>) -> Result<()> {
    for (name, allowed) in ALLOWED_DEPENDENCIES {
        let manifest = fs::read_to_string(root.join("crates").join(name).join("Cargo.toml"))?;
        let manifest: toml::Table =
            manifest.parse().with_context(|| format!("the manifest of {name} is invalid"))?;
        let Some(dependencies) = manifest.get("dependencies").and_then(|d| d.as_table()) else {
            continue;
        };
        for dependency in dependencies.keys().filter_map(|d| d.strip_prefix("doorbuster-")) {
            if !allowed.split(' ').any(|name| name == dependency) {
                found.push(format!("crates/{name}: must not depend on {dependency}"));
            }
        }
    }
    Ok(())
}

/// Checks that only dev-dependencies enable failpoints, because a failpoint can end the process.
fn check_failpoints(root: &Path, found: &mut Vec<String>) -> Result<()> {
    for file in tracked_files(root)?.iter().filter(|file| file.ends_with("Cargo.toml")) {
        let manifest =
            fs::read_to_string(root.join(file))?.parse().with_context(|| file.clone())?;
        if enables_failpoints(manifest) {
            found.push(format!("{file}: only dev-dependencies may enable failpoints"));
        }
    }
    Ok(())
}

fn enables_failpoints(mut manifest: toml::Table) -> bool {
    const FEATURE: &str = "failpoints";
    manifest.remove("dev-dependencies");
    if let Some(features) =
        manifest.get_mut("features").and_then(|features| features.as_table_mut())
    {
        features.remove(FEATURE);
    }
    manifest.to_string().contains(FEATURE)
}

/// Checks that metrics and settings in documents exist in the code.
fn check_documents(root: &Path, found: &mut Vec<String>) -> Result<()> {
    let mut code = String::new();
    for file in tracked_files(root)? {
        if (file.ends_with(".rs") || file.ends_with(".toml")) && !file.starts_with("xtask/") {
            code.push_str(&fs::read_to_string(root.join(&file)).unwrap_or_default());
        }
    }
    for file in tracked_files(root)?.iter().filter(|f| f.ends_with(".md")) {
        let text = fs::read_to_string(root.join(file)).unwrap_or_default();
        for word in words_with_prefix(&text, "doorbuster_") {
            let stem = ["_total", "_bucket", "_count", "_sum"]
                .iter()
                .find_map(|s| word.strip_suffix(s))
                .unwrap_or(&word);
            let name = stem.trim_start_matches("doorbuster_");
            if !name.is_empty() && !code.contains(name) {
                found
                    .push(format!("{file}: names the metric {word}, which the code does not have"));
            }
        }
        for word in words_with_prefix(&text, "DOORBUSTER_") {
            let last = word
                .trim_start_matches("DOORBUSTER_")
                .trim_end_matches("_FILE")
                .rsplit("__")
                .next()
                .unwrap_or_default();
            let known = code.contains(&last.to_lowercase()) || code.contains(word.as_str());
            if !last.is_empty() && !known {
                found.push(format!(
                    "{file}: names the setting {word}, which the code does not have"
                ));
            }
        }
    }
    Ok(())
}

fn words_with_prefix(text: &str, prefix: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|w| w.starts_with(prefix) && !w.ends_with('_'))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let found =
            check(&root().expect("xtask has a parent directory")).expect("the tree can be read");
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn only_tests_may_enable_failpoints() {
        let asks = |manifest: &str| enables_failpoints(manifest.parse().expect("a manifest"));
        assert!(!asks(
            "[features]\nfailpoints = []\n[dev-dependencies]\nserver = { features = \
             [\"failpoints\"] }"
        ));
        assert!(asks("[features]\ndefault = [\"failpoints\"]\nfailpoints = []"));
        assert!(asks("[dependencies]\nserver = { features = [\"failpoints\"] }"));
    }

    #[test]
    fn a_long_function_and_a_missing_header_are_found() {
        let long = format!("fn long() {{\n{}}}\n", "    let _ = 1;\n".repeat(FUNCTION_LINES_MAX));
        let mut found = Vec::new();
        check_rust("crates/core/src/x.rs", &long, &mut found);
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
