//! Sales and items in node memory, which page views, status requests and purchases read instead of
//! the store.
//!
//! The catalogue is a value behind an `ArcSwap`: a read is one load, and a change swaps in a copy
//! with one new sale.
mod item;
mod leaving;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use doorbuster_api::admin::front_door::FrontDoor;
use doorbuster_api::gate::Room;
use doorbuster_core::{IdKey, ItemId, Millis, Phase};
use doorbuster_store::{ItemCounts, SaleRow};

use crate::answer_counts::AnswerCounts;
use crate::gate::waiting_room::Arrivals;
use crate::gate::{LimitRules, Route, SaleLimitState};
use crate::gauge::Gauge;
use crate::layout::Layout;
pub use item::{FeedMarks, ItemState, ItemWork, SlotUnits};
pub use leaving::LeavingSlots;

/// How long after its end a node remembers which requests hold a sale's orders.
const REMEMBERED_AFTER_END_MS: i64 = 86_400_000;

/// How many earlier versions of a row a cached status may have: pages that do not know of a change
/// yet request one of these.
const VERSIONS_SHARED: u64 = 4;

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
                if let Some(known) = known {
                    known.work.leaving.respread(&known.slots, &slots);
                }
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
