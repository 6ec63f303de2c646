//! One worker: a thread with its own event loop, its share of the connections, and the buyers it
//! has begun.
//!
//! A connection that is free takes what is due: first a buyer to be sent again or looked after,
//! then a new one. What has to wait waits in the worker's queue, not on a connection. Nothing here
//! is shared between threads but the number of the next buyer.

use std::cell::{Cell, RefCell};
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinSet, LocalSet};

use super::answer::FinalAnswer;
use super::answers_file::{AnswerBuffer, AnswerRecord};
use super::http_connection::ConnectionFault;
use super::pending::{PendingBuyer, Queued, Scheduled};
use super::shared::{NextBuyer, Shared};
use super::tally::Tally;
use super::{LoadError, connection, limits};

/// How a final answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerSource {
    /// As the answer to the purchase.
    Answer,
    /// By asking for the queued order.
    Poll,
    /// By event.
    Event,
}

/// What a free connection does next.
pub(super) enum NextStep {
    /// Serve this buyer.
    PendingBuyer(PendingBuyer),
    /// Nothing is due.
    Wait,
    /// Nothing will be due.
    Done,
}

/// The state of one worker.
pub(super) struct Worker {
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// Keeps connections from being opened all at once.
    pub connecting: Semaphore,
    tally: RefCell<Tally>,
    lines: RefCell<Option<AnswerBuffer>>,
    scheduled: RefCell<BinaryHeap<Scheduled>>,
    open: Cell<u64>,
    resting: Cell<usize>,
    idle: Notify,
    rng: RefCell<SmallRng>,
}

/// Runs worker `index` to its end: all its buyers answered or lost, or the storm stopped.
pub(super) fn run(shared: &Arc<Shared>, index: usize) -> Result<Tally, LoadError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
            shared.stop();
            LoadError::Generator(error.to_string())
        })?;
    let (all, workers) = (shared.plan.connections_used(), shared.workers());
    let connections = all / workers + usize::from(index < all % workers);
    let worker = Rc::new(Worker::new(Arc::clone(shared), index));
    LocalSet::new().block_on(&runtime, async {
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            tasks.spawn_local(connection::run(Rc::clone(&worker)));
        }
        tokio::select! {
            () = join(&mut tasks) => {}
            () = worker.tick(index) => {}
        }
    });
    worker.publish(index);
    Ok(worker.tally.take())
}

async fn join(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

impl Worker {
    fn new(shared: Arc<Shared>, index: usize) -> Self {
        Self {
            connecting: Semaphore::new(limits::CONNECTING_MAX),
            tally: RefCell::default(),
            lines: RefCell::new(shared.answers.clone().map(AnswerBuffer::new)),
            scheduled: RefCell::default(),
            open: Cell::new(0),
            resting: Cell::new(0),
            idle: Notify::new(),
            rng: RefCell::new(SmallRng::seed_from_u64(shared.plan.seed ^ (index as u64 + 1))),
            shared,
        }
    }

    /// Wakes connections for what is due, publishes counts, writes answers. Returns only when the
    /// storm is stopped.
    async fn tick(&self, index: usize) {
        let mut clock = tokio::time::interval(limits::TICK);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut published, mut flushed) = (Instant::now(), Instant::now());
        while !self.shared.stopped() {
            tokio::select! {
                _ = clock.tick() => {}
                () = self.shared.arrival_notifiers[index].notified() => {}
            }
            let now = Instant::now();
            self.wake(now);
            if now.duration_since(published) >= limits::PROGRESS_EVERY / 2 {
                published = now;
                self.publish(index);
            }
            if now.duration_since(flushed) >= limits::ANSWERS_FLUSH_EVERY {
                flushed = now;
                if let Some(lines) = self.lines.borrow_mut().as_mut() {
                    lines.flush();
                }
            }
        }
    }

    fn publish(&self, index: usize) {
        let counts = self.tally.borrow().counts.clone();
        *self.shared.published_counts[index].lock().unwrap_or_else(PoisonError::into_inner) =
            counts;
    }

    /// What a free connection does next. When more is due, another one is woken, which does the
    /// same.
    pub fn take(&self) -> NextStep {
        let now = Instant::now();
        if let Some(pending) = self.due(now) {
            self.wake(now);
            return NextStep::PendingBuyer(pending);
        }
        match self.shared.take_next_buyer(now) {
            NextBuyer::Buyer(buyer, first) => {
                self.open.set(self.open.get() + 1);
                self.tally.borrow_mut().counts.started += 1;
                self.wake(now);
                NextStep::PendingBuyer(PendingBuyer::new(buyer, first))
            }
            NextBuyer::NoMore if self.open.get() == 0 => NextStep::Done,
            NextBuyer::NoMore | NextBuyer::NotYet => NextStep::Wait,
        }
    }

    /// Waits until something may be due.
    pub async fn wait_for_work(&self) {
        self.resting.set(self.resting.get() + 1);
        self.idle.notified().await;
        self.resting.set(self.resting.get() - 1);
    }

    fn wake(&self, now: Instant) {
        if self.resting.get() == 0 {
            return;
        }
        match self.shared.peek(now) {
            NextBuyer::Buyer(..) => self.idle.notify_one(),
            NextBuyer::NoMore if self.open.get() == 0 => self.idle.notify_waiters(),
            NextBuyer::NoMore | NextBuyer::NotYet => {
                if self.scheduled.borrow().peek().is_some_and(|scheduled| scheduled.due <= now) {
                    self.idle.notify_one();
                }
            }
        }
    }

    fn due(&self, now: Instant) -> Option<PendingBuyer> {
        let mut queue = self.scheduled.borrow_mut();
        while queue.peek().is_some_and(|scheduled| scheduled.due <= now) {
            let pending = queue.pop()?.pending;
            if !pending.is_closed() {
                return Some(pending);
            }
        }
        None
    }

    fn postpone(&self, pending: PendingBuyer, pause: Duration) {
        self.scheduled.borrow_mut().push(Scheduled { due: Instant::now() + pause, pending });
    }

    /// Counts a request.
    pub fn count_request(&self) {
        self.tally.borrow_mut().counts.requests += 1;
    }

    /// Counts something that came and is no answer of the contract.
    pub fn count_fault(&self, what: &str) {
        self.tally.borrow_mut().counts.count_fault(what);
    }

    /// The buyer has its final answer; only the first counts.
    pub fn record_answer(&self, pending: &PendingBuyer, told: &FinalAnswer<'_>, via: AnswerSource) {
        if !self.close(pending) {
            return;
        }
        let now = Instant::now();
        let mut tally = self.tally.borrow_mut();
        tally.answer(&told.kind(), now.duration_since(pending.first), now);
        match via {
            AnswerSource::Answer => {
                tally.counts.replayed += u64::from(told.status == 200 && told.id.is_some())
            }
            AnswerSource::Poll => tally.counts.told_by_poll += 1,
            AnswerSource::Event => tally.counts.told_by_event += 1,
        }
        drop(tally);
        if let Some(lines) = self.lines.borrow_mut().as_mut() {
            let (plan, buyers) = (&self.shared.plan, &self.shared.buyers);
            let (buyer, key) = (buyers.name(pending.buyer), buyers.key(pending.buyer));
            lines.add(&AnswerRecord::new(&buyer, &key, &plan.sale, &plan.item, plan.units, told));
        }
    }

    /// Marks the case as over; `false` when it already was.
    fn close(&self, pending: &PendingBuyer) -> bool {
        if pending.queued.as_ref().is_some_and(|queued| !queued.close()) {
            return false;
        }
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            self.wake(Instant::now());
        }
        true
    }

    /// The server is overloaded or failed: the same again, when and if the budget allows.
    pub fn schedule_retry(&self, mut pending: PendingBuyer, status: u16, after: Option<Duration>) {
        pending.overload_tries += 1;
        if pending.overload_tries > self.shared.plan.overload_tries {
            self.close(&pending);
            return;
        }
        let counts = &mut self.tally.borrow_mut().counts;
        match status {
            429 => counts.rate_limited_retries += 1,
            503 => counts.overloaded_retries += 1,
            _ => {
                counts.server_error_retries += 1;
                counts.count_fault(&format!("http_{status}"));
            }
        }
        let cap = self.shared.plan.retry_after_cap;
        let pause = after.unwrap_or(cap).min(cap).max(limits::RETRY_AFTER_MIN);
        self.postpone(pending, self.jittered(pause));
    }

    /// The connection broke, or what came over it was no answer: the same again over another one,
    /// bounded.
    pub fn schedule_reconnect(&self, mut pending: PendingBuyer, fault: &ConnectionFault) {
        match fault {
            ConnectionFault::Malformed(what) => self.count_fault(what),
            ConnectionFault::Connect | ConnectionFault::Broken | ConnectionFault::TimedOut => {
                self.tally.borrow_mut().counts.connection_errors += 1;
            }
        }
        if pending.queued.is_some() {
            self.poll_later(pending);
            return;
        }
        pending.connection_tries += 1;
        if pending.connection_tries > limits::CONNECTION_TRIES_MAX {
            self.close(&pending);
            return;
        }
        let pause = limits::BACKOFF_MIN * 2_u32.pow(u32::from(pending.connection_tries - 1).min(5));
        self.postpone(pending, self.jittered(pause.min(limits::BACKOFF_MAX)));
    }

    /// A connection could not be opened before the storm; its first buyer will try again.
    pub fn not_connected(&self) {
        self.tally.borrow_mut().counts.connection_errors += 1;
    }

    /// The buyer has a place in the queue: its verdict is looked for until its deadline.
    pub fn queued(&self, mut pending: PendingBuyer, place: Queued) -> PendingBuyer {
        self.tally.borrow_mut().counts.queued += 1;
        let pause = place.pause.get();
        pending.queued = Some(Rc::new(place));
        self.postpone(pending.clone(), pause);
        pending
    }

    /// No verdict yet: another look, or none when its time is over.
    pub fn poll_later(&self, pending: PendingBuyer) {
        let Some(queued) = pending.queued.clone() else { return };
        let left = queued.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.close(&pending);
            return;
        }
        let pause = (queued.pause.get() * 3 / 2).min(limits::POLL_MAX);
        queued.pause.set(pause);
        self.postpone(pending, pause.min(left));
    }

    /// Up to a quarter more, so that those refused together do not come back together.
    fn jittered(&self, pause: Duration) -> Duration {
        pause.mul_f64(1.0 + self.rng.borrow_mut().random_range(0.0..0.25))
    }
}
