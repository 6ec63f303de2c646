//! `cargo xtask logs`: writes `docs/logs.md` from the table of log events. A test of `api` compares
//! the page with the table. `cargo xtask tidy` compares the table with the log lines in the code.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use doorbuster_api::log_event::{LOG_EVENTS, LogLevel, document};

const MACROS: [(&str, LogLevel); 3] =
    [("error!(", LogLevel::Error), ("warn!(", LogLevel::Warn), ("info!(", LogLevel::Info)];
/// The text before the event code in a log line.
const FIELD: &str = "event = \"";

/// Writes the page.
pub fn run() -> Result<()> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?;
    let path = root.join("docs/logs.md");
    std::fs::write(&path, document())
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("logs: wrote docs/logs.md");
    Ok(())
}

/// Checks the log lines of a file. Returns a finding for each line whose event code or level is not
/// in the table. Adds the codes of all other log lines to `used`.
pub(crate) fn check(file: &str, text: &str, used: &mut BTreeSet<&'static str>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, level) in MACROS {
        for (at, _) in text.match_indices(name) {
            let before = text[..at].chars().next_back();
            let comment = text[..at].rsplit('\n').next().is_some_and(|line| line.contains("//"));
            if comment || before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '"') {
                continue;
            }
            let line = text[..at].matches('\n').count() + 1;
            let call = text[at + name.len()..].split(';').next().unwrap_or_default();
            let code = call.split_once(FIELD).and_then(|(_, rest)| rest.split_once('"'));
            let event =
                code.and_then(|(code, _)| LOG_EVENTS.iter().find(|event| event.code == code));
            match event {
                Some(event) if event.level == level => {
                    used.insert(event.code);
                }
                Some(event) => {
                    found.push(format!("{file}:{line}: the table's level for {} differs", event.code))
                }
                None => found.push(format!(
                    "{file}:{line}: a log line needs `event = \"…\"` with a code of log_event/table.rs"
                )),
            }
        }
    }
    found
}

pub(crate) fn unused(used: &BTreeSet<&'static str>) -> Vec<String> {
    let codes = LOG_EVENTS.iter().map(|event| event.code);
    codes
        .filter(|code| !used.contains(code))
        .map(|code| format!("crates/api/src/log_event/table.rs: no log line has {code}"))
        .collect()
}
