//! The file `database_history` in the data directory. It has the newest history of each database
//! that nodes on this machine have used. So a node that starts alone, without other nodes or Redis
//! to ask, can still refuse an older copy of its database.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use doorbuster_core::database_history::DatabaseHistory;
use doorbuster_store::KnownHistories;

const NAME: &str = "database_history";
const FILE_MODE: u32 = 0o600;

/// The reason why the file `database_history` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryFileError {
    /// The file cannot be read.
    #[error("data_dir: cannot read {}: {error}; let this user read it", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The file system's error.
        error: io::Error,
    },
    /// The file is damaged.
    #[error(
        "data_dir: {} is damaged: {error}; the file protects against an old primary; make sure \
         that store.url names only the current primary, then delete the file",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The fault in the file.
        error: serde_json::Error,
    },
}

/// Reads the histories that earlier processes wrote to this directory. The returned memory also
/// writes new histories to the directory. If the path is empty, nothing is read or written.
///
/// # Errors
/// If the file exists, but cannot be read or is damaged.
pub fn load_history(dir: &Path) -> Result<KnownHistories, HistoryFileError> {
    if dir.as_os_str().is_empty() {
        return Ok(KnownHistories::default());
    }
    let kept = read(&dir.join(NAME))?;
    let (dir, failing) = (dir.to_owned(), Mutex::new(false));
    let remember = move |deployment: &str, history: &DatabaseHistory| {
        // The lock is held during the whole write. A write reads the file, adds a history and
        // replaces the file. So two writes at the same time could lose a history.
        let mut failing = failing.lock().unwrap_or_else(PoisonError::into_inner);
        let written = write(&dir, deployment, history);
        let was_failing = std::mem::replace(&mut *failing, written.is_err());
        // The history changes every second. If several writes in a row fail, only the first failure
        // is logged.
        if let Err(error) = written
            && !was_failing
        {
            tracing::warn!(
                path = %dir.join(NAME).display(),
                error = %error,
                event = "database.history_unkept",
                "failed to keep the database's history; after a restart this node relies on Redis \
                 and other nodes to recognize an old primary"
            );
        }
    };
    Ok(KnownHistories::new(kept, Box::new(remember)))
}

/// Like [`load_history`], but never writes the file. Used by commands that must change no file.
///
/// # Errors
/// If the file exists, but cannot be read or is damaged.
pub fn read_history(dir: &Path) -> Result<KnownHistories, HistoryFileError> {
    if dir.as_os_str().is_empty() {
        return Ok(KnownHistories::default());
    }
    Ok(KnownHistories::new(read(&dir.join(NAME))?, Box::new(|_, _| {})))
}

fn read(path: &Path) -> Result<BTreeMap<String, DatabaseHistory>, HistoryFileError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(HistoryFileError::Unreadable { path: path.to_owned(), error }),
    };
    serde_json::from_slice(&text)
        .map_err(|error| HistoryFileError::Damaged { path: path.to_owned(), error })
}

/// Writes this history to the file. If the file already has this history or a newer one, writes
/// nothing: another node may have written it, because several nodes may share the directory.
fn write(dir: &Path, deployment: &str, history: &DatabaseHistory) -> io::Result<()> {
    doorbuster_secrets::create_directory(dir)?;
    let path = dir.join(NAME);
    let mut rows = read(&path).map_err(io::Error::other)?;
    let is_newer =
        |kept: &DatabaseHistory| (kept.fence, kept.position) >= (history.fence, history.position);
    if rows.get(deployment).is_some_and(is_newer) {
        return Ok(());
    }
    rows.insert(deployment.to_owned(), history.clone());
    // The name is random, because a name with the process id may not be unique. Several nodes may
    // share the directory, and in containers each may have the process id 1.
    let part = dir.join(format!("{NAME}.{:016x}.part", rand::random::<u64>()));
    let text = serde_json::to_vec_pretty(&rows)?;
    if let Err(error) = write_new(&part, &text).and_then(|()| fs::rename(&part, &path)) {
        // An error of the removal is ignored, because the returned error already names the cause.
        let _ = fs::remove_file(&part);
        return Err(error);
    }
    File::open(dir)?.sync_all()
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = File::options().create_new(true).write(true).mode(FILE_MODE).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use doorbuster_testkit::TempDir;

    use super::*;

    fn history(fence: i64) -> DatabaseHistory {
        let token = format!("token-{fence}");
        DatabaseHistory { fence, token, system_id: "7".to_owned(), timeline: fence, position: 0 }
    }

    #[test]
    fn the_newest_history_of_each_deployment_survives_a_restart() {
        let dir = TempDir::new();
        for (deployment, fence) in [("a", 2), ("b", 1), ("a", 1)] {
            write(dir.path(), deployment, &history(fence)).expect("a writable directory");
        }
        for position in [20, 10] {
            let moved = DatabaseHistory { position, ..history(2) };
            write(dir.path(), "a", &moved).expect("a writable directory");
        }
        let rows = read(&dir.path().join(NAME)).expect("a file");
        let kept: Vec<_> =
            rows.iter().map(|(name, row)| (name.as_str(), row.fence, row.position)).collect();
        assert_eq!(kept, [("a", 2, 20), ("b", 1, 0)]);
        let restarted = load_history(dir.path()).expect("a valid file");
        let moved = DatabaseHistory { position: 20, ..history(2) };
        assert_eq!(restarted.known_history(Some("a")), Some(moved));
        assert_eq!(restarted.known_history(Some("b")), Some(history(1)));
        assert_eq!(restarted.known_history(Some("c")), None);
    }

    #[test]
    fn a_damaged_file_is_named_and_a_missing_one_is_empty() {
        let dir = TempDir::new();
        assert_eq!(load_history(dir.path()).expect("no file").known(), None);
        fs::write(dir.path().join(NAME), "{").expect("writes");
        let error = load_history(dir.path()).expect_err("damaged").to_string();
        assert!(error.contains(NAME) && error.contains("current primary"), "{error}");
    }
}
