//! Writes `docs/events.md` from the types that messages are made of. A test of `api` holds the page
//! to them.

use std::path::Path;

use anyhow::{Context, Result};

/// Writes the page.
pub fn run() -> Result<()> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies below the root")?;
    let path = root.join("docs/events.md");
    std::fs::write(&path, doorbuster_api::notification::document())
        .with_context(|| format!("{} cannot be written", path.display()))?;
    println!("events: docs/events.md is written");
    Ok(())
}
