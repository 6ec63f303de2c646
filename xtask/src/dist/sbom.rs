//! The bill of materials: every package that is compiled into the program, in CycloneDX JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::output_of;

/// A package in the program.
pub(super) struct Package {
    id: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) licence: String,
    is_ours: bool,
    /// The directory with the package's source.
    pub(super) dir: PathBuf,
    /// The ids of the packages that this package uses.
    uses: Vec<String>,
}

impl Package {
    fn reference(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }
}

pub(super) fn metadata(root: &Path) -> Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = output_of(
        Command::new(cargo)
            .current_dir(root)
            .args(["metadata", "--format-version", "1", "--locked", "--filter-platform"])
            .arg(target),
    )?;
    serde_json::from_slice(&output).context("cargo metadata is not JSON")
}

/// Returns the packages that the program uses outside of tests, sorted by name and version.
pub(super) fn packages(metadata: &Value) -> Result<Vec<Package>> {
    let nodes = metadata["resolve"]["nodes"]
        .as_array()
        .context("cargo metadata has no resolved packages")?;
    let by_id: BTreeMap<&str, &Value> =
        nodes.iter().filter_map(|node| Some((node["id"].as_str()?, node))).collect();
    let about: BTreeMap<&str, &Value> = metadata["packages"]
        .as_array()
        .context("cargo metadata has no packages")?
        .iter()
        .filter_map(|package| Some((package["id"].as_str()?, package)))
        .collect();
    let is_program =
        |package: &&Value| package["name"] == "doorbuster" && package["source"].is_null();
    let program = about
        .values()
        .find(|package| is_program(package))
        .context("cargo metadata has no package doorbuster")?;
    let first = program["id"].as_str().context("the package doorbuster has no id")?;
    let (mut found, mut open) = (BTreeSet::new(), vec![first]);
    while let Some(id) = open.pop() {
        if found.insert(id) {
            open.extend(by_id.get(id).into_iter().flat_map(|node| uses(node)));
        }
    }
    let mut packages: Vec<Package> = found
        .iter()
        .filter_map(|id| package(about.get(id)?, by_id.get(id).map(|node| uses(node))))
        .collect();
    packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Ok(packages)
}

fn uses(node: &Value) -> Vec<&str> {
    let is_built = |dependency: &&Value| {
        let kinds = dependency["dep_kinds"].as_array();
        kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"] != "dev"))
    };
    let dependencies = node["deps"].as_array().into_iter().flatten();
    dependencies.filter(is_built).filter_map(|dependency| dependency["pkg"].as_str()).collect()
}

fn package(about: &Value, uses: Option<Vec<&str>>) -> Option<Package> {
    let word = |name: &str| about[name].as_str().map(str::to_owned);
    Some(Package {
        id: word("id")?,
        name: word("name")?,
        version: word("version")?,
        licence: word("license").unwrap_or_default(),
        is_ours: about["source"].is_null(),
        dir: Path::new(about["manifest_path"].as_str()?).parent()?.to_owned(),
        uses: uses.unwrap_or_default().into_iter().map(str::to_owned).collect(),
    })
}

/// Returns the bill of materials in CycloneDX 1.5. The bill contains no time and no random number,
/// so the same packages always give the same bill.
pub(super) fn bill(version: &str, packages: &[Package], root: &Path) -> Result<Value> {
    let hashes = checksums(root)?;
    let reference: BTreeMap<&str, String> =
        packages.iter().map(|package| (package.id.as_str(), package.reference())).collect();
    let is_program = |package: &&Package| package.is_ours && package.name == "doorbuster";
    let program =
        packages.iter().find(is_program).context("the program is not among the packages")?;
    let components: Vec<Value> = packages
        .iter()
        .filter(|package| package.id != program.id)
        .map(|package| component(package, &hashes))
        .collect();
    let dependencies: Vec<Value> = packages
        .iter()
        .map(|package| {
            let uses: BTreeSet<&String> =
                package.uses.iter().filter_map(|id| reference.get(id.as_str())).collect();
            json!({"ref": package.reference(), "dependsOn": uses})
        })
        .collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {
            "type": "application", "bom-ref": program.reference(), "name": "doorbuster",
            "version": version, "licenses": [{"expression": program.licence}],
        }},
        "components": components,
        "dependencies": dependencies,
    }))
}

fn component(package: &Package, hashes: &BTreeMap<(String, String), String>) -> Value {
    let mut component = json!({
        "type": "library", "bom-ref": package.reference(), "name": package.name,
        "version": package.version, "purl": package.reference(),
    });
    if !package.licence.is_empty() {
        // In the licence expressions of older packages, a slash means OR.
        let licence = package.licence.replace('/', " OR ");
        component["licenses"] = json!([{"expression": licence}]);
    }
    if let Some(hash) = hashes.get(&(package.name.clone(), package.version.clone())) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": hash}]);
    }
    component
}

fn checksums(root: &Path) -> Result<BTreeMap<(String, String), String>> {
    let lock: toml::Table = std::fs::read_to_string(root.join("Cargo.lock"))?.parse()?;
    let packages = lock.get("package").and_then(|packages| packages.as_array());
    let word = |package: &toml::Value, name: &str| Some(package.get(name)?.as_str()?.to_owned());
    Ok(packages
        .into_iter()
        .flatten()
        .filter_map(|package| {
            let key = (word(package, "name")?, word(package, "version")?);
            Some((key, word(package, "checksum")?))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_has_what_is_built_and_not_what_only_tests_use() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a root");
        let packages = packages(&metadata(root).expect("metadata")).expect("packages");
        let has = |name: &str| packages.iter().any(|package| package.name == name);
        assert!(has("doorbuster-core") && has("tokio") && has("rusqlite"));
        assert!(
            !has("proptest") && !has("allocation-counter"),
            "packages only for tests must be left out"
        );
        let bill = bill("0.1.0", &packages, root).expect("a bill");
        let components = bill["components"].as_array().expect("a list");
        assert_eq!(components.len() + 1, packages.len());
        let tokio = components.iter().find(|part| part["name"] == "tokio").expect("tokio");
        assert_eq!(tokio["hashes"][0]["content"].as_str().map(str::len), Some(64), "{tokio}");
        let again = super::bill("0.1.0", &packages, root).expect("a bill");
        assert_eq!(bill, again, "the bill must be the same each time");
    }
}
