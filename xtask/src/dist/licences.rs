//! Collects the licence texts of all packages that are compiled into the program.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use anyhow::Result;

use super::sbom::Package;

/// The names of licence files begin with one of these words.
const NAMES: [&str; 5] = ["license", "licence", "copying", "notice", "unlicense"];

/// Returns a page with all licence texts. The page contains each different text once, below the
/// names of the packages that use it.
pub(super) fn texts(packages: &[Package]) -> Result<String> {
    let mut page = "The program contains these packages. Each text appears once.\n\n".to_owned();
    for package in packages {
        writeln!(page, "{} {}: {}", package.name, package.version, package.licence)?;
    }
    let mut by_text: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages {
        let mut files: Vec<_> = fs::read_dir(&package.dir)?.flatten().collect();
        files.sort_by_key(fs::DirEntry::file_name);
        for file in files {
            let name = file.file_name().to_string_lossy().to_ascii_lowercase();
            if !NAMES.iter().any(|start| name.starts_with(start)) || !file.path().is_file() {
                continue;
            }
            if let Ok(text) = fs::read_to_string(file.path()) {
                let user = format!("{} {}", package.name, package.version);
                by_text.entry(text.trim().to_owned()).or_default().push(user);
            }
        }
    }
    for (text, users) in by_text {
        writeln!(page, "\n{}\n{}\n\n{text}", "=".repeat(78), users.join(", "))?;
    }
    Ok(page)
}
