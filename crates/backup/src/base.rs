//! Makes a base: a copy of the whole store, while the server uses the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use doorbuster_base::clock::Clock;
use doorbuster_base::encryption::DecryptionError;
use doorbuster_core::Millis;
use doorbuster_store::{BackupFile, CommitBuffer, copy_base};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::key::BackupKey;
use super::names::{self, Generation};
use super::space::check_space;
use super::target::BackupTarget;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BaseBackup {
    /// The copy contains every commit up to this number. It may also contain later commits, up to
    /// `complete`. The segments contain these later commits too.
    pub before: u64,
    /// The copy contains no commit after this number, but may lack commits between `before` and
    /// this number. So the copy is consistent only together with all segments up to this number.
    pub complete: u64,
    /// When the copy began, in milliseconds.
    pub begun: i64,
    /// When the copy was complete, in milliseconds.
    pub at: i64,
    /// The size of the copy before its encryption, in bytes.
    pub bytes: u64,
    /// The BLAKE3 hash of the copy before its encryption.
    pub hash: String,
    /// The names and contents of the files with the generated secrets. Empty if the backup is
    /// encrypted, because `encryption` then contains these files.
    pub files: Vec<(String, String)>,
    /// The encryption, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<BaseEncryption>,
    /// The id of the store. A store that is restored from this backup keeps the id. A new store has
    /// another id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
}

/// What a restore needs, besides the passphrase, to decrypt a base and the segments of its
/// generation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BaseEncryption {
    /// The key of the backup, encrypted with the passphrase, in base64.
    pub key: String,
    /// The files with the generated secrets: JSON, encrypted with the key, in base64.
    pub files: String,
    /// The BLAKE3 hash of `key` and `files`, which distinguishes a damaged key from a wrong
    /// passphrase.
    pub hash: String,
}

pub(super) struct BaseMaker {
    pub copy: CommitBuffer,
    pub target: BackupTarget,
    pub data_dir: PathBuf,
    pub files: Vec<BackupFile>,
    pub clock: Clock,
    pub generation: Generation,
    pub key: Option<Arc<BackupKey>>,
}

/// The prefix of the names of temporary copies. SQLite's own temporary files for these copies have
/// the same prefix.
const PART: &str = "backup_base";

/// A temporary copy in the data directory. The file is removed when this value is dropped. The
/// copies of two generations have different names, because the thread that makes a copy may outlive
/// the copy's generation.
struct TemporaryCopy(PathBuf);

impl TemporaryCopy {
    fn new(data_dir: &Path, generation: &Generation, kind: &str) -> Self {
        Self(data_dir.join(format!("{PART}-{generation}{kind}.part")))
    }
}

impl Drop for TemporaryCopy {
    fn drop(&mut self) {
        // If the file cannot be removed now, the next call of `make` removes it.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn remove_parts(data_dir: &Path) {
    for file in std::fs::read_dir(data_dir).into_iter().flatten().flatten() {
        if file.file_name().to_string_lossy().starts_with(PART) {
            let _ = std::fs::remove_file(file.path());
        }
    }
}

impl BaseMaker {
    /// Copies the store to the data directory, and then sends this copy to the target. The store
    /// cannot shorten its write-ahead log during the first step. But this step is fast, because the
    /// data directory is on the store's own disk.
    pub(super) async fn make(self) -> Result<BaseBackup, String> {
        // Removes the copies that a killed process left.
        remove_parts(&self.data_dir);
        check_space(&self.data_dir, if self.key.is_some() { 2 } else { 1 })?;
        let (before, begun) = (self.copy.newest(), self.clock.now().0);
        let (dir, copy, key) = (self.data_dir.clone(), self.copy.clone(), self.key.clone());
        let part = TemporaryCopy::new(&dir, &self.generation, "");
        let encrypted = TemporaryCopy::new(&dir, &self.generation, ".encrypted");
        let copied = tokio::task::spawn_blocking(move || {
            let store = copy_base(&dir, &part.0).map_err(|error| error.to_string())?;
            let complete = copy.newest_visible();
            let (hash, bytes) = hash_file(&part.0).map_err(|error| error.to_string())?;
            let Some(key) = key else { return Ok((part, complete, hash, bytes, store)) };
            key.encrypt_file(&part.0, &encrypted.0).map_err(|error| error.to_string())?;
            Ok::<_, String>((encrypted, complete, hash, bytes, store))
        });
        let (part, complete, hash, bytes, store) =
            copied.await.map_err(|error| error.to_string())??;
        let at = self.clock.now().0;
        let files = self.files.iter().map(|file| {
            let content = String::from_utf8(file.content.clone());
            content.map(|content| (file.name.clone(), content))
        });
        let mut files: Vec<_> =
            files.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        let mut encryption = None;
        if let Some(key) = &self.key {
            let (key, files) = (key, std::mem::take(&mut files));
            encryption = Some(BaseEncryption::new(key, &files).map_err(|error| error.to_string())?);
        }
        let base =
            BaseBackup { before, complete, begun, at, bytes, hash, files, encryption, store };
        let name = names::base_file(&self.generation, before);
        self.target.put_file(&name, &part.0).await.map_err(|error| error.to_string())?;
        let text = serde_json::to_vec(&base).map_err(|error| error.to_string())?;
        let name = names::base(&self.generation, before);
        self.target.put(&name, text.into()).await.map_err(|error| error.to_string())?;
        Ok(base)
    }
}

impl BaseBackup {
    pub(super) fn at(&self) -> Millis {
        Millis(self.at)
    }
}

impl BaseEncryption {
    fn new(key: &BackupKey, files: &[(String, String)]) -> std::io::Result<Self> {
        let files = key.encrypt(&serde_json::to_vec(files)?)?;
        let (key, files) = (key.locked().to_owned(), STANDARD.encode(files));
        Ok(Self { hash: hash_texts(&key, &files), key, files })
    }

    pub(super) fn unlock(&self, passphrase: &SecretString) -> Result<BackupKey, DecryptionError> {
        if hash_texts(&self.key, &self.files) != self.hash {
            return Err(DecryptionError::Damaged("its checksum is wrong".to_owned()));
        }
        BackupKey::unlock(&self.key, passphrase)
    }

    pub(super) fn files(&self, key: &BackupKey) -> Result<Vec<(String, String)>, DecryptionError> {
        let damaged = |error: &dyn ToString| DecryptionError::Damaged(error.to_string());
        let encrypted = STANDARD.decode(&self.files).map_err(|error| damaged(&error))?;
        let text = key.decrypt(&encrypted)?;
        serde_json::from_slice(&text).map_err(|error| damaged(&error))
    }
}

fn hash_texts(key: &str, files: &str) -> String {
    blake3::hash(format!("{key}\n{files}").as_bytes()).to_string()
}

/// Returns the file's BLAKE3 hash and size.
pub(super) fn hash_file(file: &Path) -> std::io::Result<(String, u64)> {
    let mut hasher = blake3::Hasher::new();
    let bytes = std::io::copy(&mut std::fs::File::open(file)?, &mut hasher)?;
    Ok((hasher.finalize().to_string(), bytes))
}

#[cfg(test)]
mod tests {
    use doorbuster_testkit::TempDir;

    use super::*;

    #[test]
    fn each_generation_has_its_own_temporary_copy() {
        let dir = TempDir::new();
        let [earlier, later] = [1, 2].map(|at| {
            let generation = Generation::after(None, Millis(at));
            let copy = TemporaryCopy::new(dir.path(), &generation, "");
            std::fs::write(&copy.0, "a copy").expect("writable");
            copy
        });
        let other = dir.path().join("doorbuster.sqlite3");
        std::fs::write(&other, "the store").expect("writable");
        drop(earlier);
        assert!(later.0.exists(), "the end of an earlier copy must not remove a later copy");
        remove_parts(dir.path());
        let left = std::fs::read_dir(dir.path()).expect("readable");
        let left: Vec<_> = left.map(|file| file.expect("readable").path()).collect();
        assert_eq!(left, [other]);
    }
}
