//! An item in node memory: its row, its counts, its slots, and the node's work on it.
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use doorbuster_core::partition::{self, Registry};
use doorbuster_core::respread;
use doorbuster_core::slot::TicketRequest;
use doorbuster_core::{PartitionChoice, SlotKey, Spread};
use doorbuster_store::ItemRow;

use super::LeavingSlots;
use crate::at_limit::AtLimit;
use crate::gauge::Gauge;
use crate::layout::Layout;
use crate::purchase::OpenGrants;
use crate::unit_demand::DemandQueue;

/// An item as purchase requests use it.
#[derive(Debug)]
pub struct ItemState {
    /// Its sale.
    pub sale: Arc<str>,
    /// The item's row.
    pub row: ItemRow,
    /// Its counts.
    pub gauge: Arc<Gauge>,
    /// The slots that serve this node's requests; none on a node that serves no buyers.
    pub slots: Box<[SlotKey]>,
    /// The state that survives a change of the row.
    pub work: Arc<ItemWork>,
}

/// A node's state of an item beside its row and its counts.
#[derive(Debug, Default)]
pub struct ItemWork {
    /// Held while units move between pool and slots. It saves work; safety depends on the store's
    /// rows.
    pub reconciling: tokio::sync::Mutex<()>,
    /// A task already waits for `reconciling` and will see every commit until then, so another one
    /// is not needed.
    pub awaits_reconcile: AtomicBool,
    /// Whether a slot is behind its feed in the store.
    pub feed: FeedMarks,
    /// The units that its parked requests lack.
    pub unit_demand: DemandQueue,
    /// Buyers who hold as much as the limit allows.
    pub at_limit: AtLimit,
    /// The open grants, as last read for requests that wait for a verdict.
    pub open_grants: Mutex<OpenGrants>,
    /// Held while the open grants are read.
    pub reading_grants: tokio::sync::Mutex<()>,
    /// Its slots that left the spread and may still have tickets or units.
    pub leaving: LeavingSlots,
    /// The units of its slots, as last seen.
    pub slot_units: ArcSwap<SlotUnits>,
    /// Whether this node stopped the item's slots for a drain, and so lets them go on.
    pub stopped_here: AtomicBool,
    /// Until this time (store time) this node takes nothing from the item's pool, because it gave
    /// units to the pool for another node.
    pub pool_rests_until: AtomicI64,
    /// The next slot, for items whose requests take slots in turn.
    pub turn: AtomicU64,
}

impl ItemState {
    /// The slot that is tried first for this request. `None`: this node has no slot for it.
    ///
    /// A request that the same buyer repeats, or one with the same key, goes to the same slot,
    /// unless requests take slots in turn.
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
        // The registry may be older than the spread.
        let registry = slot_units.registry.within(slots as u32);
        let listed = partition::first_try(spread, registry, hash, number);
        let at = listed.unwrap_or_else(|| partition::home(spread, hash, number));
        self.slots.get(at as usize).copied()
    }

    /// Every slot that this node reaches, the request's own first, and those that are leaving the
    /// spread last. A request tries them all before it is refused after parking.
    #[must_use]
    pub fn every_slot(&self, request: &TicketRequest) -> Vec<SlotKey> {
        let spread = Spread { partitions: self.slots.len() as u32, ..self.row.spread };
        let tries =
            partition::last_tries(&spread, request.buyer_hash, request.request.low_64_bits());
        let own = tries.filter_map(|at| self.slots.get(at as usize).copied());
        let leaving = self.work.leaving.list();
        own.chain(respread::last_tries(&leaving).iter().copied()).collect()
    }

    /// The slots of the spread and those that are leaving it.
    #[must_use]
    pub fn reached_slots(&self) -> Vec<SlotKey> {
        self.slots.iter().copied().chain(self.work.leaving.list()).collect()
    }

    /// Whether the item can have units or tickets in a slot other than the request's own.
    #[must_use]
    pub fn has_other_slots(&self, layout: Layout) -> bool {
        layout.has_other_slots(self.slots.len()) || !self.work.leaving.is_empty()
    }

    /// The slot for a second try, after `first` could not serve the request. `None`: no slot was
    /// seen with enough units.
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

/// An item's slots at the last reconciliation, in their order.
#[derive(Clone, Debug, Default)]
pub struct SlotUnits {
    /// The slots that have units or may get some.
    pub registry: Registry,
    /// The units that each slot can hand out.
    pub units: Vec<u64>,
}

/// How many of the known ended orders have reached each slot. Until all have, a slot's answer about
/// a buyer's limit may be stale.
#[derive(Debug, Default)]
pub struct FeedMarks {
    endings: AtomicU64,
    /// One number for each of the item's slots.
    applied: Mutex<HashMap<SlotKey, u64>>,
}

impl FeedMarks {
    /// Counts an ended order, whose released quota is in the feed.
    pub fn record_ending(&self) {
        self.endings.fetch_add(1, Ordering::AcqRel);
    }

    /// The ended orders so far. Read this before the feed.
    #[must_use]
    pub fn endings(&self) -> u64 {
        self.endings.load(Ordering::Acquire)
    }

    /// The slot has applied a feed that was read after `endings`.
    pub fn apply(&self, slot: SlotKey, endings: u64) {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let at = applied.entry(slot).or_default();
        *at = endings.max(*at);
    }

    /// Whether the slot may miss one of the first `endings` ended orders.
    #[must_use]
    pub fn is_behind(&self, slot: SlotKey, endings: u64) -> bool {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        applied.get(&slot).copied().unwrap_or(0) < endings
    }
}
