//! An edge is a process in front of the nodes. It has no store. The edge has a copy of the nodes'
//! memory, and uses this copy to refuse requests that cannot succeed. It passes all other requests
//! to nodes with the role `api`. `doorbuster_core::edge` has the rules of an edge.
//!
//! On an edge, this part owns the connections to the nodes and the age of the edge's copy. It also
//! counts the requests that the edge refuses or passes on. It reads the feed from Redis, and puts
//! the feed's sales into the catalogue. The handlers of requests call this part.
mod follow;
pub mod keys;
pub mod records;
pub mod refusal_report;
pub mod relay;
pub mod sightings;
pub mod upstreams;

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use doorbuster_core::edge::{ClockReading, FeedHead, is_fresh};
use doorbuster_core::{IdKey, Millis};
use doorbuster_slots::{SharedRedis, SlotError};
use http::HeaderValue;

pub use follow::follow_feed;
use keys::NodeSettings;
pub use refusal_report::REFUSALS_HEADER;
pub(crate) use relay::Relay;
pub use relay::{EdgeMessage, NodeMessage, RelayGuard};
pub use sightings::{EDGE_HEADER, EdgeDescription, EdgeSightings, RELAY_HEADER};
pub(crate) use upstreams::Upstreams;
pub use upstreams::{PassFailure, STATE_HEADER, TIME_HEADER, UpstreamState};

use doorbuster_base::clock::Clock;
use doorbuster_config::NamedNodes;
use doorbuster_telemetry::metrics::{Counter, Gauge};

use crate::slot_layout::redis_prefix;

/// What an edge knows about the age of its copy and about the store's time.
#[derive(Clone, Copy, Debug, Default)]
struct Freshness {
    head: Option<FeedHead>,
    /// When the edge last read a new head of the feed, in milliseconds of the edge's monotonic
    /// clock.
    read_at: i64,
    clock: Option<ClockReading>,
}

struct AboutSelf {
    node: String,
    key: IdKey,
    connections: Gauge,
}

/// The state of an edge.
pub struct EdgeNode {
    /// The nodes behind this edge.
    pub upstreams: Upstreams,
    /// The number of requests that the edge refused by itself, because of its copy of the nodes'
    /// memory.
    pub refused: Counter,
    /// The number of requests that the edge passed to a node.
    pub passed_on: Counter,
    /// The number of requests that no node answered.
    pub failed: Counter,
    /// How many times the edge began to read a new generation of the feed.
    pub feed_generations: Counter,
    /// The number of reads of the feed that failed or returned no usable content.
    pub feed_failures: Counter,
    /// The nodes' settings. The edge uses them for the settings that it lacks.
    pub nodes: NodeSettings,
    /// The connection over which a node sends the events for buyers.
    pub relay: Relay,
    reports: AtomicU64,
    /// The number of live edges in the feed. Zero until this edge has read the feed.
    pub edges: Arc<AtomicU32>,
    freshness: ArcSwap<Freshness>,
    started: Instant,
    machine_clock: Clock,
    about: OnceLock<AboutSelf>,
    servers: Vec<SharedRedis>,
}

impl fmt::Debug for EdgeNode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("EdgeNode").field("upstreams", &self.upstreams).finish_non_exhaustive()
    }
}

impl EdgeNode {
    /// Creates an edge that has not read the feed yet. Until the edge has read the feed, it passes
    /// every request to a node. `urls` are the addresses of the deployment's Redis servers or of
    /// their replicas.
    ///
    /// # Errors
    ///
    /// If an address is not valid.
    pub fn new(
        upstreams: &[NamedNodes],
        urls: &[String],
        id_key: &IdKey,
        nodes: NodeSettings,
    ) -> Result<Arc<Self>, SlotError> {
        let servers = SharedRedis::readers(urls, &redis_prefix(id_key))?;
        Ok(Arc::new(Self {
            servers,
            nodes,
            upstreams: Upstreams::new(upstreams),
            refused: Counter::default(),
            passed_on: Counter::default(),
            failed: Counter::default(),
            feed_generations: Counter::default(),
            feed_failures: Counter::default(),
            relay: Relay::default(),
            reports: AtomicU64::default(),
            edges: Arc::default(),
            freshness: ArcSwap::default(),
            started: Instant::now(),
            machine_clock: Clock::default(),
            about: OnceLock::new(),
        }))
    }

    /// Sets this edge's description of itself.
    pub fn describe(&self, key: &IdKey, connections: Gauge) {
        let node = format!("{:08x}", rand::random::<u32>());
        drop(self.about.set(AboutSelf { node, key: key.clone(), connections }));
    }

    /// Returns this edge's description of itself as a value of the header `header`. The value
    /// includes a proof that the edge has the deployment's key. Returns `None` until
    /// [`Self::describe`] was called and the edge knows the store's time.
    fn about_text(&self, header: &str) -> Option<HeaderValue> {
        let AboutSelf { node, key, connections } = self.about.get()?;
        // The description includes the store's time, which the edge knows only after a node has
        // answered a request.
        self.freshness.load().clock?;
        let now = self.now().0;
        let about = EdgeDescription {
            node: node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: now - self.own_time(),
            said_at: now,
            connections: connections.get(),
        };
        HeaderValue::from_bytes(&records::seal_json(key, header, &about)).ok()
    }

    /// Returns the milliseconds since this edge started. Changes of the machine's clock have no
    /// effect on this time.
    fn own_time(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Returns whether this edge's copy is fresh enough to refuse requests now.
    pub fn is_fresh(&self) -> bool {
        let Freshness { head, read_at, clock } = **self.freshness.load();
        is_fresh(head.as_ref(), clock.as_ref(), read_at, self.own_time())
    }

    /// Returns the greatest possible age of the edge's copy, in milliseconds. Returns `None` if the
    /// edge has no copy or does not know the store's time.
    pub fn feed_age_ms(&self) -> Option<i64> {
        let Freshness { head, clock, .. } = **self.freshness.load();
        Some((clock?.latest(self.own_time()).0 - head?.as_of.0).max(0))
    }

    /// Returns the store's time. Until a node has answered, returns the machine's time.
    pub fn now(&self) -> Millis {
        if let Some(clock) = self.freshness.load().clock {
            return clock.likely(self.own_time());
        }
        self.machine_clock.now()
    }

    /// Records the store's time from a node's response. `asked_at` is the time at which the edge
    /// sent the request.
    fn read_clock(&self, time: Millis, asked_at: i64) {
        let reading = ClockReading { time, asked_at, answered_at: self.own_time() };
        self.freshness.rcu(|known| {
            let is_worse = known
                .clock
                .is_some_and(|clock| !reading.is_better_than(&clock, reading.answered_at));
            let clock = if is_worse { known.clock } else { Some(reading) };
            Freshness { clock, ..**known }
        });
    }

    /// Records that the edge's copy is as recent as this head. The caller must first put everything
    /// in the feed up to this head into the copy.
    fn use_head(&self, head: FeedHead) {
        let now = self.own_time();
        self.freshness.rcu(|known| {
            let read_at = if known.head == Some(head) { known.read_at } else { now };
            Freshness { head: Some(head), read_at, ..**known }
        });
    }
}
