//! What the HTTP side counts: atomic adds on the way, read by `/metrics` and the statistics of a
//! sale.

mod histogram;
mod requests;
mod text;
mod window;

pub use histogram::{BOUNDS_US, Histogram, HistogramSnapshot};
pub use requests::{ROUTES_OTHER, Requests, RouteIndex, route_index, route_name, routes};
pub use text::{MetricKind, MetricsText};
pub use window::{RateSample, RateWindow, WINDOW_SECS};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many there are at the moment: counted up by [`Gauge::hold`], down when what it returns is
/// dropped.
#[derive(Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

/// One of those that a [`Gauge`] counts.
#[derive(Debug)]
pub struct GaugeGuard(Arc<AtomicU64>);

impl Gauge {
    /// One more, for as long as the result lives.
    #[must_use]
    pub fn hold(&self) -> GaugeGuard {
        self.0.fetch_add(1, Ordering::Relaxed);
        GaugeGuard(self.0.clone())
    }

    /// The number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Everything that the HTTP side counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests by route and status.
    pub requests: Requests,
    /// From the first byte of a purchase read to its answer.
    pub purchases: Histogram,
    /// Connections open now.
    pub connections: Gauge,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections turned away at the cap.
    pub turned_away: Counter,
    /// Event streams open now, by SSE.
    pub streams: Gauge,
    /// Event streams open now, by WebSocket.
    pub sockets: Gauge,
    /// Of these, asleep now.
    pub idle_sockets: Gauge,
    /// Readers of events dropped because they were too slow.
    pub dropped: Counter,
    /// Tokens and keys that did not hold.
    pub denied: Counter,
}
