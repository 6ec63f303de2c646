//! Sales and items in node memory, which page views, status requests and purchases read instead of
//! the store.
//!
//! The catalogue is a value behind an `ArcSwap`: a read is one load, and a change swaps in a copy
//! with one new sale.
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use doorbuster_api::admin::front_door::FrontDoor;
use doorbuster_api::gate::Room;
use doorbuster_core::partition::{self, Registry};
use doorbuster_core::slot::TicketRequest;
use doorbuster_core::{IdKey, ItemId, Millis, PartitionChoice, Phase, SlotKey, Spread};
use doorbuster_store::{ItemCounts, ItemRow, SaleRow};

use crate::answer_counts::AnswerCounts;
use crate::at_limit::AtLimit;
use crate::gate::waiting_room::Arrivals;
use crate::gate::{LimitRules, Route, SaleLimitState};
use crate::gauge::Gauge;
use crate::layout::Layout;
use crate::purchase::OpenGrants;
use crate::unit_demand::DemandQueue;

/// How long after its end a node remembers which requests hold a sale's orders.
const REMEMBERED_AFTER_END_MS: i64 = 86_400_000;

/// How many earlier versions of a row a cached status may have: pages that do not know of a change
/// yet request one of these.
const VERSIONS_SHARED: u64 = 4;

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
        let listed = partition::first_try(spread, slot_units.registry, hash, number);
        let at = listed.unwrap_or_else(|| partition::home(spread, hash, number));
        self.slots.get(at as usize).copied()
    }

    /// Every slot that this node reaches, the request's own first. A request tries them all before
    /// it is refused after parking.
    pub fn every_slot(&self, request: &TicketRequest) -> impl Iterator<Item = SlotKey> {
        let spread = Spread { partitions: self.slots.len() as u32, ..self.row.spread };
        let tries =
            partition::last_tries(&spread, request.buyer_hash, request.request.low_64_bits());
        tries.filter_map(|at| self.slots.get(at as usize).copied())
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
        let at = partition::second_try(slot_units.registry, first.index, request.units, units)?;
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

/// The state that survives a change of a sale's row.
#[derive(Debug, Default)]
pub struct SaleFlags {
    /// A pause or close waits for tickets in flight. Buyers get 503.
    pub draining: AtomicBool,
    /// Held while an operator or the clock changes the sale.
    pub sale_lock: tokio::sync::Mutex<()>,
    /// The answers to buyers, by kind.
    pub answer_counts: AnswerCounts,
    /// The rate of all buyers together, and what exceeded it.
    pub limits: SaleLimitState,
    /// The arrivals that decide whether an automatic waiting room opens.
    pub arrivals: Arrivals,
    /// The end of the time in which the automatic waiting room is open, as of the last check.
    pub room_open_until: AtomicI64,
    /// The number of the last status event.
    pub status_seq: AtomicU64,
}

/// A sale with its items.
#[derive(Debug)]
pub struct SaleState {
    /// The sale's row with its phase.
    pub row: SaleRow,
    /// The front door, parsed from the row.
    pub front_door: FrontDoor,
    /// The request limits of the front door.
    pub(crate) limits: LimitRules,
    /// The same for challenges and checkouts, which have limits of their own as well.
    challenge_limits: LimitRules,
    checkout_limits: LimitRules,
    /// Its items, in the shop's order.
    pub items: Vec<Arc<ItemState>>,
    /// Changes whenever the row does. The status is cached under it. It cannot be guessed in
    /// advance.
    pub state_version: u64,
    /// The state that survives a change of the row.
    pub flags: Arc<SaleFlags>,
}

impl SaleState {
    /// The limits of this route.
    pub(crate) fn limits_of(&self, route: Route) -> &LimitRules {
        match route {
            Route::Challenge => &self.challenge_limits,
            Route::Checkout => &self.checkout_limits,
            Route::Purchase | Route::Pass | Route::Room => &self.limits,
        }
    }

    /// Whether the automatic waiting room is open.
    #[must_use]
    pub fn is_held(&self, now: Millis) -> bool {
        self.front_door.waiting_room == Room::Auto
            && now.0 < self.flags.room_open_until.load(Ordering::Relaxed)
    }

    /// Whether a waiting room is open: visitors who were not admitted have to wait.
    #[must_use]
    pub fn has_open_room(&self, now: Millis) -> bool {
        self.front_door.waiting_room == Room::Always || self.is_held(now)
    }

    /// The version under which pages request the status.
    #[must_use]
    pub fn version(&self) -> String {
        version(self.state_version)
    }

    /// Whether this is the status's version or one of the last few.
    #[must_use]
    pub fn had_version(&self, called: &str, key: &IdKey) -> bool {
        let earlier =
            || (self.row.version.saturating_sub(VERSIONS_SHARED)..=self.row.version).rev();
        let states = |row: u64| {
            Phase::ALL.iter().map(move |phase| state_version(key, &self.row.id, row, *phase))
        };
        called.len() == VERSION_DIGITS
            && (called == self.version()
                || earlier().flat_map(states).any(|state| called == version(state)))
    }

    /// The item with this name.
    #[must_use]
    pub fn item(&self, name: &str) -> Option<&Arc<ItemState>> {
        self.items.iter().find(|i| i.row.name == name)
    }

    /// Whether a pause or close waits for tickets in flight.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.flags.draining.load(Ordering::Acquire)
    }

    /// Whether the sale ended so long ago that this node does not remember which requests hold its
    /// orders. The store is asked instead.
    #[must_use]
    pub fn is_long_over(&self, now: Millis) -> bool {
        self.row.phase == Phase::Closed
            && self.row.closed_at.is_none_or(|at| at.plus(REMEMBERED_AFTER_END_MS) <= now)
    }

    /// Whether its slots hold units: from its scheduling to its close, except while it is paused.
    #[must_use]
    pub fn is_warm(&self) -> bool {
        matches!(self.row.phase, Phase::Scheduled | Phase::Open)
    }
}

/// Digits of a status's version.
const VERSION_DIGITS: usize = 13;

/// The version number of a sale with this row version and phase. It cannot be guessed in advance.
fn state_version(key: &IdKey, id: &str, row: u64, phase: Phase) -> u64 {
    key.request_hash(id, &format!("{row} {}", phase.as_str())).low_64_bits()
}

fn version(state: u64) -> String {
    format!("{:0VERSION_DIGITS$x}", state >> 12)
}

/// The front door of a row. One that cannot be parsed counts as closed: no sale is better than a
/// sale without its checks.
#[must_use]
pub fn front_door(row: &SaleRow) -> FrontDoor {
    FrontDoor::parse(&row.front_door).unwrap_or_else(|| {
        tracing::error!(
            sale = row.id,
            event = "sale.front_door_invalid",
            "the sale's front door cannot be parsed; all buyers are refused"
        );
        FrontDoor::CLOSED_DOOR
    })
}

/// Every sale of this deployment.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    sales: HashMap<Arc<str>, Arc<SaleState>>,
    items: HashMap<ItemId, Arc<ItemState>>,
}

impl Catalogue {
    /// The sale with this id.
    #[must_use]
    pub fn sale(&self, id: &str) -> Option<&Arc<SaleState>> {
        self.sales.get(id)
    }

    /// A number that changes with every sale's row and is the same on all nodes.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.sales
            .values()
            .fold(self.sales.len() as u64, |mark, sale| mark.wrapping_add(sale.state_version))
    }

    /// Every sale, in no order.
    pub fn sales(&self) -> impl Iterator<Item = &Arc<SaleState>> {
        self.sales.values()
    }

    /// The item with this id.
    #[must_use]
    pub fn item_by_id(&self, item: ItemId) -> Option<&Arc<ItemState>> {
        self.items.get(&item)
    }

    /// Puts a new or changed sale. Known items and sales keep their gauges and flags; `counts` are
    /// for new items.
    pub fn put_sale(&mut self, row: SaleRow, counts: &[ItemCounts], key: &IdKey, layout: Layout) {
        let id: Arc<str> = row.id.as_str().into();
        let before = self.sales.get(&id).cloned();
        let flags = before.map_or_else(Arc::default, |b| b.flags.clone());
        let items: Vec<_> = row
            .items
            .iter()
            .filter_map(|item| {
                let known = self.items.get(&item.id);
                let gauge = match known {
                    Some(known) => known.gauge.clone(),
                    None => Arc::new(Gauge::new(*counts.iter().find(|c| c.item == item.id)?)),
                };
                let work = known.map(|k| k.work.clone()).unwrap_or_default();
                let slots = layout.slots(item.id, &item.spread);
                Some(Arc::new(ItemState {
                    sale: id.clone(),
                    row: item.clone(),
                    gauge,
                    slots,
                    work,
                }))
            })
            .collect();
        for item in &items {
            self.items.insert(item.row.id, item.clone());
        }
        let state_version = state_version(key, &id, row.version, row.phase);
        let door = front_door(&row);
        let (limits, challenge_limits) =
            (LimitRules::new(&door.limits), LimitRules::for_challenges(&door.limits));
        let checkout_limits = LimitRules::for_checkouts(&door.limits);
        let sale = SaleState {
            front_door: door,
            limits,
            challenge_limits,
            checkout_limits,
            row,
            items,
            state_version,
            flags,
        };
        self.sales.insert(id, Arc::new(sale));
    }

    /// Removes a deleted sale.
    pub fn remove(&mut self, id: &str) {
        if let Some(sale) = self.sales.remove(id) {
            for item in &sale.items {
                self.items.remove(&item.row.id);
            }
        }
    }
}
