//! An item in node memory: its row, its counts, its slots, and this node's work on it.
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use doorbuster_core::partition::{self, AvailablePartitions};
use doorbuster_core::respread;
use doorbuster_core::slot::TicketRequest;
use doorbuster_core::{PartitionChoice, SlotKey, Spread};
use doorbuster_store::ItemRow;

use super::LeavingSlots;
use crate::buyers_at_limit::BuyersAtLimit;
use crate::item_gauge::ItemGauge;
use crate::open_grants::OpenGrants;
use crate::sale_room::RoomRuntime;
use crate::slot_layout::SlotLayout;
use crate::unit_demand::DemandQueue;

/// An item as purchase requests use it.
#[derive(Debug)]
pub struct ItemState {
    /// The item's sale.
    pub sale: Arc<str>,
    /// The item's row.
    pub row: ItemRow,
    /// The item's counts.
    pub gauge: Arc<ItemGauge>,
    /// The slots that serve this node's requests. The list is empty on a node that serves no
    /// buyers.
    pub slots: Box<[SlotKey]>,
    /// The state that survives a change of the row.
    pub work: Arc<ItemWork>,
}

/// This node's state of an item, apart from the item's row and counts.
#[derive(Debug, Default)]
pub struct ItemWork {
    /// Locked while units move between the pool and slots. The lock only avoids duplicate work. The
    /// store's rows decide about units. Only `StockControl::lock_item` takes the lock. Two parts
    /// outside stock control call that function: the change of a spread, and late payments.
    pub(crate) reconciling: tokio::sync::Mutex<()>,
    /// Whether a task already waits for the lock `reconciling`. When that task gets the lock, it
    /// handles all earlier commits. So no second task has to wait.
    pub awaits_reconcile: AtomicBool,
    /// Locked while a task asks the item's slots whether they need units of the pool.
    pub pool_check: tokio::sync::Mutex<()>,
    /// Whether a task already waits for the lock `pool_check`.
    pub awaits_pool_check: AtomicBool,
    /// How far each slot has applied its feed from the store.
    pub feed: FeedProgress,
    /// The units that the item's parked requests lack. A parked request waits in this node for
    /// units.
    pub unit_demand: DemandQueue,
    /// Buyers who have reached the limit.
    pub at_limit: BuyersAtLimit,
    /// The item's open grants, as this node last read them from the store. A request that waits for
    /// a verdict checks here whether its ticket's grant is still open.
    pub open_grants: OpenGrants,
    /// The item's slots that the spread no longer uses, but that may still have tickets or units.
    pub leaving: LeavingSlots,
    /// The units of the item's slots at the last reconciliation.
    pub slot_units: ArcSwap<SlotUnits>,
    /// Whether this node stopped the item's slots for a drain. If so, this node must start the
    /// slots again.
    pub stopped_here: AtomicBool,
    /// Until this time of the store's clock, in milliseconds, this node takes no units from the
    /// item's pool. The node sets this field when it gives units to the pool for another node.
    pub pool_rests_until: AtomicI64,
    /// The state of the item's own waiting room. It is used only if the room opens automatically
    /// and each item has a room.
    pub room: RoomRuntime,
    /// The number of the next slot, if the spread uses the slots in turn.
    pub turn: AtomicU64,
}

impl ItemState {
    /// Returns the slot that this request tries first. `None` means that this node has no slot for
    /// the request.
    ///
    /// The item's spread says which requests go to the same slot: with `Buyer`, all requests of one
    /// buyer, and with `Random`, all repetitions of one request. With `RoundRobin`, the requests
    /// use the slots in turn.
    #[must_use]
    pub fn home(&self, request: &TicketRequest) -> Option<SlotKey> {
        let slots = self.slots.len();
        if slots <= 1 {
            return self.slots.first().copied();
        }
        let number = match self.row.spread.choose {
            PartitionChoice::Buyer => 0,
            PartitionChoice::Random => request.request.low_64_bits(),
            PartitionChoice::RoundRobin => self.work.turn.fetch_add(1, Ordering::Relaxed),
        };
        let (spread, hash) = (&self.row.spread, request.buyer_hash);
        let slot_units = self.work.slot_units.load();
        // The registry may be older than the spread, so it may list partitions that do not exist
        // any more.
        let registry = slot_units.registry.within(slots as u32);
        let listed = partition::first_try(spread, registry, hash, number);
        let at = listed.unwrap_or_else(|| partition::home(spread, hash, number));
        self.slots.get(at as usize).copied()
    }

    /// Returns every slot of the item that this node reaches. The slot that [`partition::home`]
    /// chooses for the request comes first, and slots that are leaving the spread come last. The
    /// node tries all these slots before it refuses a parked request.
    #[must_use]
    pub fn every_slot(&self, request: &TicketRequest) -> Vec<SlotKey> {
        let spread = Spread { partitions: self.slots.len() as u32, ..self.row.spread };
        let tries =
            partition::last_tries(&spread, request.buyer_hash, request.request.low_64_bits());
        let own = tries.filter_map(|at| self.slots.get(at as usize).copied());
        let leaving = self.work.leaving.list();
        own.chain(respread::last_tries(&leaving).iter().copied()).collect()
    }

    /// Returns the slots of the item's spread and the slots that are leaving the spread.
    #[must_use]
    pub fn reached_slots(&self) -> Vec<SlotKey> {
        self.slots.iter().copied().chain(self.work.leaving.list()).collect()
    }

    /// Returns whether units or tickets of the item can be in a slot other than the slot that a
    /// request tries first.
    #[must_use]
    pub fn has_other_slots(&self, layout: SlotLayout) -> bool {
        layout.has_other_slots(self.slots.len()) || !self.work.leaving.is_empty()
    }

    /// Returns the slot for a second attempt after `first` could not serve the request. `None`
    /// means that no other slot had enough units at the last reconciliation.
    #[must_use]
    pub fn second_slot(&self, first: SlotKey, request: &TicketRequest) -> Option<SlotKey> {
        if self.slots.len() <= 1 {
            return None;
        }
        let slot_units = self.work.slot_units.load();
        let units = |at: u32| slot_units.units.get(at as usize).copied().unwrap_or(0);
        let registry = slot_units.registry.within(self.slots.len() as u32);
        let at = partition::second_try(registry, first.index, request.units, units)?;
        self.slots.get(at as usize).copied()
    }
}

/// The state of an item's slots at the last reconciliation, in the order of the slots.
#[derive(Clone, Debug, Default)]
pub struct SlotUnits {
    /// The slots that have units or may get units.
    pub registry: AvailablePartitions,
    /// The units that each slot can issue tickets for.
    pub units: Vec<u64>,
}

/// Shows for each slot which ended orders the slot has already subtracted from its buyers' quotas.
/// Until a slot has subtracted all ended orders, its answer about a buyer's limit may be out of
/// date.
#[derive(Debug, Default)]
pub struct FeedProgress {
    ended_orders: AtomicU64,
    /// For each slot, the number of ended orders whose released quota the slot has applied.
    applied: Mutex<HashMap<SlotKey, u64>>,
}

impl FeedProgress {
    /// Counts an ended order. The item's feeds already contain the quota that the order released.
    pub fn record_ended_order(&self) {
        self.ended_orders.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns the number of ended orders so far. The caller must read this number before it reads
    /// the feed.
    #[must_use]
    pub fn ended_orders(&self) -> u64 {
        self.ended_orders.load(Ordering::Acquire)
    }

    /// Records that the slot has applied a feed that was read after `ended_orders` orders had
    /// ended.
    pub fn record_applied(&self, slot: SlotKey, ended_orders: u64) {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let at = applied.entry(slot).or_default();
        *at = ended_orders.max(*at);
    }

    /// Returns whether the slot may still count one of the first `ended_orders` ended orders in a
    /// quota.
    #[must_use]
    pub fn is_behind(&self, slot: SlotKey, ended_orders: u64) -> bool {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        applied.get(&slot).copied().unwrap_or(0) < ended_orders
    }
}
