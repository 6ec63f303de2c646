//! The HTTP side: connections, the fast path of purchases, and the router of all other requests.

mod accept;
mod admin;
mod assets;
mod buyer_session;
mod cacheable;
mod client_address;
mod connection;
mod console_session;
mod cursor;
mod dispatch;
mod docs;
mod edge;
mod events;
mod failure;
mod fast_path;
mod framing;
mod front_door;
mod gate;
mod guarded_stream;
mod health;
mod identity;
mod limits;
mod live;
pub(crate) mod order_links;
mod orders;
mod over_capacity;
mod overload_pacer;
pub(crate) mod page_html;
mod page_origin;
mod pages;
mod path_names;
mod payment;
mod purchase_handler;
mod purchase_headers;
mod purchase_reply;
mod push;
mod rate_limits;
mod refusals;
mod rendered;
mod reply;
mod request_body;
mod router;
mod routes;
mod sale_views;
mod sales;
mod series;
mod sign_in;
mod unread_body;
mod waitlist;
mod wrong_keys;

pub use accept::{Listener, bind};
pub use assets::{ExportedSale, FolderFile, brand_preview, folder};
#[cfg(feature = "otel")]
pub(crate) use health::metrics_page;
pub use limits::HANDLES_SPARE;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use doorbuster_api::admin::console::ShownSetting;
use doorbuster_store::StoreError;
use secrecy::SecretString;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use assets::AssetFile;
use doorbuster_auth::{Buyers, JwksError, Oidc, Operators};
use doorbuster_base::master_keys::MasterKeys;
use doorbuster_config::Settings;
use doorbuster_engine::edge::EdgeSightings;
use doorbuster_engine::engine::{Engine, NodeDescription};
use doorbuster_gate::Gate;
use doorbuster_outbox::push::WebPush;
use doorbuster_outbox::{AddressGuard, Outbox};
use doorbuster_payments::Payments;
use doorbuster_telemetry::metrics::Metrics;
use failure::FailureLogLimiter;
use limits::{IDLE_AFTER, PING_EVERY, UNANSWERED_PINGS_MAX, WRITE_STALL};
use live::LiveSettings;
use overload_pacer::OverloadPacer;
use page_origin::PageOrigin;
use pages::GuestSignIn;
use refusals::Refusals;
use sale_views::SaleViews;
use series::SeriesRecorder;

/// The state that all requests share.
pub struct App {
    engine: Arc<Engine>,
    buyers: Buyers,
    operators: Operators,
    /// The settings that can change while the server runs.
    live: ArcSwap<LiveSettings>,
    /// The page with the list of sales. The server renders this page at most once a second.
    index: std::sync::Mutex<Option<(Instant, Arc<AssetFile>)>>,
    /// The origin of the pages, if it differs from this server's origin.
    page_origin: PageOrigin,
    views: SaleViews,
    refusals: Refusals,
    overload_pacer: OverloadPacer,
    pub(crate) metrics: Metrics,
    series: SeriesRecorder,
    wrong_keys: wrong_keys::WrongKeys,
    /// The settings as operators see them.
    settings: Vec<ShownSetting>,
    /// Sign-in of operators at an OpenID Connect issuer.
    oidc: Option<Oidc>,
    /// The edges that sent their names to this node.
    edges: EdgeSightings,
    /// Whether the settings say that browsers reach the pages by HTTPS.
    is_https: bool,
    gate: Gate,
    payments: Arc<Payments>,
    outbox: Arc<Outbox>,
    /// Sends push messages to browsers. `None`: the shop set no key for web push.
    push: Option<WebPush>,
    failure_log: FailureLogLimiter,
    guests: Option<GuestSignIn>,
    /// Whether this node answers buyers and operators.
    serves_api: bool,
    /// Locked while an operator's key is created or deleted.
    keys: tokio::sync::Mutex<()>,
    /// The time at which the server last read the operators' keys from the store.
    operator_keys_read_at: tokio::sync::Mutex<Option<Instant>>,
    /// Tracks purchases and operators' changes. They complete even if their clients disconnect.
    running_purchases: TaskTracker,
    /// Set when the program is asked to stop. A stopping program reports that it is not ready.
    is_leaving: AtomicBool,
    stopping: AtomicBool,
    /// This token is cancelled when event streams must end.
    stop: CancellationToken,
    ping_policy: PingPolicy,
    /// After this time without activity, a WebSocket becomes idle.
    idle_after: Duration,
    /// How long a write waits for a client that does not read.
    write_stall: Duration,
}

/// The rules by which the server decides that a WebSocket's peer is gone.
#[derive(Clone, Copy, Debug)]
struct PingPolicy {
    /// The time between two pings. Streams of server-sent events use the same time.
    ping_every: Duration,
    /// The number of pings that a client may leave unanswered before the server closes its socket.
    pings_max: u32,
}

impl App {
    /// Builds the shared state. `guest_secret` signs guests' tokens in a demonstration. The front
    /// door derives its keys from `masters`. `webhook_secrets` sign the sandbox's messages.
    #[must_use]
    pub fn new(
        settings: &Settings,
        engine: Arc<Engine>,
        buyers: Buyers,
        operators: Operators,
        guest_secret: Option<SecretString>,
        masters: MasterKeys,
        webhook_secrets: &[SecretString],
    ) -> Arc<Self> {
        let payments = Payments::new(engine.clone(), settings, webhook_secrets);
        let metrics = Metrics::default();
        engine.describe(NodeDescription {
            started_at: engine.now(),
            connections: metrics.connections.clone(),
        });
        if let Some(edge) = engine.edge() {
            edge.describe(engine.id_key(), metrics.connections.clone());
        }
        Arc::new(Self {
            gate: Gate::new(&engine, settings, masters),
            payments: Arc::new(payments),
            outbox: Arc::new(Outbox::new(engine.clone(), settings)),
            push: WebPush::new(
                settings.page.push.as_ref(),
                AddressGuard::new(settings.deliveries.allow_private),
            ),
            engine,
            buyers,
            operators,
            live: ArcSwap::from_pointee(LiveSettings::new(settings)),
            index: std::sync::Mutex::default(),
            page_origin: PageOrigin::new(settings.page_origin.as_deref()),
            views: SaleViews::default(),
            refusals: Refusals::default(),
            overload_pacer: OverloadPacer::new(settings.workers),
            metrics,
            series: SeriesRecorder::default(),
            wrong_keys: wrong_keys::WrongKeys::default(),
            settings: settings.shown.clone(),
            oidc: settings
                .oidc
                .as_ref()
                .zip(settings.page_url.as_deref())
                .map(|(oidc, url)| Oidc::new(oidc, url)),
            edges: EdgeSightings::default(),
            is_https: settings.page_url.as_deref().is_some_and(|url| url.starts_with("https://")),
            failure_log: FailureLogLimiter::default(),
            guests: guest_secret.map(|secret| GuestSignIn::new(secret, &settings.auth)),
            serves_api: settings.roles.api || settings.roles.edge,
            keys: tokio::sync::Mutex::default(),
            operator_keys_read_at: tokio::sync::Mutex::default(),
            running_purchases: TaskTracker::new(),
            is_leaving: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            stop: CancellationToken::new(),
            ping_policy: PingPolicy { ping_every: PING_EVERY, pings_max: UNANSWERED_PINGS_MAX },
            idle_after: IDLE_AFTER,
            write_stall: WRITE_STALL,
        })
    }

    /// Reads the blocked buyers and networks.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn load_blocks(&self) -> Result<(), StoreError> {
        self.gate.blocks.catch_up(self.engine.store()).await
    }

    /// Sets this server's address. The sandbox sends its messages to this address.
    pub fn set_server_address(&self, address: &str) {
        if let Some(sandbox) = self.payments.sandbox() {
            sandbox.set_server_address(address);
        }
    }

    /// Reads the buyers' public keys again.
    ///
    /// # Errors
    /// If the keys cannot be read. The previous keys stay in use.
    pub async fn reload_keys(&self) -> Result<(), JwksError> {
        self.buyers.reload_keys().await
    }

    /// Returns the engine.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Returns the metrics of the HTTP side.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Runs the background jobs of the HTTP side until the program stops.
    pub async fn run_jobs(&self) {
        if self.engine.edge().is_some() {
            return self.run_edge_jobs().await;
        }
        let sampling = async {
            let mut every = tokio::time::interval(Duration::from_secs(1));
            every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                every.tick().await;
                self.views.take_samples(&self.engine);
            }
        };
        let keys = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                // Another node may have deleted a key. The key must then stop working on this node
                // too.
                self.refresh_operator_keys().await;
            }
        };
        let jobs = async {
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = sampling => {}
                () = keys => {}
                () = self.run_series() => {}
                () = self.buyers.run_key_refresh() => {}
                () = self.gate.run_jobs(&self.engine) => {}
                () = self.payments.run_jobs() => {}
                () = self.outbox.run_jobs() => {}
                () = self.run_push() => {}
            }
        };
        tokio::join!(jobs, self.run_otlp());
    }

    async fn run_push(&self) {
        match &self.push {
            Some(push) => push.run(&self.engine, &self.gate).await,
            None => std::future::pending().await,
        }
    }

    /// Sends metrics and logs to a collector until the program stops.
    #[cfg(feature = "otel")]
    async fn run_otlp(&self) {
        let source = doorbuster_telemetry::otlp::Source {
            clock: self.engine.clock(),
            page: &|| Box::pin(metrics_page(self)),
            failures: &self.metrics.otlp_failures,
        };
        doorbuster_telemetry::otlp::run(source, &self.stop).await;
    }

    #[cfg(not(feature = "otel"))]
    async fn run_otlp(&self) {}

    /// Marks the program as not ready. The program still serves requests.
    pub fn mark_not_ready(&self) {
        self.is_leaving.store(true, Ordering::Release);
    }

    /// Begins the shutdown. Event streams end, and each connection ends after its current request.
    pub fn begin_shutdown(&self) {
        self.mark_not_ready();
        self.stopping.store(true, Ordering::Release);
        self.stop.cancel();
    }

    /// Waits for running purchases and operators' changes. They continue even if their clients have
    /// disconnected. Then records the last second of every sale.
    pub async fn finish(&self) {
        self.running_purchases.close();
        self.running_purchases.wait().await;
        if self.engine.edge().is_none() {
            self.record_last_second().await;
        }
    }
}

#[cfg(test)]
mod tests;
