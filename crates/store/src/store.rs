//! The handle of a store: one method for each operation, for every backend.
//!
//! Each method that writes is one transaction, which is durable when the method returns. A refusal
//! is a value. A [`StoreError`] means that nothing was done, except if the error says that the
//! effect may have happened. The next read sees the writes of a method that returned.
//!
//! Futures of PostgreSQL calls are boxed, so that a purchase on one machine needs no memory for a
//! database that it does not use.
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::database_history::DatabaseHistory;
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{BuyerId, IdKey, ItemId, Millis, Spread};

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
mod nodes;
mod operating;
mod orders;
mod outbox;
mod reconciliation;
mod room;
mod waitlist;

pub use codes::CodeHash;

/// The result type of every method.
pub type StoreResult<T> = Result<T, StoreError>;

/// A store. Clones are cheap and share one store.
#[derive(Clone)]
pub enum Store {
    /// SQLite in a directory that only this store uses.
    Sqlite(Sqlite),
    /// A PostgreSQL database, shared by several nodes.
    Postgres(Postgres),
}

/// Opening, health and closing of a store.
impl Store {
    /// Locks the directory, opens or creates the store in it, checks and migrates it. The call
    /// blocks, so use it only at the start of the program.
    pub fn open_sqlite(options: SqliteOptions) -> Result<Self, OpenError> {
        Sqlite::open(options, None).map(Self::Sqlite)
    }

    /// Returns the store of a node that has no store. It has a clock and refuses every call.
    #[must_use]
    pub fn absent(id_key: IdKey, clock: Arc<dyn Fn() -> Millis + Send + Sync>) -> Self {
        Self::Sqlite(Sqlite::absent(id_key, clock))
    }

    /// Connects to the database, checks that it is durable, and migrates it.
    pub async fn open_postgres(options: PostgresOptions) -> Result<Self, OpenError> {
        Postgres::open(options).await.map(Self::Postgres)
    }

    /// Returns warnings for the operator about settings of the database with which a failure can
    /// lose orders.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Self::Sqlite(_) => Vec::new(),
            Self::Postgres(s) => s.warnings(),
        }
    }

    /// Returns the store's clock.
    #[must_use]
    pub fn now(&self) -> Millis {
        match self {
            Self::Sqlite(s) => s.now(),
            Self::Postgres(s) => s.now(),
        }
    }

    /// Returns the store's time. If the store's clock was set forward while this process ran,
    /// returns an earlier time. Use it for actions that must not happen too early.
    #[must_use]
    pub fn monotonic_now(&self) -> Millis {
        match self {
            Self::Sqlite(s) => s.now(),
            Self::Postgres(s) => s.monotonic_now(),
        }
    }

    /// Returns whether a database's clock was set while this process ran. For a store in a
    /// directory it is false, because the caller owns the clock.
    #[must_use]
    pub fn clock_stepped(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(s) => s.clock_stepped(),
        }
    }

    /// Returns how old the published state may be, because other nodes may have committed since. It
    /// is zero for an embedded store.
    #[must_use]
    pub fn staleness(&self) -> Duration {
        match self {
            Self::Sqlite(_) => Duration::ZERO,
            Self::Postgres(s) => s.staleness(),
        }
    }

    /// Returns whether the store can be used.
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
    /// Fails if the store was created with another key, or cannot be used.
    pub async fn bind_key(&self) -> Result<(), OpenError> {
        match self {
            Self::Sqlite(s) => s.bind_key().await,
            Self::Postgres(s) => Box::pin(s.bind_key()).await,
        }
    }

    /// Returns the history of the store, newest first.
    pub async fn store_history(&self) -> StoreResult<Vec<StoreHistoryRow>> {
        match self {
            Self::Sqlite(s) => s.store_history().await,
            Self::Postgres(s) => Box::pin(s.store_history()).await,
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

    /// Reacts once to each change of the database's history: it pauses sales, and compares the
    /// orders that this node acknowledged with the database.
    pub async fn react_to_history(&self) -> StoreResult<HistoryReaction> {
        match self {
            Self::Sqlite(_) => Ok(HistoryReaction::default()),
            Self::Postgres(s) => Box::pin(s.react_to_history()).await,
        }
    }

    /// Returns the acknowledged orders that the database lacks since its last failover.
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
    /// clone refuses calls.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(s) => s.close().await,
            Self::Postgres(s) => Box::pin(s.close()).await,
        }
    }
}

/// Sales.
impl Store {
    /// Returns every sale, newest first.
    pub async fn sales(&self) -> StoreResult<Vec<SaleRow>> {
        Ok(self.catalogue().await?.sales)
    }

    /// Returns every sale, with the version of that state.
    pub async fn catalogue(&self) -> StoreResult<CatalogueRows> {
        match self {
            Self::Sqlite(s) => s.catalogue().await,
            Self::Postgres(s) => Box::pin(s.catalogue()).await,
        }
    }

    /// Returns the version that [`Store::catalogue`] would return, but reads only one row.
    pub async fn catalogue_version(&self) -> StoreResult<String> {
        match self {
            Self::Sqlite(_) => Ok(String::new()),
            Self::Postgres(s) => Box::pin(s.catalogue_version()).await,
        }
    }

    /// Returns the sale of this id.
    pub async fn sale(&self, id: &str) -> StoreResult<Option<SaleRow>> {
        match self {
            Self::Sqlite(s) => s.sale(id).await,
            Self::Postgres(s) => Box::pin(s.sale(id)).await,
        }
    }

    /// Creates a draft whose stock is in its items' pools. Returns `None` if the id is in use.
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

    /// Changes how an item's stock is divided among its slots. This is allowed until the sale is
    /// closed. The sale's version increases if anything changed. If `if_version` is given and the
    /// sale has another version, nothing changes.
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
    /// `for_ms`. With 0 the wait ends. A step to another phase ends it too. An embedded store does
    /// nothing.
    pub async fn drain_sale(&self, id: &str, for_ms: i64) -> StoreResult<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(s) => Box::pin(s.drain_sale(id, for_ms)).await,
        }
    }

    /// Returns how many units of these items (or of all items) are in each state, in one snapshot,
    /// by item. Items that do not exist are left out.
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

    /// Returns the units of the adjustment with this key, or `None` if there is no such adjustment.
    pub async fn adjusted_units(&self, item: ItemId, key: &str) -> StoreResult<Option<i64>> {
        match self {
            Self::Sqlite(s) => s.adjusted_units(item, key).await,
            Self::Postgres(s) => Box::pin(s.adjusted_units(item, key)).await,
        }
    }
}

/// The keys of operators.
impl Store {
    /// Returns every operator's key, oldest first.
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

    /// Deletes a key. Returns false if there is no such key.
    pub async fn delete_key(&self, id: &str) -> StoreResult<bool> {
        match self {
            Self::Sqlite(s) => s.delete_key(id).await,
            Self::Postgres(s) => Box::pin(s.delete_key(id)).await,
        }
    }
}

/// Checks.
impl Store {
    /// Returns the units that the buyer holds of an item.
    pub async fn quota(&self, item: ItemId, buyer: BuyerId) -> StoreResult<u32> {
        match self {
            Self::Sqlite(s) => s.quota(item, buyer).await,
            Self::Postgres(s) => Box::pin(s.quota(item, buyer)).await,
        }
    }

    /// Checks all rows in one snapshot, with its own SQL. It checks I1, I2 (active units computed
    /// from the orders), I4 (quotas against orders and limits), and I5 (payments against orders and
    /// refunds). It also checks `settled <= granted`, feeds without gaps, and `paid` and `ended`
    /// against the orders. It lists payments that a provider or a buyer caused by mistake. It is
    /// fast enough to run every few seconds.
    pub async fn check(&self) -> StoreResult<Check> {
        match self {
            Self::Sqlite(s) => s.check().await,
            Self::Postgres(s) => Box::pin(s.check()).await,
        }
    }
}
