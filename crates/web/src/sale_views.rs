//! Rendered views of each sale: its JSON, its status and its page. Many requests share them. The
//! JSON and the status are rendered after each change of the sale. While the sale does not change,
//! they are rendered at most a few times a second. Requests for pages and statuses never read the
//! store.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use doorbuster_api::sale::{ItemState as ItemStateWord, ItemStatus, Status};
use doorbuster_core::Phase;
use doorbuster_engine::api_conversion;
use doorbuster_engine::catalogue::{ItemState, SaleState};
use doorbuster_engine::node::Node;
use doorbuster_engine::stock::{ItemNumbers, StockControl};
use doorbuster_telemetry::metrics::{Histogram, RateWindow};
use hashbrown::HashMap;

use super::assets::AssetFile;
use super::limits::{STATUS_INTERVAL, STATUS_STALE_MAX};
use super::page_html::ShownState;
use super::rendered::Rendered;

#[derive(Debug)]
struct RenderedSale {
    of: Arc<SaleState>,
    sale: Rendered,
    state: ShownState,
    status: Rendered,
    status_at: Instant,
    /// `status` includes the changes of all events up to the event with this number.
    event: u64,
}

/// The generation of the settings, and the state that the page shows. If one of the two changes,
/// the sale's page must be rendered again.
type PageVersion = (u64, ShownState);
/// The state of a sale and the version from which a page was rendered, and this page.
type RenderedPage = (Arc<SaleState>, PageVersion, Arc<AssetFile>);

#[derive(Debug)]
pub(crate) struct SaleView {
    shown: Mutex<Option<RenderedSale>>,
    page: Mutex<Option<RenderedPage>>,
    /// Locked while a request renders the sale and its status. Meanwhile, other requests get the
    /// previous renderings. If these are too old, the requests wait.
    making: tokio::sync::Mutex<()>,
    /// The latencies of the sale's purchases.
    pub latencies: Histogram,
    /// The sale's rates during the last seconds.
    pub window: Mutex<RateWindow>,
}

pub(crate) struct SaleViews {
    node: Arc<Node>,
    stock: Arc<StockControl>,
    by_sale: ArcSwap<HashMap<Arc<str>, Arc<SaleView>, foldhash::fast::RandomState>>,
    making: Mutex<()>,
}

impl SaleViews {
    /// Creates an empty set of views. The views get the numbers of units from `stock`.
    pub(crate) fn new(node: Arc<Node>, stock: Arc<StockControl>) -> Self {
        Self { node, stock, by_sale: ArcSwap::default(), making: Mutex::default() }
    }

    /// Returns `None` if the sale has no view yet.
    pub(crate) fn with<T>(&self, sale: &str, use_it: impl FnOnce(&SaleView) -> T) -> Option<T> {
        self.by_sale.load().get(sale).map(|view| use_it(view))
    }

    /// Returns the sale's view. If there is none, adds a view, and removes the views of deleted
    /// sales.
    pub(crate) fn sale_view(&self, sale: &SaleState) -> Arc<SaleView> {
        if let Some(view) = self.by_sale.load().get(sale.row.id.as_str()) {
            return view.clone();
        }
        let _guard = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let mut views = HashMap::clone(&self.by_sale.load());
        let catalogue = self.node.catalogue();
        views.retain(|name, _| catalogue.sale(name).is_some());
        let now = sale.runtime.rate_sample(Default::default());
        let fresh = || {
            let (latencies, window) = (Histogram::default(), Mutex::new(RateWindow::new(now)));
            Arc::new(SaleView {
                shown: Mutex::default(),
                page: Mutex::default(),
                making: tokio::sync::Mutex::default(),
                latencies,
                window,
            })
        };
        let view = views.entry(sale.row.id.as_str().into()).or_insert_with(fresh).clone();
        self.by_sale.store(Arc::new(views));
        view
    }

    /// Takes a sample of each sale's counters. The server calls this function once a second.
    pub(crate) fn take_samples(&self) {
        let catalogue = self.node.catalogue();
        for (name, view) in self.by_sale.load().iter() {
            let Some(sale) = catalogue.sale(name) else { continue };
            let now = sale.runtime.rate_sample(view.latencies.read());
            view.window.lock().unwrap_or_else(PoisonError::into_inner).tick(now);
        }
    }

    /// Returns the sale's page. Calls `make` to render it if the sale or `version` has changed
    /// since the last call.
    pub(crate) fn page(
        &self,
        sale: &Arc<SaleState>,
        version: PageVersion,
        make: impl FnOnce() -> AssetFile,
    ) -> Arc<AssetFile> {
        let view = self.sale_view(sale);
        let mut page = view.page.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, made_for, page)) = page.as_ref()
            && (Arc::ptr_eq(of, sale) && *made_for == version)
        {
            return page.clone();
        }
        let made = Arc::new(make());
        *page = Some((sale.clone(), version, made.clone()));
        made
    }

    pub(crate) async fn sale(&self, sale: &Arc<SaleState>) -> Rendered {
        self.rendered(sale, |_| false, |shown| shown.sale.clone()).await
    }

    /// Returns the sale's status, which is at most [`STATUS_INTERVAL`] old. While another request
    /// renders a new status, the returned status may be up to [`STATUS_STALE_MAX`] old.
    pub(crate) async fn status(&self, sale: &Arc<SaleState>) -> Rendered {
        let old = |shown: &RenderedSale| shown.status_at.elapsed() > STATUS_INTERVAL;
        self.rendered(sale, old, |shown| shown.status.clone()).await
    }

    /// Returns the state that pages show for the sale. This state can be as old as the result of
    /// [`Self::status`].
    pub(crate) async fn state(&self, sale: &Arc<SaleState>) -> ShownState {
        let old = |shown: &RenderedSale| shown.status_at.elapsed() > STATUS_INTERVAL;
        self.rendered(sale, old, |shown| shown.state).await
    }

    /// Returns a status that includes the change of event number `event`, if such a status has
    /// already been rendered.
    pub(crate) fn cached_status(&self, sale: &Arc<SaleState>, event: u64) -> Option<Rendered> {
        self.sale_view(sale).status_since(sale, event)
    }

    /// Returns a status that includes the change that the event with the number `event` reports.
    /// Renders the status if necessary.
    pub(crate) async fn status_for_event(&self, sale: &Arc<SaleState>, event: u64) -> Rendered {
        let view = self.sale_view(sale);
        if let Some(status) = view.status_since(sale, event) {
            return status;
        }
        let _guard = view.making.lock().await;
        // The previous holder of the lock may have rendered the status for this event.
        if let Some(status) = view.status_since(sale, event) {
            return status;
        }
        let fresh = render(&self.node, &self.stock, sale, event).await;
        let status = fresh.status.clone();
        *view.lock() = Some(fresh);
        status
    }

    async fn rendered<T>(
        &self,
        sale: &Arc<SaleState>,
        is_old: impl Fn(&RenderedSale) -> bool,
        take: impl Fn(&RenderedSale) -> T,
    ) -> T {
        let view = self.sale_view(sale);
        let lookup = |at_least: Option<std::time::Duration>| match view.lock().as_ref() {
            Some(shown) if Arc::ptr_eq(&shown.of, sale) => {
                let is_good =
                    at_least.map_or(!is_old(shown), |most| shown.status_at.elapsed() <= most);
                is_good.then(|| take(shown))
            }
            _ => None,
        };
        if let Some(shown) = lookup(None) {
            return shown;
        }
        let _guard = match view.making.try_lock() {
            Ok(alone) => alone,
            // Another request is rendering. This request waits for the new result only if the
            // previous result is too old.
            Err(_) => match lookup(Some(STATUS_STALE_MAX)) {
                Some(shown) => return shown,
                None => view.making.lock().await,
            },
        };
        if let Some(shown) = lookup(None) {
            return shown;
        }
        let event = view.lock().as_ref().map_or(0, |shown| shown.event);
        let fresh = render(&self.node, &self.stock, sale, event).await;
        let taken = take(&fresh);
        *view.lock() = Some(fresh);
        taken
    }
}

impl SaleView {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<RenderedSale>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the status if it was rendered from this version of `sale` and includes the change of
    /// event number `event`.
    fn status_since(&self, sale: &Arc<SaleState>, event: u64) -> Option<Rendered> {
        let shown = self.lock();
        let known =
            shown.as_ref().filter(|shown| shown.event >= event && Arc::ptr_eq(&shown.of, sale));
        known.map(|shown| shown.status.clone())
    }

    /// Blocks rendering until the returned guard is dropped.
    #[cfg(test)]
    pub(super) async fn hold_render_lock(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.making.lock().await
    }
}

async fn render(
    node: &Node,
    stock: &StockControl,
    sale: &Arc<SaleState>,
    event: u64,
) -> RenderedSale {
    node.meter().view_renders.add_one();
    let status = status(node, stock, sale).await;
    RenderedSale {
        of: sale.clone(),
        sale: Rendered::new(&api_conversion::sale(&sale.row)),
        state: ShownState::of(&status),
        status: Rendered::new(&status),
        status_at: Instant::now(),
        event,
    }
}

async fn status(node: &Node, stock: &StockControl, sale: &SaleState) -> Status {
    let mut items = Vec::with_capacity(sale.items.len());
    for item in &sale.items {
        items.push(item_status(stock, sale.row.phase, item).await);
    }
    let phase = sale.row.phase;
    Status {
        server_time: api_conversion::time(node.now()),
        sale: sale.row.id.clone(),
        phase,
        started: sale.row.opened_at.is_some() || matches!(phase, Phase::Open | Phase::Paused),
        starts_at: sale.row.starts_at.map(api_conversion::time),
        ends_at: sale.row.ends_at.map(api_conversion::time),
        version: sale.version(),
        front_door: sale.front_door.into(),
        items,
    }
}

/// Returns the status of one item. Units in unsettled tickets are not available, but they may be
/// returned.
async fn item_status(stock: &StockControl, phase: Phase, item: &ItemState) -> ItemStatus {
    let ItemNumbers { count, access, remaining, held, paid } = stock.numbers(item).await;
    let may_return = access > paid;
    let state = match (phase, remaining) {
        (Phase::Draft | Phase::Scheduled, _) => ItemStateWord::Upcoming,
        (Phase::Paused, _) => ItemStateWord::Paused,
        (Phase::Closed, _) => ItemStateWord::Ended,
        (Phase::Open, Some(0)) if may_return => ItemStateWord::HeldOut,
        (Phase::Open, Some(0)) => ItemStateWord::SoldOut,
        (Phase::Open, _) => ItemStateWord::OnSale,
    };
    ItemStatus { item: item.row.name.clone(), state, count, access, remaining, held }
}

#[cfg(test)]
mod tests {
    use doorbuster_base::clock::Clock;
    use doorbuster_config::Roles;
    use doorbuster_core::{IdKey, NodeId, Stock};
    use doorbuster_engine::start::{
        self, DatabaseOptions, EngineOptions, EngineParts, StockLocation,
    };
    use doorbuster_store::conformance::{new_item, new_sale};
    use doorbuster_store::{NewItem, NewSale};
    use doorbuster_testkit::TempDir;

    use super::*;

    const READERS: usize = 10_000;

    async fn engine(dir: &TempDir) -> EngineParts {
        let options = EngineOptions {
            pass_key: None,
            location: StockLocation::Directory(dir.path().to_owned()),
            roles: Roles::ALL,
            id_key: IdKey::new([3; 32]),
            clock: Clock::default(),
            node: NodeId(1),
            bounds: doorbuster_core::slot::SlotBounds::default(),
            always_leads: false,
            allow_fsync_off: false,
            database: DatabaseOptions::default(),
            on_fatal: Arc::new(|reason| panic!("the store failed: {reason}")),
        };
        let engine = start::start(options).await.expect("a fresh directory opens");
        let item = NewItem {
            price_minor: 10,
            currency: "CNY".into(),
            list_price_minor: None,
            hold_ms: 900_000,
            ..new_item("phone", Stock::Counted(100), 1)
        };
        let sale = NewSale { front_door: "{}".into(), ..new_sale("spring", vec![item]) };
        engine
            .sales
            .create_sale(sale)
            .await
            .expect("the store is available")
            .expect("the sale's id is free");
        engine
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_requests_for_an_expired_status_render_the_status_once() {
        let dir = TempDir::new();
        let engine = engine(&dir).await;
        let views = Arc::new(SaleViews::new(engine.node.clone(), engine.stock.clone()));
        let sale = engine.node.catalogue().sale("spring").cloned().expect("created");
        views.status(&sale).await;
        for _ in 0..3 {
            tokio::time::sleep(STATUS_INTERVAL + std::time::Duration::from_millis(10)).await;
            let (before, began) = (engine.node.meter().view_renders.get(), Instant::now());
            let mut crowd = tokio::task::JoinSet::new();
            for _ in 0..READERS {
                let (views, sale) = (views.clone(), sale.clone());
                crowd.spawn(async move { views.status(&sale).await.bytes });
            }
            let shown = crowd.join_all().await;
            let times = u64::try_from(began.elapsed().as_millis() / STATUS_INTERVAL.as_millis())
                .unwrap_or(u64::MAX)
                + 1;
            let made = engine.node.meter().view_renders.get() - before;
            assert!((1..=times).contains(&made), "{made} in {:?}", began.elapsed());
            assert_eq!(shown.len(), READERS);
        }
        engine.stock.stop_node().await;
    }

    #[tokio::test]
    async fn during_a_render_requests_get_the_previous_status_and_later_they_wait() {
        let dir = TempDir::new();
        let engine = engine(&dir).await;
        let views = SaleViews::new(engine.node.clone(), engine.stock.clone());
        let sale = engine.node.catalogue().sale("spring").cloned().expect("created");
        let first = views.status(&sale).await;
        let view = views.sale_view(&sale);
        let making = view.making.lock().await;
        tokio::time::sleep(STATUS_INTERVAL + std::time::Duration::from_millis(10)).await;
        assert_eq!(
            views.status(&sale).await.bytes,
            first.bytes,
            "the old status must be returned at once"
        );
        tokio::time::sleep(STATUS_STALE_MAX).await;
        let mut late = std::pin::pin!(views.status(&sale));
        let waits = tokio::time::timeout(std::time::Duration::from_millis(20), late.as_mut()).await;
        assert!(waits.is_err(), "a status that is too old was returned");
        drop(making);
        assert_ne!(late.await.bytes, first.bytes);
        engine.stock.stop_node().await;
    }
}
