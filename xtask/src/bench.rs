//! Builds the server and the benches as users get them, and runs the benches.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// What is built, each by itself: features that one needs must not reach into the other.
const PACKAGES: [&str; 2] = ["doorbuster", "doorbuster-bench"];

/// Builds in the release profile, then runs the benches with these arguments.
pub fn run(arguments: &[OsString]) -> Result<()> {
    for package in PACKAGES {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status =
            Command::new(cargo).args(["build", "--release", "--quiet", "-p", package]).status();
        if !status.context("starting cargo")?.success() {
            bail!("{package} could not be built");
        }
    }
    let mine = std::env::current_exe()?;
    // This program lies in a profile's directory below the one that the others were just built
    // into.
    let target = mine
        .parent()
        .and_then(|profile| profile.parent())
        .context("a program lies in the target directory")?;
    let program = target.join("release/doorbuster-bench");
    let status = Command::new(&program).args(arguments).status();
    let status = status.with_context(|| format!("starting {}", program.display()))?;
    if !status.success() {
        // They have said what is wrong; their exit code is part of what was asked for.
        std::process::exit(status.code().unwrap_or(2));
    }
    Ok(())
}
