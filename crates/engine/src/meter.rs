//! The engine's counters. The metrics page and the statistics read them.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use doorbuster_telemetry::metrics::{Histogram, HistogramSnapshot};

/// Upper bounds of the buckets for settled batches, in tickets. The last bucket also counts larger
/// batches.
pub const BATCH_BOUNDS: [usize; 6] = [1, 4, 16, 64, 256, 500];

/// Counters of the engine.
#[derive(Debug, Default)]
pub struct EngineMeter {
    batches: [AtomicU64; BATCH_BOUNDS.len()],
    tickets: AtomicU64,
    commits: Histogram,
    refills: AtomicU64,
    refilled_units: AtomicU64,
    expired: AtomicU64,
    waitlist_served: AtomicU64,
    waitlist_passed_over: AtomicU64,
    waitlist_closed: AtomicU64,
    recalls: AtomicU64,
    findings: AtomicU64,
    leads: AtomicU64,
    lapses: AtomicU64,
    retried: AtomicU64,
    reloads: AtomicU64,
    catalogue_checks: AtomicU64,
    read_all: AtomicU64,
    view_renders: AtomicU64,
}

/// The values of all counters of [`EngineMeter`] at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeterReading {
    /// Settled batches by size. A batch is counted in the first entry `i` for which it has at most
    /// [`BATCH_BOUNDS`]`[i]` tickets. Larger batches are counted in the last entry.
    pub batches: [u64; BATCH_BOUNDS.len()],
    /// Settled tickets.
    pub tickets: u64,
    /// Refills of slots from the pool.
    pub refills: u64,
    /// Units that all refills moved from the pool to slots.
    pub refilled_units: u64,
    /// Expired orders.
    pub expired: u64,
    /// Waitlist entries that became orders.
    pub waitlist_served: u64,
    /// Waitlist entries whose buyers had reached the limit when their turn came.
    pub waitlist_passed_over: u64,
    /// Waitlist entries that ended with their sale.
    pub waitlist_closed: u64,
    /// Finished recalls.
    pub recalls: u64,
    /// Findings of the continuous audit.
    pub findings: u64,
    /// How often this node became the leader or stopped being the leader.
    pub leads: u64,
    /// How often this node's own lease lapsed.
    pub lapses: u64,
    /// Requests that got a new ticket because their first ticket's grant was closed.
    pub retried: u64,
    /// Sales that this node read again because another node changed them.
    pub reloads: u64,
    /// How often this node asked the store whether another node had changed the catalogue.
    pub catalogue_checks: u64,
    /// How often this node read all sales from the store because of a change.
    pub read_all: u64,
    /// Sale views rendered for readers.
    pub view_renders: u64,
}

impl EngineMeter {
    /// Counts a settled batch of this many tickets.
    pub fn count_settled_batch(&self, tickets: usize) {
        let i = BATCH_BOUNDS.iter().position(|&b| tickets <= b).unwrap_or(BATCH_BOUNDS.len() - 1);
        self.batches[i].fetch_add(1, Ordering::Relaxed);
        self.tickets.fetch_add(tickets as u64, Ordering::Relaxed);
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
        self.refills.fetch_add(1, Ordering::Relaxed);
        self.refilled_units.fetch_add(units, Ordering::Relaxed);
    }

    /// Counts expired orders.
    pub fn count_expired_orders(&self, orders: usize) {
        self.expired.fetch_add(orders as u64, Ordering::Relaxed);
    }

    /// Counts served and passed-over waitlist entries.
    pub fn count_waitlist_served(&self, served: usize, passed_over: usize) {
        self.waitlist_served.fetch_add(served as u64, Ordering::Relaxed);
        self.waitlist_passed_over.fetch_add(passed_over as u64, Ordering::Relaxed);
    }

    /// Counts waitlist entries that ended with their sale.
    pub fn count_waitlist_ended(&self, entries: usize) {
        self.waitlist_closed.fetch_add(entries as u64, Ordering::Relaxed);
    }

    /// Counts a finished recall.
    pub fn count_recall(&self) {
        self.recalls.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts findings of the continuous audit.
    pub fn count_findings(&self, findings: usize) {
        self.findings.fetch_add(findings as u64, Ordering::Relaxed);
    }

    /// Counts a change of this node's leadership.
    pub fn count_leader_change(&self) {
        self.leads.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a lapse of this node's lease.
    pub fn count_lease_lapse(&self) {
        self.lapses.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that gets a new ticket because its first ticket's grant was closed.
    pub fn count_new_ticket_request(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a sale that was read again.
    pub fn count_sale_reload(&self) {
        self.reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a read of all sales.
    pub fn count_full_read(&self) {
        self.read_all.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a check of the store for a newer catalogue.
    pub fn count_catalogue_check(&self) {
        self.catalogue_checks.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a rendered sale view.
    pub fn count_view_render(&self) {
        self.view_renders.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns all counters.
    #[must_use]
    pub fn read(&self) -> MeterReading {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MeterReading {
            batches: std::array::from_fn(|i| get(&self.batches[i])),
            tickets: get(&self.tickets),
            refills: get(&self.refills),
            refilled_units: get(&self.refilled_units),
            expired: get(&self.expired),
            waitlist_served: get(&self.waitlist_served),
            waitlist_passed_over: get(&self.waitlist_passed_over),
            waitlist_closed: get(&self.waitlist_closed),
            recalls: get(&self.recalls),
            findings: get(&self.findings),
            leads: get(&self.leads),
            lapses: get(&self.lapses),
            retried: get(&self.retried),
            reloads: get(&self.reloads),
            catalogue_checks: get(&self.catalogue_checks),
            read_all: get(&self.read_all),
            view_renders: get(&self.view_renders),
        }
    }
}
