//! Failures of SQLite and the disk, and the reaction to each: retry, report a bug, or stop the
//! process.
use rusqlite::ErrorCode;

use crate::contract::StoreError;

/// The reason why a statement failed, and with it its transaction.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// SQLite reported an error.
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    /// A row is invalid.
    #[error("{0}")]
    Row(String),
    /// SQLite rolled back the transaction, including earlier jobs of its group.
    #[error("the transaction was lost: {0}")]
    Lost(String),
    /// The store's files were moved or removed. The next start may not find committed data.
    #[error("{0}")]
    Gone(String),
    /// The store's file was not synced: checkpointed pages may be lost.
    #[error("the store's file cannot be synced: {0}")]
    Unsynced(String),
    /// The transaction's own code panicked.
    #[error("a transaction panicked: {0}")]
    Panicked(String),
}

impl Failure {
    /// Returns whether no further write is allowed, because the disk is full or failed, or the file
    /// was replaced. After a retry, a confirmed order could look durable although it is not.
    pub(crate) fn is_fatal(&self) -> bool {
        match self {
            Self::Lost(_) | Self::Gone(_) | Self::Unsynced(_) => true,
            Self::Row(_) | Self::Panicked(_) => false,
            Self::Sql(error) => matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::DiskFull
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::DatabaseCorrupt
                        | ErrorCode::NotADatabase
                        | ErrorCode::ReadOnly
                        | ErrorCode::CannotOpen
                        | ErrorCode::OutOfMemory
                        | ErrorCode::PermissionDenied
                )
            ),
        }
    }

    fn is_busy(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        )
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        if failure.is_fatal() {
            return Self::Fatal(failure.to_string());
        }
        match failure.is_busy() {
            true => Self::Unavailable { reason: failure.to_string(), may_have_happened: false },
            false => Self::Unexpected(failure.to_string()),
        }
    }
}
