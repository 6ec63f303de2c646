//! A node's wall clock, which can be set to a wrong time while the node runs.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::cluster_dir::{ClusterDir, write_private};
use super::error::{ClusterError, OrFailed};
use super::process::{find, run};

/// The source of the library, which a node loads before the C library.
const SOURCE: &str = include_str!("clock.c");

/// Compiles the library that makes clocks adjustable. Fails without a C compiler.
pub(super) fn compile_library(cluster_dir: &ClusterDir) -> Result<PathBuf, ClusterError> {
    let source = cluster_dir.write_private("log/clock.c", SOURCE)?;
    let library = source.with_extension("so");
    let cc = find("cc")?.display().to_string();
    let (from, to) = (source.display().to_string(), library.display().to_string());
    run(&[&cc, "-shared", "-fPIC", "-O1", "-o", &to, &from, "-ldl"].map(str::to_owned), &[])?;
    Ok(library)
}

/// The adjustable clock of one node.
#[derive(Debug)]
pub(super) struct Clock(File);

impl Clock {
    /// Creates a correct clock. Returns it with the environment variables that make a node use it.
    pub fn create(
        library: &Path,
        file: &Path,
    ) -> Result<(Self, [(String, String); 2]), ClusterError> {
        let what = || format!("creating {}", file.display());
        write_private(file, "")?;
        let opened = File::options().write(true).open(file).or_failed(what)?;
        let clock = Self(opened);
        clock.set_ahead_ms(0)?;
        let preload = ("LD_PRELOAD".to_owned(), library.display().to_string());
        Ok((clock, [preload, ("LAB_CLOCK".to_owned(), file.display().to_string())]))
    }

    /// Sets the clock this far ahead of the true time.
    pub fn set_ahead_ms(&self, ms: i64) -> Result<(), ClusterError> {
        self.0.write_all_at(&ms.to_ne_bytes(), 0).or_failed(|| "setting a clock".into())
    }
}
