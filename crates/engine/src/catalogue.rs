//! All sales and items in a node's memory. A reader needs one atomic load and no lock. Each change
//! is made in a copy of the catalogue, and this copy then replaces the catalogue.
mod item;
mod leaving;
mod removed;
mod shared;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use doorbuster_api::admin::front_door::FrontDoor;
use doorbuster_api::problem::RateLimitScope;
use doorbuster_core::{IdKey, ItemId, Millis, Phase, SlotKey};
use doorbuster_store::{ItemCounts, SaleRow};
use doorbuster_telemetry::answer_counts::{AnswerCounts, AnswerKind};
use doorbuster_telemetry::metrics::{HistogramSnapshot, RateSample};

use crate::item_gauge::ItemGauge;
use crate::sale_limits::{LimitRules, Route, SaleLimitState};
use crate::sale_room::RoomRuntime;
use crate::slot_layout::SlotLayout;
pub use item::{FeedProgress, ItemState, ItemWork, SlotUnits};
pub use leaving::LeavingSlots;
use removed::RemovedCounts;
pub(crate) use shared::{CatalogueCheck, SharedCatalogue};

/// After the end of a sale, a node remembers for this long which requests hold orders of the sale.
const REMEMBERED_AFTER_END_MS: i64 = 86_400_000;

/// A page requests a sale's status by version, and its version may be out of date. The server still
/// sends the cached status for a version that is at most this many versions old.
const VERSIONS_SHARED: u64 = 4;

/// The part of a sale's state that this node keeps when the sale's row changes.
#[derive(Debug, Default)]
pub struct SaleRuntime {
    /// True while a node pauses or closes the sale and waits for tickets in flight. Buyers then get
    /// 503.
    pub draining: AtomicBool,
    /// Locked while an operator or a job changes the sale.
    pub sale_lock: tokio::sync::Mutex<()>,
    /// Counts the answers to buyers by kind.
    pub answer_counts: AnswerCounts,
    /// On a node: the refusals that edges reported to this node. On an edge: the refusals that the
    /// edge has not yet reported to a node.
    pub edge_refusals: AnswerCounts,
    /// The number of orders that this node created, including orders whose requests were first
    /// answered with `202`.
    pub orders: AtomicU64,
    /// The state of the sale's total request limit, which all its buyers share. Also the number of
    /// requests that any limit refused.
    pub limits: SaleLimitState,
    /// The state of the sale's waiting room. Used only if all items share one room and the room
    /// opens automatically.
    pub room: RoomRuntime,
}

impl SaleRuntime {
    /// Returns a sample that contains the present counts of responses and `latencies`.
    pub fn rate_sample(&self, latencies: HistogramSnapshot) -> RateSample {
        RateSample::now(&self.answer_counts, &self.edge_refusals, latencies)
    }
}

/// A sale with its items.
#[derive(Debug)]
pub struct SaleState {
    /// The sale's row with its phase.
    pub row: SaleRow,
    /// The front door, parsed from the row.
    pub front_door: FrontDoor,
    /// The request limits of the front door.
    pub limits: LimitRules,
    /// The limits for challenges and for checkouts. Each buyer's limit is the lower one of the
    /// sale's limit and the server's limit for all sales.
    challenge_limits: LimitRules,
    checkout_limits: LimitRules,
    /// The sale's items, in the shop's order.
    pub items: Vec<Arc<ItemState>>,
    /// The number from which the version of the cached status is made. The number changes with
    /// every change of the row, and clients cannot guess it in advance.
    pub state_version: u64,
    /// The part of the state that stays the same when the sale's row changes.
    pub runtime: Arc<SaleRuntime>,
}

impl SaleState {
    /// Returns the limits of this route.
    pub fn limits_of(&self, route: Route) -> &LimitRules {
        match route {
            Route::Challenge => &self.challenge_limits,
            Route::Checkout => &self.checkout_limits,
            Route::Purchase | Route::Pass | Route::Room => &self.limits,
        }
    }

    /// Returns the status's current version, which pages put into the URL of their requests.
    #[must_use]
    pub fn version(&self) -> String {
        version(self.state_version)
    }

    /// Returns whether `requested` is the status's current version, or one of the versions shortly
    /// before it (see `VERSIONS_SHARED`).
    #[must_use]
    pub fn had_version(&self, requested: &str, key: &IdKey) -> bool {
        let earlier =
            || (self.row.version.saturating_sub(VERSIONS_SHARED)..=self.row.version).rev();
        let states = |row: u64| {
            Phase::ALL.iter().map(move |phase| state_version(key, &self.row.id, row, *phase))
        };
        requested.len() == VERSION_DIGITS
            && (requested == self.version()
                || earlier().flat_map(states).any(|state| requested == version(state)))
    }

    /// Returns the item with this name.
    #[must_use]
    pub fn item(&self, name: &str) -> Option<&Arc<ItemState>> {
        self.items.iter().find(|i| i.row.name == name)
    }

    /// Returns whether a pause or a close of the sale still waits for tickets in flight.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.runtime.draining.load(Ordering::Acquire)
    }

    /// Returns whether the sale ended so long ago that this node may have forgotten which requests
    /// hold orders. In that case the caller must read the store.
    #[must_use]
    pub fn is_long_over(&self, now: Millis) -> bool {
        self.row.phase == Phase::Closed
            && self.row.closed_at.is_none_or(|at| at.plus(REMEMBERED_AFTER_END_MS) <= now)
    }

    /// Returns whether the sale's slots have open grants. The slots have grants from the scheduling
    /// of the sale to its close, except during a pause.
    #[must_use]
    pub fn has_open_slots(&self) -> bool {
        matches!(self.row.phase, Phase::Scheduled | Phase::Open)
    }
}

/// The number of digits in the version of a status.
const VERSION_DIGITS: usize = 13;

/// Returns the number from which the version of a sale's status is made. The number depends on the
/// deployment's secret, so clients cannot guess it in advance.
fn state_version(key: &IdKey, id: &str, row: u64, phase: Phase) -> u64 {
    key.request_hash(id, &format!("{row} {}", phase.as_str())).low_64_bits()
}

fn version(state: u64) -> String {
    format!("{:0VERSION_DIGITS$x}", state >> 12)
}

/// Parses the front door of a sale's row. If the stored front door is invalid, returns a front door
/// that refuses all buyers, because a sale must not open without its checks.
#[must_use]
pub fn front_door(row: &SaleRow) -> FrontDoor {
    FrontDoor::parse(&row.front_door).unwrap_or_else(|| {
        tracing::error!(
            sale = row.id,
            event = "sale.front_door_invalid",
            "this version cannot read the sale's front door, so it refuses all buyers; start this \
             node with the version that wrote the front door"
        );
        FrontDoor::CLOSED_DOOR
    })
}

/// Every sale of this deployment.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    sales: HashMap<Arc<str>, Arc<SaleState>>,
    items: HashMap<ItemId, Arc<ItemState>>,
    removed: RemovedCounts,
}

impl Catalogue {
    /// Returns the sale with this id.
    #[must_use]
    pub fn sale(&self, id: &str) -> Option<&Arc<SaleState>> {
        self.sales.get(id)
    }

    /// Returns a number that changes whenever any sale's row changes. Nodes with the same rows have
    /// the same number.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.sales
            .values()
            .fold(self.sales.len() as u64, |mark, sale| mark.wrapping_add(sale.state_version))
    }

    /// Returns every sale, in no particular order.
    pub fn sales(&self) -> impl Iterator<Item = &Arc<SaleState>> {
        self.sales.values()
    }

    /// Returns how many responses of this kind the buyers of all present and removed sales got.
    pub fn answers(&self, kind: AnswerKind) -> u64 {
        let present = self.sales().map(|sale| sale.runtime.answer_counts.get(kind));
        self.removed.answers(kind) + present.sum::<u64>()
    }

    /// Returns how many requests for this route a limit of this scope refused, in present and
    /// removed sales.
    pub fn refused(&self, route: Route, scope: RateLimitScope) -> u64 {
        let present = self.sales().map(|sale| sale.runtime.limits.refused(route, scope));
        self.removed.refused(route, scope) + present.sum::<u64>()
    }

    /// Returns the item's name for logs and operators: `sale/item`.
    #[must_use]
    pub fn item_name(&self, item: ItemId) -> String {
        match self.item_by_id(item) {
            Some(state) => format!("{}/{}", state.sale, state.row.name),
            None => item.to_string(),
        }
    }

    /// Returns the slot's name for logs and operators, with the number of the partition:
    /// `sale/item#0`.
    #[must_use]
    pub fn slot_name(&self, slot: SlotKey) -> String {
        format!("{}#{}", self.item_name(slot.item), slot.index)
    }

    /// Returns the item with this id.
    #[must_use]
    pub fn item_by_id(&self, item: ItemId) -> Option<&Arc<ItemState>> {
        self.items.get(&item)
    }

    /// Adds `orders` new orders of this item to the count of the item's sale.
    pub fn count_orders(&self, item: ItemId, orders: u64) {
        let sale = self.item_by_id(item).and_then(|item| self.sale(&item.sale));
        if let Some(sale) = sale {
            sale.runtime.orders.fetch_add(orders, Ordering::Relaxed);
        }
    }

    /// Puts a new or changed sale into the catalogue. A sale and items that are already in the
    /// catalogue keep their state and their gauges. `counts` has the counts of the new items.
    pub fn put_sale(
        &mut self,
        row: SaleRow,
        counts: &[ItemCounts],
        key: &IdKey,
        layout: SlotLayout,
    ) {
        let id: Arc<str> = row.id.as_str().into();
        let before = self.sales.get(&id).cloned();
        let runtime = before.map_or_else(Arc::default, |b| b.runtime.clone());
        let items: Vec<_> = row
            .items
            .iter()
            .filter_map(|item| {
                let known = self.items.get(&item.id);
                let gauge = match known {
                    Some(known) => known.gauge.clone(),
                    None => Arc::new(ItemGauge::new(*counts.iter().find(|c| c.item == item.id)?)),
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
            runtime,
        };
        self.sales.insert(id, Arc::new(sale));
    }

    /// Removes a sale and its items. The removed sale's counts of responses and refusals stay in
    /// the totals.
    pub fn remove(&mut self, id: &str) {
        if let Some(sale) = self.sales.remove(id) {
            self.removed.add(&sale.runtime.answer_counts, &sale.runtime.limits);
            for item in &sale.items {
                self.items.remove(&item.row.id);
            }
        }
    }
}
