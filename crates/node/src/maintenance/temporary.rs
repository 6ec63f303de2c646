//! The temporary directories and files of backups and restores. They contain unencrypted copies of
//! the store, so the command must leave none of them behind.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use doorbuster_store::{OpenError, RestoreError, backup_part_path, restore_part_paths};

/// The beginnings of the names of temporary directories in the data directory.
const NAMES: [&str; 2] = ["backup", "restore"];
const DIGITS: usize = 8;
/// The largest number of attempts to remove one directory. An attempt can fail, because another
/// thread may create files in the directory.
const ATTEMPTS_MAX: usize = 100;

/// The temporary directories and files of one command. A clone shares these directories and files,
/// so another thread can remove them.
#[derive(Clone, Debug, Default)]
pub struct TemporaryDirs(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    paths: Vec<PathBuf>,
    /// True after [`TemporaryDirs::remove_all`] has run. After that, no further directory can be
    /// created.
    is_closed: bool,
}

impl TemporaryDirs {
    /// Removes the directories and their files. Afterwards no temporary file can be created, so the
    /// backup or the restore fails.
    pub fn remove_all(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        for path in state.paths.drain(..) {
            remove(&path);
        }
    }

    pub(super) fn add_restore_files(&self, data_dir: &Path) {
        self.lock().paths.extend(restore_files(data_dir));
    }

    /// Creates a directory beside `path`. Only the user of this process can read the directory.
    pub(super) fn create_beside(&self, path: &Path) -> io::Result<TemporaryDir> {
        let path = backup_part_path(path);
        let mut state = self.lock();
        if state.is_closed {
            return Err(io::ErrorKind::Interrupted.into());
        }
        DirBuilder::new().mode(0o700).create(&path)?;
        state.paths.push(path.clone());
        drop(state);
        Ok(TemporaryDir { path, dirs: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct TemporaryDir {
    path: PathBuf,
    dirs: TemporaryDirs,
}

impl TemporaryDir {
    pub(super) fn file(&self) -> PathBuf {
        self.path.join("store")
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        self.dirs.lock().paths.retain(|path| *path != self.path);
        remove(&self.path);
    }
}

/// Locks the data directory for a backup. Several backups can hold this lock at the same time. If
/// no other command holds the lock, removes the temporary directories of killed commands first.
/// Returns `None` if the file system has no such locks.
pub(super) fn lock_data_dir(data_dir: &Path) -> Option<File> {
    let lock = File::open(data_dir).ok()?;
    if lock.try_lock().is_ok() {
        remove_old(data_dir);
    }
    lock.lock_shared().ok()?;
    Some(lock)
}

/// Locks the data directory for a restore, and removes the temporary directories of killed
/// commands. The lock is exclusive, because two restores would write the same temporary files.
/// Returns `None` if the file system has no such locks.
pub(super) fn lock_for_restore(data_dir: &Path) -> Result<Option<File>, RestoreError> {
    let Ok(lock) = File::open(data_dir) else { return Ok(None) };
    match lock.try_lock() {
        Ok(()) => {
            remove_old(data_dir);
            Ok(Some(lock))
        }
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(data_dir.to_owned()).into()),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

fn restore_files(data_dir: &Path) -> impl Iterator<Item = PathBuf> {
    let continuous = doorbuster_backup::restore_part_paths(data_dir);
    restore_part_paths(data_dir).into_iter().chain(continuous)
}

/// Removes the temporary directories and files of earlier commands. Call this only while no command
/// restores a store.
fn remove_old(data_dir: &Path) {
    for entry in fs::read_dir(data_dir).into_iter().flatten().flatten() {
        if is_temporary(&entry.file_name().to_string_lossy()) {
            remove(&entry.path());
        }
    }
    for file in restore_files(data_dir) {
        remove(&file);
    }
}

fn is_temporary(name: &str) -> bool {
    NAMES.into_iter().any(|start| {
        let rest = name.strip_prefix(start).and_then(|rest| rest.strip_prefix(".part-"));
        let digits = rest.and_then(|rest| rest.get(..DIGITS));
        digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    })
}

/// Removes a directory with its files, or a file. If the file system fails, the next backup or
/// restore removes the rest.
fn remove(path: &Path) {
    for _ in 0..ATTEMPTS_MAX {
        let removed = match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(_) => return,
        };
        if removed.is_ok() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_testkit::TempDir;

    use super::*;

    #[test]
    fn only_the_temporary_names_of_a_backup_or_a_restore_are_removed() {
        for name in ["backup.part-0123abcd", "restore.part-0123abcd.part-0123abcd-journal"] {
            assert!(is_temporary(name), "{name}");
        }
        for name in ["backup.part-mine", "backup.part-", "restore.part", "restore.part-journal"] {
            assert!(!is_temporary(name), "{name}");
        }
    }

    #[test]
    fn a_restore_does_not_share_its_directory_with_another_restore() {
        let temp_dir = TempDir::new();
        let (dir, part) = (temp_dir.path(), temp_dir.path().join("restore.part"));
        let running = lock_for_restore(dir).expect("no other restore runs");
        let running = running.expect("the file system has locks");
        fs::write(&part, "a copy").expect("writable");
        let refused = lock_for_restore(dir);
        assert!(matches!(refused, Err(RestoreError::Store(OpenError::Locked(_)))), "{refused:?}");
        assert!(part.exists(), "the file of the running restore must stay");
        running.unlock().expect("locked");
        lock_for_restore(dir).expect("the other restore has ended");
        assert!(!part.exists());
    }

    #[test]
    fn the_unencrypted_files_of_a_restore_are_removed() {
        let temp_dir = TempDir::new();
        let dir = temp_dir.path();
        let names = ["doorbuster.sqlite3.part", "doorbuster.sqlite3.part-journal", "restore.part"];
        let create = || {
            for name in names.into_iter().chain(["doorbuster.sqlite3"]) {
                fs::write(dir.join(name), "a copy").expect("writable");
            }
        };
        let is_left = |name: &&str| dir.join(name).exists();
        let dirs = TemporaryDirs::default();
        dirs.add_restore_files(dir);
        let remove_all = || dirs.remove_all();
        let lock = || drop(lock_data_dir(dir).expect("the file system has locks"));
        for clean_up in [&remove_all as &dyn Fn(), &lock] {
            create();
            clean_up();
            assert!(!names.iter().any(is_left));
            assert!(is_left(&"doorbuster.sqlite3"));
        }
        // While another command holds a lock, the clean-up must remove nothing.
        create();
        let running = File::open(dir).expect("it exists");
        running.lock_shared().expect("the file system has locks");
        lock();
        assert!(names.iter().all(is_left));
    }
}
