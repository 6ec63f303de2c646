//! Counters of the HTTP server. `/metrics` and the statistics of a sale read these counters.

mod histogram;
mod requests;
mod text;
mod window;

pub use doorbuster_base::counter::Counter;
pub use histogram::{BOUNDS_US, Histogram, HistogramSnapshot};
pub use requests::{ROUTES_OTHER, Requests, RouteIndex, route_index, route_name, routes};
pub use text::{MetricKind, MetricsText};
pub use window::{RateSample, RateWindow, WINDOW_SECS};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts objects that exist now, such as open connections. [`Gauge::hold`] adds one and returns a
/// guard. When the guard is dropped, one is subtracted.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

/// Adds one to a [`Gauge`] until this guard is dropped.
#[derive(Debug)]
pub struct GaugeGuard(Arc<AtomicU64>);

impl Gauge {
    /// Adds one to the value. The drop of the returned guard subtracts it again.
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

/// All counters of the HTTP server.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests by route and status.
    pub requests: Requests,
    /// The time from a purchase's first byte to its answer.
    pub purchases: Histogram,
    /// Open connections.
    pub connections: Gauge,
    /// Accepted connections.
    pub accepted: Counter,
    /// Connections that were refused because too many connections were open.
    pub turned_away: Counter,
    /// Open event streams that use server-sent events.
    pub streams: Gauge,
    /// Open event streams that use a WebSocket.
    pub sockets: Gauge,
    /// Open WebSockets that are idle.
    pub idle_sockets: Gauge,
    /// Tokens and keys that failed verification.
    pub denied: Counter,
    /// Failed requests to the OTLP collector. Such a request contains metrics or logs.
    pub otlp_failures: Counter,
}
