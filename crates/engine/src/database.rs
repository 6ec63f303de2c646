//! What a node does for a shared database besides queries: it reacts to failovers, watches the
//! standbys, and checks that commits return in time.
//!
//! This part of a node owns the newest known history of the database, and the results of the last
//! checks. It calls the store. One job per node runs the checks ([`run`]). `/readyz`, the metrics
//! and the console show the results.

mod commit_check;
mod history_file;
mod history_watch;
mod peer_names;
mod peers;

use std::sync::{Mutex, PoisonError};

use doorbuster_core::database_history::DatabaseHistory;
use doorbuster_store::{KnownHistories, Replication};

pub(crate) use commit_check::CommitCheck;
pub use commit_check::{SYNCHRONOUS_STANDBY_MISSING, SYNCHRONOUS_STANDBYS_HIDDEN};
pub use history_file::{HistoryFileError, load_history, read_history};
pub(crate) use history_watch::pause_after_change;
pub use history_watch::run;
pub use peers::history_asker;

/// A node's knowledge about its database.
#[derive(Debug, Default)]
pub struct DatabaseState {
    /// The newest known history of the database.
    pub memory: KnownHistories,
    /// Checks whether the store's commits return in time.
    pub commit_check: CommitCheck,
    replication: Mutex<Option<Replication>>,
    lost_orders: Mutex<Option<u64>>,
}

impl DatabaseState {
    /// Creates the state of a node that has not checked its database yet.
    pub fn new(memory: KnownHistories) -> Self {
        Self { memory, ..Self::default() }
    }

    /// Returns what the last check found about the standbys. `None` if the store is embedded or the
    /// database is unreachable.
    pub fn replication(&self) -> Option<Replication> {
        self.replication.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_replication(&self, found: Option<Replication>) {
        *self.replication.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// Returns the number of lost orders: a node had confirmed them to buyers, but the last check
    /// did not find them in the database. When an operator resumes a sale after the failover, the
    /// sale's orders no longer count. `None` if the store is embedded or was not checked yet.
    pub fn lost_orders(&self) -> Option<u64> {
        *self.lost_orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_lost_orders(&self, number: u64) {
        *self.lost_orders.lock().unwrap_or_else(PoisonError::into_inner) = Some(number);
    }

    /// Returns the newest history of the database, if this node uses a shared database.
    pub fn history(&self) -> Option<DatabaseHistory> {
        self.memory.known()
    }
}
