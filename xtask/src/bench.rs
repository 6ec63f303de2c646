//! `cargo xtask bench`: builds and runs the server and the benches in the release profile.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The packages to build, each with its own command. One command for both would build the server
/// with features that only the benches need.
const PACKAGES: [&str; 2] = ["doorbuster", "doorbuster-bench"];

/// Builds in the release profile, then runs the benches with these arguments.
pub fn run(arguments: &[OsString]) -> Result<()> {
    for package in PACKAGES {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status =
            Command::new(cargo).args(["build", "--release", "--quiet", "-p", package]).status();
        if !status.context("cannot start cargo")?.success() {
            bail!("failed to build {package}");
        }
    }
    let this_program = std::env::current_exe()?;
    // This program is in `target/<profile>`.
    let target = this_program
        .parent()
        .and_then(|profile| profile.parent())
        .context("xtask is not in cargo's target directory")?;
    let program = target.join("release/doorbuster-bench");
    let status = Command::new(&program).args(arguments).status();
    let status = status.with_context(|| format!("cannot start {}", program.display()))?;
    if !status.success() {
        // The benches have already printed the reason. This program only returns their exit code.
        std::process::exit(status.code().unwrap_or(2));
    }
    Ok(())
}
