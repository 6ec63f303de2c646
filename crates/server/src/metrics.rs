//! Counters of the HTTP side: atomic adds, read by `/metrics` and by a sale's statistics.

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

    /// The value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number of current things: [`Gauge::hold`] adds one, and dropping its result subtracts one.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

/// One of the things that a [`Gauge`] counts.
#[derive(Debug)]
pub struct GaugeGuard(Arc<AtomicU64>);

impl Gauge {
    /// Adds one for as long as the result lives.
    #[must_use]
    pub fn hold(&self) -> GaugeGuard {
        self.0.fetch_add(1, Ordering::Relaxed);
        GaugeGuard(self.0.clone())
    }

    /// The value.
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
    /// Event streams open now, by SSE.
    pub streams: Gauge,
    /// Event streams open now, by WebSocket.
    pub sockets: Gauge,
    /// Of these WebSockets, the idle ones.
    pub idle_sockets: Gauge,
    /// Tokens and keys that failed verification.
    pub denied: Counter,
}
