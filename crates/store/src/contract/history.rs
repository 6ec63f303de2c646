//! The history of a store: its creation, restores and moves, and its fencing number.
use doorbuster_core::{Millis, Phase};

/// One row of a store's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreHistoryRow {
    /// The fencing number. It rises with each row.
    pub fence: i64,
    /// A random token. The token distinguishes two histories with the same fencing number.
    pub token: String,
    /// When the row was written, by the store's clock.
    pub at: Millis,
    /// The cause of the row.
    pub cause: HistoryCause,
    /// When the restored backup was made.
    pub backup_at: Option<Millis>,
    /// The sales that were paused because the history changed.
    pub paused: Vec<PausedSale>,
}

/// A sale that was paused because the store's history changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PausedSale {
    /// The sale's id.
    pub sale: String,
    /// The sale's phase before the pause.
    pub was: Phase,
}

doorbuster_core::labels! {
    /// The reason for a new row in a store's history.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum HistoryCause {
        /// The store was created.
        Created = "created",
        /// The store was restored from a backup.
        Restored = "restored",
        /// A standby of PostgreSQL became the primary.
        Promoted = "promoted",
        /// The rows are in another database or database cluster than before, for example after a
        /// restore of PostgreSQL.
        Moved = "moved",
    }
}

impl HistoryCause {
    /// Parses a cause's name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|cause| cause.as_str() == word)
    }
}
