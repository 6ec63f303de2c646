//! `cargo xtask events`: writes `docs/events.md` from the event types. A test of `api` compares the
//! page with the types.

use std::path::Path;

use anyhow::{Context, Result};

/// Writes the page.
pub fn run() -> Result<()> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?;
    let path = root.join("docs/events.md");
    std::fs::write(&path, doorbuster_api::notification::document())
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("events: wrote docs/events.md");
    Ok(())
}
