//! Counters of the HTTP side. `/metrics` and the statistics of a sale read them.

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

/// A counter that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts the objects that exist now. [`Gauge::hold`] adds one object, and dropping its result
/// subtracts the object.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

/// Counts as one in a [`Gauge`] until it is dropped.
#[derive(Debug)]
pub struct GaugeGuard(Arc<AtomicU64>);

impl Gauge {
    /// Adds one until the result is dropped.
    #[must_use]
    pub fn hold(&self) -> GaugeGuard {
        self.0.fetch_add(1, Ordering::Relaxed);
        GaugeGuard(self.0.clone())
    }

    /// Returns the value.
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

/// All counters of the HTTP side.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests by route and status.
    pub requests: Requests,
    /// The time from a purchase's first byte to its answer.
    pub purchases: Histogram,
    /// Connections open now.
    pub connections: Gauge,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections refused at the limit.
    pub turned_away: Counter,
    /// Open event streams of the kind SSE.
    pub streams: Gauge,
    /// Open event streams of the kind WebSocket.
    pub sockets: Gauge,
    /// Open WebSockets that are idle.
    pub idle_sockets: Gauge,
    /// Tokens and keys that failed verification.
    pub denied: Counter,
}
