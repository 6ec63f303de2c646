//! The handle of a store: one method for each operation, whatever the backend.
//!
//! Each method that writes is one transaction, which is durable when the method returns. A refusal
//! is a value. A [`StoreError`] means that nothing was done, unless it says otherwise. The next
//! read sees the writes of a method that returned.
//!
//! Futures of PostgreSQL calls are boxed, so that a purchase on one machine needs no memory for a
//! database that it does not use.
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::history::DatabaseHistory;
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{BuyerId, IdKey, ItemId, Millis, NodeId, Spread};

use tokio::sync::watch;

use crate::contract::{
    AdjustOutcome, Adjustment, AdminKey, CatalogueRows, Check, DeleteOutcome, HistoryReaction,
    ItemCounts, LostOrders, NewSale, OpenError, PatchOutcome, PostgresOptions, Replication,
    SalePatch, SaleRow, SpreadOutcome, SqliteOptions, StepOutcome, StoreError, StoreHistoryRow,
};
use crate::postgres::Postgres;
use crate::sqlite::Sqlite;

mod blocks;
mod challenge;
mod codes;
mod console;
mod copies;
mod erase;
mod grants;
mod money;
mod orders;
mod outbox;
mod reconciliation;
mod room;
mod waitlist;

pub use codes::CodeHash;

/// The result type of every method.
pub type StoreResult<T> = Result<T, StoreError>;

/// A store. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub enum Store {
    /// SQLite in a directory of its own.
    Sqlite(Sqlite),
    /// A PostgreSQL database, shared by several nodes.
    Postgres(Postgres),
}

/// Life of a store.
impl Store {
    /// Locks the directory, opens or creates the store in it, checks and migrates it. This blocks:
    /// call it during startup.
    pub fn open_sqlite(options: SqliteOptions) -> Result<Self, OpenError> {
        Sqlite::open(options, None).map(Self::Sqlite)
    }

    /// The store of a node without one: it has a clock and refuses every call.
    #[must_use]
    pub fn absent(id_key: IdKey, clock: Arc<dyn Fn() -> Millis + Send + Sync>) -> Self {
        Self::Sqlite(Sqlite::absent(id_key, clock))
    }

    /// Connects to the database, checks that it is durable, and migrates it.
    pub async fn open_postgres(options: PostgresOptions) -> Result<Self, OpenError> {
        Postgres::open(options).await.map(Self::Postgres)
    }

    /// Warnings about the database's settings, for the operator: failures in which orders can be
    /// lost.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Self::Sqlite(_) => Vec::new(),
            Self::Postgres(s) => s.warnings(),
        }
    }

    /// The store's clock.
    #[must_use]
    pub fn now(&self) -> Millis {
        match self {
            Self::Sqlite(s) => s.now(),
            Self::Postgres(s) => s.now(),
        }
    }

    /// The store's time, or an earlier time where its clock was set forward while this process ran.
    /// Anything that must not happen too early uses it.
    #[must_use]
    pub fn monotonic_now(&self) -> Millis {
        match self {
            Self::Sqlite(s) => s.now(),
            Self::Postgres(s) => s.monotonic_now(),
        }
    }

    /// Whether the clock of a database was set while this process ran. The caller owns the clock of
    /// a store in a directory.
    #[must_use]
    pub fn clock_stepped(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(s) => s.clock_stepped(),
        }
    }

    /// How old the published state may be: other nodes may have committed something since. Zero for
    /// an embedded store.
    #[must_use]
    pub fn staleness(&self) -> Duration {
        match self {
            Self::Sqlite(_) => Duration::ZERO,
            Self::Postgres(s) => s.staleness(),
        }
    }

    /// Whether the store can be used.
    pub async fn health(&self) -> StoreResult<()> {
        match self {
            Self::Sqlite(s) => s.health(),
            Self::Postgres(s) => s.health(),
        }
    }

    /// Records the fingerprint of the deployment's key in a store that has none.
    ///
    /// # Errors
    ///
    /// The store was created with another key, or cannot be used.
    pub async fn bind_key(&self) -> Result<(), OpenError> {
        match self {
            Self::Sqlite(s) => s.bind_key().await,
            Self::Postgres(s) => Box::pin(s.bind_key()).await,
        }
    }

    /// The history of the store, newest first.
    pub async fn store_history(&self) -> StoreResult<Vec<StoreHistoryRow>> {
        match self {
            Self::Sqlite(s) => s.store_history().await,
            Self::Postgres(s) => Box::pin(s.store_history()).await,
        }
    }

    /// The history of the database that this node uses. `None`: an embedded store.
    #[must_use]
    pub fn database(&self) -> Option<DatabaseHistory> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(s) => s.database(),
        }
    }

    /// Wakes when the database's history changes. `None`: an embedded store.
    #[must_use]
    pub fn history_changes(&self) -> Option<watch::Receiver<i64>> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(s) => Some(s.history_changes()),
        }
    }

    /// Reacts once to each change of the database's history: pauses sales, and compares the orders
    /// that this node acknowledged with the database.
    pub async fn react_to_history(&self) -> StoreResult<HistoryReaction> {
        match self {
            Self::Sqlite(_) => Ok(HistoryReaction::default()),
            Self::Postgres(s) => Box::pin(s.react_to_history()).await,
        }
    }

    /// The orders that nodes acknowledged and that the database lacks since its last failover.
    pub async fn lost_orders(&self) -> StoreResult<Vec<LostOrders>> {
        match self {
            Self::Sqlite(_) => Ok(Vec::new()),
            Self::Postgres(s) => Box::pin(s.lost_orders()).await,
        }
    }

    /// Whether commits wait for standbys of the database. `None`: an embedded store.
    pub async fn replication(&self) -> StoreResult<Option<Replication>> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(s) => Box::pin(s.replication()).await.map(Some),
        }
    }

    /// Commits one small row, to learn whether commits succeed and how long they take.
    pub async fn commit_check(&self) -> StoreResult<()> {
        match self {
            Self::Sqlite(s) => s.commit_check().await,
            Self::Postgres(s) => Box::pin(s.commit_check()).await,
        }
    }

    /// Finishes earlier calls, then closes files and releases the directory. From then on the calls
    /// of every clone are refused.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(s) => s.close().await,
            Self::Postgres(s) => Box::pin(s.close()).await,
        }
    }
}

/// Sales.
impl Store {
    /// Every sale, newest first.
    pub async fn sales(&self) -> StoreResult<Vec<SaleRow>> {
        Ok(self.catalogue().await?.sales)
    }

    /// Every sale, with the version of that state.
    pub async fn catalogue(&self) -> StoreResult<CatalogueRows> {
        match self {
            Self::Sqlite(s) => s.catalogue().await,
            Self::Postgres(s) => Box::pin(s.catalogue()).await,
        }
    }

    /// The version that [`Store::catalogue`] would return, at the cost of reading one row.
    pub async fn catalogue_version(&self) -> StoreResult<String> {
        match self {
            Self::Sqlite(_) => Ok(String::new()),
            Self::Postgres(s) => Box::pin(s.catalogue_version()).await,
        }
    }

    /// The sale of this id.
    pub async fn sale(&self, id: &str) -> StoreResult<Option<SaleRow>> {
        match self {
            Self::Sqlite(s) => s.sale(id).await,
            Self::Postgres(s) => Box::pin(s.sale(id)).await,
        }
    }

    /// Creates a draft whose stock is in its items' pools. `None`: the id is in use.
    pub async fn create_sale(&self, sale: NewSale) -> StoreResult<Option<SaleRow>> {
        match self {
            Self::Sqlite(s) => s.create_sale(sale).await,
            Self::Postgres(s) => Box::pin(s.create_sale(sale)).await,
        }
    }

    /// Changes a sale's description. The version increases if anything changed.
    pub async fn patch_sale(
        &self,
        id: &str,
        if_version: Option<u64>,
        patch: SalePatch,
    ) -> StoreResult<PatchOutcome> {
        match self {
            Self::Sqlite(s) => s.patch_sale(id, if_version, patch).await,
            Self::Postgres(s) => Box::pin(s.patch_sale(id, if_version, patch)).await,
        }
    }

    /// Changes how an item's stock is divided among its slots, until its sale is closed. The sale's
    /// version increases if anything changed. If `if_version` is given and the sale has another
    /// version, nothing changes.
    pub async fn set_spread(
        &self,
        item: ItemId,
        spread: Spread,
        if_version: Option<u64>,
    ) -> StoreResult<SpreadOutcome> {
        match self {
            Self::Sqlite(s) => s.set_spread(item, spread, if_version).await,
            Self::Postgres(s) => Box::pin(s.set_spread(item, spread, if_version)).await,
        }
    }

    /// Deletes a draft.
    pub async fn delete_sale(
        &self,
        id: &str,
        if_version: Option<u64>,
    ) -> StoreResult<DeleteOutcome> {
        match self {
            Self::Sqlite(s) => s.delete_sale(id, if_version).await,
            Self::Postgres(s) => Box::pin(s.delete_sale(id, if_version)).await,
        }
    }

    /// Moves a sale to its next phase.
    pub async fn step_sale(&self, id: &str, step: PhaseStep) -> StoreResult<StepOutcome> {
        match self {
            Self::Sqlite(s) => s.step_sale(id, step).await,
            Self::Postgres(s) => Box::pin(s.step_sale(id, step)).await,
        }
    }

    /// Announces to every node that a pause or close waits for the requests in flight, for at most
    /// `for_ms`; 0 ends the wait. A step to another phase ends it too. An embedded store does
    /// nothing.
    pub async fn drain_sale(&self, id: &str, for_ms: i64) -> StoreResult<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(s) => Box::pin(s.drain_sale(id, for_ms)).await,
        }
    }

    /// Where the units of these items (or of all items) are, in one snapshot, by item. Items that
    /// do not exist are left out.
    pub async fn counts(&self, items: Option<Vec<ItemId>>) -> StoreResult<Vec<ItemCounts>> {
        match self {
            Self::Sqlite(s) => s.counts(items).await,
            Self::Postgres(s) => Box::pin(s.counts(items)).await,
        }
    }

    /// Changes an item's total and records the reason. A second call with the same key and units
    /// has no effect.
    pub async fn adjust(&self, adjustment: Adjustment) -> StoreResult<AdjustOutcome> {
        match self {
            Self::Sqlite(s) => s.adjust(adjustment).await,
            Self::Postgres(s) => Box::pin(s.adjust(adjustment)).await,
        }
    }

    /// The units of the adjustment with this key. `None`: there was none.
    pub async fn adjusted_units(&self, item: ItemId, key: &str) -> StoreResult<Option<i64>> {
        match self {
            Self::Sqlite(s) => s.adjusted_units(item, key).await,
            Self::Postgres(s) => Box::pin(s.adjusted_units(item, key)).await,
        }
    }
}

/// Operators and nodes.
impl Store {
    /// Every operator's key, oldest first.
    pub async fn keys(&self) -> StoreResult<Vec<AdminKey>> {
        match self {
            Self::Sqlite(s) => s.keys().await,
            Self::Postgres(s) => Box::pin(s.keys()).await,
        }
    }

    /// Adds a key.
    pub async fn insert_key(&self, key: AdminKey) -> StoreResult<()> {
        match self {
            Self::Sqlite(s) => s.insert_key(key).await,
            Self::Postgres(s) => Box::pin(s.insert_key(key)).await,
        }
    }

    /// Deletes a key. False: no such key.
    pub async fn delete_key(&self, id: &str) -> StoreResult<bool> {
        match self {
            Self::Sqlite(s) => s.delete_key(id).await,
            Self::Postgres(s) => Box::pin(s.delete_key(id)).await,
        }
    }

    /// Takes or renews the lease of the leader. True: this node has it for `lease_ms` from now.
    pub async fn take_leader_lease(&self, node: u32, lease_ms: i64) -> StoreResult<bool> {
        match self {
            Self::Sqlite(s) => s.take_leader_lease(node, lease_ms).await,
            Self::Postgres(s) => Box::pin(s.take_leader_lease(node, lease_ms)).await,
        }
    }

    /// Nodes whose lease has not expired, by the store's time, by number.
    pub async fn live_nodes(&self) -> StoreResult<Vec<NodeId>> {
        match self {
            Self::Sqlite(s) => s.live_nodes().await,
            Self::Postgres(s) => Box::pin(s.live_nodes()).await,
        }
    }
}

/// Checks.
impl Store {
    /// Units that the buyer holds of an item.
    pub async fn quota(&self, item: ItemId, buyer: BuyerId) -> StoreResult<u32> {
        match self {
            Self::Sqlite(s) => s.quota(item, buyer).await,
            Self::Postgres(s) => Box::pin(s.quota(item, buyer)).await,
        }
    }

    /// Checks all rows in one snapshot, with SQL of its own: I1, I2 (active units computed from the
    /// orders), I4 (quotas against orders and limits), `settled <= granted`, feeds without gaps,
    /// `paid` and `ended` against the orders, and I5 (payments against orders and refunds). Also
    /// lists payments that a provider or a buyer caused by mistake. Fast enough to run every few
    /// seconds.
    pub async fn check(&self) -> StoreResult<Check> {
        match self {
            Self::Sqlite(s) => s.check().await,
            Self::Postgres(s) => Box::pin(s.check()).await,
        }
    }
}
