//! The versions that are built into this program.

use crate::{postgres, sqlite};

/// The newest schemas that this program knows, and the version of its SQLite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreVersions {
    /// The version of SQLite.
    pub sqlite: &'static str,
    /// The schema of the embedded store.
    pub sqlite_schema: i64,
    /// The schema of a store in PostgreSQL.
    pub postgres_schema: i64,
}

/// Returns the versions that are built into this program.
#[must_use]
pub fn store_versions() -> StoreVersions {
    StoreVersions {
        sqlite: rusqlite::version(),
        sqlite_schema: sqlite::known_schema(),
        postgres_schema: postgres::known_schema(),
    }
}
