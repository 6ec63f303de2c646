//! Directories that exist for the duration of one measurement.
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A directory that is removed when this value is dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Creates a directory below `parent`.
    ///
    /// # Errors
    /// Fails if the directory cannot be created.
    pub fn new(parent: &Path, name: &str) -> Result<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("doorbuster-bench-{}-{number}-{name}", std::process::id()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // The error is ignored: if the removal fails, the directory only uses disk space.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
