//! Health and maintenance of a store while the program runs.

use super::Store;

impl Store {
    /// Returns whether the store can be used now. A store in PostgreSQL can be used if the last
    /// poll reached the database.
    #[must_use]
    pub fn is_available(&self) -> bool {
        match self {
            Self::Sqlite(s) => s.health().is_ok(),
            Self::Postgres(s) => s.shared().health().is_ok(),
        }
    }

    /// Reads the certificate files again. Later connections to the database trust the new
    /// certificates. Does nothing for SQLite.
    ///
    /// # Errors
    ///
    /// Fails if the new certificates cannot be used. The previous certificates then stay in use.
    pub fn reload_certificates(&self) -> Result<(), String> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(s) => s.shared().connector.reload_certificates(),
        }
    }
}
