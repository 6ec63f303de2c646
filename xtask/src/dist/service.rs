//! Checks the Debian package on this machine: installs it, runs its unit under systemd, and purges
//! it.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{output_of, run_command};

/// The name of the package and of its systemd unit.
const NAME: &str = "doorbuster";

/// Runs the check. Fails if the machine already has the package, because the check purges it.
/// `systemctl start` returns only when the program is ready, because the unit has `Type=notify`.
pub(super) fn check(package: &Path) -> Result<()> {
    ensure!(Path::new("/run/systemd/system").is_dir(), "--service: systemd does not run here");
    let known = Command::new("dpkg-query").args(["--show", NAME]).output()?;
    ensure!(!known.status.success(), "--service: the package is already on this machine");
    let checked = run(package);
    let purged = run_command(Command::new("dpkg").args(["--purge", NAME]));
    checked.and(purged)
}

fn run(package: &Path) -> Result<()> {
    run_command(Command::new("dpkg").arg("--install").arg(package))?;
    for step in ["start", "reload", "stop"] {
        run_command(Command::new("systemctl").args([step, NAME]))?;
    }
    let result = output_of(Command::new("systemctl").args(["show", "--property=Result", NAME]))?;
    let result = String::from_utf8_lossy(&result);
    ensure!(result.trim() == "Result=success", "the unit ended with {result}");
    Ok(())
}
