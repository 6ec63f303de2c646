//! Checks that the store's files are still at the paths where they were opened.
//!
//! An open file that was removed, moved, or hidden by a mount still accepts writes and syncs. But
//! the next start of the program does not find its data. So before a commit is published, each path
//! must lead to the open file. Open files keep their inode numbers, so no new file has the same
//! number. The check opens no file, because closing a file of the store would release the locks of
//! this process on it.
//!
//! SQLite replaces none of these files while a connection is open. A checkpoint at most truncates
//! the log, and `VACUUM` writes into the existing file.
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::contract::OpenError;

use super::open::{DirLock, data_path, failed, lock_path, with_suffix};
use crate::failure::Failure;

/// The identity of a file, independent of its name.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn from_metadata(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino() }
    }
}

pub(super) struct OpenFiles(Vec<(PathBuf, FileId)>);

impl OpenFiles {
    /// Records which files are open. Call this function after a connection has read from the store,
    /// because only then do all these files exist.
    pub(super) fn remember(dir: &Path, lock: &DirLock) -> Result<Self, OpenError> {
        let at = |path: &Path| path.display().to_string();
        let dir = &fs::canonicalize(dir).map_err(|e| failed(&at(dir), e))?;
        let file = data_path(dir);
        // The log is beside the real file, even if the file's name in the directory is a link.
        let real = fs::canonicalize(&file).map_err(|e| failed(&at(&file), e))?;
        let mut files = Vec::new();
        for path in [file, with_suffix(&real, "-wal"), with_suffix(&real, "-shm")] {
            let there = fs::metadata(&path).map_err(|e| failed(&at(&path), e))?;
            files.push((path, FileId::from_metadata(&there)));
        }
        let path = lock_path(dir);
        let held = lock.metadata().map_err(|e| failed(&at(&path), e))?;
        files.push((path, FileId::from_metadata(&held)));
        Ok(Self(files))
    }

    pub(super) fn check_in_place(&self) -> Result<(), Failure> {
        for (path, id) in &self.0 {
            let what = match fs::metadata(path) {
                Ok(there) if FileId::from_metadata(&there) == *id => continue,
                Ok(_) => "is no longer the file that is in use".to_owned(),
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
                {
                    format!("cannot be found any more: {error}")
                }
                // A failed check says nothing about the open file, so the file counts as in place.
                Err(_) => continue,
            };
            return Err(Failure::Gone(format!("{} {what}", path.display())));
        }
        Ok(())
    }
}
