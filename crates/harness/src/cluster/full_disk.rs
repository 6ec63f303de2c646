//! The simulated disk of a PostgreSQL server. The harness can make the disk full while the server
//! runs. On a full disk, a write that makes a file longer fails; a write inside a file succeeds.

use std::path::{Path, PathBuf};

use super::cluster_dir::ClusterDir;
use super::error::ClusterError;
use super::library::{self, FaultControl};

pub(super) fn compile_library(cluster_dir: &ClusterDir) -> Result<PathBuf, ClusterError> {
    library::compile(cluster_dir, "full_disk", include_str!("full_disk.c"))
}

#[derive(Debug)]
pub(super) struct FullDisk {
    is_full: FaultControl,
    file: PathBuf,
    environment: [(String, String); 2],
}

impl FullDisk {
    /// Creates a disk with free space.
    pub fn create(library: &Path, file: &Path) -> Result<Self, ClusterError> {
        let (is_full, environment) = FaultControl::create(library, "LAB_FULL_DISK", file)?;
        Ok(Self { is_full, file: file.to_owned(), environment })
    }

    /// Returns the file that the server reads.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the environment variables that make a server use this simulated disk.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// Fills the disk, or frees space.
    pub fn set_full(&self, is_full: bool) -> Result<(), ClusterError> {
        self.is_full.set(i64::from(is_full))
    }
}
