//! Restores a backup into a directory without a store.
//!
//! A restored store lacks the orders that were made after the backup, and would sell their units
//! again. So a restore pauses every sale that could sell, and records the pause in the store's
//! history.
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::slice;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

use doorbuster_core::{Millis, Phase};

use crate::contract::{BackupFile, PausedSale, RestoreError, Restored};
use crate::history::paused_json;

use super::backup::BACKUP_ID;
use super::open::{self, APPLICATION_ID, create_private, data_path, lock_path, with_suffix};

/// The mode of the files that a restore writes: only the owner may read them.
const FILE_MODE: u32 = 0o600;

/// Writes the backup `file` as the store of `dir`, and writes the other files of the backup beside
/// the store. Pauses the store's open and scheduled sales. Creates `dir` if it does not exist.
/// Never replaces a store.
///
/// # Errors
///
/// After an error `dir` contains no new store. The causes are:
///
/// - `file` is not a backup, is damaged, or was written by a newer program.
/// - `dir` contains a store, or a file that has the same name as a file in the backup, but
///   different content.
/// - The file system failed.
pub fn restore(file: &Path, dir: &Path, now: Millis) -> Result<Restored, RestoreError> {
    let (backup_at, files) = read_backup(file)?;
    write(Source { file, is_backup: true, at: backup_at, files }, dir, now)
}

/// Restores a plain copy of the store's file, and writes `files` beside the store. `at` is the time
/// of the copy.
///
/// # Errors
///
/// Fails for the same causes as [`restore`].
pub fn restore_copy(
    file: &Path,
    (at, files): (Millis, Vec<BackupFile>),
    dir: &Path,
    now: Millis,
) -> Result<Restored, RestoreError> {
    write(Source { file, is_backup: false, at, files }, dir, now)
}

struct Source<'a> {
    file: &'a Path,
    /// Whether the file has the tables of a backup.
    is_backup: bool,
    at: Millis,
    files: Vec<BackupFile>,
}

/// Returns the temporary files of a restore to `dir`: the incomplete store, and the files that
/// SQLite can keep beside it. All these files are unencrypted.
#[must_use]
pub fn restore_part_paths(dir: &Path) -> [PathBuf; 4] {
    let part = with_suffix(&data_path(dir), ".part");
    let [journal, log, index] = ["-journal", "-wal", "-shm"].map(|end| with_suffix(&part, end));
    [part, journal, log, index]
}

/// Checks that a restore to `dir` may begin. A restore checks this again before it writes the
/// store.
///
/// # Errors
/// Fails if a server uses the directory, or if the directory contains a store.
pub fn check_restorable(dir: &Path) -> Result<(), RestoreError> {
    open::check_unlocked(dir)?;
    if is_occupied(dir) { Err(RestoreError::Occupied(dir.to_owned())) } else { Ok(()) }
}

fn is_occupied(dir: &Path) -> bool {
    let path = data_path(dir);
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |there| there.len());
    bytes(&path) > 0 || bytes(&with_suffix(&path, "-wal")) > 0 || bytes(&lock_path(dir)) > 0
}

fn write(source: Source<'_>, dir: &Path, now: Millis) -> Result<Restored, RestoreError> {
    let lock = open::lock(dir)?;
    let path = data_path(dir);
    if is_occupied(dir) {
        return Err(RestoreError::Occupied(dir.to_owned()));
    }
    for kept in &source.files {
        if kept.name.is_empty() || !kept.name.bytes().all(is_plain) {
            // A name with a path could lead to a file outside the directory.
            return Err(RestoreError::NotABackup(source.file.to_owned()));
        }
        has_file(dir, kept)?;
    }
    let [part, ..] = restore_part_paths(dir);
    let restored = write_store(&source, &part, now)
        .and_then(|paused| write_files(dir, &source.files).map(|created| (paused, created)));
    let (paused, created) = restored.inspect_err(|_| remove_all(slice::from_ref(&part)))?;
    // The store gets its name last. Until then, a server does not start in this directory.
    let named = fs::rename(&part, &path)
        .map_err(|error| failed(&path, error))
        .and_then(|()| open::write_lock_text(&lock).map_err(|error| failed(&lock_path(dir), error)))
        .and_then(|()| sync_directory(dir));
    named.inspect_err(|_| {
        remove_all(&[part, path]);
        remove_all(&created);
        // An error is ignored, because the file system itself may have failed.
        let _ = open::remove_lock_text(&lock);
    })?;
    let files = source.files.into_iter().map(|file| file.name).collect();
    Ok(Restored { backup_at: source.at, paused, files })
}

fn sync_directory(dir: &Path) -> Result<(), RestoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| failed(dir, error))
}

fn failed(path: &Path, error: impl std::fmt::Display) -> RestoreError {
    RestoreError::Failed(format!("{}: {error}", path.display()))
}

fn read_backup(file: &Path) -> Result<(Millis, Vec<BackupFile>), RestoreError> {
    let no_backup = |_| RestoreError::NotABackup(file.to_owned());
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    fs::metadata(file).map_err(|error| failed(file, error))?;
    let conn = Connection::open_with_flags(file, flags).map_err(no_backup)?;
    let id: i64 = conn.query_row("PRAGMA application_id", [], |r| r.get(0)).map_err(no_backup)?;
    if id != BACKUP_ID {
        return Err(RestoreError::NotABackup(file.to_owned()));
    }
    let read = || {
        let made_at = conn.query_row("SELECT made_at FROM backup", [], |r| r.get(0))?;
        let mut files = conn.prepare("SELECT name, content FROM backup_file ORDER BY name")?;
        let files = files
            .query_map([], |r| Ok(BackupFile { name: r.get(0)?, content: r.get(1)? }))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        Ok::<_, rusqlite::Error>((Millis(made_at), files))
    };
    read().map_err(|error| failed(file, error))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte == b'_'
}

fn write_store(
    source: &Source<'_>,
    part: &Path,
    now: Millis,
) -> Result<Vec<PausedSale>, RestoreError> {
    let file = source.file;
    let _ = fs::remove_file(part);
    let copy = create_private(part).and_then(|()| {
        let mut to = File::options().write(true).open(part)?;
        io::copy(&mut File::open(file)?, &mut to)
    });
    copy.map_err(|error| failed(part, error))?;
    let paused = edit(part, source, now)?;
    File::open(part).and_then(|file| file.sync_all()).map_err(|error| failed(part, error))?;
    Ok(paused)
}

fn edit(part: &Path, source: &Source<'_>, now: Millis) -> Result<Vec<PausedSale>, RestoreError> {
    let fault = |error: rusqlite::Error| failed(source.file, error);
    // A signal handler may have removed the copy. Then SQLite must not create an empty store.
    let flags =
        rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(part, flags).map_err(fault)?;
    // The file of a plain copy is in WAL mode. SQLite leaves WAL mode only for the journal mode
    // DELETE, so this mode comes first.
    conn.execute_batch(
        "PRAGMA journal_mode = DELETE; PRAGMA journal_mode = MEMORY; PRAGMA foreign_keys = ON;",
    )
    .map_err(fault)?;
    if source.is_backup {
        conn.execute_batch(&format!(
            "BEGIN; DROP TABLE backup; DROP TABLE backup_file;
             PRAGMA application_id = {APPLICATION_ID}; COMMIT;"
        ))
        .map_err(fault)?;
    }
    open::check(&conn, source.file)?;
    open::migrate(&mut conn)?;
    let paused = pause_sales(&mut conn, source.at, now).map_err(fault)?;
    // With the journal mode MEMORY, `VACUUM` would keep the whole store in memory. No journal is
    // needed, because the file is removed after an error, and replaced after a crash.
    conn.execute_batch("PRAGMA journal_mode = OFF; VACUUM;").map_err(fault)?;
    conn.close().map_err(|(_, error)| fault(error))?;
    Ok(paused)
}

/// Pauses every sale that is open or scheduled, and adds a row to the history.
fn pause_sales(
    conn: &mut Connection,
    backup_at: Millis,
    now: Millis,
) -> rusqlite::Result<Vec<PausedSale>> {
    let transaction = conn.transaction()?;
    let paused: Vec<PausedSale> = {
        let phases = [Phase::Open, Phase::Scheduled, Phase::Paused].map(Phase::as_str);
        let mut sales = transaction
            .prepare("SELECT id, phase FROM sale WHERE phase IN (?1, ?2, ?3) ORDER BY seq")?;
        let rows = sales.query_map(phases, |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
        let rows = rows.collect::<rusqlite::Result<Vec<(String, String)>>>()?;
        let phase =
            |(sale, word): (String, String)| Some(PausedSale { sale, was: Phase::parse(&word)? });
        rows.into_iter().filter_map(phase).collect()
    };
    let (to, from) = (Phase::Paused.as_str(), [Phase::Open, Phase::Scheduled].map(Phase::as_str));
    transaction.execute(
        "UPDATE sale SET phase = ?1, version = version + 1 WHERE phase IN (?2, ?3)",
        params![to, from[0], from[1]],
    )?;
    let before: Option<i64> = transaction
        .query_row("SELECT max(fence) FROM store_history", [], |row| row.get(0))
        .optional()?
        .flatten();
    transaction.execute(
        "INSERT INTO store_history (fence, token, at, cause, backup_at, paused)
         VALUES (?1, ?2, ?3, 'restored', ?4, ?5)",
        params![
            before.unwrap_or(1) + 1,
            format!("{:016x}", rand::random::<u64>()),
            now.0,
            backup_at.0,
            paused_json(&paused)
        ],
    )?;
    let phases: Vec<_> = paused
        .iter()
        .map(|PausedSale { sale, was }| {
            json!({"path": format!("/sales/{sale}/phase"), "from": was.as_str(), "to": "paused"})
        })
        .chain([json!({"path": "/backup_at", "from": null, "to": backup_at.0})])
        .collect();
    transaction.execute(
        "INSERT INTO action (at, actor, action, subject, changes)
         VALUES (?1, 'command', 'store.restored', 'store', ?2)",
        params![now.0, json!(phases).to_string()],
    )?;
    transaction.commit()?;
    Ok(paused)
}

/// Returns the created files. After an error, removes the created files. Each file is checked
/// again, because another process may have created the file since the restore began.
fn write_files(dir: &Path, files: &[BackupFile]) -> Result<Vec<PathBuf>, RestoreError> {
    let mut created = Vec::new();
    let written: Result<(), RestoreError> = files.iter().try_for_each(|file| {
        if has_file(dir, file)? {
            return Ok(());
        }
        let path = dir.join(&file.name);
        let written = write_new(&path, |to| to.write_all(&file.content));
        written.map_err(|error| failed(&path, error))?;
        created.push(path);
        Ok(())
    });
    written.inspect_err(|_| remove_all(&created))?;
    Ok(created)
}

/// Removes files after a failure. An error is ignored, because the file system itself may have
/// failed.
fn remove_all(paths: &[PathBuf]) {
    for path in paths {
        let _ = fs::remove_file(path);
    }
}

/// Returns whether the directory already has this file. If the existing file has other content,
/// returns an error.
fn has_file(dir: &Path, file: &BackupFile) -> Result<bool, RestoreError> {
    let path = dir.join(&file.name);
    match fs::read(&path) {
        Ok(content) if content.trim_ascii() == file.content.trim_ascii() => Ok(true),
        Ok(_) => Err(RestoreError::Differs(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(&path, error)),
    }
}

/// Creates a file that only its owner may read. After an error, removes the incomplete file. If
/// this file stayed, a server would use the file, and a second restore would fail.
fn write_new(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    write(&mut file).and_then(|()| file.sync_all()).inspect_err(|_| {
        // The removal may fail, because the file system itself may have failed.
        let _ = fs::remove_file(path);
    })
}

#[cfg(test)]
mod tests {
    use doorbuster_testkit::TempDir;

    use super::*;

    #[test]
    fn an_incomplete_file_is_removed_and_another_file_is_kept() {
        let dir = TempDir::new();
        let path = dir.path().join("id_key");
        let fill_disk = |file: &mut File| -> io::Result<()> {
            file.write_all(b"half of a sec")?;
            Err(io::ErrorKind::StorageFull.into())
        };
        let error = write_new(&path, fill_disk).expect_err("the disk is full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(!path.exists());
        fs::write(&path, "precious").expect("writable");
        write_new(&path, fill_disk).expect_err("the file exists");
        assert_eq!(fs::read_to_string(&path).expect("the file is kept"), "precious");
    }

    #[test]
    fn after_a_failure_only_the_files_that_were_there_before_stay() {
        let dir = TempDir::new();
        let file = |name: &str| BackupFile { name: name.to_owned(), content: b"secret".to_vec() };
        fs::write(dir.path().join("id_key"), "secret").expect("writable");
        let files = [file("id_key"), file("pass_key"), file("missing/admin_key")];
        write_files(dir.path(), &files).expect_err("a directory is missing");
        let left = fs::read_dir(dir.path()).expect("readable");
        let left: Vec<_> = left.map(|entry| entry.expect("readable").file_name()).collect();
        assert_eq!(left, ["id_key"]);
        let created = write_files(dir.path(), &files[..2]).expect("writable");
        assert_eq!(created, [dir.path().join("pass_key")]);
    }
}
