//! The state that all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use doorbuster_auth::{BuyerTokenVerifier, JwksError, Oidc, OperatorKeyVerifier};
use doorbuster_base::master_keys::MasterKeys;
use doorbuster_config::Settings;
use doorbuster_engine::catalogue_reader::CatalogueReader;
use doorbuster_engine::edge::EdgeSightings;
use doorbuster_engine::node::{Node, NodeDescription};
use doorbuster_engine::orders::Orders;
use doorbuster_engine::purchase::Purchases;
use doorbuster_engine::sales::SaleControl;
use doorbuster_engine::start::EngineParts;
use doorbuster_engine::stock::StockControl;
use doorbuster_engine::waitlists::Waitlists;
use doorbuster_gate::Gate;
use doorbuster_outbox::push::WebPush;
use doorbuster_outbox::{AddressGuard, Outbox};
use doorbuster_payments::Payments;
use doorbuster_store::StoreError;
use doorbuster_telemetry::metrics::Metrics;
use secrecy::SecretString;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::assets::AssetFile;
use crate::failure::FailureLogLimiter;
use crate::fixed_settings::FixedSettings;
use crate::guest_sign_in::GuestSignIn;
use crate::identity::OperatorKeysRead;
use crate::limits::{IDLE_AFTER, PING_INTERVAL, UNANSWERED_PINGS_MAX, WRITE_STALL};
use crate::live_settings::LiveSettings;
use crate::overload_pacer::OverloadPacer;
use crate::page_origin::PageOrigin;
use crate::refusals::Refusals;
use crate::sale_views::SaleViews;
use crate::series::recorder::SeriesRecorder;
use crate::wrong_keys::WrongKeys;

/// The state that all requests share.
pub struct App {
    pub(crate) node: Arc<Node>,
    pub(crate) stock: Arc<StockControl>,
    pub(crate) catalogue_reader: Arc<CatalogueReader>,
    pub(crate) sales: Arc<SaleControl>,
    pub(crate) orders: Arc<Orders>,
    pub(crate) waitlists: Waitlists,
    pub(crate) purchases: Arc<Purchases>,
    pub(crate) buyers: BuyerTokenVerifier,
    pub(crate) operators: OperatorKeyVerifier,
    pub(crate) live: ArcSwap<LiveSettings>,
    /// The last rendered list of sales, and the time of the rendering. `None` before the first
    /// rendering. The list is rendered at most once a second.
    pub(crate) index: std::sync::Mutex<Option<(Instant, Arc<AssetFile>)>>,
    /// The origin of the pages, if it differs from this server's origin.
    pub(crate) page_origin: PageOrigin,
    pub(crate) views: SaleViews,
    pub(crate) refusals: Refusals,
    pub(crate) overload_pacer: OverloadPacer,
    pub(crate) metrics: Metrics,
    pub(crate) series: SeriesRecorder,
    pub(crate) wrong_keys: WrongKeys,
    pub(crate) oidc: Option<Oidc>,
    pub(crate) edges: EdgeSightings,
    /// Whether the settings say that browsers reach the pages by HTTPS.
    pub(crate) is_https: bool,
    pub(crate) gate: Gate,
    pub(crate) payments: Arc<Payments>,
    pub(crate) outbox: Arc<Outbox>,
    /// `None` if the shop set no key for web push.
    pub(crate) push: Option<WebPush>,
    pub(crate) failure_log: FailureLogLimiter,
    pub(crate) guests: Option<GuestSignIn>,
    /// Whether this process has the role `api` or `edge`, and so answers buyers and operators.
    pub(crate) serves_api: bool,
    /// Locked while this node creates or deletes an operator's key.
    pub(crate) keys: tokio::sync::Mutex<()>,
    /// The result of the last read of the operators' keys. Locked while this node reads the keys
    /// again.
    pub(crate) operator_keys_read: tokio::sync::Mutex<OperatorKeysRead>,
    /// Running purchases and changes by operators. They run to their end even if their clients
    /// disconnect.
    pub(crate) running_purchases: TaskTracker,
    /// Set when the program begins to stop. The program then reports to load balancers that it is
    /// not ready.
    pub(crate) is_leaving: AtomicBool,
    pub(crate) stopping: AtomicBool,
    /// Cancelled when event streams must end.
    pub(crate) stop: CancellationToken,
    pub(crate) ping_policy: PingPolicy,
    /// After this time without activity, a WebSocket becomes idle.
    pub(crate) idle_after: Duration,
    /// How long a write may wait for a client that does not read. After this time, the server
    /// closes the connection.
    pub(crate) write_stall: Duration,
}

/// When the server pings the client of a WebSocket, and when it decides that the client is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PingPolicy {
    /// The time between two pings. Streams of server-sent events use the same time.
    pub(crate) ping_every: Duration,
    /// If this many pings are unanswered when the next ping is due, the server closes the
    /// WebSocket.
    pub(crate) pings_max: u32,
}

impl App {
    /// Builds the shared state from the started parts of the engine. `guest_secret` signs guests'
    /// tokens in a demonstration. `webhook_secrets` sign the webhooks of the sandbox, a simulated
    /// payment provider. The front door derives its keys from `masters`.
    #[must_use]
    pub fn new(
        settings: &Settings,
        engine: EngineParts,
        buyers: BuyerTokenVerifier,
        operators: OperatorKeyVerifier,
        guest_secret: Option<SecretString>,
        masters: MasterKeys,
        webhook_secrets: &[SecretString],
    ) -> Arc<Self> {
        let EngineParts { node, stock, catalogue_reader, sales, orders, waitlists, purchases } =
            engine;
        let payments = Payments::new(node.clone(), orders.clone(), settings, webhook_secrets);
        let outbox = Outbox::new(node.clone(), catalogue_reader.clone(), settings);
        let metrics = Metrics::default();
        node.this_node().describe(NodeDescription {
            started_at: node.now(),
            connections: metrics.connections.clone(),
        });
        let fixed = FixedSettings::new(settings).with_nodes_of(node.edge());
        if let Some(edge) = node.edge() {
            edge.describe(node.id_key(), metrics.connections.clone());
        }
        Arc::new(Self {
            gate: Gate::new(&node, settings, masters),
            payments: Arc::new(payments),
            outbox: Arc::new(outbox),
            push: WebPush::new(
                settings.page.push.as_ref(),
                AddressGuard::new(settings.deliveries.allow_private),
            ),
            views: SaleViews::new(node.clone(), stock.clone()),
            node,
            stock,
            catalogue_reader,
            sales,
            orders,
            waitlists,
            purchases,
            buyers,
            operators,
            live: ArcSwap::from_pointee(LiveSettings::new(settings, fixed)),
            index: std::sync::Mutex::default(),
            page_origin: PageOrigin::new(settings.page_origin.as_deref()),
            refusals: Refusals::default(),
            overload_pacer: OverloadPacer::new(settings.workers),
            metrics,
            series: SeriesRecorder::default(),
            wrong_keys: WrongKeys::default(),
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
            operator_keys_read: tokio::sync::Mutex::default(),
            running_purchases: TaskTracker::new(),
            is_leaving: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            stop: CancellationToken::new(),
            ping_policy: PingPolicy { ping_every: PING_INTERVAL, pings_max: UNANSWERED_PINGS_MAX },
            idle_after: IDLE_AFTER,
            write_stall: WRITE_STALL,
        })
    }

    /// Reads the blocked buyers and networks from the store into memory.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn load_blocks(&self) -> Result<(), StoreError> {
        self.gate.blocks.catch_up(self.node.store()).await
    }

    /// Sets this server's address, to which the sandbox sends its webhooks.
    pub fn set_server_address(&self, address: &str) {
        if let Some(sandbox) = self.payments.sandbox() {
            sandbox.set_server_address(address);
        }
    }

    /// Reads again the public keys that verify buyers' tokens.
    ///
    /// # Errors
    /// If the keys cannot be read. The previous keys stay in use.
    pub async fn reload_keys(&self) -> Result<(), JwksError> {
        self.buyers.reload_keys().await
    }

    /// Returns the node.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Returns the metrics of the HTTP side.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Reports to load balancers that the program is not ready. The program still serves requests.
    pub fn mark_not_ready(&self) {
        self.is_leaving.store(true, Ordering::Release);
    }

    /// Begins the shutdown: event streams end, and each connection ends after its current request.
    pub fn begin_shutdown(&self) {
        self.mark_not_ready();
        self.stopping.store(true, Ordering::Release);
        self.stop.cancel();
    }

    pub(crate) fn live(&self) -> Guard<Arc<LiveSettings>> {
        self.live.load()
    }

    /// Applies the settings that can change while the server runs. Outgoing requests then use the
    /// newest certificates. Files of the previous pages stay available, because browsers may still
    /// show these pages.
    pub fn reload(&self, settings: &Settings) {
        let before = self.live.load_full();
        let mut next = before.reloaded(settings);
        if let Some(assets) = Arc::get_mut(&mut next.assets) {
            assets.keep_files_of(&before.assets);
        }
        self.live.store(Arc::new(next));
        self.payments.renew_client();
        self.outbox.renew_client();
        if let Some(push) = &self.push {
            push.renew_client();
        }
        if let Some(oidc) = &self.oidc {
            oidc.renew_client();
        }
    }

    /// Returns how long the server continues to accept requests after a stop signal.
    #[must_use]
    pub fn stop_notice(&self) -> Duration {
        self.live().stop_notice
    }

    #[cfg(test)]
    pub(super) fn change_live(&self, change: impl FnOnce(&mut LiveSettings)) {
        let mut next = LiveSettings::clone(&self.live.load());
        change(&mut next);
        self.live.store(Arc::new(next));
    }
}
