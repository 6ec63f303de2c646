//! Failures of a backend, and the reaction to each.
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rusqlite::ErrorCode;
use rusqlite::ffi::{SQLITE_CANTOPEN, SQLITE_FULL, SQLITE_IOERR_GETTEMPPATH, SQLITE_IOERR_WRITE};
use tokio_postgres::error::SqlState;

use crate::contract::StoreError;

/// The result of a function inside a backend.
pub(crate) type Done<T> = Result<T, Failure>;

/// The reason why a statement and its transaction failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// SQLite reported an error.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The PostgreSQL database or the connection to it reported an error.
    #[error("{}", error_text(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// A row is invalid.
    #[error("{0}")]
    Row(String),
    /// The transaction's own code panicked.
    #[error("a transaction panicked: {0}")]
    Panicked(String),
    /// SQLite rolled back the transaction, with all jobs that shared the transaction.
    #[error("the transaction was lost: {0}")]
    Lost(String),
    /// The files of SQLite were moved or removed. The next start may not find committed data.
    #[error("{0}")]
    Gone(String),
    /// SQLite's file was not synced to disk, so pages that a checkpoint wrote may be lost.
    #[error("the store's file cannot be synced: {0}")]
    Unsynced(String),
    /// A read needed a temporary file, and SQLite could not write or open the file.
    #[error("a read cannot use a temporary file: {0}")]
    NoTemporaryFile(String),
    /// No connection to PostgreSQL could be opened.
    #[error("no connection to the database: {0}")]
    NoConnection(String),
    /// The database's history is older than the newest history that this deployment has used, or
    /// differs from that history.
    #[error("{0}")]
    Refused(String),
    /// No answer arrived within the time limit of a transaction.
    #[error("the database does not answer in time")]
    TimedOut,
    /// Another transaction changed a row while this transaction waited for a lock, so this
    /// transaction has too few locks.
    #[error("a row changed before it was locked")]
    Changed,
    /// COMMIT was sent, but no answer says whether the commit succeeded.
    #[error("the outcome of a transaction is unknown: {0}")]
    Unknown(String),
}

/// The kind of a failure. The kind decides how the store reacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The transaction conflicted with another transaction. Retry at once.
    Conflict,
    /// The database is unreachable, busy, overloaded or failing over. Retry a little later.
    Unreachable,
    /// The same as [`FailureKind::Unreachable`], but COMMIT was sent, so the commit may have
    /// happened.
    Unknown,
    /// A retry would fail again.
    Bad,
    /// No further write is allowed: the data is damaged, the disk is full or failed, or the store's
    /// file was replaced. A write after such a failure could confirm an order that is not durable.
    Damaged,
}

impl Failure {
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            Self::NoConnection(_)
            | Self::NoTemporaryFile(_)
            | Self::Refused(_)
            | Self::TimedOut => FailureKind::Unreachable,
            Self::Changed => FailureKind::Conflict,
            Self::Unknown(_) => FailureKind::Unknown,
            Self::Row(_) | Self::Panicked(_) => FailureKind::Bad,
            Self::Lost(_) | Self::Gone(_) | Self::Unsynced(_) => FailureKind::Damaged,
            Self::Sqlite(error) => error.sqlite_error_code().map_or(FailureKind::Bad, sqlite_kind),
            Self::Postgres(error) => match error.code() {
                Some(code) => postgres_kind(code),
                None if error.is_closed() || is_io(error) => FailureKind::Unreachable,
                None => FailureKind::Bad,
            },
        }
    }

    pub(crate) fn is_fatal(&self) -> bool {
        self.kind() == FailureKind::Damaged
    }

    /// Converts a failure of a read that concerns only a temporary file to `NoTemporaryFile`,
    /// because the store's own file is intact then. For example, a large sort writes a temporary
    /// file. The directory for such files may be full or missing, or the process may have no free
    /// file handle.
    pub(crate) fn of_read(self) -> Self {
        const TEMPORARY: [c_int; 4] =
            [SQLITE_FULL, SQLITE_CANTOPEN, SQLITE_IOERR_WRITE, SQLITE_IOERR_GETTEMPPATH];
        match &self {
            Self::Sqlite(rusqlite::Error::SqliteFailure(error, _))
                if TEMPORARY.contains(&error.extended_code) =>
            {
                Self::NoTemporaryFile(self.to_string())
            }
            _ => self,
        }
    }

    /// Returns whether the connection to PostgreSQL can still be used after a rollback.
    pub(crate) fn keeps_connection_usable(&self) -> bool {
        match self {
            Self::Row(_) | Self::Changed => true,
            Self::Postgres(error) => {
                error.code().is_some_and(|code| postgres_kind(code) != FailureKind::Unreachable)
            }
            _ => false,
        }
    }

    /// Returns the failure for the caller, if this failure happened after COMMIT was sent. If the
    /// database answered that it refused the commit, the outcome is known. In all other cases, the
    /// outcome is unknown.
    pub(crate) fn after_commit(self) -> Self {
        match self.kind() {
            FailureKind::Unreachable
                if !matches!(
                    &self,
                    Self::Postgres(error) if error.code().is_some_and(is_refused)
                ) =>
            {
                Self::Unknown(self.to_string())
            }
            _ => self,
        }
    }
}

fn sqlite_kind(code: ErrorCode) -> FailureKind {
    match code {
        ErrorCode::DiskFull
        | ErrorCode::SystemIoFailure
        | ErrorCode::DatabaseCorrupt
        | ErrorCode::NotADatabase
        | ErrorCode::ReadOnly
        | ErrorCode::CannotOpen
        | ErrorCode::OutOfMemory
        | ErrorCode::PermissionDenied => FailureKind::Damaged,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => FailureKind::Unreachable,
        _ => FailureKind::Bad,
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

/// Returns whether the database refused the statement. A refusal rolls back the transaction and
/// leaves the session open.
fn is_refused(code: &SqlState) -> bool {
    let ends_session =
        matches!(&code.code()[..2], "57" | "08" | "58") && *code != SqlState::QUERY_CANCELED;
    !ends_session
}

fn postgres_kind(code: &SqlState) -> FailureKind {
    let text = code.code();
    match &text[..2.min(text.len())] {
        // Class 40 stands for a serialisation failure or a deadlock. `UNIQUE_VIOLATION` means that
        // another transaction just inserted the same key.
        "40" => FailureKind::Conflict,
        "23" if *code == SqlState::UNIQUE_VIOLATION => FailureKind::Conflict,
        // In these classes, the connection failed, an operator or a time limit ended the query, a
        // lock or another resource was not available, or the server's system failed. In the two
        // codes of class 25 below, the server is read-only during a failover, or the session was
        // idle too long.
        "08" | "57" | "53" | "55" | "58" => FailureKind::Unreachable,
        "25" if text == "25006" || text == "25P03" => FailureKind::Unreachable,
        "XX" if text == "XX001" || text == "XX002" => FailureKind::Damaged,
        _ => FailureKind::Bad,
    }
}

/// Returns the database's message with its detail, which `tokio_postgres` alone does not show. The
/// detail of a refused row is left out, because it contains the buyer's id, which must not appear
/// in a log.
fn error_text(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => match db.detail().filter(|_| !db.code().code().starts_with("23")) {
            Some(detail) => format!("{} ({detail})", db.message()),
            None => db.message().to_owned(),
        },
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        let reason = failure.to_string();
        match failure.kind() {
            FailureKind::Conflict | FailureKind::Unreachable => {
                Self::Unavailable { reason, may_have_happened: false }
            }
            FailureKind::Unknown => Self::Unavailable { reason, may_have_happened: true },
            FailureKind::Bad => Self::Unexpected(reason),
            FailureKind::Damaged => Self::Fatal(reason),
        }
    }
}

pub(crate) struct StoreState {
    on_fatal: Arc<dyn Fn(&str) + Send + Sync>,
    /// The reason why the store failed permanently, if it did.
    failed: OnceLock<String>,
    /// Whether the store is closing or closed, and so refuses new work.
    closed: AtomicBool,
}

impl StoreState {
    pub(crate) fn new(on_fatal: Arc<dyn Fn(&str) + Send + Sync>) -> Self {
        Self { on_fatal, failed: OnceLock::new(), closed: AtomicBool::new(false) }
    }

    pub(crate) fn health(&self) -> Result<(), StoreError> {
        match self.failed.get() {
            Some(reason) => Err(StoreError::Fatal(reason.clone())),
            None => Ok(()),
        }
    }

    pub(crate) fn check_accepting(&self) -> Result<(), StoreError> {
        self.health()?;
        if self.closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { Ok(()) }
    }

    pub(crate) fn stop_accepting(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Records that the store failed permanently. Only the first failure is reported to the
    /// program. From then on, every call is refused.
    pub(crate) fn fail(&self, reason: &str) {
        if self.failed.set(reason.to_owned()).is_ok() {
            tracing::error!(
                reason,
                event = "store.unusable",
                "the store failed and must not be used further"
            );
            (self.on_fatal)(reason);
        }
    }

    /// Converts a failure into the error for the caller. If the failure is fatal, the store accepts
    /// no further calls.
    pub(crate) fn store_error(&self, failure: Failure) -> StoreError {
        let error = StoreError::from(failure);
        if let StoreError::Fatal(reason) = &error {
            self.fail(reason);
        }
        error
    }
}

pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi::{Error, SQLITE_CORRUPT, SQLITE_IOERR_READ};

    use super::*;

    #[test]
    fn a_read_that_cannot_write_a_temporary_file_does_not_stop_the_store() {
        let failure = |code| Failure::from(rusqlite::Error::SqliteFailure(Error::new(code), None));
        for code in [SQLITE_FULL, SQLITE_CANTOPEN, SQLITE_IOERR_WRITE, SQLITE_IOERR_GETTEMPPATH] {
            assert!(failure(code).is_fatal() && !failure(code).of_read().is_fatal(), "{code}");
        }
        for code in [SQLITE_CORRUPT, SQLITE_IOERR_READ] {
            assert!(failure(code).of_read().is_fatal(), "{code}");
        }
    }
}
