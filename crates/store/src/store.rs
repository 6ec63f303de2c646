//! The handle of a store: one method for each operation, for every backend.
//!
//! Each method that writes is one transaction, which is durable when the method returns. A method
//! returns a refusal as a value, not as an error. Some errors say that the effect may have
//! happened. After any other [`StoreError`], nothing was done. After a method returned, every read
//! sees the method's writes.
//!
//! Futures of PostgreSQL calls are boxed, so that a purchase with an embedded store needs no memory
//! for these futures.
use std::sync::Arc;
use std::time::Duration;

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

/// Opens and closes a store, and reports the store's health.
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

    /// Returns warnings for the operator about unsafe database settings. With such settings, a
    /// failure can lose orders.
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

    /// Returns the store's time, for actions that must not happen too early. If a database's clock
    /// was set forward while this process ran, the returned time is earlier than the time of that
    /// clock.
    #[must_use]
    pub fn monotonic_now(&self) -> Millis {
        match self {
            Self::Sqlite(s) => s.now(),
            Self::Postgres(s) => s.shared().clock.monotonic(),
        }
    }

    /// Returns whether a database's clock was set while this process ran. Returns false for an
    /// embedded store, because the caller provides the clock of such a store.
    #[must_use]
    pub fn clock_stepped(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(s) => s.shared().clock.has_stepped(),
        }
    }

    /// Returns the largest possible age of the published state. The state may lack commits that
    /// other nodes made within this time. The age is zero for an embedded store.
    #[must_use]
    pub fn staleness(&self) -> Duration {
        match self {
            Self::Sqlite(_) => Duration::ZERO,
            Self::Postgres(s) => s.shared().clock.staleness(),
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

    /// Records the fingerprint of the file `pass_key`, if the store has no such fingerprint or if
    /// the file is new. Does nothing for a store in PostgreSQL: such a store contains the key
    /// itself, so the key always matches.
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

    /// Returns a receiver that wakes when the database's history changes, or `None` for an embedded
    /// store.
    #[must_use]
    pub fn history_changes(&self) -> Option<watch::Receiver<i64>> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(s) => Some(s.history_changes()),
        }
    }

    /// Reacts once to each change of the database's history. Pauses sales, and compares this node's
    /// acknowledged orders with the rows of the database.
    pub async fn react_to_history(&self) -> StoreResult<HistoryReaction> {
        match self {
            Self::Sqlite(_) => Ok(HistoryReaction::default()),
            Self::Postgres(s) => Box::pin(s.react_to_history()).await,
        }
    }

    /// Returns the reports about acknowledged orders that the database lacks after a failover. A
    /// report is returned until an operator has resumed each sale that the failover paused. If such
    /// a sale was closed instead, or if the failover paused no sale, a report is returned for
    /// [`crate::limits::LOSS_SHOWN_MS`].
    pub async fn lost_orders(&self) -> StoreResult<Vec<LostOrders>> {
        match self {
            Self::Sqlite(_) => Ok(Vec::new()),
            Self::Postgres(s) => Box::pin(s.lost_orders()).await,
        }
    }

    /// Returns whether commits wait for standbys of the database, or `None` for an embedded store.
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

/// The store's method that checks all rows.
impl Store {
    /// Checks all rows in one snapshot, with its own SQL. Checks these rules of docs/protocol.md:
    /// I1, I2 (with the active units of the orders), I4 (quotas against orders and limits), and I5
    /// (payments against orders and refunds). Also checks that no grant settled more units than it
    /// has, that feeds have no gaps, and that the counters `paid` and `ended` agree with the
    /// orders. Also lists payments that a provider or a buyer made by mistake. The check is fast
    /// enough to run every few seconds.
    pub async fn check(&self) -> StoreResult<Check> {
        match self {
            Self::Sqlite(s) => s.check().await,
            Self::Postgres(s) => Box::pin(s.check()).await,
        }
    }
}
