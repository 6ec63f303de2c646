//! The demo's working directory. With `--keep`, the directory stays. Without `--keep`, the demo
//! removes the directory at the end.

use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use anyhow::Context;

use crate::print;

/// A new directory in the directory for temporary files.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    keep: bool,
}

impl WorkDir {
    /// Creates the directory, which only its owner can list. If `passable` is true, other users can
    /// open its files by name. PostgreSQL needs a passable directory, because PostgreSQL may run as
    /// another user.
    pub fn create(keep: bool, passable: bool) -> anyhow::Result<Self> {
        let path =
            std::env::temp_dir().join(format!("doorbuster-demo-{:016x}", rand::random::<u64>()));
        let made = DirBuilder::new().mode(if passable { 0o711 } else { 0o700 }).create(&path);
        made.with_context(|| format!("cannot create the scratch directory {}", path.display()))?;
        Ok(Self { path, keep })
    }

    /// Directory of the server's store.
    pub fn data_dir(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Directory of a cluster.
    pub fn cluster(&self) -> PathBuf {
        self.path.join("cluster")
    }

    /// Returns the path of the server's log.
    pub fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    /// Returns the path of the file with the answers that the load generator got.
    pub fn answers(&self) -> PathBuf {
        self.path.join("answers.jsonl")
    }

    /// Writes a secret to a file that only the user of this process can read.
    pub fn write_secret(&self, name: &str, secret: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        let file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(secret.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        let path = self.path.display();
        if self.keep {
            print::note(&format!("Kept: {path}"));
        } else if let Err(error) = std::fs::remove_dir_all(&self.path) {
            print::note(&format!("doorbuster: failed to remove {path}: {error}"));
        }
    }
}
