//! The progress of a load run, and its final report.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use doorbuster_api::report::LatencyMs;
use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::plan::LoadPlan;
use super::tally::{Counts, Tally};

/// The progress of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Buyers in the plan.
    pub buyers: u64,
    /// Buyers that have sent a request.
    pub started: u64,
    /// Buyers that have their final answer.
    pub answered: u64,
    /// Final answers by kind.
    pub answers: BTreeMap<String, u64>,
    /// Requests that were repeated after `429` or `5xx`.
    pub retries: u64,
    /// Connections that could not be opened, broke, or gave no answer in time.
    pub connection_errors: u64,
    /// Time since the first request.
    pub elapsed_ms: u64,
}

impl Progress {
    pub(super) fn new(counts: &Counts, buyers: u32, elapsed: Duration) -> Self {
        Self {
            buyers: buyers.into(),
            started: counts.started,
            answered: counts.answered(),
            answers: counts.kinds(),
            retries: counts.retries(),
            connection_errors: counts.connection_errors,
            elapsed_ms: whole_ms(elapsed),
        }
    }
}

/// Converts latencies to the report's form. If the plan has a rate, each latency begins when the
/// buyer's arrival was due.
fn latency(micros: &Histogram<u64>) -> LatencyMs {
    let ms = |micros: u64| micros as f64 / 1000.0;
    LatencyMs {
        p50: ms(micros.value_at_quantile(0.5)),
        p99: ms(micros.value_at_quantile(0.99)),
        max: ms(micros.max()),
    }
}

/// The result of a run: the report that `doorbuster-api` defines, and further figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// The address of the server.
    pub url: String,
    /// The sale.
    pub sale: String,
    /// The item.
    pub item: String,
    /// Buyers that sent a request. Each of these buyers has one final answer or is lost.
    pub buyers: u64,
    /// Units in each request.
    pub units_each: u32,
    /// Final answers by kind: the state of the order, or the code of the refusal.
    pub answers: BTreeMap<String, u64>,
    /// Buyers without a final answer.
    pub lost_answers: u64,
    /// Final answers that returned an existing order, which an earlier request with the same key
    /// had created.
    pub replayed: u64,
    /// Answers `202`: the purchase was queued, and the verdict came later.
    pub queued: u64,
    /// Verdicts that queued buyers got by event.
    pub told_by_event: u64,
    /// Verdicts that queued buyers got by polling.
    pub told_by_poll: u64,
    /// Requests that were repeated after `429` or `5xx`: the sum of the next three fields.
    pub retries: u64,
    /// Requests repeated after `503`.
    pub overloaded_retries: u64,
    /// Requests repeated after `429`.
    pub rate_limited_retries: u64,
    /// Requests repeated after another `5xx`.
    pub server_error_retries: u64,
    /// Connections that could not be opened, broke, or gave no answer in time.
    pub connection_errors: u64,
    /// Answers that violate the contract, by kind of violation.
    pub faults: BTreeMap<String, u64>,
    /// All requests sent.
    pub requests: u64,
    /// Time from the first request to the last final answer.
    pub elapsed_ms: u64,
    /// Final answers per second, from the first request to the last final answer.
    pub answers_per_second: f64,
    /// Latencies of all final answers.
    pub latency_ms: LatencyMs,
    /// Latencies of the answers with a reserved order.
    pub reserved_latency_ms: LatencyMs,
    /// The number of connections.
    pub connections: usize,
    /// The number of threads that sent requests.
    pub workers: usize,
    /// How many cores the sending threads used, on average.
    pub generator_cores: f64,
    /// The seed. The same seed gives the same buyers in the same sequence.
    pub seed: u64,
    /// When the first request was sent.
    pub first_sent_at: Timestamp,
}

impl LoadReport {
    pub(super) fn new(plan: &LoadPlan, tally: &Tally, started_at: Instant) -> Self {
        let counts = &tally.counts;
        let elapsed =
            tally.last_answer.map_or(started_at.elapsed(), |last| last.duration_since(started_at));
        // The conversion fails only if the clock's time is outside the range of a `Timestamp`.
        let first_sent_at =
            Timestamp::try_from(SystemTime::now() - started_at.elapsed()).unwrap_or_default();
        Self {
            url: plan.url.clone(),
            sale: plan.sale.clone(),
            item: plan.item.clone(),
            buyers: counts.started,
            units_each: plan.units,
            answers: counts.kinds(),
            lost_answers: counts.started - counts.answered(),
            replayed: counts.replayed,
            queued: counts.queued,
            told_by_event: counts.told_by_event,
            told_by_poll: counts.told_by_poll,
            retries: counts.retries(),
            overloaded_retries: counts.overloaded_retries,
            rate_limited_retries: counts.rate_limited_retries,
            server_error_retries: counts.server_error_retries,
            connection_errors: counts.connection_errors,
            faults: counts.faults.clone(),
            requests: counts.requests,
            elapsed_ms: whole_ms(elapsed),
            answers_per_second: rate(counts.answered(), elapsed),
            latency_ms: latency(&tally.latency),
            reserved_latency_ms: latency(&tally.reserved_latency),
            connections: plan.connections_used(),
            workers: plan.workers_used(),
            generator_cores: cores(tally.cpu_time, elapsed),
            seed: plan.seed,
            first_sent_at,
        }
    }

    /// Returns the time from the first request to the last final answer.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms)
    }
}

fn rate(count: u64, elapsed: Duration) -> f64 {
    let secs = elapsed.as_secs_f64();
    if secs > 0.0 { (count as f64 / secs * 10.0).round() / 10.0 } else { 0.0 }
}

fn cores(cpu_time: Duration, elapsed: Duration) -> f64 {
    let share = cpu_time.as_secs_f64() / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    (share * 100.0).round() / 100.0
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
