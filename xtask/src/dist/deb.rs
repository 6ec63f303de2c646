//! The Debian package.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::stage::{COMPLETIONS, install};
use super::{Release, run_command};

/// The completion file of each shell, in the sequence of [`COMPLETIONS`].
const COMPLETION_FILES: [&str; 3] = [
    "usr/share/bash-completion/completions/doorbuster",
    "usr/share/zsh/vendor-completions/_doorbuster",
    "usr/share/fish/vendor_completions.d/doorbuster.fish",
];
/// The path of the settings file in the package. An upgrade of the package keeps the installed
/// settings.
const SETTINGS: &str = "etc/doorbuster/doorbuster.toml";
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Builds the package from the release's files, which are in `tree`. Returns the package's path.
pub(super) fn build(release: &Release, tree: &Path, out: &Path) -> Result<PathBuf> {
    let root = out.join("package");
    install(&tree.join("doorbuster"), &root.join("usr/bin/doorbuster"), 0o755)?;
    for ((_, file), to) in COMPLETIONS.into_iter().zip(COMPLETION_FILES) {
        install(&tree.join("completions").join(file), &root.join(to), 0o644)?;
    }
    for page in fs::read_dir(tree.join("man"))? {
        let page = page?;
        let to = root.join("usr/share/man/man1").join(page.file_name());
        install(&page.path(), &to, 0o644)?;
        run_command(Command::new("gzip").args(["-n", "-9"]).arg(&to))?;
    }
    let doc = root.join("usr/share/doc/doorbuster");
    for file in ["README.md", "CHANGELOG.md", "sbom.cdx.json", "THIRD-PARTY-LICENCES"] {
        install(&tree.join(file), &doc.join(file), 0o644)?;
    }
    for file in ["monitoring/alerts.yml", "monitoring/doorbuster.json"] {
        install(&tree.join(file), &doc.join(file), 0o644)?;
    }
    let read = |name: &str| fs::read_to_string(tree.join(name));
    let copyright = format!("{}\n\n{}", read("LICENSE-MIT")?, read("LICENSE-APACHE")?);
    fs::write(doc.join("copyright"), copyright)?;
    install(&tree.join("doorbuster.toml"), &root.join(SETTINGS), 0o644)?;
    let unit = read("doorbuster.service")?.replace("/usr/local/bin/", "/usr/bin/");
    let units = root.join("usr/lib/systemd/system");
    fs::create_dir_all(&units)?;
    fs::write(units.join("doorbuster.service"), unit)?;
    control(release, &root)?;
    let architecture = architecture(release.machine);
    let package = out.join(format!("doorbuster_{}_{architecture}.deb", release.version));
    let mut command = Command::new("dpkg-deb");
    command.env("SOURCE_DATE_EPOCH", &release.epoch).args([
        "--root-owner-group",
        "--build",
        "-Zxz",
    ]);
    command.arg(&root).arg(&package).stdout(std::process::Stdio::null());
    run_command(&mut command)
        .context("failed to run dpkg-deb, which is in Debian's package dpkg")?;
    fs::remove_dir_all(&root)?;
    Ok(package)
}

fn architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Writes the directory `DEBIAN`.
fn control(release: &Release, root: &Path) -> Result<()> {
    let from = release.root.join("packaging/debian");
    let control = fs::read_to_string(from.join("control"))?
        .replace("@VERSION@", &release.version)
        .replace("@ARCHITECTURE@", architecture(release.machine))
        .replace("@SIZE@", &kibibytes(root)?.to_string());
    let dir = root.join("DEBIAN");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("control"), control)?;
    fs::write(dir.join("conffiles"), format!("/{SETTINGS}\n"))?;
    for script in SCRIPTS {
        install(&from.join(script), &dir.join(script), 0o755)?;
    }
    // The umask of this process may have changed the modes of directories and files. So their modes
    // are set here.
    set_directory_modes(root)
}

fn set_directory_modes(dir: &Path) -> Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            set_directory_modes(&path)?;
        } else if fs::metadata(&path)?.permissions().mode() & 0o111 == 0 {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        }
    }
    Ok(())
}

/// Returns the size of all files below the directory, in KiB. The size of each file is rounded up.
fn kibibytes(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        sum += if about.is_dir() { kibibytes(&entry.path())? } else { about.len().div_ceil(1_024) };
    }
    Ok(sum)
}
