//! The engine's counters. The metrics page and the statistics read them.
use std::time::Duration;

use doorbuster_telemetry::metrics::{Counter, Histogram, HistogramSnapshot};

/// Upper bounds of the buckets for settled batches, in tickets.
pub const BATCH_BOUNDS: [usize; 6] = [1, 4, 16, 64, 256, 500];

/// Counters of the engine.
#[derive(Debug, Default)]
pub struct EngineMeter {
    /// The number of settled batches by size. Entry `i` counts the batches whose size is in the
    /// bucket with the upper bound [`BATCH_BOUNDS`]`[i]`. The last entry also counts all larger
    /// batches.
    pub batches: [Counter; BATCH_BOUNDS.len()],
    /// Settled tickets.
    pub tickets: Counter,
    commits: Histogram,
    /// Refills of slots from the pool.
    pub refills: Counter,
    /// Units that all refills moved to slots.
    pub refilled_units: Counter,
    /// Expired orders.
    pub expired: Counter,
    /// Waitlist entries that became orders.
    pub waitlist_served: Counter,
    /// Waitlist entries that got no unit when their turn came, because their buyers had reached the
    /// limit or already held an order.
    pub waitlist_passed_over: Counter,
    /// Waitlist entries that ended with their sale.
    pub waitlist_closed: Counter,
    /// Finished recalls.
    pub recalls: Counter,
    /// Findings of the continuous audit.
    pub findings: Counter,
    /// How many times this node became the leader or stopped being the leader.
    pub leads: Counter,
    /// How many times this node's own lease lapsed.
    pub lapses: Counter,
    /// Requests that needed a second ticket because the grant of their first ticket was closed.
    pub retried: Counter,
    /// Sales that this node read again because another node changed them.
    pub reloads: Counter,
    /// How often this node asked the store for changes of the catalogue.
    pub catalogue_checks: Counter,
    /// How often this node read all sales again because some sales had changed.
    pub read_all: Counter,
    /// Sale views rendered for readers.
    pub view_renders: Counter,
}

impl EngineMeter {
    /// Counts a settled batch of this many tickets.
    pub fn count_settled_batch(&self, tickets: usize) {
        let i = BATCH_BOUNDS.iter().position(|&b| tickets <= b).unwrap_or(BATCH_BOUNDS.len() - 1);
        self.batches[i].add_one();
        self.tickets.add(tickets as u64);
    }

    /// Records how long the store took to commit a settled batch.
    pub fn record_commit(&self, took: Duration) {
        self.commits.record(took);
    }

    /// Returns how long the store took to commit settled batches.
    #[must_use]
    pub fn commits(&self) -> HistogramSnapshot {
        self.commits.read()
    }

    /// Counts a refill of this many units.
    pub fn count_refill(&self, units: u64) {
        self.refills.add_one();
        self.refilled_units.add(units);
    }
}
