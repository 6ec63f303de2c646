//! Delivery of events to the shop's webhooks and to brokers, and of messages to browsers.
//!
//! * The transaction that changes an order also writes the event about the change.
//! * Each endpoint has one worker, which sends the events after the endpoint's position.
//!   [`doorbuster_core::outbox`] decides when each event is sent.
//! * A worker sends only while its node has the endpoint's lease. If two workers run for a moment,
//!   the store accepts the position from only one of them.
//! * If a worker stops before it has stored the results of its deliveries, the next worker sends
//!   these events again.
//!
//! | file | what it does |
//! |---|---|
//! | `worker` | delivers events to one endpoint |
//! | `body` | builds the message of an event |
//! | `receiver` | defines the contract with a receiver of messages |
//! | `webhook` | sends messages as signed requests |
//! | `broker` | sends messages to brokers |
//! | `send` | sends one message to a webhook or to a broker |
//! | `push` | sends messages to browsers |
//! | `limits` | bounds the numbers of endpoints and of their secrets |
//! | `address_guard` | decides to which addresses requests may go |
//! | `cleanup` | deletes expired rows |
//! | `metrics` | counts delivery attempts and deleted rows |
mod address_guard;
mod body;
mod broker;
mod cleanup;
mod limits;
mod log;
mod metrics;
pub mod push;
mod receiver;
mod send;
mod webhook;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use doorbuster_base::failpoint::{self, Failpoint};
use doorbuster_brokers::Address;
use doorbuster_config::Settings;
use doorbuster_core::outbox::DeliveryBounds;
use doorbuster_engine::catalogue_reader::CatalogueReader;
use doorbuster_engine::node::Node;
use doorbuster_engine::outage_log;
use doorbuster_store::{Endpoint, EndpointKind, StoreError, StoredEvent};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

pub use address_guard::{AddressGuard, check as check_address};
pub use body::{event_id, visible_event_id};
pub use broker::display_address as shown_address;
use broker::{BrokerGuard, Brokers};
pub use limits::{ENDPOINTS_MAX, SECRETS_MAX};
pub use metrics::AttemptOutcome;
pub(crate) use metrics::DeliveryMetrics;
use receiver::Message;
use webhook::Webhooks;
pub(crate) use webhook::guarded_client;

const ENDPOINTS_REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// How often a node assigns positions to new events, if no signal of a new event comes earlier.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The maximum number of events to which one transaction assigns positions in PostgreSQL. In
/// SQLite, the transaction that writes an event also assigns its position.
const SEQUENCE_AT_ONCE: usize = 10_000;

/// For each endpoint, the sender that passes new settings of the endpoint to its worker.
type Senders = HashMap<String, watch::Sender<Arc<Endpoint>>>;

/// The delivery service of this node.
pub struct Outbox {
    node: Arc<Node>,
    /// Reads the catalogue again if this node does not know the sale of an event.
    catalogue_reader: Arc<CatalogueReader>,
    /// The address of the sale pages, if it is configured.
    origin: Option<String>,
    webhooks: Webhooks,
    brokers: Brokers,
    guard: AddressGuard,
    bounds: DeliveryBounds,
    meter: DeliveryMetrics,
    /// Whether this node has the role `control`. Only nodes with this role deliver events.
    controls: bool,
    /// Wakes the supervisor of the workers.
    changed: Notify,
    /// How many times operators changed endpoints or deliveries at this node.
    changes: AtomicU64,
    /// The number of operators' changes that the workers already use.
    known: watch::Sender<u64>,
    /// A number that increases whenever there may be new events.
    new_events: watch::Sender<u64>,
    /// Whether this node has a worker. Only nodes with a worker assign positions to events.
    has_leases: AtomicBool,
}

impl Outbox {
    /// Makes the next webhook use the system's newest certificates.
    pub fn renew_client(&self) {
        self.webhooks.renew_client();
    }

    /// Creates the delivery service with these settings.
    pub fn new(
        node: Arc<Node>,
        catalogue_reader: Arc<CatalogueReader>,
        settings: &Settings,
    ) -> Self {
        let guard = AddressGuard::new(settings.deliveries.allow_private);
        let brokers = BrokerGuard::new(
            settings.deliveries.broker_hosts.clone(),
            settings.deliveries.allow_private,
        );
        Self {
            node,
            catalogue_reader,
            origin: settings.page_origin.clone().or_else(|| settings.page_url.clone()),
            webhooks: Webhooks::new(guard.clone(), settings.deliveries.timeout),
            brokers: Brokers::new(brokers, settings.deliveries.timeout, settings.page_url.clone()),
            guard,
            bounds: DeliveryBounds {
                tries: settings.deliveries.tries,
                ..DeliveryBounds::default()
            },
            meter: DeliveryMetrics::default(),
            controls: settings.roles.control,
            changed: Notify::new(),
            changes: AtomicU64::new(0),
            known: watch::Sender::default(),
            new_events: watch::Sender::default(),
            has_leases: AtomicBool::new(false),
        }
    }

    /// Returns the kind and the normalised address of an endpoint, or why the endpoint is refused.
    pub async fn check(&self, text: &str) -> Result<(EndpointKind, String), &'static str> {
        if Address::is_broker_url(text) {
            self.brokers.guard().check(text)?;
            return Ok((EndpointKind::Broker, text.to_owned()));
        }
        let url = address_guard::check(text, &self.guard)?;
        self.guard.refuse_private_host(&url).await?;
        Ok((EndpointKind::Webhook, url.to_string()))
    }

    /// Returns the event's message. Returns `None` if this node does not know the event's item,
    /// even after it has read the catalogue again.
    pub async fn message(&self, stored: &StoredEvent) -> Option<Message> {
        let links = body::Links { key: self.node.id_key(), origin: self.origin.as_deref() };
        let message = body::message(&self.node.catalogue(), links, stored);
        if message.is_some() {
            return message;
        }
        // Another node may have just created the item's sale.
        drop(self.catalogue_reader.refresh().await);
        body::message(&self.node.catalogue(), links, stored)
    }

    /// Returns the delivery counters.
    pub fn meter(&self) -> &DeliveryMetrics {
        &self.meter
    }

    /// Wakes the workers after an operator has changed endpoints or deliveries.
    pub fn notify_workers(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_one();
        self.new_events.send_modify(|new_events| *new_events += 1);
    }

    /// Wakes the workers after an operator's change, and waits until they use the changed
    /// endpoints. Waits at most for [`ENDPOINTS_REFRESH_INTERVAL`].
    pub async fn notify_workers_and_wait(&self) {
        let mut known = self.known.subscribe();
        self.notify_workers();
        let changes = self.changes.load(Ordering::Acquire);
        if self.controls {
            drop(
                tokio::time::timeout(
                    ENDPOINTS_REFRESH_INTERVAL,
                    known.wait_for(|known| *known >= changes),
                )
                .await,
            );
        }
    }

    /// Delivers events until the program stops.
    pub async fn run_jobs(self: &Arc<Self>) {
        if !self.controls {
            return std::future::pending().await;
        }
        tokio::join!(self.supervise(), self.run_sequencer(), self.delete_expired());
    }

    async fn run_sequencer(&self) {
        let mut happened = self.node.control().event_signal();
        let mut every = tokio::time::interval(POLL_INTERVAL);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                // The sender of this signal lives as long as the node, so `changed` returns no
                // error.
                _ = happened.changed() => {}
            }
            if !self.has_leases.load(Ordering::Acquire) {
                continue;
            }
            match self.assign_positions().await {
                Ok(()) => {
                    failpoint::reach(Failpoint::OutboxSequenced);
                    self.new_events.send_modify(|new_events| *new_events += 1);
                }
                Err(error) => {
                    outage_log::warn!(
                        self.node.outage_log(),
                        error,
                        event = "webhook.positions_failed",
                        "failed to assign positions to events; will retry"
                    );
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            }
        }
    }

    async fn assign_positions(&self) -> Result<(), StoreError> {
        while self.node.store().sequence_events(SEQUENCE_AT_ONCE).await? == SEQUENCE_AT_ONCE {}
        Ok(())
    }

    async fn supervise(self: &Arc<Self>) {
        let mut workers: JoinSet<()> = JoinSet::new();
        let mut known = Senders::new();
        loop {
            let changes = self.changes.load(Ordering::Acquire);
            match self.node.store().endpoints().await {
                Ok(endpoints) => {
                    self.assign_workers(endpoints, &mut known, &mut workers);
                    self.known.send_replace(changes);
                }
                Err(error) => outage_log::warn!(
                    self.node.outage_log(),
                    error,
                    event = "webhook.endpoints_failed",
                    "failed to read the endpoints; will retry"
                ),
            }
            self.has_leases.store(!known.is_empty(), Ordering::Release);
            let next_read = Instant::now() + ENDPOINTS_REFRESH_INTERVAL;
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(next_read) => break,
                    () = self.changed.notified() => break,
                    Some(ended) = workers.join_next(), if !workers.is_empty() =>
                        remove_ended(&mut known, ended),
                }
            }
        }
    }

    fn assign_workers(
        self: &Arc<Self>,
        endpoints: Vec<Endpoint>,
        known: &mut Senders,
        workers: &mut JoinSet<()>,
    ) {
        let wanted: HashMap<String, Arc<Endpoint>> = endpoints
            .into_iter()
            .filter(|endpoint| endpoint.enabled)
            .map(|endpoint| (endpoint.id.clone(), Arc::new(endpoint)))
            .collect();
        known.retain(|id, _| wanted.contains_key(id));
        self.brokers.retain_endpoints(|id| wanted.contains_key(id));
        for (id, endpoint) in wanted {
            if let Some(sender) = known.get(&id) {
                // The endpoint's worker itself advances the position in the store. So the worker is
                // woken only if something other than the position has changed.
                sender.send_if_modified(|before| {
                    let same = Endpoint { position: before.position, ..Endpoint::clone(&endpoint) }
                        == **before;
                    if !same {
                        *before = endpoint;
                    }
                    !same
                });
                continue;
            }
            let (sender, receiver) = watch::channel(endpoint);
            known.insert(id, sender);
            workers.spawn(worker::run(self.clone(), receiver));
        }
    }
}

/// Removes the senders of workers that have ended. The next read of the endpoints then starts a new
/// worker for each endpoint without a sender. If a new worker already runs for an endpoint, its
/// sender stays.
fn remove_ended(known: &mut Senders, ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(
            %error,
            event = "webhook.task_failed",
            "event delivery task failed; restarting it"
        );
    }
    known.retain(|_, sender| !sender.is_closed());
}
