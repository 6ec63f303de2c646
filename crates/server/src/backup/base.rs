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

/// The temporary copy in the data directory. The copy is made there, because the store's disk is
/// fast. A slow copy would keep the store's log from being shortened.
const PART: &str = "backup_base.part";
/// The store's files that a copy contains.
const STORE_FILES: [&str; 2] = ["doorbuster.sqlite3", "doorbuster.sqlite3-wal"];

impl BaseMaker {
    /// Copies the store to a file, and the file to the target.
    pub(super) async fn make(self) -> Result<Base, String> {
        let part = self.data_dir.join(PART);
        // A process that was killed may have left its copy. Usually there is none.
        let _ = std::fs::remove_file(&part);
        check_space(&self.data_dir)?;
        let made = self.make_through(&part).await;
        // The next base removes a file that could not be removed now.
        let _ = std::fs::remove_file(&part);
        made
    }

    async fn make_through(&self, part: &Path) -> Result<Base, String> {
        let (before, begun) = (self.copy.newest(), self.clock.now().0);
        let (dir, to, copy) = (self.data_dir.clone(), part.to_owned(), self.copy.clone());
        let copied = tokio::task::spawn_blocking(move || {
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

/// Refuses a copy that would fill the disk. On a full disk, the store cannot commit.
fn check_space(data_dir: &Path) -> Result<(), String> {
    let disk = rustix::fs::statvfs(data_dir).map_err(|error| error.to_string())?;
    let size = |name| std::fs::metadata(data_dir.join(name)).map_or(0, |file| file.len());
    let store = STORE_FILES.into_iter().map(size).sum();
    check_free(disk.f_bavail.saturating_mul(disk.f_frsize), store)
}

/// Checks that half the size of the store stays free after a copy of the store.
fn check_free(free: u64, store: u64) -> Result<(), String> {
    let needed = store.saturating_add(store / 2);
    match free >= needed {
        true => Ok(()),
        false => Err(format!(
            "the copy of the store needs {needed} free bytes in data_dir, and {free} are free"
        )),
    }
}

/// The BLAKE3 hash of a file, and its size.
pub(super) fn hash_file(file: &Path) -> std::io::Result<(String, u64)> {
    let mut hasher = blake3::Hasher::new();
    let bytes = std::io::copy(&mut std::fs::File::open(file)?, &mut hasher)?;
    Ok((hasher.finalize().to_string(), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temp_dir::TempDir;

    #[test]
    fn a_copy_that_would_fill_the_disk_is_refused() {
        assert_eq!(check_free(150, 100), Ok(()));
        let error = check_free(149, 100).expect_err("too little space");
        assert!(error.contains("needs 150 free bytes") && error.contains("149"), "{error}");
        let dir = TempDir::new();
        let store = std::fs::File::create(dir.path().join(STORE_FILES[0])).expect("writable");
        assert_eq!(check_space(dir.path()), Ok(()));
        // A sparse file that is larger than the disk.
        store.set_len(1 << 42).expect("a sparse file");
        assert!(check_space(dir.path()).is_err());
    }
}
