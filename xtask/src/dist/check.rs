//! Checks the archive and the package in a separate directory: unpacks the archive, installs the
//! package, runs the program from both, and removes all files.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::stage::stage;
use super::{Release, output_of, pack, run_command};

const STOP_WITHIN: Duration = Duration::from_secs(20);
/// Files that an archive must have.
const ARCHIVED: [&str; 9] = [
    "doorbuster",
    "doorbuster.toml",
    "doorbuster.service",
    "man/doorbuster.1",
    "completions/doorbuster.bash",
    "sbom.cdx.json",
    "THIRD-PARTY-LICENCES",
    "LICENSE-MIT",
    "monitoring/alerts.yml",
];
/// Files that an installed package must have.
const INSTALLED: [&str; 6] = [
    "usr/bin/doorbuster",
    "usr/lib/systemd/system/doorbuster.service",
    "etc/doorbuster/doorbuster.toml",
    "usr/share/man/man1/doorbuster.1.gz",
    "usr/share/bash-completion/completions/doorbuster",
    "usr/share/doc/doorbuster/copyright",
];

pub(super) fn check(release: &Release, archive: &Path, package: &Path, out: &Path) -> Result<()> {
    run_command(Command::new("sha256sum").current_dir(out).args([
        "--check",
        "--quiet",
        "SHA256SUMS",
    ]))?;
    let scratch = out.join("check");
    fs::create_dir_all(&scratch)?;
    check_repetition(release, archive, &scratch)?;
    check_archive(archive, &scratch)?;
    check_package(package, &scratch)?;
    fs::remove_dir_all(&scratch)?;
    Ok(())
}

/// Checks that the archive is reproducible: packing the files a second time must give the same
/// bytes.
fn check_repetition(release: &Release, archive: &Path, scratch: &Path) -> Result<()> {
    let tree = scratch.join(release.name());
    stage(release, &tree)?;
    let again = pack(release, scratch)?;
    let first = scratch.join("first.tar");
    let output = fs::File::create(&first)?;
    run_command(Command::new("gzip").arg("-dc").arg(archive).stdout(output))?;
    run_command(Command::new("cmp").args([&first, &again]))
        .context("the archive is not reproducible: packing it again gave other bytes")?;
    fs::remove_dir_all(&tree)?;
    fs::remove_file(&first)?;
    Ok(fs::remove_file(&again)?)
}

fn check_archive(archive: &Path, scratch: &Path) -> Result<()> {
    run_command(Command::new("tar").arg("-C").arg(scratch).arg("-xzf").arg(archive))?;
    let name = archive.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let tree = scratch.join(name.trim_end_matches(".tar.gz"));
    for file in ARCHIVED {
        ensure!(tree.join(file).is_file(), "the archive lacks {file}");
    }
    serve(&tree.join("doorbuster"), &tree.join("doorbuster.toml"), scratch)
}

/// Installs and removes the package below a directory, as if this directory were the root of
/// another system. dpkg then sets `DPKG_ROOT`, so the package's scripts do not start or stop
/// services of this machine.
fn check_package(package: &Path, scratch: &Path) -> Result<()> {
    let root = scratch.join("root");
    let admin = root.join("var/lib/dpkg");
    for dir in ["info", "updates", "triggers"] {
        fs::create_dir_all(admin.join(dir))?;
    }
    for file in ["status", "available"] {
        fs::write(admin.join(file), "")?;
    }
    let dpkg = || {
        let mut command = Command::new("dpkg");
        command.arg(format!("--root={}", root.display())).arg("--force-script-chrootless");
        command.args(["--force-depends", "--force-not-root", "--force-bad-path"]);
        command.arg("--log=/dev/null").stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    run_command(dpkg().arg("-i").arg(package))?;
    for file in INSTALLED {
        ensure!(root.join(file).is_file(), "the package lacks {file}");
    }
    let unit = fs::read_to_string(root.join(INSTALLED[1]))?;
    ensure!(
        unit.contains("ExecStart=/usr/bin/doorbuster serve"),
        "the unit starts another program"
    );
    for line in ["ExecReload=", "#User=doorbuster\n#ReadWritePaths=/mnt/backup-disk/shop\n"] {
        ensure!(unit.contains(line), "the unit lacks {line:?}");
    }
    verify_unit(&unit, &root.join(INSTALLED[0]), scratch)?;
    serve(&root.join(INSTALLED[0]), &root.join(INSTALLED[2]), scratch)?;
    run_command(dpkg().args(["--remove", "doorbuster"]))?;
    ensure!(!root.join(INSTALLED[0]).exists(), "dpkg --remove left the program");
    ensure!(
        root.join(INSTALLED[2]).is_file(),
        "dpkg --remove deleted the settings, which only dpkg --purge may delete"
    );
    run_command(dpkg().args(["--purge", "doorbuster"]))?;
    ensure!(!root.join(INSTALLED[2]).exists(), "dpkg --purge left the settings");
    Ok(())
}

fn verify_unit(unit: &str, program: &Path, scratch: &Path) -> Result<()> {
    let path = scratch.join("doorbuster.service");
    fs::write(&path, unit.replace("/usr/bin/doorbuster", &program.display().to_string()))?;
    match Command::new("systemd-analyze").args(["--man=no", "verify"]).arg(&path).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "systemd refuses the unit: {text}");
            // If systemd does not know a line, it prints a warning and no error. This check treats
            // a warning as an error.
            ensure!(!text.contains("doorbuster.service:"), "systemd warns about the unit: {text}");
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("dist: systemd-analyze is not installed, so the unit was not verified");
            Ok(())
        }
        Err(error) => Err(error).context("cannot start systemd-analyze"),
    }
}

fn serve(program: &Path, settings: &Path, scratch: &Path) -> Result<()> {
    let version = output_of(Command::new(program).arg("--version"))?;
    let version = String::from_utf8_lossy(&version);
    ensure!(version.contains("commit: ") && version.contains("features: "), "{version}");
    let data: PathBuf = scratch.join("data");
    let mut child = Command::new(program)
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(settings)
        .env("DOORBUSTER_DATA_DIR", &data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let served = first_line(&mut child);
    let stopped = stop(&mut child);
    fs::remove_dir_all(&data)?;
    ensure!(served?.starts_with("doorbuster listening on http://"), "the program did not serve");
    stopped
}

fn first_line(child: &mut Child) -> Result<String> {
    let mut line = String::new();
    let output = child.stdout.take().context("the output is not a pipe")?;
    BufReader::new(output).read_line(&mut line)?;
    Ok(line)
}

fn stop(child: &mut Child) -> Result<()> {
    run_command(Command::new("kill").args(["-TERM", &child.id().to_string()]))?;
    let begun = Instant::now();
    while begun.elapsed() < STOP_WITHIN {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "the program ended with {status}");
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    bail!("the program did not stop in time")
}
