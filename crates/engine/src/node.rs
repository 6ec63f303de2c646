//! One node of a deployment: its identity, its store, its copy of the store in memory, its clock,
//! its counters and its tasks.
//!
//! `Node` owns these parts. It calls the store, and never changes stock. Every other part of the
//! engine has a `Node`: the stock control, the changes of sales and orders, and the purchases. The
//! front door, the deliveries, the payments, the web server and the jobs read the `Node` too.

mod lifecycle;
mod live_nodes;
mod memory;
mod node_count;
mod refusal_search;
mod refusals;
mod this_node;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::Guard;
use doorbuster_base::clock::Clock;
use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{BuyerId, IdKey, ItemId, Millis, NodeId, Order, TicketId, Token};
use doorbuster_slots::SharedRedis;
use doorbuster_store::{ItemCounts, SaleRow, Store};

use crate::cache::Cache;
use crate::catalogue::{Catalogue, CatalogueCheck, ItemState};
use crate::control::JobSignals;
use crate::database::DatabaseState;
use crate::edge::EdgeNode;
use crate::error::EngineError;
use crate::holders::RequestsWithOrders;
use crate::meter::EngineMeter;
use crate::notify::Hub;
use crate::outage_log::OutageLog;
use crate::scheduler::{Turns, Work};
use crate::slot_layout::SlotLayout;
use crate::waiters::{DeliveryOutcome, VerdictWaiters};

pub use lifecycle::{Jobs, Lifecycle};
pub use live_nodes::LiveNodes;
pub(crate) use memory::NodeMemory;
pub use node_count::NodeCount;
pub(crate) use refusals::Refusals;
pub use this_node::{NodeDescription, ThisNode};

/// A node that could not read the store for this long, in milliseconds, leaves to another node the
/// work that one node does for all nodes.
const CUT_OFF_AFTER_MS: i64 = 5_000;
/// The pause between two checks of the age of a node's memory.
const MEMORY_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How many requests one read of the store returns while the node loads the requests that hold
/// orders.
const HOLDERS_PAGE: usize = 10_000;

/// One node of a deployment, without its slots.
pub struct Node {
    pub(crate) memory: Arc<NodeMemory>,
    pub(crate) store: Store,
    pub(crate) cache: Cache,
    pub(crate) clock: Clock,
    pub(crate) database: DatabaseState,
    /// The state of an edge. `None` if this process is a node, which has a store.
    pub(crate) edge: Option<Arc<EdgeNode>>,
    pub(crate) this_node: ThisNode,
    pub(crate) live_nodes: LiveNodes,
    pub(crate) meter: EngineMeter,
    pub(crate) outage_log: OutageLog,
    pub(crate) lifecycle: Lifecycle,
}

impl Node {
    /// Returns this node's description of itself as JSON.
    pub fn node_description(&self) -> String {
        self.this_node.description(self.memory.refusals.notes())
    }

    /// Returns all items of the sales that have open slots.
    pub fn items_with_open_slots(&self) -> Vec<Arc<ItemState>> {
        self.catalogue()
            .sales()
            .filter(|s| s.has_open_slots())
            .flat_map(|s| s.items.iter().cloned())
            .collect()
    }

    /// Puts a sale's row into the catalogue. `counts` has the counts of new items. If `is_new` is
    /// true and the catalogue already has the sale, changes nothing and returns `false`.
    pub(crate) fn put_sale(&self, row: SaleRow, counts: &[ItemCounts], is_new: bool) -> bool {
        let mut is_put = false;
        self.change_catalogue(|c| {
            is_put = !is_new || c.sale(&row.id).is_none();
            if is_put {
                c.put_sale(row, counts, &self.memory.key, self.layout());
            }
        });
        is_put
    }

    /// Applies a change to a copy of the catalogue, and replaces the catalogue with the copy.
    /// Concurrent changes run one after another.
    pub fn change_catalogue(&self, change: impl FnOnce(&mut Catalogue)) {
        self.memory.catalogue.change(change);
        self.control().signal_feed();
    }

    /// Returns the reasons why this node cannot sell. The list is empty if the node can sell.
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

    /// Returns what this node knows about its database.
    pub fn database(&self) -> &DatabaseState {
        &self.database
    }

    /// Returns the state of an edge. `None` if this is a node with a store, and not an edge.
    pub fn edge(&self) -> Option<&Arc<EdgeNode>> {
        self.edge.as_ref()
    }

    /// Returns the Redis for data that all nodes share and that may be lost. `None` if the
    /// deployment has no Redis.
    #[must_use]
    pub fn shared(&self) -> Option<&SharedRedis> {
        self.cache.shared().map(|(shared, _)| shared)
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Returns the hub, which delivers events to browsers.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.memory.hub
    }

    /// Returns the catalogue of sales and items.
    #[must_use]
    pub fn catalogue(&self) -> Guard<Arc<Catalogue>> {
        self.memory.catalogue.load()
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

    /// Returns whether the store's clock was stepped, that is, changed by a jump. The server does
    /// not use a stepped clock for deadlines.
    #[must_use]
    pub fn clock_stepped(&self) -> bool {
        self.clock.has_alarm() || self.store.clock_stepped()
    }

    /// Returns whether this node's snapshot of the store is recent enough. If not, the node must
    /// not refuse requests from its memory.
    pub fn is_memory_recent(&self) -> bool {
        doorbuster_steps::memory::is_recent(self.memory_age_ms())
    }

    /// Returns whether this node's last read of the store is so old that another node should take
    /// over the work that this node does for all nodes. The limit is longer than that of
    /// [`Self::is_memory_recent`], because a takeover is expensive. For example, each new writer of
    /// the edge feed must first write all requests.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.memory_age_ms() > CUT_OFF_AFTER_MS
    }

    /// Waits until [`Node::is_memory_recent`].
    pub(crate) async fn wait_for_recent_memory(&self) {
        while !self.is_memory_recent() {
            tokio::time::sleep(MEMORY_CHECK_INTERVAL).await;
        }
    }

    /// Returns the age of this node's snapshot of the store in milliseconds, rounded up.
    pub fn memory_age_ms(&self) -> i64 {
        let age = self.store.staleness();
        let millis = age.as_secs().saturating_mul(1_000);
        let part = u64::from(age.subsec_nanos().div_ceil(1_000_000));
        i64::try_from(millis.saturating_add(part)).unwrap_or(i64::MAX)
    }

    /// Returns a time of the store's clock. This node's memory has every commit up to this time.
    pub(crate) fn memory_as_of(&self) -> Millis {
        let age = self.store.staleness().as_millis();
        self.now().plus(-i64::try_from(age).unwrap_or(i64::MAX).saturating_add(1))
    }

    /// Returns the deployment's key for ids.
    #[must_use]
    pub fn id_key(&self) -> &IdKey {
        &self.memory.key
    }

    /// Returns this node's id, roles and description.
    pub fn this_node(&self) -> &ThisNode {
        &self.this_node
    }

    /// Returns what this node knows about the live nodes.
    pub fn live_nodes(&self) -> &LiveNodes {
        &self.live_nodes
    }

    /// Returns this node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.this_node.id
    }

    /// Returns where the slots are.
    #[must_use]
    pub fn layout(&self) -> SlotLayout {
        self.this_node.layout
    }

    /// Returns whether this node watches the slots that serve its requests. If all nodes reach the
    /// slots, only the leader watches them.
    pub(crate) fn watches_slots(&self) -> bool {
        self.layout().is_node_local() || self.control().leads()
    }

    /// Returns the engine's counters.
    #[must_use]
    pub fn meter(&self) -> &EngineMeter {
        &self.meter
    }

    /// Returns this node's memory of the requests that have an order.
    #[must_use]
    pub fn holders(&self) -> &RequestsWithOrders {
        &self.memory.holders
    }

    /// Returns the requests that wait for a verdict.
    #[must_use]
    pub fn waiters(&self) -> &VerdictWaiters {
        &self.memory.waiters
    }

    pub(crate) fn deliver_verdict(
        &self,
        ticket: Token,
        resolved: TicketVerdict,
    ) -> DeliveryOutcome {
        self.memory.deliver(ticket, resolved)
    }

    /// Returns the part that knows whether this node is stopping, and that tracks the node's tasks.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// Returns the outages that this node sees.
    pub fn outage_log(&self) -> &OutageLog {
        &self.outage_log
    }

    /// Returns the signals that wake the jobs.
    pub fn control(&self) -> &JobSignals {
        &self.memory.control
    }

    /// Returns the [`Turns`], with which the caller waits for each run of this kind of work. Each
    /// kind may have only one.
    pub fn turns(&self, work: Work) -> Turns<'_, impl Fn() -> Millis> {
        self.control().scheduler().turns(work, || self.store().monotonic_now())
    }

    pub(crate) fn wake_after(&self, pause: Duration, item: ItemId) {
        let memory = self.memory.clone();
        self.lifecycle.run_after(pause, move || memory.control.wake(item));
    }

    pub(crate) fn last_check(&self) -> &tokio::sync::Mutex<CatalogueCheck> {
        &self.memory.catalogue.last_check
    }

    /// Remembers that a request holds this order. Called when the node returns the order to its
    /// buyer. The buyer may repeat the request before this node has read the order's commit, and
    /// then the node finds the order here. Ignores an order whose item is not in the catalogue.
    pub(crate) fn remember_order(&self, order: &Order) {
        if self.catalogue().item_by_id(order.item).is_some() {
            self.memory.remember_order(order);
        }
    }

    /// Returns the buyer of a ticket that this node issued and that has no verdict yet, or `None`
    /// for any other ticket. A client can invent an id that contains the token of another buyer's
    /// ticket. So this function verifies that the whole id belongs to the ticket's buyer.
    #[must_use]
    pub fn waiting_buyer(&self, id: TicketId) -> Option<BuyerId> {
        let buyer = self.memory.waiters.info(id.parts()?.token)?.buyer;
        self.memory.key.open(&id, buyer.as_str()).map(|_| buyer)
    }

    /// Reads from the store which requests hold an order. Leaves out sales that ended long ago.
    pub(crate) async fn load_holders(&self) -> Result<(), EngineError> {
        let now = self.now();
        let items: Vec<ItemId> = {
            let catalogue = self.catalogue();
            let kept = catalogue
                .sales()
                .filter(|sale| !sale.is_long_over(now))
                .flat_map(|sale| &sale.items);
            kept.map(|item| item.row.id).collect()
        };
        let store = self.store();
        for item in items {
            for grant in store.grant_ids(item).await? {
                let mut after = None;
                loop {
                    let (page, next) = store.request_hashes_of(grant, after, HOLDERS_PAGE).await?;
                    page.iter().for_each(|&hash_half| self.memory.holders.insert(hash_half));
                    after = next;
                    if after.is_none() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads the counts of these items from the store, and publishes them. If a commit publishes an
    /// item's counts during the read, reads this item's counts again.
    pub(crate) async fn read_counts(&self, items: Vec<ItemId>) -> Result<(), EngineError> {
        let catalogue = self.catalogue().clone();
        let mut missing = items;
        while !missing.is_empty() {
            let seen: Vec<_> = missing
                .iter()
                .filter_map(|&id| {
                    catalogue.item_by_id(id).map(|item| (item.clone(), item.gauge.published()))
                })
                .collect();
            let counts = self.store().counts(Some(missing)).await?;
            missing = seen
                .iter()
                .filter(|(item, published)| {
                    let read = counts.iter().find(|counts| counts.item == item.row.id);
                    read.is_some_and(|counts| !item.gauge.publish_read(*counts, *published))
                })
                .map(|(item, _)| item.row.id)
                .collect();
        }
        Ok(())
    }
}
