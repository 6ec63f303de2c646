//! The directory that a demo works in, gone when it ends unless it is to be kept.

use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use anyhow::Context;

/// A directory of its own among the temporary files.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    keep: bool,
}

impl WorkDir {
    /// Makes it, for nobody else to look into; `passable`: others may go through it, as servers
    /// that run as somebody else do.
    pub fn create(keep: bool, passable: bool) -> anyhow::Result<Self> {
        let path =
            std::env::temp_dir().join(format!("doorbuster-demo-{:016x}", rand::random::<u64>()));
        let made = DirBuilder::new().mode(if passable { 0o711 } else { 0o700 }).create(&path);
        made.with_context(|| format!("cannot make the scratch directory {}", path.display()))?;
        Ok(Self { path, keep })
    }

    /// Where the server keeps its store.
    pub fn data_dir(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Where an installation of several servers is.
    pub fn cluster(&self) -> PathBuf {
        self.path.join("cluster")
    }

    /// Where the server writes its log.
    pub fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    /// Where the crowd writes what it was told.
    pub fn answers(&self) -> PathBuf {
        self.path.join("answers.jsonl")
    }

    /// Writes a secret that only this user may read.
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
        if self.keep {
            eprintln!("Kept: {}", self.path.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("doorbuster: {} could not be removed: {error}", self.path.display());
        }
    }
}
