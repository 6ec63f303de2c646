//! The statistics of a sale.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::value::Time;

/// Rates, latencies and refusals of one sale in this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "sale": "spring", "server_time": "2026-11-20T10:00:05.000Z", "window_secs": 10,
    "per_second": {"requests": 52000.0, "reserved": 1.0, "refused": 51900.0},
    "latency_ms": {"p50": 0.4, "p99": 3.1, "max": 12.0},
    "requests": 520000, "reserved": 10, "queued": 0, "replayed": 0, "refusals": {"sold_out": 519990},
    "rate_limited": {"purchase": {"buyer": 12}}, "queue_depth": 0
})))]
pub struct Stats {
    /// The sale.
    pub sale: String,
    /// The server's time when the server read these statistics.
    pub server_time: Time,
    /// Length of the window for rates and latencies, in seconds.
    pub window_secs: u32,
    /// Rates in the window.
    pub per_second: Rates,
    /// The latencies of purchases, from the request to the response.
    pub latency_ms: Latency,
    /// Purchase requests since the process started.
    pub requests: u64,
    /// Purchases that were answered `201`.
    pub reserved: u64,
    /// Purchases that were answered `202`.
    pub queued: u64,
    /// Purchases that were answered with an order that already existed.
    pub replayed: u64,
    /// Refused purchases, by code.
    pub refusals: BTreeMap<String, u64>,
    /// The number of requests that exceeded a rate limit, by endpoint and scope. Zero counts are
    /// left out.
    pub rate_limited: BTreeMap<String, BTreeMap<String, u64>>,
    /// Tickets that wait to be settled.
    pub queue_depth: u64,
}

/// Rates per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rates {
    /// Purchase requests.
    pub requests: f64,
    /// Purchases that were answered `201`.
    pub reserved: f64,
    /// Refused purchases.
    pub refused: f64,
}

/// Latencies in milliseconds; 0 if nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Latency {
    /// Half of the responses arrived within this time, in milliseconds.
    pub p50: f64,
    /// 99 of 100 responses arrived within this time, in milliseconds.
    pub p99: f64,
    /// The slowest response.
    pub max: f64,
}
