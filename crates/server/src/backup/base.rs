//! A base: a copy of the whole store, made while the store is in use.

use std::path::{Path, PathBuf};

use doorbuster_core::Millis;
use doorbuster_store::{BackupFile, CommitCopy, copy_base};
use serde::{Deserialize, Serialize};

use super::names::{self, Generation};
use super::target::BackupTarget;
use crate::clock::Clock;

/// The description of a base.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Base {
    /// The copy contains every commit up to this number. It may also contain some later commits,
    /// which the segments contain again.
    pub before: u64,
    /// The copy may contain commits up to this number. So only the copy together with all segments
    /// up to this number is a consistent state of the store.
    pub complete: u64,
    /// When the copy began, in milliseconds.
    pub begun: i64,
    /// When the copy was complete.
    pub at: i64,
    /// The size of the copy.
    pub bytes: u64,
    /// The BLAKE3 hash of the copy.
    pub hash: String,
    /// The files beside the store, each with its content.
    pub files: Vec<(String, String)>,
}

/// The inputs for a new base.
pub(super) struct BaseMaker {
    pub copy: CommitCopy,
    pub target: BackupTarget,
    pub data_dir: PathBuf,
    pub files: Vec<BackupFile>,
    pub clock: Clock,
    pub generation: Generation,
}

/// The temporary copy in the data directory.
const PART: &str = "backup_base.part";

impl BaseMaker {
    /// Copies the store to a file, and the file to the target.
    pub(super) async fn make(self) -> Result<Base, String> {
        let part = self.data_dir.join(PART);
        let made = self.make_through(&part).await;
        // The next base replaces a file that could not be removed.
        let _ = std::fs::remove_file(&part);
        made
    }

    async fn make_through(&self, part: &Path) -> Result<Base, String> {
        let (before, begun) = (self.copy.newest(), self.clock.now().0);
        let (dir, to, copy) = (self.data_dir.clone(), part.to_owned(), self.copy.clone());
        let copied = tokio::task::spawn_blocking(move || {
            // A copy that an earlier process left may be incomplete.
            let _ = std::fs::remove_file(&to);
            copy_base(&dir, &to).map_err(|error| error.to_string())?;
            let complete = copy.newest_visible();
            let (hash, bytes) = hash_file(&to).map_err(|error| error.to_string())?;
            Ok::<_, String>((complete, hash, bytes))
        });
        let (complete, hash, bytes) = copied.await.map_err(|error| error.to_string())??;
        let at = self.clock.now();
        let files = self.files.iter().map(|file| {
            let content = String::from_utf8(file.content.clone());
            content.map(|content| (file.name.clone(), content))
        });
        let files = files.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        let base = Base { before, complete, begun, at: at.0, bytes, hash, files };
        let name = names::base_file(&self.generation, before);
        self.target.put_file(&name, part).await.map_err(|error| error.to_string())?;
        let text = serde_json::to_vec(&base).map_err(|error| error.to_string())?;
        let name = names::base(&self.generation, before);
        self.target.put(&name, text.into()).await.map_err(|error| error.to_string())?;
        Ok(base)
    }
}

impl Base {
    /// Returns the time at which the copy was complete.
    pub(super) fn at(&self) -> Millis {
        Millis(self.at)
    }
}

/// The BLAKE3 hash of a file, and its size.
pub(super) fn hash_file(file: &Path) -> std::io::Result<(String, u64)> {
    let mut hasher = blake3::Hasher::new();
    let bytes = std::io::copy(&mut std::fs::File::open(file)?, &mut hasher)?;
    Ok((hasher.finalize().to_string(), bytes))
}
