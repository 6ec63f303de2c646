//! Lists of operations that are stored as files. `regressions` has a shrunk list for each fault
//! that the simulation found in an earlier version. `directed` has one list for each rule. This
//! list has a finding if the rule is removed.
use std::path::{Path, PathBuf};
use std::{fs, io};

use doorbuster_core::rules::{Rule, remove};
use serde::{Deserialize, Serialize};

use crate::checker::Finding;
use crate::op::{Case, Op, Setup};
use crate::run::run_case;

/// A list with its finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reproduction {
    /// The name of the rule that must be removed, so that the list of operations leads to the
    /// finding. `None` if the list leads to the finding with all rules in force.
    pub rule: Option<String>,
    /// The finding.
    pub found: String,
    /// The setup.
    pub setup: Setup,
    /// The operations.
    pub ops: Vec<Op>,
}

impl Reproduction {
    /// Returns a list with its finding. `without` is the rule that was removed when the finding
    /// occurred, or `None` if every rule was in force.
    #[must_use]
    pub fn new(case: Case, finding: &Finding, without: Option<Rule>) -> Self {
        let rule = without.map(|rule| rule.name().to_owned());
        let Case { setup, ops } = case;
        Self { rule, found: format!("{}: {}", finding.what, finding.detail), setup, ops }
    }

    /// Returns the rule without which the list has its finding, or `None` if it has the finding
    /// with every rule in force.
    ///
    /// # Errors
    /// Returns the name if no rule has this name.
    pub fn without(&self) -> Result<Option<Rule>, String> {
        let Some(name) = &self.rule else { return Ok(None) };
        Rule::ALL
            .iter()
            .copied()
            .find(|rule| rule.name() == name)
            .map(Some)
            .ok_or_else(|| name.clone())
    }

    /// Runs the list without the rule `without`. If `without` is `None`, every rule is in force.
    #[must_use]
    pub fn run(&self, without: Option<Rule>) -> Option<Finding> {
        remove(without);
        let finding = run_case(&Case { setup: self.setup.clone(), ops: self.ops.clone() });
        remove(None);
        finding
    }

    /// Returns the text of the list's file, with one operation in each line.
    #[must_use]
    pub fn text(&self) -> String {
        let ops: Vec<_> = self.ops.iter().map(|op| format!("    {}", json(op))).collect();
        format!(
            "{{\n  \"rule\": {},\n  \"found\": {},\n  \"setup\": {},\n  \"ops\": [\n{}\n  ]\n}}\n",
            json(&self.rule),
            json(&self.found),
            json(&self.setup),
            ops.join(",\n")
        )
    }

    /// Writes the list as `name.json` into a directory.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn store(&self, dir: &Path, name: &str) -> io::Result<PathBuf> {
        fs::create_dir_all(dir)?;
        let path = dir.join(format!("{name}.json"));
        fs::write(&path, self.text())?;
        Ok(path)
    }

    /// Reads all lists in a directory, sorted by file name.
    ///
    /// # Errors
    /// Fails if a file cannot be read or is not a list.
    pub fn all(dir: &Path) -> io::Result<Vec<(String, Self)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "json") {
                let name =
                    path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
                let parsed = serde_json::from_str(&fs::read_to_string(&path)?);
                found.push((name, parsed.map_err(io::Error::other)?));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("numbers, names and texts")
}

/// Returns the directory `directed`. Each list in it has a finding if the list's rule is removed.
#[must_use]
pub fn directed_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("directed")
}

/// Returns the directory `regressions`. In an earlier version of the program, each list in it had a
/// finding.
#[must_use]
pub fn regressions_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions")
}
