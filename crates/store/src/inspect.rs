//! Gives tests access to a store's tables. Tests can read whole tables into a [`Model`], and can
//! run the functions of `doorbuster-core` over SQLite without threads.
use doorbuster_core::ItemId;
use doorbuster_core::model::Model;
use doorbuster_core::waitlist::{JoinOutcome, JoinRequest};

use crate::dump::TABLES;
use crate::sql::Row;
pub use crate::sqlite::InMemory;
use crate::store::{Store, StoreResult};

/// Reads every row of the tables that `doorbuster-core` uses, in one snapshot. Items of draft sales
/// count as stopped, because they get no grant. Events of sales are left out, because a [`Model`]
/// has no sales.
pub async fn dump(store: &Store) -> StoreResult<Model> {
    let queries = TABLES.iter().map(|table| (table.sql, Vec::new())).collect();
    let add = |model: &mut Model, at: usize, row: Row<'_>| (TABLES[at].add)(model, row);
    store.in_snapshot(queries, add).await
}

/// Calls [`Store::join_waitlist`] with given random values.
pub async fn join_waitlist(
    store: &Store,
    item: ItemId,
    joiner: JoinRequest,
) -> StoreResult<JoinOutcome> {
    store.join_waitlist_as(item, joiner).await
}
