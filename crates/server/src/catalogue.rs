//! Sales and items in node memory: what a page view, a status request or a purchase reads instead
//! of the store.
//!
//! The catalogue is a value behind an `ArcSwap`: a read is one load, a change swaps in a copy in
//! which one sale is new.
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

use crate::at_limit::AtLimit;
use crate::gate::waiting_room::Arrivals;
use crate::gate::{LimitRules, Route, SaleLimitState};
use crate::gauge::Gauge;
use crate::layout::Layout;
use crate::purchase::OpenGrants;
use crate::tally::Tally;
use crate::wants::Wants;

/// How long after its end a node remembers who holds a sale's orders.
const REMEMBERED_AFTER_END_MS: i64 = 86_400_000;

/// Versions of a row before the present one under which caches may keep a status: pages that have
/// not heard of a change ask for one of these.
const VERSIONS_SHARED: u64 = 4;

/// An item, as buyers' requests see it.
#[derive(Debug)]
pub struct ItemState {
    /// Its sale.
    pub sale: Arc<str>,
    /// What the shop wrote.
    pub row: ItemRow,
    /// Its counts.
    pub gauge: Arc<Gauge>,
    /// The slots that its requests are put to on this node; none on a node that serves no buyers.
    pub slots: Box<[SlotKey]>,
    /// What outlives a change of its row.
    pub work: Arc<ItemWork>,
}

/// What a node keeps of an item beside its row and its counts.
#[derive(Debug, Default)]
pub struct ItemWork {
    /// Held by whoever moves the item's units between pool and slots. Saves work; safety rests on
    /// the store's rows.
    pub tending: tokio::sync::Mutex<()>,
    /// Some task waits for that already, and will see whatever was committed by then: one is
    /// enough.
    pub awaits_tending: AtomicBool,
    /// Whether a slot is behind what the truth has for it.
    pub feed: FeedMarks,
    /// What its parked requests wait for.
    pub wants: Wants,
    /// Buyers who hold as much as the limit allows.
    pub at_limit: AtLimit,
    /// Its open grants, as last read for whoever waits for a verdict.
    pub open_grants: Mutex<OpenGrants>,
    /// Held by whoever reads them.
    pub reading: tokio::sync::Mutex<()>,
    /// Its slots, as last seen.
    pub seen: ArcSwap<Seen>,
    /// Whether this node stopped the item's slots for a drain, and so lets them go on.
    pub stopped_here: AtomicBool,
    /// Until when (store time) this node takes nothing out of the item's pool: it gave units to the
    /// pool because somebody needs them there.
    pub rests_until: AtomicI64,
    /// The next slot in turn, for items whose requests take turns.
    pub turn: AtomicU64,
}

impl ItemState {
    /// The slot that this request is put to first; `None`: this node has none for it.
    ///
    /// A request that is sent again by the same buyer, or under the same key, comes to the same
    /// slot, unless requests take turns.
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
        let seen = self.work.seen.load();
        let listed = partition::first_try(spread, seen.registry, hash, number);
        let at = listed.unwrap_or_else(|| partition::home(spread, hash, number));
        self.slots.get(at as usize).copied()
    }

    /// Every slot that this node reaches, the request's own first: where it is put before it is
    /// refused for having been parked as long as it may be.
    pub fn every_slot(&self, request: &TicketRequest) -> impl Iterator<Item = SlotKey> {
        let spread = Spread { partitions: self.slots.len() as u32, ..self.row.spread };
        let tries =
            partition::last_tries(&spread, request.buyer_hash, request.request.low_64_bits());
        tries.filter_map(|at| self.slots.get(at as usize).copied())
    }

    /// The slot for a second try, after `first` could not serve; `None`: none was seen with enough.
    #[must_use]
    pub fn elsewhere(&self, first: SlotKey, request: &TicketRequest) -> Option<SlotKey> {
        if self.slots.len() <= 1 {
            return None;
        }
        let seen = self.work.seen.load();
        let units = |at: u32| seen.units.get(at as usize).copied().unwrap_or(0);
        let at = partition::second_try(seen.registry, first.index, request.units, units)?;
        self.slots.get(at as usize).copied()
    }
}

/// An item's slots as they were when it was last tended, in their order.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Those that have units, or may get some.
    pub registry: Registry,
    /// Units that each can hand out.
    pub units: Vec<u64>,
}

/// Which of the endings of orders that a node was told of have reached each slot. Until they have,
/// what the slot says of a buyer's limit may be old.
#[derive(Debug, Default)]
pub struct FeedMarks {
    told: AtomicU64,
    /// One for each of the item's slots.
    applied: Mutex<HashMap<SlotKey, u64>>,
}

impl FeedMarks {
    /// An order ended: its share of the limit is in the feed.
    pub fn tell(&self) {
        self.told.fetch_add(1, Ordering::AcqRel);
    }

    /// The endings told so far. Read before the feed is read.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::Acquire)
    }

    /// The slot has applied a feed that was read after `told` was.
    pub fn apply(&self, slot: SlotKey, told: u64) {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let at = applied.entry(slot).or_default();
        *at = told.max(*at);
    }

    /// Whether the slot may have something to learn of the first `told` endings.
    #[must_use]
    pub fn is_behind(&self, slot: SlotKey, told: u64) -> bool {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        applied.get(&slot).copied().unwrap_or(0) < told
    }
}

/// What outlives a change of a sale's row.
#[derive(Debug, Default)]
pub struct SaleFlags {
    /// A pause or close is waiting for what is in flight: buyers get 503.
    pub draining: AtomicBool,
    /// Held by whoever changes the sale: one operator, or the clock.
    pub operating: tokio::sync::Mutex<()>,
    /// Counts answers.
    pub tally: Tally,
    /// What everybody together asked for, and what was too much.
    pub limits: SaleLimitState,
    /// Who came to a waiting room that opens by itself, or past it.
    pub arrivals: Arrivals,
    /// Until when the waiting room is open that opens by itself, as of the last look at it.
    pub held_until: AtomicI64,
    /// Number of the last status event.
    pub status_seq: AtomicU64,
}

/// A sale with its items.
#[derive(Debug)]
pub struct SaleState {
    /// What the shop wrote, and the phase.
    pub row: SaleRow,
    /// What it asks of its buyers, read from the row.
    pub door: FrontDoor,
    /// How often it may be asked, as the door says.
    pub(crate) limits: LimitRules,
    /// The same of its challenges, which have a limit of their own besides.
    challenge_limits: LimitRules,
    checkout_limits: LimitRules,
    /// Its items, in the shop's order.
    pub items: Vec<Arc<ItemState>>,
    /// Changes whenever the row does: the parameter under which the status is cached. Not guessable
    /// before.
    pub state_version: u64,
    /// What outlives the row.
    pub flags: Arc<SaleFlags>,
}

impl SaleState {
    /// How often this may be asked.
    pub(crate) fn limits_of(&self, route: Route) -> &LimitRules {
        match route {
            Route::Challenge => &self.challenge_limits,
            Route::Checkout => &self.checkout_limits,
            Route::Purchase | Route::Pass | Route::Room => &self.limits,
        }
    }

    /// Whether its waiting room opened by itself, and is open.
    #[must_use]
    pub fn is_held(&self, now: Millis) -> bool {
        self.door.waiting_room == Room::Auto
            && now.0 < self.flags.held_until.load(Ordering::Relaxed)
    }

    /// Whether its waiting room is open: whoever was not called in has to wait.
    #[must_use]
    pub fn has_open_room(&self, now: Millis) -> bool {
        self.door.waiting_room == Room::Always || self.is_held(now)
    }

    /// What the status is called under which pages ask for it.
    #[must_use]
    pub fn version(&self) -> String {
        version(self.state_version)
    }

    /// Whether the status is called so, or was before one of the last few changes.
    #[must_use]
    pub fn has_been(&self, called: &str, key: &IdKey) -> bool {
        let earlier =
            || (self.row.version.saturating_sub(VERSIONS_SHARED)..=self.row.version).rev();
        let of = |row: u64| {
            Phase::ALL.iter().map(move |phase| state_version(key, &self.row.id, row, *phase))
        };
        called.len() == VERSION_DIGITS
            && (called == self.version()
                || earlier().flat_map(of).any(|state| called == version(state)))
    }

    /// The item of this name.
    #[must_use]
    pub fn item(&self, name: &str) -> Option<&Arc<ItemState>> {
        self.items.iter().find(|i| i.row.name == name)
    }

    /// Whether a pause or close waits for what is in flight.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.flags.draining.load(Ordering::Acquire)
    }

    /// Whether it ended so long ago that this node need not remember who holds its orders: the
    /// store is asked instead.
    #[must_use]
    pub fn is_long_over(&self, now: Millis) -> bool {
        self.row.phase == Phase::Closed
            && self.row.closed_at.is_none_or(|at| at.plus(REMEMBERED_AFTER_END_MS) <= now)
    }

    /// Whether its slots hold units: from its announcement to its close, but for its pauses.
    #[must_use]
    pub fn is_warm(&self) -> bool {
        matches!(self.row.phase, Phase::Scheduled | Phase::Open)
    }
}

/// Digits of a status's version.
const VERSION_DIGITS: usize = 13;

/// A number for a sale whose row has this version and phase, which nobody can know before.
fn state_version(key: &IdKey, id: &str, row: u64, phase: Phase) -> u64 {
    key.request_hash(id, &format!("{row} {}", phase.as_str())).low_64_bits()
}

fn version(state: u64) -> String {
    format!("{:0VERSION_DIGITS$x}", state >> 12)
}

/// The front door that a row keeps. One that cannot be read is shut: better no sale than one
/// without its checks.
#[must_use]
pub fn door(row: &SaleRow) -> FrontDoor {
    FrontDoor::parse(&row.front_door).unwrap_or_else(|| {
        tracing::error!(
            sale = row.id,
            "the front door of this sale cannot be read, and lets nobody in"
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
    /// The sale of this id.
    #[must_use]
    pub fn sale(&self, id: &str) -> Option<&Arc<SaleState>> {
        self.sales.get(id)
    }

    /// A number that is another one after each change of a sale's row, the same on all nodes.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.sales
            .values()
            .fold(self.sales.len() as u64, |mark, sale| mark.wrapping_add(sale.state_version))
    }

    /// Every sale, in no order.
    pub fn sales(&self) -> impl Iterator<Item = &Arc<SaleState>> {
        self.sales.values()
    }

    /// The item of this number.
    #[must_use]
    pub fn item_of(&self, item: ItemId) -> Option<&Arc<ItemState>> {
        self.items.get(&item)
    }

    /// Takes in a new or changed sale. Gauges and flags of items and sales known before go on;
    /// `counts` are for new ones.
    pub fn put(&mut self, row: SaleRow, counts: &[ItemCounts], key: &IdKey, layout: Layout) {
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
        let door = door(&row);
        let (limits, challenge_limits) =
            (LimitRules::new(&door.limits), LimitRules::for_challenges(&door.limits));
        let checkout_limits = LimitRules::for_checkouts(&door.limits);
        let sale = SaleState {
            door,
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

    /// Forgets a deleted sale.
    pub fn remove(&mut self, id: &str) {
        if let Some(sale) = self.sales.remove(id) {
            for item in &sale.items {
                self.items.remove(&item.row.id);
            }
        }
    }
}
