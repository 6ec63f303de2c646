//! The counters and latencies of one worker. At the end of the run, the values of all workers are
//! added up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// The counters. They are small, so a worker can copy them for the progress display.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    /// Buyers that have sent a request.
    pub started: u64,
    /// Requests that were sent, including repeated requests and polls.
    pub requests: u64,
    /// Final answers by kind. There are few kinds, so a linear search is enough.
    kinds: Vec<(String, u64)>,
    /// Final answers that returned an existing order, which an earlier request with the same key
    /// had created.
    pub replayed: u64,
    /// Answers `202`.
    pub queued: u64,
    /// Verdicts that buyers with a queued request got from an event stream.
    pub told_by_event: u64,
    /// Verdicts that queued buyers got by polling.
    pub told_by_poll: u64,
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
}

impl Counts {
    /// Counts one final answer.
    pub fn answer(&mut self, kind: &str) {
        match self.kinds.iter_mut().find(|(name, _)| name == kind) {
            Some((_, count)) => *count += 1,
            None => self.kinds.push((kind.into(), 1)),
        }
    }

    /// Counts one answer that violates the contract.
    pub fn count_fault(&mut self, what: &str) {
        match self.faults.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(self.faults.insert(what.into(), 1)),
        }
    }

    /// Returns how many requests were repeated because of `429` or `5xx`.
    pub fn retries(&self) -> u64 {
        self.overloaded_retries + self.rate_limited_retries + self.server_error_retries
    }

    /// Returns the number of final answers of all kinds.
    pub fn answered(&self) -> u64 {
        self.kinds.iter().map(|(_, count)| count).sum()
    }

    /// Returns the final answers by kind.
    pub fn kinds(&self) -> BTreeMap<String, u64> {
        self.kinds.iter().cloned().collect()
    }

    /// Adds the counts of another worker.
    pub fn add(&mut self, other: &Self) {
        for (kind, count) in &other.kinds {
            match self.kinds.iter_mut().find(|(name, _)| name == kind) {
                Some((_, sum)) => *sum += count,
                None => self.kinds.push((kind.clone(), *count)),
            }
        }
        for (what, count) in &other.faults {
            *self.faults.entry(what.clone()).or_default() += count;
        }
        self.started += other.started;
        self.requests += other.requests;
        self.replayed += other.replayed;
        self.queued += other.queued;
        self.told_by_event += other.told_by_event;
        self.told_by_poll += other.told_by_poll;
        self.overloaded_retries += other.overloaded_retries;
        self.rate_limited_retries += other.rate_limited_retries;
        self.server_error_retries += other.server_error_retries;
        self.connection_errors += other.connection_errors;
    }
}

/// Counters and latencies of one worker, or of all workers.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    /// The counters.
    pub counts: Counts,
    /// For each final answer, the time since the buyer's first request, in microseconds. If the
    /// plan has a rate, the time counts from the moment at which the buyer was to arrive.
    pub latency: Histogram<u64>,
    /// The latencies of the answers with a reserved order, in microseconds.
    pub reserved_latency: Histogram<u64>,
    /// The time of the last final answer.
    pub last_answer: Option<Instant>,
    /// The processor time of the worker threads.
    pub cpu_time: Duration,
}

impl Default for Tally {
    fn default() -> Self {
        // A histogram records one microsecond to one hour, with three significant digits. A longer
        // time counts as one hour.
        let histogram =
            || Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("these bounds are allowed");
        Self {
            counts: Counts::default(),
            latency: histogram(),
            reserved_latency: histogram(),
            last_answer: None,
            cpu_time: Duration::ZERO,
        }
    }
}

impl Tally {
    /// Counts one final answer and its latency.
    pub fn answer(&mut self, kind: &str, took: Duration, now: Instant) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.latency.saturating_record(micros);
        if kind == "reserved" {
            self.reserved_latency.saturating_record(micros);
        }
        self.counts.answer(kind);
        self.last_answer = Some(now);
    }

    /// Adds the tally of another worker.
    pub fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        for (sum, part) in [
            (&mut self.latency, &other.latency),
            (&mut self.reserved_latency, &other.reserved_latency),
        ] {
            sum.add(part).expect("both have the same bounds");
        }
        self.last_answer = self.last_answer.max(other.last_answer);
        self.cpu_time += other.cpu_time;
    }
}
