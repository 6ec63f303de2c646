//! Gives tests access to a store's tables. Tests can read whole tables into a [`Model`], and can
//! run the functions of `doorbuster-core` over SQLite without threads.
use doorbuster_core::model::Model;
use doorbuster_core::money::Money;
use doorbuster_core::waitlist::{JoinOutcome, JoinRequest};
use doorbuster_core::{Item, ItemId, Millis, Phase};

use crate::contract::StoreError;
use crate::dump::TABLES;
use crate::failure::Failure;
use crate::sql::Row;
use crate::sqlite::{Memory, SqliteLedger};
use crate::store::{Store, StoreResult};

/// Reads every row of the tables that `doorbuster-core` uses, in one snapshot. Items of draft sales
/// count as stopped, because they get no grant. Events of sales are left out, because a [`Model`]
/// has no sales.
pub async fn dump(store: &Store) -> StoreResult<Model> {
    let queries = TABLES.iter().map(|table| (table.sql, Vec::new())).collect();
    let add = |model: &mut Model, at: usize, row: Row<'_>| (TABLES[at].add)(model, row);
    store.in_snapshot(queries, add).await
}

/// A ledger for the functions of `doorbuster-core`, over a SQLite database in memory. The tables,
/// statements and row caches are the same as for a database on disk. All work runs in the caller's
/// thread.
pub struct InMemory(Memory);

impl InMemory {
    /// Returns an empty store.
    pub fn open() -> StoreResult<Self> {
        Memory::open().map(Self)
    }

    /// Inserts an item with its number and its counts, and a sale that has only this item.
    pub fn insert_item(&mut self, item: &Item) -> StoreResult<()> {
        self.0.insert_item(item).map_err(StoreError::from)
    }

    /// Sets the price of one unit of the item; the default is 0 CNY.
    pub fn set_price(&mut self, item: ItemId, price: &Money) -> StoreResult<()> {
        self.0.set_price(item, price).map_err(StoreError::from)
    }

    /// Sets the phase of the item's sale; the default is open. The item's grants do not change.
    pub fn set_phase(&mut self, item: ItemId, phase: Phase) -> StoreResult<()> {
        self.0.set_phase(item, phase).map_err(StoreError::from)
    }

    /// Runs `work` as one transaction at `now`. A failure undoes the whole transaction.
    pub fn run<T>(
        &mut self,
        now: Millis,
        work: impl FnOnce(&mut SqliteLedger<'_>) -> Result<T, Failure>,
    ) -> StoreResult<T> {
        self.0.run(now, work).map_err(StoreError::from)
    }

    /// Returns every row of the tables that `doorbuster-core` uses.
    pub fn dump(&mut self) -> StoreResult<Model> {
        self.0.dump().map_err(StoreError::from)
    }
}

/// Calls [`Store::join_waitlist`] with given random values.
pub async fn join_waitlist(
    store: &Store,
    item: ItemId,
    joiner: JoinRequest,
) -> StoreResult<JoinOutcome> {
    store.join_waitlist_as(item, joiner).await
}
