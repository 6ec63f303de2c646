//! One worker: a thread with its own event loop, its share of the connections, and the buyers that
//! it has started.
//!
//! A free connection first takes a buyer whose repeat or poll is due, and otherwise a new buyer. A
//! buyer that must wait is in the worker's queue and occupies no connection. The threads share only
//! the number of the next buyer and their published counts.

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

/// The way in which a final answer arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerSource {
    /// The answer to the purchase was final.
    Answer,
    /// A poll of the queued order brought the final answer.
    Poll,
    /// An event brought the final answer.
    Event,
}

/// The next step of a free connection.
pub(super) enum NextStep {
    /// Serve this buyer.
    PendingBuyer(PendingBuyer),
    /// No buyer is due yet.
    Wait,
    /// No buyer is left.
    Done,
}

/// The state of one worker.
pub(super) struct Worker {
    /// The state that it shares with the other workers.
    pub shared: Arc<Shared>,
    /// Bounds the number of connections that are opened at the same time.
    pub connecting: Semaphore,
    tally: RefCell<Tally>,
    lines: RefCell<Option<AnswerBuffer>>,
    scheduled: RefCell<BinaryHeap<Scheduled>>,
    open: Cell<u64>,
    resting: Cell<usize>,
    idle: Notify,
    rng: RefCell<SmallRng>,
}

/// Runs worker `index` until all its buyers are answered or lost, or the run is stopped.
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

    /// Wakes connections for due buyers, publishes counts and writes answers. Returns only when the
    /// run is stopped.
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

    /// Returns the next step of a free connection. It wakes another connection if more buyers are
    /// due.
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

    /// Waits until a buyer may be due.
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

    /// Counts an answer that violates the contract.
    pub fn count_fault(&self, what: &str) {
        self.tally.borrow_mut().counts.count_fault(what);
    }

    /// Records a buyer's final answer. Only the first one counts.
    pub fn record_answer(
        &self,
        pending: &PendingBuyer,
        answer: &FinalAnswer<'_>,
        via: AnswerSource,
    ) {
        if !self.close(pending) {
            return;
        }
        let now = Instant::now();
        let mut tally = self.tally.borrow_mut();
        tally.answer(&answer.kind(), now.duration_since(pending.first), now);
        match via {
            AnswerSource::Answer => {
                tally.counts.replayed += u64::from(answer.status == 200 && answer.id.is_some())
            }
            AnswerSource::Poll => tally.counts.told_by_poll += 1,
            AnswerSource::Event => tally.counts.told_by_event += 1,
        }
        drop(tally);
        if let Some(lines) = self.lines.borrow_mut().as_mut() {
            let (plan, buyers) = (&self.shared.plan, &self.shared.buyers);
            let (buyer, key) = (buyers.name(pending.buyer), buyers.key(pending.buyer));
            lines.add(&AnswerRecord::new(&buyer, &key, &plan.sale, &plan.item, plan.units, answer));
        }
    }

    /// Marks the buyer as finished. Returns `false` if the buyer already was.
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

    /// Schedules the request again after `429` or `5xx`, or gives the buyer up after too many
    /// repeats.
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

    /// Schedules the request again after a broken connection or a malformed answer, or gives the
    /// buyer up after too many repeats.
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

    /// Counts a connection that could not be opened before the start. Its first buyer tries again.
    pub fn not_connected(&self) {
        self.tally.borrow_mut().counts.connection_errors += 1;
    }

    /// Counts a queued purchase and schedules its first poll.
    pub fn queued(&self, mut pending: PendingBuyer, place: Queued) -> PendingBuyer {
        self.tally.borrow_mut().counts.queued += 1;
        let pause = place.pause.get();
        pending.queued = Some(Rc::new(place));
        self.postpone(pending.clone(), pause);
        pending
    }

    /// Schedules the next poll, or gives the buyer up after its deadline.
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

    /// Returns the pause with up to a quarter more, so that buyers that were refused together do
    /// not return together.
    fn jittered(&self, pause: Duration) -> Duration {
        pause.mul_f64(1.0 + self.rng.borrow_mut().random_range(0.0..0.25))
    }
}
