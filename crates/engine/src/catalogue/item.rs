//! An item in a node's memory: its row, its counts, its slots, and the state of this node's work on
//! it.
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
    /// The slots that serve this node's requests. Empty on a node that serves no buyers.
    pub slots: Box<[SlotKey]>,
    /// The state that stays when the row changes.
    pub work: Arc<ItemWork>,
}

/// The state of this node's work on an item. It stays when the item's row changes.
#[derive(Debug, Default)]
pub struct ItemWork {
    /// Locked while this node moves units between the pool and slots. The lock only avoids
    /// duplicate work: the store's rows decide whether a unit can move. Only
    /// `StockControl::lock_item` takes this lock.
    pub(crate) reconciling: tokio::sync::Mutex<()>,
    /// Whether a task already waits for the lock `reconciling`. That task handles all commits that
    /// are made before it gets the lock. So no second task has to wait.
    pub awaits_reconcile: AtomicBool,
    /// Locked while a task checks whether the item's slots need units of the pool.
    pub pool_check: tokio::sync::Mutex<()>,
    /// Whether a task already waits for the lock `pool_check`.
    pub awaits_pool_check: AtomicBool,
    /// Up to which row each slot has applied its feed.
    pub feed: FeedProgress,
    /// The parked requests of the item that need more units than the slots have.
    pub unit_demand: DemandQueue,
    /// The buyers who have reached the item's limit.
    pub at_limit: BuyersAtLimit,
    /// The item's open grants, as this node last read them. A request that waits for a verdict uses
    /// them to detect that its ticket's grant was closed.
    pub open_grants: OpenGrants,
    /// Slots that the spread no longer uses, but that may still have tickets or units.
    pub leaving: LeavingSlots,
    /// The units that the last reconciliation found in each of the item's slots.
    pub slot_units: ArcSwap<SlotUnits>,
    /// Whether this node stopped the item's slots for a drain. If so, this node must start the
    /// slots again.
    pub stopped_here: AtomicBool,
    /// This node takes no units from the pool before this time of the store's clock, in
    /// milliseconds. The node sets the time when it returns units for another node, so that it does
    /// not take them back.
    pub pool_rests_until: AtomicI64,
    /// The state of the item's own waiting room. Used if each item of the sale has its own room and
    /// the rooms open automatically.
    pub room: RoomRuntime,
    /// A counter that selects the next slot, if requests use the slots in turn (`RoundRobin`).
    pub turn: AtomicU64,
}

impl ItemState {
    /// Returns the slot that this request tries first, or `None` if this node has no slot of the
    /// item. The item's spread decides which requests try the same slot first:
    /// - `Buyer`: all requests of one buyer
    /// - `Random`: all repetitions of one request
    /// - `RoundRobin`: each request tries the next slot in turn
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
        // The registry is from the last reconciliation. If the spread has changed since then, the
        // registry may list partitions that no longer exist.
        let registry = slot_units.registry.within(slots as u32);
        let listed = partition::first_try(spread, registry, hash, number);
        let at = listed.unwrap_or_else(|| partition::home(spread, hash, number));
        self.slots.get(at as usize).copied()
    }

    /// Returns every slot of the item that this node can reach, beginning with [`partition::home`].
    /// Slots that are leaving the spread come last.
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

    /// A request tries one slot first. Returns whether other slots may also have units or tickets
    /// of the item.
    #[must_use]
    pub fn has_other_slots(&self, layout: SlotLayout) -> bool {
        layout.has_other_slots(self.slots.len()) || !self.work.leaving.is_empty()
    }

    /// Returns the slot for a second attempt, after the slot `first` could not serve the request.
    /// Returns `None` if no other slot had enough units at the last reconciliation.
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

/// What the last reconciliation found about an item's slots.
#[derive(Clone, Debug, Default)]
pub struct SlotUnits {
    /// The slots that have units or may get units.
    pub registry: AvailablePartitions,
    /// For each slot, the units for which the slot can issue tickets. The list has the order of the
    /// item's slots.
    pub units: Vec<u64>,
}

/// For each slot, the number of ended orders that the slot has processed. When an order ends, the
/// slots must subtract its units from the buyer's quota. A slot that has not yet subtracted them
/// may refuse a buyer who is no longer at the limit.
#[derive(Debug, Default)]
pub struct FeedProgress {
    ended_orders: AtomicU64,
    applied: Mutex<HashMap<SlotKey, u64>>,
}

impl FeedProgress {
    /// Counts an ended order. The caller must call this function after the released quota is in the
    /// item's feeds.
    pub fn record_ended_order(&self) {
        self.ended_orders.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns the number of ended orders so far. The caller must read this number before it reads
    /// the feed, so that the feed has the released quota of all these orders.
    #[must_use]
    pub fn ended_orders(&self) -> u64 {
        self.ended_orders.load(Ordering::Acquire)
    }

    /// Records that the slot has applied a feed. The feed was read after `ended_orders` orders had
    /// ended.
    pub fn record_applied(&self, slot: SlotKey, ended_orders: u64) {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let at = applied.entry(slot).or_default();
        *at = ended_orders.max(*at);
    }

    /// Returns whether the slot's quotas may still include one of the first `ended_orders` ended
    /// orders.
    #[must_use]
    pub fn is_behind(&self, slot: SlotKey, ended_orders: u64) -> bool {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        applied.get(&slot).copied().unwrap_or(0) < ended_orders
    }
}
