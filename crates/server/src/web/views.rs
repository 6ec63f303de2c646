//! The interception tier's pictures of each sale, rendered once and handed out many times: the sale itself after each
//! change, its status a few times a second at most. No page view or status request reads the store.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use doorbuster_api::sale::{ItemState as ItemStateWord, ItemStatus, Phase as PhaseWord, Status};
use doorbuster_core::{Phase, Stock};
use hashbrown::HashMap;
use http::HeaderValue;
use serde::Serialize;

use super::limits::STATUS_EVERY;
use super::wire;
use crate::catalogue::{ItemState, SaleState};
use crate::engine::Engine;
use crate::metrics::{Histogram, Sample, Window};

/// JSON and the tag that names exactly these bytes.
#[derive(Clone, Debug)]
pub(crate) struct Rendered {
    pub bytes: Bytes,
    pub etag: HeaderValue,
}

impl Rendered {
    fn new(value: &impl Serialize) -> Self {
        Self::of(serde_json::to_vec(value).expect("wire types serialise into memory").into())
    }

    /// These bytes, with their tag.
    pub(crate) fn of(bytes: Bytes) -> Self {
        let hash = blake3::hash(&bytes);
        Self::known(bytes, hash.as_bytes())
    }

    /// These bytes, whose `hash` is known already.
    pub(crate) fn known(bytes: Bytes, hash: &[u8; 32]) -> Self {
        let tag: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let etag = HeaderValue::from_str(&format!("\"{tag}\"")).expect("hexadecimal digits between quotes");
        Self { bytes, etag }
    }
}

/// What was last rendered of a sale.
#[derive(Debug)]
struct Shown {
    of: Arc<SaleState>,
    sale: Rendered,
    status: Rendered,
    status_at: Instant,
    /// The last event that the status was rendered for.
    event: u64,
}

/// What is kept of one sale.
#[derive(Debug)]
pub(crate) struct View {
    shown: Mutex<Option<Shown>>,
    /// Latencies of its purchases.
    pub latencies: Histogram,
    /// Its last few seconds.
    pub window: Mutex<Window>,
}

/// The views of all sales.
#[derive(Debug, Default)]
pub(crate) struct Views {
    by_sale: ArcSwap<HashMap<Arc<str>, Arc<View>, foldhash::fast::RandomState>>,
    making: Mutex<()>,
}

impl Views {
    /// The view of `sale`, if somebody has asked for it before.
    pub(crate) fn with<T>(&self, sale: &str, use_it: impl FnOnce(&View) -> T) -> Option<T> {
        self.by_sale.load().get(sale).map(|view| use_it(view))
    }

    /// The view of a sale in the catalogue; sales that are not there any more are forgotten on the way.
    pub(crate) fn of(&self, engine: &Engine, sale: &SaleState) -> Arc<View> {
        if let Some(view) = self.by_sale.load().get(sale.row.id.as_str()) {
            return view.clone();
        }
        let _alone = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let mut views = HashMap::clone(&self.by_sale.load());
        let catalogue = engine.catalogue();
        views.retain(|name, _| catalogue.sale(name).is_some());
        let now = Sample::take(&sale.flags.tally, Default::default());
        let fresh = || {
            let (latencies, window) = (Histogram::default(), Mutex::new(Window::new(now)));
            Arc::new(View { shown: Mutex::default(), latencies, window })
        };
        let view = views.entry(sale.row.id.as_str().into()).or_insert_with(fresh).clone();
        self.by_sale.store(Arc::new(views));
        view
    }

    /// Takes a sample of every sale's counts; called once a second.
    pub(crate) fn tick(&self, engine: &Engine) {
        let catalogue = engine.catalogue();
        for (name, view) in self.by_sale.load().iter() {
            let Some(sale) = catalogue.sale(name) else { continue };
            let now = Sample::take(&sale.flags.tally, view.latencies.read());
            view.window.lock().unwrap_or_else(PoisonError::into_inner).tick(now);
        }
    }

    /// The sale as its buyers see it.
    pub(crate) async fn sale(&self, engine: &Engine, sale: &Arc<SaleState>) -> Rendered {
        self.shown(engine, sale, |_| false, |shown| shown.sale.clone()).await
    }

    /// Its status, at most [`STATUS_EVERY`] old.
    pub(crate) async fn status(&self, engine: &Engine, sale: &Arc<SaleState>) -> Rendered {
        let old = |shown: &Shown| shown.status_at.elapsed() > STATUS_EVERY;
        self.shown(engine, sale, old, |shown| shown.status.clone()).await
    }

    /// Its status as it was when event number `event` was raised, or later.
    pub(crate) async fn status_of_event(&self, engine: &Engine, sale: &Arc<SaleState>, event: u64) -> Rendered {
        let view = self.of(engine, sale);
        let known = |shown: &Shown| shown.event >= event && Arc::ptr_eq(&shown.of, sale);
        if let Some(shown) = view.lock().as_ref().filter(|shown| known(shown)) {
            return shown.status.clone();
        }
        let fresh = render(engine, sale, event).await;
        let status = fresh.status.clone();
        *view.lock() = Some(fresh);
        status
    }

    async fn shown(
        &self,
        engine: &Engine,
        sale: &Arc<SaleState>,
        is_old: impl Fn(&Shown) -> bool,
        take: impl Fn(&Shown) -> Rendered,
    ) -> Rendered {
        let view = self.of(engine, sale);
        let event = match view.lock().as_ref() {
            Some(shown) if Arc::ptr_eq(&shown.of, sale) && !is_old(shown) => return take(shown),
            Some(shown) => shown.event,
            None => 0,
        };
        let fresh = render(engine, sale, event).await;
        let taken = take(&fresh);
        *view.lock() = Some(fresh);
        taken
    }
}

impl View {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Shown>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn render(engine: &Engine, sale: &Arc<SaleState>, event: u64) -> Shown {
    Shown {
        of: sale.clone(),
        sale: Rendered::new(&wire::sale(&sale.row)),
        status: Rendered::new(&status(engine, sale).await),
        status_at: Instant::now(),
        event,
    }
}

async fn status(engine: &Engine, sale: &SaleState) -> Status {
    let mut items = Vec::with_capacity(sale.items.len());
    for item in &sale.items {
        items.push(item_status(engine, sale.row.phase, item).await);
    }
    let phase = wire::phase(sale.row.phase);
    Status {
        server_time: wire::time(engine.now()),
        sale: sale.row.id.clone(),
        phase,
        started: sale.row.opened_at.is_some() || matches!(phase, PhaseWord::Open | PhaseWord::Paused),
        starts_at: sale.row.starts_at.map(wire::time),
        ends_at: sale.row.ends_at.map(wire::time),
        version: format!("{:013x}", sale.state_version >> 12),
        front_door: sale.door.into(),
        items,
    }
}

/// An item's numbers. Units in tickets that are not settled yet are not to be had now, and may come back.
async fn item_status(engine: &Engine, phase: Phase, item: &ItemState) -> ItemStatus {
    let counts = item.gauge.counts();
    let (count, remaining) = match counts.total {
        Stock::Counted(total) => {
            let at_hand = engine.at_hand(item).await.min(counts.in_slots);
            (Some(total), Some((counts.pool + at_hand).min(total)))
        }
        Stock::Unlimited => (None, None),
    };
    let access = match count.zip(remaining) {
        Some((count, remaining)) => count - remaining,
        None => counts.held + counts.paid,
    };
    let may_return = access > counts.paid;
    let state = match (phase, remaining) {
        (Phase::Draft | Phase::Scheduled, _) => ItemStateWord::Upcoming,
        (Phase::Paused, _) => ItemStateWord::Paused,
        (Phase::Closed, _) => ItemStateWord::Ended,
        (Phase::Open, Some(0)) if may_return => ItemStateWord::HeldOut,
        (Phase::Open, Some(0)) => ItemStateWord::SoldOut,
        (Phase::Open, _) => ItemStateWord::OnSale,
    };
    ItemStatus { item: item.row.name.clone(), state, count, access, remaining, held: counts.held }
}
