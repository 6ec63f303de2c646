//! What the engine counts about itself: atomic adds, read by the metrics page and the statistics.
use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the settle batch buckets, in tickets; the last bucket has none.
pub const BATCH_BOUNDS: [usize; 6] = [1, 4, 16, 64, 256, 500];

/// Counters of the engine.
#[derive(Debug, Default)]
pub struct Meter {
    batches: [AtomicU64; BATCH_BOUNDS.len()],
    tickets: AtomicU64,
    refills: AtomicU64,
    refilled_units: AtomicU64,
    expired: AtomicU64,
    line_served: AtomicU64,
    line_passed_over: AtomicU64,
    line_closed: AtomicU64,
    recalls: AtomicU64,
    findings: AtomicU64,
    leads: AtomicU64,
    lapses: AtomicU64,
    asked_again: AtomicU64,
    reloads: AtomicU64,
    looks: AtomicU64,
    read_all: AtomicU64,
    pictures: AtomicU64,
}

/// A reading of [`Meter`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Settle batches by size: at most [`BATCH_BOUNDS`]`[i]` tickets (not cumulative).
    pub batches: [u64; BATCH_BOUNDS.len()],
    /// Tickets settled.
    pub tickets: u64,
    /// Refills from the pool.
    pub refills: u64,
    /// Units in them.
    pub refilled_units: u64,
    /// Orders expired.
    pub expired: u64,
    /// Places in line that became orders.
    pub line_served: u64,
    /// Places in line whose buyers held as much as they may when their turn came.
    pub line_passed_over: u64,
    /// Places in line that ended with their sale.
    pub line_closed: u64,
    /// Recalls finished.
    pub recalls: u64,
    /// Findings of the continuous audit.
    pub findings: u64,
    /// Times that this node took or lost the lead.
    pub leads: u64,
    /// Times that this node's own lease lapsed.
    pub lapses: u64,
    /// Requests that were put again because their ticket's grant was closed.
    pub asked_again: u64,
    /// Sales that were read again because another node changed them.
    pub reloads: u64,
    /// Looks at the truth for changes of the catalogue by others.
    pub looks: u64,
    /// Readings of all sales from the truth, since there was one.
    pub read_all: u64,
    /// Pictures of sales that were made anew for readers.
    pub pictures: u64,
}

impl Meter {
    /// A batch of this many tickets was taken.
    pub fn settle_batch(&self, tickets: usize) {
        let i = BATCH_BOUNDS.iter().position(|&b| tickets <= b).unwrap_or(BATCH_BOUNDS.len() - 1);
        self.batches[i].fetch_add(1, Ordering::Relaxed);
        self.tickets.fetch_add(tickets as u64, Ordering::Relaxed);
    }

    /// Units went from a pool to a slot.
    pub fn refill(&self, units: u64) {
        self.refills.fetch_add(1, Ordering::Relaxed);
        self.refilled_units.fetch_add(units, Ordering::Relaxed);
    }

    /// Orders expired.
    pub fn expire(&self, orders: usize) {
        self.expired.fetch_add(orders as u64, Ordering::Relaxed);
    }

    /// Places in line ended, so and so.
    pub fn serve_waitlist(&self, served: usize, passed_over: usize) {
        self.line_served.fetch_add(served as u64, Ordering::Relaxed);
        self.line_passed_over.fetch_add(passed_over as u64, Ordering::Relaxed);
    }

    /// Places in line ended with their sale.
    pub fn end_waitlist(&self, places: usize) {
        self.line_closed.fetch_add(places as u64, Ordering::Relaxed);
    }

    /// A recall was finished.
    pub fn recall(&self) {
        self.recalls.fetch_add(1, Ordering::Relaxed);
    }

    /// The continuous audit found something.
    pub fn find(&self, findings: usize) {
        self.findings.fetch_add(findings as u64, Ordering::Relaxed);
    }

    /// This node took or lost the lead.
    pub fn lead(&self) {
        self.leads.fetch_add(1, Ordering::Relaxed);
    }

    /// This node was away for longer than its lease.
    pub fn lapse(&self) {
        self.lapses.fetch_add(1, Ordering::Relaxed);
    }

    /// A request is put again: its ticket's grant was closed.
    pub fn ask_again(&self) {
        self.asked_again.fetch_add(1, Ordering::Relaxed);
    }

    /// A sale was read again.
    pub fn reload(&self) {
        self.reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// All sales are read.
    pub fn read_all(&self) {
        self.read_all.fetch_add(1, Ordering::Relaxed);
    }

    /// The truth is asked whether there is another catalogue.
    pub fn look(&self) {
        self.looks.fetch_add(1, Ordering::Relaxed);
    }

    /// A sale's picture is made anew.
    pub fn picture(&self) {
        self.pictures.fetch_add(1, Ordering::Relaxed);
    }

    /// All counters now.
    #[must_use]
    pub fn read(&self) -> Reading {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Reading {
            batches: std::array::from_fn(|i| get(&self.batches[i])),
            tickets: get(&self.tickets),
            refills: get(&self.refills),
            refilled_units: get(&self.refilled_units),
            expired: get(&self.expired),
            line_served: get(&self.line_served),
            line_passed_over: get(&self.line_passed_over),
            line_closed: get(&self.line_closed),
            recalls: get(&self.recalls),
            findings: get(&self.findings),
            leads: get(&self.leads),
            lapses: get(&self.lapses),
            asked_again: get(&self.asked_again),
            reloads: get(&self.reloads),
            looks: get(&self.looks),
            read_all: get(&self.read_all),
            pictures: get(&self.pictures),
        }
    }
}
