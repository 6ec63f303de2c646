//! The server enforces some rules only by the sequence of its code. In the simulator, a condition
//! enforces each of these rules. This test checks that docs/protocol.md lists these rules, and
//! names existing tests of them.
use std::collections::BTreeSet;
use std::path::Path;

use doorbuster_core::rules::Rule;

/// Returns all code of the workspace, except the simulator and the list of rules.
fn code() -> String {
    fn gather(dir: &Path, into: &mut String) {
        for entry in std::fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() && !path.ends_with("crates/sim") {
                gather(&path, into);
            } else if path.extension().is_some_and(|kind| kind == "rs")
                && !path.ends_with("core/src/rules.rs")
            {
                into.push_str(&std::fs::read_to_string(&path).expect("text"));
            }
        }
    }
    let mut code = String::new();
    gather(&root().join("crates"), &mut code);
    code
}

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

#[test]
fn rules_that_only_the_simulator_names_are_listed_with_tests_that_exist() {
    let code = code();
    let names = |name: &str| {
        let name = format!("Rule::{name}");
        let after = code.match_indices(&name).map(|(at, found)| &code[at + found.len()..]);
        after.filter(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric())).count()
    };
    let alone: BTreeSet<&str> =
        Rule::ALL.iter().map(|rule| rule.name()).filter(|name| names(name) == 0).collect();
    let page = std::fs::read_to_string(root().join("docs/protocol.md")).expect("the page");
    let (_, section) = page
        .split_once("\n## Rules that are not shared with the simulator\n")
        .expect("the section");
    let (section, _) = section.split_once("\n## ").expect("a section after it");
    let rows = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name);
    assert_eq!(rows.collect::<BTreeSet<_>>(), alone);
    let quoted = section.split('`').skip(1).step_by(2);
    let is_test = |word: &&str| {
        word.matches('_').count() > 2 && word.chars().all(|c| c == '_' || c.is_ascii_lowercase())
    };
    let tests: Vec<&str> = quoted.filter(is_test).collect();
    assert!(tests.len() > 20, "{tests:?}");
    let missing: Vec<_> =
        tests.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "docs/protocol.md names tests that do not exist: {missing:?}");
}
