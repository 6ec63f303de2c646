//! What the workers of one storm have in common: the plan, the buyers, and who is next.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use tokio::sync::{Barrier, Notify};

use super::answers_file::AnswersFile;
use super::buyers::Buyers;
use super::plan::{LoadPlan, Target};
use super::tally::Counts;

/// What all workers of a storm have in common.
#[derive(Debug)]
pub(super) struct Shared {
    /// What was asked for.
    pub plan: LoadPlan,
    /// Where it goes.
    pub target: Target,
    /// Names and tokens.
    pub buyers: Buyers,
    /// Where answers are written.
    pub answers: Option<Arc<AnswersFile>>,
    /// Counts of each worker at its last tick.
    pub published_counts: Vec<Mutex<Counts>>,
    /// Rung when new buyers may have arrived, one a worker.
    pub arrival_notifiers: Vec<Notify>,
    /// All connections begin together.
    pub ready: Barrier,
    /// Listeners so far.
    pub listeners: AtomicUsize,
    order: Vec<u32>,
    next: AtomicU32,
    start: OnceLock<Instant>,
    halted: AtomicBool,
}

/// The next new buyer, if there is one now.
pub(super) enum NextBuyer {
    /// This one, who came (with a rate: was meant to come) at this instant.
    Buyer(u32, Instant),
    /// The next one comes later.
    NotYet,
    /// Nobody comes any more.
    NoMore,
}

impl Shared {
    /// A storm that has not begun.
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
            arrival_notifiers: (0..workers).map(|_| Notify::new()).collect(),
            ready: Barrier::new(plan.connections_used()),
            listeners: AtomicUsize::new(0),
            next: AtomicU32::new(0),
            start: OnceLock::new(),
            halted: AtomicBool::new(false),
            answers: answers.map(Arc::new),
            plan,
            target,
            buyers,
            order,
        }
    }

    /// Threads that send.
    pub fn workers(&self) -> usize {
        self.published_counts.len()
    }

    /// The instant of the first request; the first caller makes it.
    pub fn started_at(&self) -> Instant {
        *self.start.get_or_init(Instant::now)
    }

    /// Since the first request.
    pub fn elapsed(&self) -> Duration {
        self.start.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    /// Ends the storm as it stands.
    pub fn stop(&self) {
        self.halted.store(true, Ordering::Relaxed);
    }

    /// The storm ends as it stands.
    pub fn stopped(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// When the next new buyer is meant to come: `None` when nobody waits for a clock.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.arrival(self.next.load(Ordering::Relaxed))
    }

    fn arrival(&self, next: u32) -> Option<Instant> {
        let rate = self.plan.rate?;
        let start = *self.start.get()?;
        Some(start + Duration::from_secs_f64(f64::from(next) / rate))
    }

    /// Looks at the next new buyer without taking it.
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

    /// Takes the next new buyer.
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

    /// What all workers have counted up to their last tick.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for board in &self.published_counts {
            // A poisoned lock means that a worker died, which is told at the end; its last counts
            // are still right.
            sum.add(&board.lock().unwrap_or_else(PoisonError::into_inner));
        }
        sum
    }
}
