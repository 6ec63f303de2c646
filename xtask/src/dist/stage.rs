//! Collects all files of a release in one directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Release, licences, output_of, run_command, sbom};

/// The shells for which a release has completions, and the names of the files.
pub(super) const COMPLETIONS: [(&str, &str); 3] =
    [("bash", "doorbuster.bash"), ("zsh", "_doorbuster"), ("fish", "doorbuster.fish")];
/// Files of the repository, each with its path in a release.
const COPIES: [(&str, &str); 8] = [
    ("README.md", "README.md"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("LICENSE-APACHE", "LICENSE-APACHE"),
    ("LICENSE-MIT", "LICENSE-MIT"),
    ("packaging/systemd/doorbuster.service", "doorbuster.service"),
    ("packaging/prometheus/alerts.yml", "monitoring/alerts.yml"),
    ("packaging/grafana/doorbuster.json", "monitoring/doorbuster.json"),
    ("packaging/nginx.conf", "nginx.conf"),
];

pub(super) fn stage(release: &Release, tree: &Path) -> Result<()> {
    for dir in ["man", "completions", "monitoring"] {
        fs::create_dir_all(tree.join(dir))?;
    }
    install(&release.program, &tree.join("doorbuster"), 0o755)?;
    for (from, to) in COPIES {
        install(&release.root.join(from), &tree.join(to), 0o644)?;
    }
    let program = || {
        let mut command = Command::new(&release.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DOORBUSTER_") {
                command.env_remove(name);
            }
        }
        command
    };
    run_command(program().arg("man").arg(tree.join("man")).stdout(std::process::Stdio::null()))?;
    for (shell, file) in COMPLETIONS {
        let script = output_of(program().args(["completions", shell]))?;
        fs::write(tree.join("completions").join(file), script)?;
    }
    let settings = output_of(program().args(["config", "default"]))?;
    fs::write(tree.join("doorbuster.toml"), settings)?;
    let metadata = sbom::metadata(&release.root)?;
    let packages = sbom::packages(&metadata)?;
    let bill = sbom::bill(&release.version, &packages, &release.root)?;
    fs::write(tree.join("sbom.cdx.json"), format!("{bill:#}\n"))?;
    fs::write(tree.join("THIRD-PARTY-LICENCES"), licences::texts(&packages)?)?;
    Ok(())
}

pub(super) fn install(from: &Path, to: &Path, mode: u32) -> Result<()> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}
