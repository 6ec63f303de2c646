//! Opens a store: the lock, the checks of the file, migrations, and connection settings.
use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::contract::OpenError;
use crate::limits::{LOCK_WAIT, READER_CACHE_KIB, WRITER_CACHE_KIB};

use super::backup::BACKUP_ID;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// The id that the first migration writes into the file's header ("DbrM").
pub(super) const APPLICATION_ID: i64 = 1_147_302_477;
const FILE: &str = "doorbuster.sqlite3";
/// The mode of a store's files: only their owner may read them.
const FILE_MODE: u32 = 0o600;

pub(super) fn data_path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Returns whether the directory contains a store. After a crash, the whole store may be in its
/// log, so the lock file also records that there is a store.
#[must_use]
pub fn is_store(dir: &Path) -> bool {
    fs::metadata(lock_path(dir)).is_ok_and(|there| there.len() > 0)
}

/// Returns the path with `end` appended: `-wal` for the log of a store's file, or `-shm` for the
/// log's index.
pub(super) fn with_suffix(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

pub(super) fn lock_path(dir: &Path) -> PathBuf {
    dir.join("lock")
}

pub(super) fn failed(what: &str, error: impl std::fmt::Display) -> OpenError {
    OpenError::Failed(format!("{what}: {error}"))
}

/// The lock of a data directory: its open lock file.
pub(super) struct DirLock(File);

impl DirLock {
    pub(super) fn metadata(&self) -> io::Result<fs::Metadata> {
        self.0.metadata()
    }
}

impl Drop for DirLock {
    /// Unlocks the file explicitly, because closing it may not release the lock. If another thread
    /// has just forked a child process, the child also has the file open. The lock then lasts until
    /// the child executes its program.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(
                %error,
                event = "store.unlock_failed",
                "failed to unlock the data directory"
            );
        }
    }
}

/// Locks the data directory, and creates it if it does not exist. Dropping the returned value
/// releases the lock.
pub(super) fn lock(dir: &Path) -> Result<DirLock, OpenError> {
    fs::create_dir_all(dir).map_err(|e| failed(&dir.display().to_string(), e))?;
    let path = lock_path(dir);
    let lock = File::options().create(true).truncate(false).write(true).mode(FILE_MODE).open(&path);
    let lock = lock.map_err(|e| failed(&path.display().to_string(), e))?;
    match lock.try_lock() {
        Ok(()) => Ok(DirLock(lock)),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(dir.to_owned())),
        Err(TryLockError::Error(e)) => Err(failed(&path.display().to_string(), e)),
    }
}

/// Checks that no other process uses the directory at this moment. Ignores other faults, because
/// opening the store reports them.
///
/// # Errors
///
/// Fails if another process uses the directory.
pub fn check_unlocked(dir: &Path) -> Result<(), OpenError> {
    let Ok(lock) = File::options().write(true).open(lock_path(dir)) else { return Ok(()) };
    match lock.try_lock() {
        Ok(()) => drop(DirLock(lock)),
        Err(TryLockError::WouldBlock) => return Err(OpenError::Locked(dir.to_owned())),
        Err(TryLockError::Error(_)) => {}
    }
    Ok(())
}

/// Creates an empty file that only its owner may read, if the file does not exist. SQLite creates
/// the log of this file with the same mode.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    match File::options().write(true).create_new(true).mode(FILE_MODE).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Lets only the owner read the store's files, because they contain buyers' ids and keys.
fn restrict_mode(path: &Path) -> io::Result<()> {
    let files = ["", "-wal", "-shm"].map(|end| with_suffix(path, end));
    let lock = path.parent().map(lock_path);
    for name in files.into_iter().chain(lock) {
        match fs::metadata(&name) {
            Ok(there) if there.permissions().mode() & 0o077 != 0 => {
                fs::set_permissions(&name, Permissions::from_mode(FILE_MODE))?;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The content of the lock file of a directory that contains a store.
const LOCK_FILE_TEXT: &[u8] = b"there is a store in this directory\n";

/// Refuses to create a new store in place of a removed file. The new store would destroy the
/// remaining files of the old store.
fn expect_store(path: &Path, lock: &DirLock) -> Result<(), OpenError> {
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |there| there.len());
    let was_there =
        lock.metadata().is_ok_and(|lock| lock.len() > 0) || bytes(&with_suffix(path, "-wal")) > 0;
    match was_there && bytes(path) == 0 {
        true => Err(OpenError::Gone(path.to_owned())),
        false => Ok(()),
    }
}

pub(super) fn write_lock_text(DirLock(file): &DirLock) -> io::Result<()> {
    match file.metadata()?.len() {
        0 => (&*file).write_all(LOCK_FILE_TEXT).and_then(|()| file.sync_all()),
        _ => Ok(()),
    }
}

pub(super) fn remove_lock_text(DirLock(file): &DirLock) -> io::Result<()> {
    file.set_len(0)
}

/// Creates, checks and migrates the file. Returns the writing connection.
pub(super) fn writer(dir: &Path, lock: &DirLock) -> Result<Connection, OpenError> {
    let path = data_path(dir);
    expect_store(&path, lock)?;
    create_private(&path).map_err(|e| failed(&path.display().to_string(), e))?;
    let mut conn = Connection::open(&path).map_err(|e| failed(&path.display().to_string(), e))?;
    let fault = |e| open_error(&path, &e);
    conn.busy_timeout(LOCK_WAIT).map_err(fault)?;
    check(&conn, &path)?;
    restrict_mode(&path).map_err(|e| failed(&path.display().to_string(), e))?;
    set_up_writer(&conn).map_err(fault)?;
    migrate(&mut conn)?;
    write_lock_text(lock).map_err(|e| failed(&lock_path(dir).display().to_string(), e))?;
    Ok(conn)
}

/// Sets up the connection of the writer or of the checkpoint thread. A commit returns only after
/// its data is on the disk. SQLite starts no checkpoint by itself.
fn set_up_writer(conn: &Connection) -> rusqlite::Result<()> {
    // A checkpoint after a failed sync may lose pages of the log, so closing the connection must
    // not run a checkpoint. A clean shutdown runs the checkpoint explicitly.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.execute_batch(&format!(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA cache_size = -{WRITER_CACHE_KIB};"
    ))
}

pub(super) fn checkpointer(dir: &Path) -> Result<Connection, OpenError> {
    let open = || {
        let conn = Connection::open_with_flags(
            data_path(dir),
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        conn.busy_timeout(LOCK_WAIT)?;
        set_up_writer(&conn)?;
        Ok(conn)
    };
    open().map_err(|e| open_error(&data_path(dir), &e))
}

/// Opens the store's file without SQLite, so that the checkpoint thread can sync the file. Close
/// this file only after all connections: when a process closes a file, the process loses all
/// its locks on that file.
pub(super) fn open_data_file(dir: &Path) -> Result<File, OpenError> {
    let path = data_path(dir);
    File::options().write(true).open(&path).map_err(|e| failed(&path.display().to_string(), e))
}

pub(super) fn reader(dir: &Path) -> Result<Connection, OpenError> {
    let open = || {
        let conn = Connection::open_with_flags(
            data_path(dir),
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        conn.busy_timeout(LOCK_WAIT)?;
        conn.execute_batch(&format!("PRAGMA cache_size = -{READER_CACHE_KIB};"))?;
        Ok(conn)
    };
    open().map_err(|e| open_error(&data_path(dir), &e))
}

fn open_error(path: &Path, error: &rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => OpenError::NotAStore(path.to_owned()),
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => OpenError::Damaged(error.to_string()),
        _ => failed(&path.display().to_string(), error),
    }
}

/// Checks that the file is empty, or that it is an undamaged store of a known version.
pub(super) fn check(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    let fault = |e| open_error(path, &e);
    let tables: i64 =
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0)).map_err(fault)?;
    if tables == 0 {
        return Ok(());
    }
    let id: i64 = conn.query_row("PRAGMA application_id", [], |r| r.get(0)).map_err(fault)?;
    if id == BACKUP_ID {
        return Err(OpenError::IsBackup(path.to_owned()));
    }
    // The table of the migrations is created first, and the first migration sets the application
    // id. A crash between these two steps leaves a file that has only that table. Such a file
    // counts as empty.
    if id != APPLICATION_ID && !(id == 0 && is_only_history(conn).map_err(fault)?) {
        return Err(OpenError::NotAStore(path.to_owned()));
    }
    let verdict: String =
        conn.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(fault)?;
    if verdict != "ok" {
        return Err(OpenError::Damaged(verdict));
    }
    let found: i64 = conn
        .query_row("SELECT coalesce(max(version), 0) FROM refinery_schema_history", [], |r| {
            r.get(0)
        })
        .map_err(fault)?;
    match known_schema() {
        known if found > known => Err(OpenError::TooNew { found, known }),
        _ => Ok(()),
    }
}

pub(crate) fn known_schema() -> i64 {
    let runner = embedded::migrations::runner();
    runner.get_migrations().iter().map(|m| i64::from(m.version())).max().unwrap_or(0)
}

fn is_only_history(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row(
        "SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE tbl_name <> \
         'refinery_schema_history')",
        [],
        |r| r.get(0),
    )
}

pub(super) fn migrate(conn: &mut Connection) -> Result<(), OpenError> {
    // All migrations and their history are one transaction. So after a crash, the next start runs
    // all migrations again.
    let report = embedded::migrations::runner().set_grouped(true).run(conn).map_err(|error| {
        // The error's other lines are the text of the migration, which does not help an operator.
        let text = error.to_string();
        failed("failed to migrate the store's schema", text.lines().next().unwrap_or_default())
    })?;
    for migration in report.applied_migrations() {
        tracing::info!(
            version = migration.version(),
            name = migration.name(),
            event = "store.migrated",
            "migrated the store"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use doorbuster_testkit::TempDir;

    use super::*;

    #[test]
    fn a_dropped_lock_is_free_even_if_a_child_process_shares_its_file() {
        let dir = TempDir::new();
        let first = lock(dir.path()).expect("locks");
        let shared = first.0.try_clone().expect("clones the lock file's descriptor");
        assert!(matches!(lock(dir.path()), Err(OpenError::Locked(_))));
        drop(first);
        lock(dir.path()).expect("locks again");
        drop(shared);
    }
}
