//! The HTTP side: connections, the purchase's own path, the router of everything else.

mod accept;
mod admin;
mod asked;
mod assets;
mod client;
mod connection;
mod cursor;
mod dispatch;
mod docs;
mod events;
mod failure;
mod gate;
mod health;
mod hot;
mod input;
mod limited;
mod limits;
mod line;
mod orders;
mod origin;
mod pages;
mod payment;
mod quick;
mod refusals;
mod reply;
mod rest;
mod router;
mod sales;
mod shared;
mod socket;
mod turn_away;
mod unread;
mod views;
mod who;
pub(crate) mod wire;

pub use accept::{Listener, bind};
pub use assets::{FolderFile, folder};
pub(crate) use limits::HANDLES_SPARE;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorbuster_store::StoreError;
use secrecy::SecretString;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{Buyers, Operators};
use crate::config::{Cidr, Settings};
use crate::engine::Engine;
use crate::gate::{Gate, Masters};
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::payment::Payments;
use assets::Assets;
use failure::Lines;
use limits::{PING_EVERY, QUIET, UNANSWERED_PINGS_MAX, WRITE_STALL};
use origin::PageOrigin;
use pages::Guests;
use refusals::Refusals;
use rest::Rests;
use views::Views;

/// What every request may need.
pub struct App {
    engine: Arc<Engine>,
    buyers: Buyers,
    operators: Operators,
    proxies: Vec<Cidr>,
    assets: Assets,
    /// Where pages are, if not here.
    pages_at: PageOrigin,
    views: Views,
    refusals: Refusals,
    rests: Rests,
    metrics: Metrics,
    gate: Gate,
    payments: Arc<Payments>,
    outbox: Arc<Outbox>,
    lines: Lines,
    guests: Option<Guests>,
    /// Whether it answers buyers and operators.
    serves: bool,
    /// Held by whoever changes the operators' keys.
    keys: tokio::sync::Mutex<()>,
    /// When they were last read again.
    keys_read: tokio::sync::Mutex<Option<Instant>>,
    /// Purchases and operators' changes, which run to their end whoever hangs up.
    buying: TaskTracker,
    /// Most event streams of one buyer: half of the connections, so that one token cannot hold them all.
    streams_max: usize,
    /// Asked to stop: not ready any more.
    noticed: AtomicBool,
    stopping: AtomicBool,
    /// Ends event streams.
    stop: CancellationToken,
    silence: Silence,
    /// How long nothing happens to a WebSocket before it is put to sleep.
    quiet: Duration,
    /// How long the other end of a connection may take nothing.
    write_stall: Duration,
}

/// How the other end of a WebSocket is found to be gone.
#[derive(Clone, Copy, Debug)]
struct Silence {
    /// Between two pings, of other event streams too.
    ping_every: Duration,
    /// Without a word since, not even a pong.
    pings_max: u32,
}

impl App {
    /// Puts together what requests need. `guest_secret` signs guests in, in a demonstration; `masters` are what the front door's keys are made from, `webhook_secrets` what the sandbox's messages are signed with.
    #[must_use]
    pub fn new(
        settings: &Settings,
        engine: Arc<Engine>,
        buyers: Buyers,
        operators: Operators,
        guest_secret: Option<SecretString>,
        masters: Masters,
        webhook_secrets: &[SecretString],
    ) -> Arc<Self> {
        let payments = Payments::new(engine.clone(), settings, webhook_secrets);
        Arc::new(Self {
            gate: Gate::new(&engine, settings, masters),
            payments: Arc::new(payments),
            outbox: Arc::new(Outbox::new(engine.clone(), settings)),
            engine,
            buyers,
            operators,
            proxies: settings.trusted_proxies.clone(),
            assets: Assets::prepare(settings, None),
            pages_at: PageOrigin::new(settings.page_origin.as_deref()),
            views: Views::default(),
            refusals: Refusals::default(),
            rests: Rests::new(settings.workers),
            metrics: Metrics::default(),
            lines: Lines::default(),
            guests: guest_secret.map(|secret| Guests::new(secret, &settings.auth)),
            serves: settings.roles.api,
            keys: tokio::sync::Mutex::default(),
            keys_read: tokio::sync::Mutex::default(),
            buying: TaskTracker::new(),
            streams_max: settings.connections_max / 2,
            noticed: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            stop: CancellationToken::new(),
            silence: Silence { ping_every: PING_EVERY, pings_max: UNANSWERED_PINGS_MAX },
            quiet: QUIET,
            write_stall: WRITE_STALL,
        })
    }

    /// Reads whom operators turn away.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn know_blocks(&self) -> Result<(), StoreError> {
        self.gate.blocks.catch_up(&self.engine).await
    }

    /// Where this server listens, for whoever sends something to it.
    pub fn serve_at(&self, address: &str) {
        if let Some(sandbox) = self.payments.sandbox() {
            sandbox.serve_at(address);
        }
    }

    /// The engine behind it.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The metrics in front of it.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Samples counts and keeps public keys fresh until the program stops.
    pub async fn tend(&self) {
        let sampling = async {
            let mut every = tokio::time::interval(Duration::from_secs(1));
            every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                every.tick().await;
                self.views.tick(&self.engine);
                // A key that another node deleted stops working here too.
                self.know_keys_again().await;
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = sampling => {}
            () = self.buyers.keep_fresh() => {}
            () = self.gate.tend(&self.engine) => {}
            () = self.payments.tend() => {}
            () = self.outbox.tend() => {}
        }
    }

    /// From now on the program is not ready any more, and goes on all the same.
    pub fn give_notice(&self) {
        self.noticed.store(true, Ordering::Release);
    }

    /// From now on the program is stopping: nothing is answered on a connection after what it asks now, and event streams end.
    pub fn begin_to_stop(&self) {
        self.give_notice();
        self.stopping.store(true, Ordering::Release);
        self.stop.cancel();
    }

    /// Waits for purchases whose clients are gone.
    pub async fn finish(&self) {
        self.buying.close();
        self.buying.wait().await;
    }
}

#[cfg(test)]
mod tests;
