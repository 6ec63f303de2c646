//! `cargo xtask dist`: makes the files of a release: an archive, a Debian package, a bill of
//! materials, and checksums. The same commit gives the same bytes.

mod check;
mod deb;
mod licences;
mod sbom;
mod service;
mod stage;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

/// The maximum size of the stripped program with the default features, in bytes.
const PROGRAM_BYTES_MAX: u64 = 40_000_000;

/// The options of `cargo xtask dist`.
#[derive(Args)]
pub struct Arguments {
    /// The directory for the files.
    #[arg(long, value_name = "DIR", default_value = "target/release-files")]
    out: PathBuf,
    /// The file of the program to package [default: a program that is built now, in the profile
    /// `dist`].
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Build the program with these optional features, separated by commas.
    #[arg(long, value_name = "NAMES", default_value = "", conflicts_with = "program")]
    features: String,
    /// Unpack the archive, install the package, run the program from both, and remove all files.
    #[arg(long)]
    check: bool,
    /// Install the package on this machine, run its unit under systemd, and purge the package.
    /// Needs root.
    #[arg(long)]
    service: bool,
}

/// The values that all steps of making a release need.
pub(crate) struct Release {
    root: PathBuf,
    program: PathBuf,
    version: String,
    /// Rust's name of the processor architecture, such as `x86_64`.
    machine: &'static str,
    /// The time of the commit. Every file of the release gets this time, so that the same commit
    /// gives the same bytes.
    epoch: String,
}

impl Release {
    /// The name of the archive, without its file extension.
    fn name(&self) -> String {
        format!("doorbuster-{}-{}-linux", self.version, self.machine)
    }
}

/// Makes the files.
pub fn run(arguments: &Arguments) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent")?;
    let (commit, epoch) = (git(root, &["rev-parse", "--short=12", "HEAD"])?, commit_time(root)?);
    let program = match &arguments.program {
        Some(program) => std::path::absolute(program)?,
        None => {
            let program = build(root, (&commit, &epoch), &arguments.features)?;
            check_size(fs::metadata(&program)?.len(), &arguments.features)?;
            program
        }
    };
    let release = Release {
        root: root.to_owned(),
        program,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: std::env::consts::ARCH,
        epoch,
    };
    let out = std::path::absolute(&arguments.out)?;
    if out.exists() {
        fs::remove_dir_all(&out).with_context(|| format!("cannot remove {}", out.display()))?;
    }
    fs::create_dir_all(&out)?;
    let tree = out.join(release.name());
    stage::stage(&release, &tree)?;
    fs::copy(tree.join("sbom.cdx.json"), out.join(format!("{}.cdx.json", release.name())))?;
    let package = deb::build(&release, &tree, &out)?;
    let archive = archive(&release, &out)?;
    fs::remove_dir_all(&tree)?;
    checksums(&out)?;
    for file in [&archive, &package] {
        println!("dist: {} ({} bytes)", file.display(), fs::metadata(file)?.len());
    }
    if arguments.check {
        check::check(&release, &archive, &package, &out)?;
        println!("dist: the archive and the package were unpacked, installed, run and removed");
    }
    if arguments.service {
        service::check(&package)?;
        println!("dist: the package was installed, run under systemd and purged");
    }
    Ok(())
}

/// Builds the program in the profile `dist`. Removes the paths of this machine from the program, so
/// that the same commit gives the same bytes everywhere.
fn build(root: &Path, (commit, epoch): (&str, &str), features: &str) -> Result<PathBuf> {
    let home = std::env::var("CARGO_HOME")
        .or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")));
    let mut flags = format!("--remap-path-prefix={}=/src", root.display());
    if let Ok(home) = home {
        flags += &format!(" --remap-path-prefix={home}=/cargo");
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["build", "--locked", "--profile", "dist", "-p", "doorbuster"]);
    command.args(["--features", features]);
    command.env("RUSTFLAGS", flags).env("BUILD_COMMIT", commit).env("SOURCE_DATE_EPOCH", epoch);
    run_command(&mut command)?;
    Ok(target()?.join("dist/doorbuster"))
}

/// Checks the size of the program. A program with optional features may be larger than
/// [`PROGRAM_BYTES_MAX`].
fn check_size(bytes: u64, features: &str) -> Result<()> {
    println!("dist: the program has {bytes} bytes");
    ensure!(
        bytes <= PROGRAM_BYTES_MAX || !features.is_empty(),
        "the stripped program has {bytes} bytes, and {PROGRAM_BYTES_MAX} are allowed; look for \
         large dependencies, and make them optional features"
    );
    Ok(())
}

/// Returns cargo's build directory: the parent of the directory (`debug` or `release`) that
/// contains this program.
fn target() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.ancestors().nth(2).context("xtask was not started by cargo")?.to_owned())
}

fn archive(release: &Release, out: &Path) -> Result<PathBuf> {
    let tar = pack(release, out)?;
    run_command(Command::new("gzip").args(["-n", "-9", "-f"]).arg(&tar))?;
    Ok(out.join(format!("{}.tar.gz", release.name())))
}

/// Packs the release's files into a tar file. Sorts the files, and sets their owner and time,
/// because the same commit must give the same bytes.
fn pack(release: &Release, out: &Path) -> Result<PathBuf> {
    let tar = out.join(format!("{}.tar", release.name()));
    let mut command = Command::new("tar");
    command.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu"]);
    command.arg(format!("--mtime=@{}", release.epoch)).arg("-C").arg(out).arg("-cf").arg(&tar);
    run_command(command.arg(release.name()))?;
    Ok(tar)
}

fn checksums(out: &Path) -> Result<()> {
    let mut names: Vec<_> =
        fs::read_dir(out)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    names.sort();
    let output = Command::new("sha256sum").current_dir(out).arg("--").args(&names).output()?;
    ensure!(output.status.success(), "sha256sum failed");
    Ok(fs::write(out.join("SHA256SUMS"), output.stdout)?)
}

fn commit_time(root: &Path) -> Result<String> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(epoch) => Ok(epoch),
        Err(_) => git(root, &["log", "-1", "--format=%ct"]),
    }
}

fn git(root: &Path, words: &[&str]) -> Result<String> {
    let output = Command::new("git").current_dir(root).args(words).output()?;
    ensure!(output.status.success(), "git {} failed", words.join(" "));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn run_command(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}

fn output_of(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {error}");
    Ok(output.stdout)
}
