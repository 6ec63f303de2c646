//! Finds the commit that the program is built from, for `doorbuster --version`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=BUILD_COMMIT");
    let commit = std::env::var("BUILD_COMMIT").ok().filter(|commit| !commit.is_empty());
    // If this script asks git for the commit, cargo must run the script again after each commit. So
    // the script asks git only in a release build.
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = commit.or_else(|| if is_release { from_git() } else { None });
    println!("cargo::rustc-env=COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// Returns the current commit. Adds a plus sign if tracked files differ from this commit.
fn from_git() -> Option<String> {
    for file in ["HEAD", "index"] {
        println!("cargo::rerun-if-changed={}", git(&["rev-parse", "--git-path", file])?);
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let is_changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if is_changed { format!("{commit}+") } else { commit })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").env("GIT_OPTIONAL_LOCKS", "0").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
