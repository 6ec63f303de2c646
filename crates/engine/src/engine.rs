//! The engine decides about stock. This module joins the engine's parts, and starts and stops them.
//!
//! Each part owns its state. The parts are the store, the node's memory of the store, the slots,
//! the cache of sales and the database's history. Further parts are the state of an edge, the
//! description of this node, the live nodes and the lifecycle. The methods here combine several
//! parts. Purchases, the settler and the jobs read the parts through the engine.

mod error;
mod lifecycle;
mod live_nodes;
mod node_count;
mod node_memory;
mod orders;
mod refusal_search;
mod refusals;
mod slot_counts;
mod start;
mod stop;
#[cfg(test)]
mod tests;
mod this_node;
mod waitlist;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use arc_swap::Guard;
use doorbuster_base::clock::Clock;
use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{IdKey, ItemId, Millis, NodeId, Token};
use doorbuster_slots::{SharedRedis, Slots};
use doorbuster_store::{ItemCounts, SaleRow, Store};

use crate::cache::Cache;
use crate::catalogue::{Catalogue, CatalogueCheck, ItemState};
use crate::control::JobSignals;
use crate::database::DatabaseState;
use crate::edge::EdgeNode;
use crate::holders::Holders;
use crate::meter::EngineMeter;
use crate::notify::Hub;
use crate::outage_log::OutageLog;
use crate::scheduler::{Turns, Work};
use crate::slot_layout::SlotLayout;
use crate::waiters::{Delivery, VerdictWaiters};
use node_memory::NodeMemory;

pub(crate) use error::DRAIN_MAX;
pub use error::EngineError;
pub use lifecycle::{Jobs, Lifecycle};
pub use live_nodes::LiveNodes;
pub use node_count::NodeCount;
pub use orders::OrderLookup;
pub use start::expose_urls;
pub use start::{DatabaseOptions, EngineOptions, StockLocation};
pub use this_node::{NodeDescription, ThisNode};
pub use waitlist::{JoinRefusal, JoinResult, LeaveResult};

/// The part of the program that decides about stock.
pub struct Engine {
    node_memory: Arc<NodeMemory>,
    store: Store,
    slots: Slots,
    cache: Cache,
    clock: Clock,
    database: DatabaseState,
    /// The state of an edge. `None` means that this node has a store.
    edge: Option<Arc<EdgeNode>>,
    this_node: ThisNode,
    live_nodes: LiveNodes,
    parked: AtomicUsize,
    meter: EngineMeter,
    outage_log: OutageLog,
    lifecycle: Lifecycle,
}

impl Engine {
    /// Returns this node's description of itself as JSON.
    pub fn node_description(&self) -> String {
        self.this_node.description(self.node_memory.refusals.notes())
    }

    /// Returns the items of the sales that have open slots.
    pub fn items_with_open_slots(&self) -> Vec<Arc<ItemState>> {
        self.catalogue()
            .sales()
            .filter(|s| s.has_open_slots())
            .flat_map(|s| s.items.iter().cloned())
            .collect()
    }

    /// Puts a sale's row into the catalogue. `counts` has the counts of items that are new in the
    /// catalogue. If `is_new` is true and the catalogue already has a sale with this id, the
    /// catalogue stays unchanged. Returns whether the row was put into the catalogue.
    pub fn put_sale(&self, row: SaleRow, counts: &[ItemCounts], is_new: bool) -> bool {
        let mut is_put = false;
        self.change_catalogue(|c| {
            is_put = !is_new || c.sale(&row.id).is_none();
            if is_put {
                c.put_sale(row, counts, &self.node_memory.key, self.layout());
            }
        });
        is_put
    }

    /// Replaces the catalogue with a changed copy. Changes run one after another.
    pub fn change_catalogue(&self, change: impl FnOnce(&mut Catalogue)) {
        self.node_memory.catalogue.change(change);
        self.control().signal_feed();
    }

    /// Returns the reasons why the program cannot sell. The list is empty if the program can sell.
    pub async fn unready_reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.lifecycle.is_stopping() {
            reasons.push("stopping".to_owned());
        }
        match self.store.health().await {
            Err(error) => reasons.push(error.to_string()),
            Ok(()) => reasons.extend(self.database.commit_check.failure(&self.store).await),
        }
        reasons
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns this node's knowledge about its database.
    pub fn database(&self) -> &DatabaseState {
        &self.database
    }

    /// Returns the state of an edge. `None` means that this node has a store.
    pub fn edge(&self) -> Option<&Arc<EdgeNode>> {
        self.edge.as_ref()
    }

    /// Returns the slots.
    #[must_use]
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Returns the Redis for data that all nodes share and that may be lost. `None` means that the
    /// deployment's shape has no Redis.
    #[must_use]
    pub fn shared(&self) -> Option<&SharedRedis> {
        self.cache.shared().map(|(shared, _)| shared)
    }

    /// Returns the cache that limits how often this node reads the store for unknown ids.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Returns the hub of events.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.node_memory.hub
    }

    /// Returns the catalogue of sales and items.
    #[must_use]
    pub fn catalogue(&self) -> Guard<Arc<Catalogue>> {
        self.node_memory.catalogue.load()
    }

    /// Returns the store's time.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.store.now()
    }

    /// Returns the store's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns whether the store's clock was stepped. The server does not trust a stepped clock for
    /// deadlines.
    #[must_use]
    pub fn clock_stepped(&self) -> bool {
        self.clock.has_alarm() || self.store.clock_stepped()
    }

    /// Returns whether this node's snapshot of the store is recent enough to refuse requests.
    pub fn is_memory_recent(&self) -> bool {
        doorbuster_steps::memory::is_recent(self.memory_age_ms())
    }

    /// Returns the age of this node's snapshot of the store in milliseconds, rounded up.
    pub fn memory_age_ms(&self) -> i64 {
        let age = self.store.staleness();
        let millis = age.as_secs().saturating_mul(1_000);
        let part = u64::from(age.subsec_nanos().div_ceil(1_000_000));
        i64::try_from(millis.saturating_add(part)).unwrap_or(i64::MAX)
    }

    /// Returns a time of the store's clock. This node's memory has every commit up to that time.
    pub(crate) fn memory_as_of(&self) -> Millis {
        let age = self.store.staleness().as_millis();
        self.now().plus(-i64::try_from(age).unwrap_or(i64::MAX).saturating_add(1))
    }

    /// Returns the deployment's key for ids.
    #[must_use]
    pub fn id_key(&self) -> &IdKey {
        &self.node_memory.key
    }

    /// Returns this node's id, roles and description.
    pub fn this_node(&self) -> &ThisNode {
        &self.this_node
    }

    /// Returns the live nodes, as this node last saw them.
    pub fn live_nodes(&self) -> &LiveNodes {
        &self.live_nodes
    }

    /// Returns this node's id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.this_node.id
    }

    /// Returns where the slots are.
    #[must_use]
    pub fn layout(&self) -> SlotLayout {
        self.this_node.layout
    }

    /// Returns whether this node watches the slots that serve its requests. If no other node
    /// reaches these slots, this node watches them. If all nodes reach them, only the leader
    /// watches them.
    pub(crate) fn watches_slots(&self) -> bool {
        self.layout().is_node_local() || self.control().leads()
    }

    /// Returns the engine's counters.
    #[must_use]
    pub fn meter(&self) -> &EngineMeter {
        &self.meter
    }

    /// Returns the number of parked requests.
    #[must_use]
    pub fn parked(&self) -> &AtomicUsize {
        &self.parked
    }

    /// Returns the requests that hold an order.
    #[must_use]
    pub fn holders(&self) -> &Holders {
        &self.node_memory.holders
    }

    /// Returns the requests that wait for a verdict.
    #[must_use]
    pub fn waiters(&self) -> &VerdictWaiters {
        &self.node_memory.waiters
    }

    /// Delivers a ticket's verdict to the requests that wait for it.
    pub(crate) fn deliver_verdict(&self, ticket: Token, resolved: TicketVerdict) -> Delivery {
        self.node_memory.deliver(ticket, resolved)
    }

    /// Returns the part of the engine that knows whether this node stops, and which tasks must end
    /// before the program ends.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// Returns the outages that this node sees.
    pub fn outage_log(&self) -> &OutageLog {
        &self.outage_log
    }

    /// Returns the signals that wake the jobs.
    pub fn control(&self) -> &JobSignals {
        &self.node_memory.control
    }

    /// Returns the turns of a kind of delayed work. Call this once for each kind.
    pub fn turns(&self, work: Work) -> Turns<'_, impl Fn() -> Millis> {
        self.control().scheduler().turns(work, || self.store().monotonic_now())
    }

    /// Wakes this item's reconciliation after a pause.
    pub(crate) fn wake_after(&self, pause: Duration, item: ItemId) {
        let node_memory = self.node_memory.clone();
        self.lifecycle.run_after(pause, move || node_memory.control.wake(item));
    }

    pub(crate) fn last_check(&self) -> &tokio::sync::Mutex<CatalogueCheck> {
        &self.node_memory.catalogue.last_check
    }
}
