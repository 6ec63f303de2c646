//! Copies of commits for a continuous backup. Only a store in SQLite has them.
use crate::commit_copy::CommitBuffer;
use crate::contract::{OpenError, SqliteOptions};
use crate::sqlite::Sqlite;

use super::Store;

impl Store {
    /// Opens a store like [`Store::open_sqlite`], and copies each commit for a continuous backup.
    pub fn open_copied_sqlite(
        options: SqliteOptions,
        copy: CommitBuffer,
    ) -> Result<Self, OpenError> {
        Sqlite::open(options, Some(copy)).map(Self::Sqlite)
    }

    /// Returns the buffer with the copies of commits, if the store has a continuous backup.
    #[must_use]
    pub fn commit_copy(&self) -> Option<&CommitBuffer> {
        match self {
            Self::Sqlite(store) => store.commit_copy(),
            Self::Postgres(_) => None,
        }
    }
}
