//! The handle of a store: one method for each operation, for every backend.
//!
//! Each method that writes is one transaction. When the method returns, the transaction is durable,
//! and every read sees its writes. A refusal is a value, not an error. If an error says that the
//! effect may have happened, the outcome is unknown. After any other error, nothing was done.
//!
//! The futures of PostgreSQL calls are large. They are boxed, so that a purchase with an embedded
//! store needs no memory for them.
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use doorbuster_core::database_history::DatabaseHistory;
use doorbuster_core::{IdKey, Millis};

use crate::contract::{
    Check, HistoryReaction, LostOrders, OpenError, PostgresOptions, Replication, SqliteOptions,
};
use crate::postgres::Postgres;
use crate::sqlite::Sqlite;

mod blocks;
mod challenge;
mod checkouts;
mod codes;
mod console;
mod copies;
mod dead_letters;
mod deliveries;
mod erase;
mod events;
mod grants;
mod history;
mod keys;
mod leadership;
mod money;
mod nodes;
mod operating;
mod operation;
mod orders;
mod outbox;
pub(crate) mod phases;
mod push;
mod reconciliation;
mod retention;
mod reversals;
mod room;
mod sales;
mod sandbox;
mod stock;
mod waitlist;

pub use crate::contract::StoreResult;
pub use codes::CodeHash;

/// A store. Clones are cheap and share one store.
#[derive(Clone)]
pub enum Store {
    /// SQLite in a directory that only this store uses.
    Sqlite(Sqlite),
    /// A PostgreSQL database, shared by several nodes.
    Postgres(Postgres),
}

impl Store {
    /// Locks the directory, opens or creates the store in it, and checks and migrates the store.
    /// The call blocks, so use it only at the start of the program.
    pub fn open_sqlite(options: SqliteOptions) -> Result<Self, OpenError> {
        Sqlite::open(options, None).map(Self::Sqlite)
    }

    /// Returns a placeholder for a process that has no store, such as an edge. The placeholder has
    /// a clock and refuses every call.
    #[must_use]
    pub fn absent(id_key: IdKey, clock: Arc<dyn Fn() -> Millis + Send + Sync>) -> Self {
        Self::Sqlite(Sqlite::absent(id_key, clock))
    }

    /// Connects to the database, checks that it is durable, and migrates it.
    pub async fn open_postgres(options: PostgresOptions) -> Result<Self, OpenError> {
        Postgres::open(options).await.map(Self::Postgres)
    }

    /// Returns warnings about database settings with which a failure can lose orders.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Self::Sqlite(_) => Vec::new(),
            Self::Postgres(s) => s.warnings(),
        }
    }

    /// Returns the time of the store's clock.
    #[must_use]
    pub fn now(&self) -> Millis {
        match self {
            Self::Sqlite(s) => s.now(),
            Self::Postgres(s) => s.now(),
        }
    }

    /// Returns the time for actions that must not happen too early, such as the expiry of an order.
    /// If a database's clock is set forward while this process runs, this time follows only slowly.
    #[must_use]
    pub fn monotonic_now(&self) -> Millis {
        match self {
            Self::Sqlite(s) => s.now(),
            Self::Postgres(s) => s.shared().clock.monotonic(),
        }
    }

    /// Returns true if a database's clock was set while this process ran, and the monotonic time
    /// still differs from that clock. Always false for an embedded store, because the caller
    /// provides the store's clock.
    #[must_use]
    pub fn clock_stepped(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(s) => s.shared().clock.has_stepped(),
        }
    }

    /// Returns the largest possible age of the published state. Commits of other nodes that are
    /// younger than this age may be missing. Zero for an embedded store.
    #[must_use]
    pub fn staleness(&self) -> Duration {
        match self {
            Self::Sqlite(_) => Duration::ZERO,
            Self::Postgres(s) => s.shared().clock.staleness(),
        }
    }

    /// Returns an instant for which this holds: if a read of this process saw a commit before the
    /// instant, the published state includes the commit.
    #[must_use]
    pub fn published_as_of(&self) -> Instant {
        match self {
            Self::Sqlite(s) => s.published_as_of(),
            Self::Postgres(s) => s.shared().clock.published_as_of(),
        }
    }

    /// Returns whether the store can be used.
    pub async fn health(&self) -> StoreResult<()> {
        match self {
            Self::Sqlite(s) => s.health(),
            Self::Postgres(s) => s.shared().health(),
        }
    }

    /// Records the fingerprint of the deployment's key, if the store has no fingerprint yet.
    ///
    /// # Errors
    ///
    /// Fails if the store was created with another key, or cannot be used.
    pub async fn bind_key(&self) -> Result<(), OpenError> {
        match self {
            Self::Sqlite(s) => s.bind_key().await,
            Self::Postgres(s) => Box::pin(s.bind_key()).await,
        }
    }

    /// Records the fingerprint of the file `pass_key`. If the store already has such a fingerprint,
    /// replaces it only if the file is new (`is_new`). Does nothing for a store in PostgreSQL,
    /// which contains the key itself.
    ///
    /// # Errors
    ///
    /// Fails if the store was used with another file, or cannot be used.
    pub async fn bind_pass_key(&self, fingerprint: &str, is_new: bool) -> Result<(), OpenError> {
        match self {
            Self::Sqlite(s) => s.bind_pass_key(fingerprint, is_new).await,
            Self::Postgres(_) => Ok(()),
        }
    }

    /// Returns the history of the database that this node uses, or `None` for an embedded store.
    #[must_use]
    pub fn database(&self) -> Option<DatabaseHistory> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(s) => s.database(),
        }
    }

    /// Returns a receiver that wakes when the history changes, or `None` for an embedded store.
    #[must_use]
    pub fn history_changes(&self) -> Option<watch::Receiver<i64>> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(s) => Some(s.history_changes()),
        }
    }

    /// Reacts once to each change of the database's history: pauses sales, and compares this node's
    /// acknowledged orders with the rows of the database.
    pub async fn react_to_history(&self) -> StoreResult<HistoryReaction> {
        match self {
            Self::Sqlite(_) => Ok(HistoryReaction::default()),
            Self::Postgres(s) => Box::pin(s.react_to_history()).await,
        }
    }

    /// Returns the reports about acknowledged orders that the database lacks after a failover. A
    /// report is returned until an operator has resumed each sale that the failover paused. A sale
    /// that was closed instead counts as resumed after [`crate::limits::LOSS_SHOWN_MS`]. If a
    /// failover paused no sale, its report is returned for `LOSS_SHOWN_MS`.
    pub async fn lost_orders(&self) -> StoreResult<Vec<LostOrders>> {
        match self {
            Self::Sqlite(_) => Ok(Vec::new()),
            Self::Postgres(s) => Box::pin(s.lost_orders()).await,
        }
    }

    /// Returns the database's standbys and whether commits wait for them. `None` for an embedded
    /// store.
    pub async fn replication(&self) -> StoreResult<Option<Replication>> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(s) => Box::pin(s.replication()).await.map(Some),
        }
    }

    /// Commits one small row, to find out whether commits succeed and how long they take.
    pub async fn commit_check(&self) -> StoreResult<()> {
        match self {
            Self::Sqlite(s) => s.commit_check().await,
            Self::Postgres(s) => Box::pin(s.commit_check()).await,
        }
    }

    /// Finishes earlier calls, then closes files and releases the directory. From then on, every
    /// clone of this store refuses calls.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(s) => s.close().await,
            Self::Postgres(s) => Box::pin(s.close()).await,
        }
    }
}

impl Store {
    /// Checks all rows in one snapshot. The check has its own SQL, and is fast enough to run every
    /// few seconds. The findings are violations of the rules of docs/protocol.md, such as
    /// differences between orders and the quotas, grants, items, payments and waitlist entries. The
    /// notices are payments that a provider or a buyer caused by mistake.
    pub async fn check(&self) -> StoreResult<Check> {
        match self {
            Self::Sqlite(s) => s.check().await,
            Self::Postgres(s) => Box::pin(s.check()).await,
        }
    }
}
