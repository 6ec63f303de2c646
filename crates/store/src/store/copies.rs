//! The copies of commits, which only SQLite has.
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

    /// Returns the copies of commits, if the store has a continuous backup.
    #[must_use]
    pub fn commit_copy(&self) -> Option<&CommitBuffer> {
        match self {
            Self::Sqlite(store) => store.commit_copy(),
            Self::Postgres(_) => None,
        }
    }
}
