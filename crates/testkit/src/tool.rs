//! Finds the programs that tests need. The script `scripts/setup` has a list of these programs and
//! of their Debian packages.

use std::io::Write;
use std::path::{Path, PathBuf};

const SETUP: &str = include_str!("../../../scripts/setup");
/// The name of an environment variable. If its value is `1`, a test that cannot check everything
/// fails.
const REQUIRE: &str = "DOORBUSTER_REQUIRE_ALL";

/// Returns the path of a program that `scripts/setup` installs.
///
/// # Panics
/// Panics if the program is missing. The message names the program's Debian package.
pub fn program(name: &str) -> PathBuf {
    find(name, &directories()).unwrap_or_else(|| panic!("{}", advice(name)))
}

/// Reports what a test did not check. The report goes directly to the terminal, because the output
/// of a passing test is hidden.
///
/// # Panics
/// Panics if `DOORBUSTER_REQUIRE_ALL` is `1`.
pub fn not_checked(what: &str) {
    assert!(!std::env::var(REQUIRE).is_ok_and(|value| value == "1"), "not checked: {what}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // A failed write does not fail the test.
    let _ = std::io::stderr().write_all(format!("\nnot checked by {test}: {what}\n").as_bytes());
}

/// Returns the directories to search: PostgreSQL's directories, the directories of `PATH`, and
/// `/usr/sbin`, which only root's `PATH` contains.
fn directories() -> Vec<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut postgresql: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin")).collect();
    postgresql.sort();
    postgresql.reverse();
    let path = std::env::var_os("PATH").unwrap_or_default();
    postgresql.extend(std::env::split_paths(&path));
    postgresql.push("/usr/sbin".into());
    postgresql
}

fn find(name: &str, directories: &[PathBuf]) -> Option<PathBuf> {
    directories.iter().map(|directory| directory.join(name)).find(|file| Path::is_file(file))
}

fn advice(name: &str) -> String {
    match package(name) {
        Some(package) => {
            format!("{name} is missing: install Debian package {package}, or run scripts/setup")
        }
        None => format!("add {name} and its Debian package to scripts/setup"),
    }
}

fn package(name: &str) -> Option<&'static str> {
    SETUP.lines().find_map(|line| line.trim().strip_prefix(&format!("[{name}]=")))
}

#[test]
fn a_missing_program_is_named_with_its_package() {
    assert_eq!(find("nginx", &[]), None);
    for (program, package) in [("nginx", "nginx-light"), ("postgres", "postgresql")] {
        let due = format!("install Debian package {package}, or run scripts/setup");
        assert_eq!(advice(program), format!("{program} is missing: {due}"));
    }
    let failed = std::panic::catch_unwind(|| program("a-program-of-no-package"));
    assert!(failed.is_err(), "a missing program must fail the test");
}
