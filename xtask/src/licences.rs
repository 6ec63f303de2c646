//! `cargo xtask licences`: checks the licence and the source of every package in the dependency
//! tree, from `cargo metadata`. The task needs no network.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Licences that the program may include. If a package offers a choice (`OR`), one of the
/// alternatives must be in this list. If several licences apply (`AND`), all of them must be in
/// this list.
const ALLOWED: [&str; 14] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "BSL-1.0",
    "0BSD",
    "CC0-1.0",
    "Unicode-3.0",
    "Unlicense",
    "CDLA-Permissive-2.0",
];

/// Checks every package. Fails if a licence is not allowed, or if a package does not come from a
/// registry.
pub fn run() -> Result<()> {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()
        .context("failed to run cargo metadata")?;
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let bad: Vec<String> = packages
        .iter()
        .filter(|p| !p["license"].as_str().is_some_and(is_allowed))
        .map(|p| format!("{} {}: {}", p["name"], p["version"], p["license"]))
        .collect();
    if !bad.is_empty() {
        bail!("packages with a licence that is not allowed:\n{}", bad.join("\n"));
    }
    let unknown: Vec<String> = packages
        .iter()
        .filter(|p| !is_known_source(&p["source"]))
        .map(|p| format!("{} {}: {}", p["name"], p["version"], p["source"]))
        .collect();
    if !unknown.is_empty() {
        bail!("packages that do not come from a registry:\n{}", unknown.join("\n"));
    }
    println!(
        "licences: {} packages, all with an allowed licence and a known source",
        packages.len()
    );
    Ok(())
}

/// Returns whether a package is part of this repository or comes from a registry. The lock file has
/// a checksum of each package from a registry. A Git source is not allowed, because the content of
/// its branch may change.
fn is_known_source(source: &Value) -> bool {
    source.is_null() || source.as_str().is_some_and(|source| source.starts_with("registry+"))
}

fn is_allowed(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    let whole_is_and = expression.contains(" AND ");
    if whole_is_and {
        return plain
            .split(" AND ")
            .all(|part| part.split(" OR ").any(|one| ALLOWED.contains(&one.trim())));
    }
    plain.split(" OR ").any(|one| ALLOWED.contains(&one.trim()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{is_allowed, is_known_source, run};

    #[test]
    fn every_package_has_an_allowed_licence_and_source() {
        run().expect("every licence and source is allowed");
    }

    #[test]
    fn packages_come_from_here_or_from_a_registry() {
        for good in [Value::Null, json!("registry+https://registry.example/index")] {
            assert!(is_known_source(&good), "{good}");
        }
        for bad in [json!("git+https://git.example/fork?rev=1#1"), json!(1)] {
            assert!(!is_known_source(&bad), "{bad}");
        }
    }

    #[test]
    fn expressions_are_read_as_alternatives_and_conjunctions() {
        for good in [
            "MIT",
            "GPL-3.0 OR MIT",
            "MIT/Apache-2.0",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "ISC AND (Apache-2.0 OR ISC)",
        ] {
            assert!(is_allowed(good), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", ""] {
            assert!(!is_allowed(bad), "{bad}");
        }
    }
}
