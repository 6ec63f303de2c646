//! The house: what every room of the stock side shares, how it starts and how it stops.

mod end;
mod jobs;
mod line;
mod living;
mod look;
mod start;
#[cfg(test)]
mod tests;
mod views;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::Guard;
use doorbuster_core::{IdKey, ItemId, Millis, NodeId};
use doorbuster_slots::{Shared, SlotError, Slots};
use doorbuster_store::{ItemCounts, OpenError, SaleRow, Store, StoreError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::Cache;
use crate::catalogue::{Catalogue, ItemState};
use crate::clock::Clock;
use crate::control::{Control, LastLook};
use crate::holders::Holders;
use crate::layout::Layout;
use crate::meter::Meter;
use crate::notify::Hub;
use crate::waiters::Waiters;
use views::Views;

pub(crate) use end::DRAIN_MAX;
pub(crate) use jobs::Jobs;
pub use line::{InLine, Leaving, NotInLine};
pub(crate) use living::Living;
pub use look::Looked;
pub use start::{EngineOptions, Place};

/// Nobody is refused from a snapshot of the truth that is older. Looks are a second apart, and take
/// a moment.
const SHOWN_MAX: Duration = Duration::from_secs(2);
/// How long slots are asked for numbers that are only shown.
const ASK_SLOTS_MAX: Duration = Duration::from_millis(250);

/// Why the engine could not do something.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A slot failed.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// What was in flight did not settle in time.
    #[error("tickets in flight did not settle within {} s", DRAIN_MAX.as_secs())]
    Drain,
    /// A message tells of a payment of ours before it is known that it was made, or of an order
    /// before it is decided.
    #[error("what a message is about is not known or not decided yet")]
    TooEarly,
}

/// The stock side of the program.
pub struct Engine {
    views: Arc<Views>,
    store: Store,
    slots: Slots,
    cache: Cache,
    clock: Clock,
    node: NodeId,
    leads_regardless: bool,
    layout: Layout,
    living: Arc<Living>,
    parked: AtomicUsize,
    meter: Meter,
    drained: Notify,
    /// Held for the moment in which a changed catalogue is swapped in.
    changing: Mutex<()>,
    /// The newest look for changes of the catalogue.
    looked: tokio::sync::Mutex<LastLook>,
    stopping: AtomicBool,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Engine {
    pub(crate) fn warm_items(&self) -> Vec<Arc<ItemState>> {
        self.catalogue()
            .sales()
            .filter(|s| s.is_warm())
            .flat_map(|s| s.items.iter().cloned())
            .collect()
    }

    /// Takes a sale's row into the catalogue; `counts` are for items that are not known yet.
    /// Shows this row; one that `is_new` only if no sale of its id is shown. Whether it did.
    pub(crate) fn put(&self, row: SaleRow, counts: &[ItemCounts], is_new: bool) -> bool {
        let mut is_put = false;
        self.change_catalogue(|c| {
            is_put = !is_new || c.sale(&row.id).is_none();
            if is_put {
                c.put(row, counts, &self.views.key, self.layout);
            }
        });
        is_put
    }

    pub(crate) fn change_catalogue(&self, change: impl FnOnce(&mut Catalogue)) {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Catalogue::clone(&self.views.catalogue.load());
        change(&mut next);
        self.views.catalogue.store(Arc::new(next));
    }

    /// Whether the program can sell: empty, or the reasons why not.
    pub async fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.is_stopping() {
            reasons.push("stopping".to_owned());
        }
        if let Err(error) = self.store.health().await {
            reasons.push(error.to_string());
        }
        reasons
    }

    /// The truth.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The slots.
    #[must_use]
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The server that nodes share for what may be forgotten; `None` in a shape without one.
    #[must_use]
    pub fn shared(&self) -> Option<&Shared> {
        self.cache.shared().map(|(shared, _)| shared)
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Events.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.views.hub
    }

    /// Sales and items.
    #[must_use]
    pub fn catalogue(&self) -> Guard<Arc<Catalogue>> {
        self.views.catalogue.load()
    }

    /// The store's time.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.store.now()
    }

    /// The store's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whether the clock that the store goes by was set, and is not believed for what must not come
    /// early.
    #[must_use]
    pub fn clock_stepped(&self) -> bool {
        self.clock.has_alarm() || self.store.clock_stepped()
    }

    /// Whether what this node shows of the truth is recent enough to refuse anybody for it.
    pub(crate) fn is_recent(&self) -> bool {
        self.store.staleness() <= SHOWN_MAX
    }

    /// The deployment's key for ids.
    #[must_use]
    pub fn id_key(&self) -> &IdKey {
        &self.views.key
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Whether this node leads whoever else does.
    pub(crate) fn leads_regardless(&self) -> bool {
        self.leads_regardless
    }

    /// Where slots are.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Nodes that have slots of their own, this one included.
    #[must_use]
    pub fn nodes(&self) -> u64 {
        self.living.now().into()
    }

    /// How many nodes live, now and lately.
    pub(crate) fn living(&self) -> &Arc<Living> {
        &self.living
    }

    /// Whether this node looks after the slots that its requests are put to: nobody else can, or it
    /// leads.
    pub(crate) fn watches(&self) -> bool {
        self.layout.is_own() || self.control().leads()
    }

    /// Units that an item's slots can hand out at this moment, as far as they can be asked;
    /// otherwise all that they were given.
    pub async fn at_hand(&self, item: &ItemState) -> u64 {
        let in_slots = item.gauge.counts().in_slots;
        if in_slots == 0 || !self.layout.reaches_all() {
            return in_slots;
        }
        let ask = async {
            let mut units = 0;
            for &slot in &item.slots {
                units += self.slots.view(slot).await?.map_or(0, |view| view.available);
            }
            Ok::<u64, SlotError>(units)
        };
        match tokio::time::timeout(ASK_SLOTS_MAX, ask).await {
            Ok(Ok(units)) => units.min(in_slots),
            Ok(Err(_)) | Err(_) => in_slots,
        }
    }

    /// Tickets of an item that wait for their verdicts in the queues that this node reaches.
    pub async fn queued(&self, item: &ItemState) -> u64 {
        let mut tickets = 0;
        let ask = async {
            for &slot in &item.slots {
                let view = self.slots.view(slot).await.ok().flatten();
                tickets += view.map_or(0, |view| view.unacknowledged as u64);
            }
        };
        drop(tokio::time::timeout(ASK_SLOTS_MAX, ask).await);
        tickets
    }

    /// Counters.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Requests parked now.
    #[must_use]
    pub fn parked(&self) -> &AtomicUsize {
        &self.parked
    }

    /// Requests that hold an order.
    #[must_use]
    pub fn holders(&self) -> &Holders {
        &self.views.holders
    }

    /// Requests that wait for a verdict.
    #[must_use]
    pub fn waiters(&self) -> &Waiters {
        &self.views.waiters
    }

    /// Whether the program is about to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn control(&self) -> &Control {
        &self.views.control
    }

    /// Wakes whoever tends this item, a little later.
    pub(crate) fn wake_after(&self, pause: Duration, item: ItemId) {
        let (views, stop) = (self.views.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => views.control.wake(item),
            }
        });
    }

    /// Where work goes that nobody waits for; it is done before the engine has stopped.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    pub(crate) fn looked(&self) -> &tokio::sync::Mutex<LastLook> {
        &self.looked
    }

    pub(crate) fn drained(&self) -> &Notify {
        &self.drained
    }
}
