//! A node's wall clock, which can be set to a wrong time while the node runs.

use std::path::{Path, PathBuf};

use super::cluster_dir::ClusterDir;
use super::error::ClusterError;
use super::library::{self, FaultControl};

/// Fails without a C compiler.
pub(super) fn compile_library(cluster_dir: &ClusterDir) -> Result<PathBuf, ClusterError> {
    library::compile(cluster_dir, "clock", include_str!("clock.c"))
}

#[derive(Debug)]
pub(super) struct Clock(FaultControl);

impl Clock {
    /// Creates a clock that shows the true time. Returns the clock, and the environment variables
    /// that make a node read this clock.
    pub fn create(
        library: &Path,
        file: &Path,
    ) -> Result<(Self, [(String, String); 2]), ClusterError> {
        let (ahead_ms, environment) = FaultControl::create(library, "LAB_CLOCK", file)?;
        Ok((Self(ahead_ms), environment))
    }

    /// Sets the clock `ms` milliseconds ahead of the true time, or behind it if `ms` is negative.
    pub fn set_ahead_ms(&self, ms: i64) -> Result<(), ClusterError> {
        self.0.set(ms)
    }
}
