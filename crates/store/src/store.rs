//! The handle of a store: one method for each thing that the program asks of its truth, whatever the backend.
//!
//! Each method that writes is one transaction, durable when it returns. A refusal is a value; a [`StoreError`] means that nothing was done, unless
//! it says otherwise. What a method wrote, the next read sees.
use std::path::Path;
use std::sync::Arc;

use doorbuster_core::order::{Changed, Ending, Paid};
use doorbuster_core::sale::Step;
use doorbuster_core::settle::Resolved;
use doorbuster_core::{
    BuyerId, Cause, Counter, Feed, Grant, GrantId, ItemId, Millis, NodeId, Order, Recall, RecallId, RecallTarget,
    RequestKey, Seq, SlotKey, Spread, Ticket, TicketId, TicketParts,
};

use crate::contract::{
    AdjustOutcome, Adjustment, AdminKey, BackupError, Check, DeadLetter, DeleteOutcome, ItemCounts, NewSale, OpenError,
    OrderPage, OrderQuery, PatchOutcome, PostgresOptions, SalePatch, SaleRow, SpreadOutcome, SqliteOptions,
    StepOutcome, StoreError,
};
use crate::postgres::Postgres;
use crate::sqlite::Sqlite;

/// What every method gives.
pub type StoreResult<T> = Result<T, StoreError>;

/// The durable truth. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub enum Store {
    /// SQLite in a directory of its own.
    Sqlite(Sqlite),
    /// A PostgreSQL database, shared by several nodes.
    Postgres(Postgres),
}

/// Life of a store.
impl Store {
    /// Locks the directory, opens or creates the store in it, checks and migrates it. Blocks: call it at boot.
    pub fn open_sqlite(options: SqliteOptions) -> Result<Self, OpenError> {
        Sqlite::open(options).map(Self::Sqlite)
    }

    /// Connects to the database, looks whether it keeps what it says, and migrates it.
    pub async fn open_postgres(options: PostgresOptions) -> Result<Self, OpenError> {
        Postgres::open(options).await.map(Self::Postgres)
    }

    /// What an operator should know of how the store is set up: what its promises do not survive.
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

    /// Whether the store can be used.
    pub async fn health(&self) -> StoreResult<()> {
        match self {
            Self::Sqlite(s) => s.health(),
            Self::Postgres(s) => s.health(),
        }
    }

    /// Writes a consistent copy to `path`, which must not exist, while the store goes on. The copy appears whole or not at all.
    pub async fn backup(&self, path: &Path) -> Result<(), BackupError> {
        match self {
            Self::Sqlite(s) => s.backup(path).await,
            Self::Postgres(s) => s.backup(path),
        }
    }

    /// Finishes what was asked before, then closes files and gives the directory free. Every clone is refused from then on.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(s) => s.close().await,
            Self::Postgres(s) => s.close().await,
        }
    }
}

/// Sales.
impl Store {
    /// Every sale, newest first.
    pub async fn sales(&self) -> StoreResult<Vec<SaleRow>> {
        match self {
            Self::Sqlite(s) => s.sales().await,
            Self::Postgres(s) => s.sales().await,
        }
    }

    /// The sale of this id.
    pub async fn sale(&self, id: &str) -> StoreResult<Option<SaleRow>> {
        match self {
            Self::Sqlite(s) => s.sale(id).await,
            Self::Postgres(s) => s.sale(id).await,
        }
    }

    /// Creates a draft whose stock lies in its items' pools. `None`: the id is taken.
    pub async fn create_sale(&self, sale: NewSale) -> StoreResult<Option<SaleRow>> {
        match self {
            Self::Sqlite(s) => s.create_sale(sale).await,
            Self::Postgres(s) => s.create_sale(sale).await,
        }
    }

    /// Changes a sale's description. The version rises if anything changed.
    pub async fn patch_sale(&self, id: &str, if_version: Option<u64>, patch: SalePatch) -> StoreResult<PatchOutcome> {
        match self {
            Self::Sqlite(s) => s.patch_sale(id, if_version, patch).await,
            Self::Postgres(s) => s.patch_sale(id, if_version, patch).await,
        }
    }

    /// Changes how an item's stock is spread over its slots, before its sale opens. The sale's version rises if anything changed.
    pub async fn set_spread(&self, item: ItemId, spread: Spread) -> StoreResult<SpreadOutcome> {
        match self {
            Self::Sqlite(s) => s.set_spread(item, spread).await,
            Self::Postgres(s) => s.set_spread(item, spread).await,
        }
    }

    /// Deletes a draft.
    pub async fn delete_sale(&self, id: &str, if_version: Option<u64>) -> StoreResult<DeleteOutcome> {
        match self {
            Self::Sqlite(s) => s.delete_sale(id, if_version).await,
            Self::Postgres(s) => s.delete_sale(id, if_version).await,
        }
    }

    /// Moves a sale to its next phase.
    pub async fn step_sale(&self, id: &str, step: Step) -> StoreResult<StepOutcome> {
        match self {
            Self::Sqlite(s) => s.step_sale(id, step).await,
            Self::Postgres(s) => s.step_sale(id, step).await,
        }
    }

    /// Tells every node that a pause or close waits for what is in flight, for `for_ms` at most; 0: it does not any more. A step to another phase ends it
    /// too. An embedded store has nobody to tell.
    pub async fn drain_sale(&self, id: &str, for_ms: i64) -> StoreResult<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(s) => s.drain_sale(id, for_ms).await,
        }
    }

    /// Where the units of these items (of all, without a list) are, in one snapshot, by item. Items that do not exist are left out.
    pub async fn counts(&self, items: Option<Vec<ItemId>>) -> StoreResult<Vec<ItemCounts>> {
        match self {
            Self::Sqlite(s) => s.counts(items).await,
            Self::Postgres(s) => s.counts(items).await,
        }
    }

    /// Changes an item's total and records why. Repeating it, same key and units, does nothing.
    pub async fn adjust(&self, adjustment: Adjustment) -> StoreResult<AdjustOutcome> {
        match self {
            Self::Sqlite(s) => s.adjust(adjustment).await,
            Self::Postgres(s) => s.adjust(adjustment).await,
        }
    }
}

/// Grants, feeds and recalls.
impl Store {
    /// See [`doorbuster_core::stock::open`]. `None`: no such item.
    pub async fn open_grant(&self, slot: SlotKey, id: GrantId, units: u64) -> StoreResult<Option<Grant>> {
        match self {
            Self::Sqlite(s) => s.open_grant(slot, id, units).await,
            Self::Postgres(s) => s.open_grant(slot, id, units).await,
        }
    }

    /// See [`doorbuster_core::stock::acknowledge_init`].
    pub async fn acknowledge_init(&self, id: GrantId) -> StoreResult<()> {
        match self {
            Self::Sqlite(s) => s.acknowledge_init(id).await,
            Self::Postgres(s) => s.acknowledge_init(id).await,
        }
    }

    /// See [`doorbuster_core::stock::refill`]. How many units were given.
    pub async fn refill(&self, id: GrantId, units: u64, counter: Counter) -> StoreResult<u64> {
        match self {
            Self::Sqlite(s) => s.refill(id, units, counter).await,
            Self::Postgres(s) => s.refill(id, units, counter).await,
        }
    }

    /// See [`doorbuster_core::stock::close`]. False if it was closed before, or never was.
    pub async fn close_grant(&self, id: GrantId, cause: Cause) -> StoreResult<bool> {
        match self {
            Self::Sqlite(s) => s.close_grant(id, cause).await,
            Self::Postgres(s) => s.close_grant(id, cause).await,
        }
    }

    /// Every open grant of every item, by slot.
    pub async fn open_grants(&self) -> StoreResult<Vec<Grant>> {
        match self {
            Self::Sqlite(s) => s.open_grants().await,
            Self::Postgres(s) => s.open_grants().await,
        }
    }

    /// The grant.
    pub async fn grant(&self, id: GrantId) -> StoreResult<Option<Grant>> {
        match self {
            Self::Sqlite(s) => s.grant(id).await,
            Self::Postgres(s) => s.grant(id).await,
        }
    }

    /// Every grant of an item, open or closed: newest first within a slot, slots in their order.
    pub async fn grants(&self, item: ItemId) -> StoreResult<Vec<Grant>> {
        match self {
            Self::Sqlite(s) => s.grants(item).await,
            Self::Postgres(s) => s.grants(item).await,
        }
    }

    /// At most `limit` rows of a grant's feed after `seq`, in their turn.
    pub async fn feed_after(&self, id: GrantId, seq: Seq, limit: usize) -> StoreResult<Vec<Feed>> {
        match self {
            Self::Sqlite(s) => s.feed_after(id, seq, limit).await,
            Self::Postgres(s) => s.feed_after(id, seq, limit).await,
        }
    }

    /// See [`doorbuster_core::recall::begin`]. `None`: there is nothing to ask.
    pub async fn begin_recall(
        &self,
        id: RecallId,
        grant: GrantId,
        target: RecallTarget,
        asked: u64,
    ) -> StoreResult<Option<Recall>> {
        match self {
            Self::Sqlite(s) => s.begin_recall(id, grant, target, asked).await,
            Self::Postgres(s) => s.begin_recall(id, grant, target, asked).await,
        }
    }

    /// See [`doorbuster_core::recall::finish`]. How many units this call moved.
    pub async fn finish_recall(&self, id: RecallId, taken: u64) -> StoreResult<u64> {
        match self {
            Self::Sqlite(s) => s.finish_recall(id, taken).await,
            Self::Postgres(s) => s.finish_recall(id, taken).await,
        }
    }

    /// Recalls that are not done, by id.
    pub async fn pending_recalls(&self) -> StoreResult<Vec<Recall>> {
        match self {
            Self::Sqlite(s) => s.pending_recalls().await,
            Self::Postgres(s) => s.pending_recalls().await,
        }
    }

    /// Grants that were closed because their slot failed.
    pub async fn repairs(&self) -> StoreResult<u64> {
        let closings = self.closings().await?;
        Ok(closings.into_iter().filter(|(cause, _)| cause.is_fault()).map(|(_, grants)| grants).sum())
    }

    /// Closed grants by cause, causes without any left out.
    pub async fn closings(&self) -> StoreResult<Vec<(Cause, u64)>> {
        match self {
            Self::Sqlite(s) => s.closings().await,
            Self::Postgres(s) => s.closings().await,
        }
    }
}

/// Tickets and orders.
impl Store {
    /// Resolves each ticket, all in one transaction at one instant ([`doorbuster_core::settle::settle`]); the answers stand in the tickets' order.
    ///
    /// A ticket whose statement fails is returned and becomes a dead letter; the rest settles.
    pub async fn settle(&self, tickets: Vec<Arc<Ticket>>) -> StoreResult<Vec<Resolved>> {
        match self {
            Self::Sqlite(s) => s.settle(tickets).await,
            Self::Postgres(s) => s.settle(tickets).await,
        }
    }

    /// See [`doorbuster_core::settle::force`]. `None`: it may still be settled.
    pub async fn force(&self, id: TicketId, parts: TicketParts, buyer: BuyerId) -> StoreResult<Option<Resolved>> {
        match self {
            Self::Sqlite(s) => s.force(id, parts, buyer).await,
            Self::Postgres(s) => s.force(id, parts, buyer).await,
        }
    }

    /// A ticket's verdict, if it has one.
    pub async fn verdict(&self, id: TicketId) -> StoreResult<Option<Resolved>> {
        match self {
            Self::Sqlite(s) => s.verdict(id).await,
            Self::Postgres(s) => s.verdict(id).await,
        }
    }

    /// The order of this id.
    pub async fn order(&self, id: TicketId) -> StoreResult<Option<Order>> {
        match self {
            Self::Sqlite(s) => s.order(id).await,
            Self::Postgres(s) => s.order(id).await,
        }
    }

    /// The order that a request holds.
    pub async fn order_of(&self, buyer: BuyerId, key: RequestKey) -> StoreResult<Option<Order>> {
        match self {
            Self::Sqlite(s) => s.order_of(buyer, key).await,
            Self::Postgres(s) => s.order_of(buyer, key).await,
        }
    }

    /// A page of orders, newest first.
    pub async fn orders(&self, query: OrderQuery) -> StoreResult<OrderPage> {
        match self {
            Self::Sqlite(s) => s.orders(query).await,
            Self::Postgres(s) => s.orders(query).await,
        }
    }

    /// A page of orders, oldest first, for an export: orders made meanwhile come at its end.
    pub async fn orders_oldest_first(&self, query: OrderQuery) -> StoreResult<OrderPage> {
        match self {
            Self::Sqlite(s) => s.orders_oldest_first(query).await,
            Self::Postgres(s) => s.orders_oldest_first(query).await,
        }
    }

    /// See [`doorbuster_core::order::end`].
    pub async fn end_order(&self, id: TicketId, how: Ending) -> StoreResult<Changed> {
        match self {
            Self::Sqlite(s) => s.end_order(id, how).await,
            Self::Postgres(s) => s.end_order(id, how).await,
        }
    }

    /// See [`doorbuster_core::order::pay`].
    pub async fn pay_order(&self, id: TicketId) -> StoreResult<Paid> {
        match self {
            Self::Sqlite(s) => s.pay_order(id).await,
            Self::Postgres(s) => s.pay_order(id).await,
        }
    }

    /// Expires at most `limit` reserved orders whose `pay_by` has passed, the longest due first. Those that it expired.
    pub async fn expire_due(&self, limit: usize) -> StoreResult<Vec<Order>> {
        match self {
            Self::Sqlite(s) => s.expire_due(limit).await,
            Self::Postgres(s) => s.expire_due(limit).await,
        }
    }

    /// The earliest `pay_by` of a reserved order.
    pub async fn next_due(&self) -> StoreResult<Option<Millis>> {
        match self {
            Self::Sqlite(s) => s.next_due().await,
            Self::Postgres(s) => s.next_due().await,
        }
    }

    /// The requests ([`doorbuster_core::RequestHash::half`]) of at most `limit` orders reserved at `since` or later, oldest first, and where to
    /// continue (`after`, 0 at first); `None`: no more.
    pub async fn requests_since(
        &self,
        since: Millis,
        after: i64,
        limit: usize,
    ) -> StoreResult<(Vec<u64>, Option<i64>)> {
        match self {
            Self::Sqlite(s) => s.requests_since(since, after, limit).await,
            Self::Postgres(s) => s.requests_since(since, after, limit).await,
        }
    }

    /// At most `limit` dead letters, newest first.
    pub async fn dead_letters(&self, limit: usize) -> StoreResult<Vec<DeadLetter>> {
        match self {
            Self::Sqlite(s) => s.dead_letters(limit).await,
            Self::Postgres(s) => s.dead_letters(limit).await,
        }
    }
}

/// Operators and nodes.
impl Store {
    /// Every operator's key, oldest first.
    pub async fn keys(&self) -> StoreResult<Vec<AdminKey>> {
        match self {
            Self::Sqlite(s) => s.keys().await,
            Self::Postgres(s) => s.keys().await,
        }
    }

    /// Adds a key.
    pub async fn insert_key(&self, key: AdminKey) -> StoreResult<()> {
        match self {
            Self::Sqlite(s) => s.insert_key(key).await,
            Self::Postgres(s) => s.insert_key(key).await,
        }
    }

    /// Deletes a key. False: no such key.
    pub async fn delete_key(&self, id: &str) -> StoreResult<bool> {
        match self {
            Self::Sqlite(s) => s.delete_key(id).await,
            Self::Postgres(s) => s.delete_key(id).await,
        }
    }

    /// Notes what an operator did. Such rows are only ever added.
    pub async fn log_action(&self, actor: &str, action: &str, detail: &str) -> StoreResult<()> {
        match self {
            Self::Sqlite(s) => s.log_action(actor, action, detail).await,
            Self::Postgres(s) => s.log_action(actor, action, detail).await,
        }
    }

    /// Takes or renews the lease of the node that does the work of one for all. True: it is this node's for `lease_ms` from now.
    pub async fn lead(&self, node: u32, lease_ms: i64) -> StoreResult<bool> {
        match self {
            Self::Sqlite(s) => s.lead(node, lease_ms).await,
            Self::Postgres(s) => s.lead(node, lease_ms).await,
        }
    }

    /// Takes or renews the node's own lease: it lives for `lease_ms` from now, by the store's time.
    pub async fn beat(&self, node: NodeId, lease_ms: i64) -> StoreResult<()> {
        match self {
            Self::Sqlite(s) => s.beat(node, lease_ms).await,
            Self::Postgres(s) => s.beat(node, lease_ms).await,
        }
    }

    /// Nodes whose lease has not lapsed, by the store's time, by number.
    pub async fn live_nodes(&self) -> StoreResult<Vec<NodeId>> {
        match self {
            Self::Sqlite(s) => s.live_nodes().await,
            Self::Postgres(s) => s.live_nodes().await,
        }
    }
}

/// Checks.
impl Store {
    /// Units that the buyer holds of an item.
    pub async fn quota(&self, item: ItemId, buyer: BuyerId) -> StoreResult<u32> {
        match self {
            Self::Sqlite(s) => s.quota(item, buyer).await,
            Self::Postgres(s) => s.quota(item, buyer).await,
        }
    }

    /// Adds the rows up in one read snapshot, by SQL of its own: I1, I2 (active units recomputed from the orders), I4 (quotas against orders and
    /// limits), `settled <= granted`, feeds without gaps, `paid` and `ended` against the orders. Quick enough to run every few seconds.
    pub async fn check(&self) -> StoreResult<Check> {
        match self {
            Self::Sqlite(s) => s.check().await,
            Self::Postgres(s) => s.check().await,
        }
    }
}
