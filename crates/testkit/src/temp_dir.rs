//! A temporary directory for one test.

use std::path::{Path, PathBuf};

/// A directory that is removed when this value is dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Creates a directory with a random name.
    #[must_use]
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("doorbuster-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&path).expect("a random name is free");
        Self(path)
    }

    /// Returns the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for TempDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // If the removal fails, the directory stays in the system's temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
