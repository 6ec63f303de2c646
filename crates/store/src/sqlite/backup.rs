//! Backups: a consistent copy of a store that stays in use, with the other files of the deployment.
//!
//! A backup is a SQLite file with the tables of the store. Two more tables have the time of the
//! backup and the other files. The application id of the file differs from the application id of a
//! store, so that no program opens the file as a store. Only `restore` reads a backup, because a
//! restore also pauses the sales.
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::{fs, io};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use doorbuster_core::Millis;

use crate::contract::{BackupError, BackupFile};
use crate::limits::LOCK_WAIT;

use super::open;
use super::open::{create_private, data_path};

/// The id of a backup in the file's header ("DbrB").
pub(super) const BACKUP_ID: i64 = 1_147_302_466;

/// Copies the store of a directory, together with `files`, to the file `path`, which must not exist
/// yet. The store may be in use during the copy. After an error, no partial copy remains.
pub fn backup(
    dir: &Path,
    path: &Path,
    now: Millis,
    files: &[BackupFile],
) -> Result<(), BackupError> {
    if path.exists() {
        return Err(BackupError::Exists(path.to_owned()));
    }
    let part = backup_part_path(path);
    let copied = copy(&data_path(dir), &part)
        .and_then(|()| add_files(&part, now, files).map_err(failed))
        .and_then(|()| publish_backup(&part, path));
    if copied.is_err() {
        // The removal may fail, because the file system itself may have failed.
        let _ = fs::remove_file(&part);
    }
    copied
}

/// Copies the store of a directory, page by page, to the new file `path`, as the base of a
/// continuous backup. The store may be in use during the copy.
///
/// Returns the store's id: the random token that the store got when it was created. A restored
/// store keeps this token. Returns `None` if the store's file has no token yet.
pub fn copy_base(dir: &Path, path: &Path) -> Result<Option<String>, BackupError> {
    let source = open::reader(dir).map_err(failed)?;
    let store = store_id(&source).map_err(failed)?;
    create_private(path).map_err(failed)?;
    let mut target = Connection::open(path).map_err(failed)?;
    let copied = Backup::new(&source, &mut target).and_then(|backup| backup.step(-1));
    match copied.map_err(failed)? {
        StepResult::Done => {}
        _ => return Err(failed("the store was busy")),
    }
    target.close().map_err(|(_, error)| failed(error))?;
    File::open(path).and_then(|file| file.sync_all()).map_err(failed)?;
    Ok(store)
}

fn store_id(conn: &Connection) -> rusqlite::Result<Option<String>> {
    if !conn.table_exists(None, "store_history")? {
        return Ok(None);
    }
    let oldest = "SELECT token FROM store_history ORDER BY fence LIMIT 1";
    conn.query_row(oldest, [], |row| row.get(0)).optional()
}

/// Returns a random temporary name beside `path`, unique to one backup or restore.
#[must_use]
pub fn backup_part_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(format!(".part-{:08x}", rand::random::<u32>()));
    path.with_file_name(name)
}

fn failed(error: impl std::fmt::Display) -> BackupError {
    BackupError::Failed(error.to_string())
}

fn copy(file: &Path, part: &Path) -> Result<(), BackupError> {
    let source = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|e| failed(format!("{}: {e}", file.display())))?;
    source.busy_timeout(LOCK_WAIT).map_err(failed)?;
    create_private(part).map_err(|error| {
        let dir = part.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or(Path::new(".")).display();
        failed(format!(
            "cannot write in {dir}: {error}; this directory must exist, and this user must be \
             able to write there"
        ))
    })?;
    let target = part.to_str().ok_or_else(|| failed("the path is not UTF-8"))?;
    source.execute("VACUUM INTO ?1", params![target]).map_err(failed)?;
    Ok(())
}

/// Makes the copy `part` of a store a backup: marks it as a backup, and adds the time and the
/// files.
fn add_files(part: &Path, now: Millis, files: &[BackupFile]) -> rusqlite::Result<()> {
    let mut conn = Connection::open(part)?;
    // The mode MEMORY keeps no journal on the disk. A crash can damage only the temporary file,
    // because the copy is synced before it gets its final name.
    conn.execute_batch("PRAGMA journal_mode = MEMORY;")?;
    let transaction = conn.transaction()?;
    transaction.execute_batch(&format!(
        "PRAGMA application_id = {BACKUP_ID};
         CREATE TABLE backup (made_at INTEGER NOT NULL) STRICT;
         CREATE TABLE backup_file (name TEXT PRIMARY KEY, content BLOB NOT NULL) STRICT;"
    ))?;
    transaction.execute("INSERT INTO backup (made_at) VALUES (?1)", params![now.0])?;
    for file in files {
        let insert = "INSERT INTO backup_file (name, content) VALUES (?1, ?2)";
        transaction.execute(insert, params![file.name, file.content])?;
    }
    transaction.commit()?;
    conn.close().map_err(|(_, error)| error)
}

/// Syncs the copy `part`, then gives it its final name `path`. Never replaces a file.
pub fn publish_backup(part: &Path, path: &Path) -> Result<(), BackupError> {
    File::open(part).and_then(|file| file.sync_all()).map_err(failed)?;
    match fs::hard_link(part, path) {
        Ok(()) => fs::remove_file(part).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(BackupError::Exists(path.to_owned()));
        }
        // The link fails if the file system has no hard links. The file is then renamed.
        Err(_) if !path.exists() => fs::rename(part, path).map_err(failed)?,
        Err(_) => return Err(BackupError::Exists(path.to_owned())),
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(failed)
}
