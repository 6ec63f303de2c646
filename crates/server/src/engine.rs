//! The house: what every room of the stock side shares, how it starts and how it stops.

mod jobs;
mod look;
#[cfg(test)]
mod tests;
mod views;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use doorbuster_core::{Cause, IdKey, Millis, NodeId, SlotKey};
use doorbuster_slots::{SlotError, Slots};
use doorbuster_store::{OpenError, SqliteOptions, Store, StoreError};
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalogue::{Catalogue, ItemState};
use crate::clock::Clock;
use crate::control::{self, Control};
use crate::holders::Holders;
use crate::meter::Meter;
use crate::notify::Hub;
use crate::settle;
use crate::waiters::Waiters;
use views::Views;

pub(crate) use jobs::Jobs;
pub use look::Looked;

/// How long a pause, a close or a stop waits for what is in flight.
const DRAIN_MAX: Duration = Duration::from_secs(8);
/// Between two looks at a draining queue, besides being told.
const DRAIN_LOOK: Duration = Duration::from_millis(5);
/// Settlers of a node. One: what comes while its batch commits is the next batch, so that batches are as large as they can be. A second one takes
/// tickets away from it: more commits, each smaller, and a twentieth fewer orders a second (measured with one to three).
const SETTLERS: usize = 1;
/// Grants closed at the same time at start; the store commits them in groups.
const RECOVER_AT_ONCE: usize = 64;
/// Requests read at once while a node's memory is rebuilt.
const HOLDERS_PAGE: usize = 10_000;

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
}

/// What an engine is started with.
pub struct EngineOptions {
    /// Where the embedded store lives.
    pub data_dir: PathBuf,
    /// The deployment's key for ids.
    pub id_key: IdKey,
    /// The store's clock.
    pub clock: Clock,
    /// This node.
    pub node: NodeId,
    /// Called once when the store has failed for good: the process must end.
    pub on_fatal: Arc<dyn Fn(&str) + Send + Sync>,
}

/// The stock side of the program.
pub struct Engine {
    views: Arc<Views>,
    store: Store,
    slots: Slots,
    clock: Clock,
    node: NodeId,
    waiters: Waiters,
    parked: AtomicUsize,
    meter: Meter,
    drained: Notify,
    /// Held for the moment in which a changed catalogue is swapped in.
    changing: Mutex<()>,
    stopping: AtomicBool,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Engine {
    /// Opens the store, recovers what a stopped or killed program left, warms the slots and starts settling.
    ///
    /// # Errors
    /// When the store cannot be opened or read.
    pub async fn start(options: EngineOptions) -> Result<Arc<Self>, EngineError> {
        let views = Arc::new(Views {
            catalogue: ArcSwap::default(),
            holders: Holders::default(),
            hub: Hub::default(),
            control: Control::default(),
            key: options.id_key.clone(),
        });
        let (sink, clock, on_fatal) = (views.clone(), options.clock.clone(), options.on_fatal.clone());
        let store = Store::open_sqlite(SqliteOptions {
            dir: options.data_dir,
            id_key: options.id_key.clone(),
            clock: Arc::new(move || clock.now()),
            sink: Arc::new(move |committed| sink.publish(committed)),
            on_fatal: options.on_fatal,
        })?;
        let engine = Arc::new(Self {
            views,
            store,
            slots: Slots::local(options.id_key),
            clock: options.clock,
            node: options.node,
            waiters: Waiters::default(),
            parked: AtomicUsize::new(0),
            meter: Meter::default(),
            drained: Notify::new(),
            changing: Mutex::default(),
            stopping: AtomicBool::new(false),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        engine.recover().await?;
        let jobs = Jobs { tasks: engine.tasks.clone(), stop: engine.stop.clone(), on_fatal };
        for _ in 0..SETTLERS {
            jobs.start("settle", settle::run(engine.clone()));
        }
        control::start(&engine, &jobs);
        Ok(engine)
    }

    /// Slots in memory died with the last process: their grants are closed, and warm items get the next ones.
    async fn recover(&self) -> Result<(), EngineError> {
        let open = self.store.open_grants().await?;
        let closing =
            futures_util::stream::iter(open).map(|grant| self.store.close_grant(grant.id, Cause::LeaseLapsed));
        closing.buffer_unordered(RECOVER_AT_ONCE).try_for_each(async |_| Ok(())).await?;
        let mut after = 0;
        loop {
            let (page, next) = self.store.requests_since(Millis(0), after, HOLDERS_PAGE).await?;
            page.iter().for_each(|&half| self.views.holders.insert(half));
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        let counts = self.store.counts(None).await?;
        let sales = self.store.sales().await?;
        self.change_catalogue(|c| sales.into_iter().for_each(|row| c.put(row, &counts, &self.views.key)));
        control::tend_all(self, &self.warm_items()).await;
        Ok(())
    }

    /// From now on nothing new is sold: buyers are asked to come again.
    pub async fn begin_to_stop(&self) {
        self.stopping.store(true, Ordering::Release);
        for item in self.warm_items() {
            // Whoever tends the item looks at `stopping` under this lock before it lets the slot go on.
            let _alone = item.tending.lock().await;
            if let Err(error) = self.slots.stop(item.slot, true).await {
                tracing::warn!(%error, slot = %item.slot, "a slot could not be stopped");
            }
        }
    }

    /// Refuses what is new, settles what was accepted, and closes the store.
    pub async fn stop(&self) {
        self.begin_to_stop().await;
        let slots: Vec<SlotKey> = self.warm_items().iter().map(|i| i.slot).collect();
        if let Err(error) = self.drain(&slots).await {
            tracing::warn!(%error, "stopping with tickets in flight: they will be returned at the next start");
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.store.close().await;
    }

    /// Waits until every ticket of these slots is settled and acknowledged.
    pub(crate) async fn drain(&self, slots: &[SlotKey]) -> Result<(), EngineError> {
        let until = Instant::now() + DRAIN_MAX;
        for &slot in slots {
            while self.slots.view(slot).await?.is_some_and(|v| v.unacknowledged > 0) {
                if Instant::now() > until {
                    return Err(EngineError::Drain);
                }
                // Told after each batch; looked at now and then all the same.
                drop(tokio::time::timeout(DRAIN_LOOK, self.drained.notified()).await);
            }
        }
        Ok(())
    }

    fn warm_items(&self) -> Vec<Arc<ItemState>> {
        self.catalogue().sales().filter(|s| s.is_warm()).flat_map(|s| s.items.iter().cloned()).collect()
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
        if self.clock.has_alarm() {
            reasons
                .push("the machine's clock was stepped: nothing expires until it agrees with the program's".to_owned());
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
        self.clock.now()
    }

    /// The store's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
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
        &self.waiters
    }

    /// Whether the program is about to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn control(&self) -> &Control {
        &self.views.control
    }

    pub(crate) fn drained(&self) -> &Notify {
        &self.drained
    }
}
