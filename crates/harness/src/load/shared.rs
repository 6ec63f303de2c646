//! The values that the workers of one run share: the plan, the buyers, and the number of the next
//! buyer.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use super::answers_file::AnswersFile;
use super::plan::{LoadPlan, Target};
use super::tally::Counts;
use crate::generator::buyers::{Buyers, RequestOptions, Template};

/// The prefix of the request keys contains this many bytes of a hash. The hash is cut to this
/// length, because a request key has at most 64 characters.
const HASH_BYTES: usize = 8;

#[derive(Debug)]
pub(super) struct Shared {
    /// The plan.
    pub plan: LoadPlan,
    /// The server.
    pub target: Target,
    /// Names and tokens of the buyers.
    pub buyers: Buyers,
    /// The answers file.
    pub answers: Option<Arc<AnswersFile>>,
    /// For each worker, the counts that this worker published last. The progress display reads
    /// them.
    pub published_counts: Vec<Mutex<Counts>>,
    /// The workers wait here until all of them have opened their connections, so that they start
    /// together.
    pub ready: Barrier,
    /// How many buyers have been queued so far. The first of them, up to the plan's `listeners`,
    /// also open an event stream.
    pub listeners: AtomicUsize,
    /// The prefix of every request key.
    keys: String,
    order: Vec<u32>,
    next: AtomicU32,
    start: OnceLock<Instant>,
    halted: AtomicBool,
}

/// The next new buyer, if one has arrived.
pub(super) enum NextBuyer {
    /// The buyer, and the time of its arrival. If the plan has a rate, this is the planned time.
    Buyer(u32, Instant),
    NotYet,
    NoMore,
}

impl Shared {
    /// Returns a run that has not begun.
    pub fn new(
        plan: LoadPlan,
        target: Target,
        buyers: Buyers,
        answers: Option<AnswersFile>,
    ) -> Self {
        let mut order: Vec<u32> = (0..plan.buyers).collect();
        order.shuffle(&mut SmallRng::seed_from_u64(plan.seed));
        let workers = plan.workers_used();
        Self {
            published_counts: (0..workers).map(|_| Mutex::default()).collect(),
            ready: Barrier::new(workers),
            listeners: AtomicUsize::new(0),
            next: AtomicU32::new(0),
            start: OnceLock::new(),
            halted: AtomicBool::new(false),
            answers: answers.map(Arc::new),
            keys: key_prefix(&plan),
            plan,
            target,
            buyers,
            order,
        }
    }

    /// Returns the template from which the requests of all buyers are made.
    pub fn template(&self) -> Template {
        let plan = &self.plan;
        let options = RequestOptions {
            host: &self.target.authority,
            sale: &plan.sale,
            item: &plan.item,
            units: plan.units,
            headers: &format!("Prefer: wait={}\r\n", plan.wait_secs),
            keys: &self.keys,
        };
        Template::new(&self.buyers, &options)
    }

    /// Returns the key of a buyer's request.
    pub fn key(&self, buyer: u32) -> String {
        self.buyers.key(&self.keys, buyer)
    }

    /// Writes a `GET` request with the buyer's token. Workers send such requests only to poll for a
    /// verdict and to open an event stream.
    pub fn write_get(&self, path: &str, accept: &str, buyer: u32, out: &mut Vec<u8>) {
        let (host, token) = (&self.target.authority, self.buyers.token(buyer));
        out.extend_from_slice(
            format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\n\
                 Authorization: Bearer {token}\r\n\r\n"
            )
            .as_bytes(),
        );
    }

    /// Returns the number of worker threads.
    pub fn workers(&self) -> usize {
        self.published_counts.len()
    }

    /// Returns the time of the first request. The first call sets this time.
    pub fn started_at(&self) -> Instant {
        *self.start.get_or_init(Instant::now)
    }

    /// Returns the time since the first request.
    pub fn elapsed(&self) -> Duration {
        self.start.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    /// Stops the run.
    pub fn stop(&self) {
        self.halted.store(true, Ordering::Relaxed);
    }

    /// Returns whether the run was stopped.
    pub fn stopped(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// Returns the time at which the next new buyer arrives. Returns `None` if the plan has no
    /// rate, or if the run has not started.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.arrival(self.next.load(Ordering::Relaxed))
    }

    fn arrival(&self, next: u32) -> Option<Instant> {
        let rate = self.plan.rate?;
        let start = *self.start.get()?;
        Some(start + Duration::from_secs_f64(f64::from(next) / rate))
    }

    /// Returns the next new buyer, but does not take it.
    pub fn peek(&self, now: Instant) -> NextBuyer {
        self.peek_at(self.next.load(Ordering::Relaxed), now)
    }

    fn peek_at(&self, next: u32, now: Instant) -> NextBuyer {
        let Some(&buyer) = self.order.get(next as usize) else { return NextBuyer::NoMore };
        let at = self.arrival(next).unwrap_or(now);
        if self
            .plan
            .duration
            .is_some_and(|duration| at.duration_since(self.started_at()) >= duration)
        {
            return NextBuyer::NoMore;
        }
        if at > now { NextBuyer::NotYet } else { NextBuyer::Buyer(buyer, at) }
    }

    /// Returns the next new buyer, and takes it, so that no other worker gets this buyer.
    pub fn take_next_buyer(&self, now: Instant) -> NextBuyer {
        loop {
            let next = self.next.load(Ordering::Relaxed);
            let found = self.peek_at(next, now);
            let NextBuyer::Buyer(..) = found else { return found };
            if self
                .next
                .compare_exchange(next, next + 1, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
            {
                return found;
            }
        }
    }

    /// Returns the sum of the counts that the workers published last.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for board in &self.published_counts {
            // A poisoned lock means that a worker panicked. The last counts of this worker are
            // still valid, and the run reports the panic at its end.
            sum.add(&board.lock().unwrap_or_else(PoisonError::into_inner));
        }
        sum
    }
}

/// Returns the prefix of all request keys. The prefix contains a hash of the request, because two
/// plans with the same seed have the same buyers, but may have different requests. The server
/// refuses a request key that comes again with a different request.
fn key_prefix(plan: &LoadPlan) -> String {
    let content = format!("{} {} {}", plan.sale, plan.item, plan.units);
    let hash = digest::digest(&digest::SHA256, content.as_bytes());
    let digits: String =
        hash.as_ref().iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("k{digits}")
}
