//! One worker: a thread with its own event loop, its share of the connections, and the buyers it has begun.
//!
//! A connection that is free takes what is due: first a buyer to be sent again or looked after, then a new one. What has
//! to wait waits in the worker's queue, not on a connection. Nothing here is shared between threads but the number of
//! the next buyer.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering as Order;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Barrier, Notify, Semaphore};
use tokio::task::{JoinSet, LocalSet};

use super::answer::Told;
use super::answers_file::{AnswersFile, Line, Lines};
use super::buyers::Buyers;
use super::plan::{StormPlan, Target};
use super::tally::{Counts, Tally};
use super::wire::Fault;
use super::{StormError, connection, limits};

/// What all workers of a storm have in common.
#[derive(Debug)]
pub(super) struct Shared {
    /// What was asked for.
    pub plan: StormPlan,
    /// Where it goes.
    pub target: Target,
    /// Names and tokens.
    pub buyers: Buyers,
    /// Where answers are written.
    pub answers: Option<Arc<AnswersFile>>,
    /// Counts of each worker at its last tick.
    pub boards: Vec<Mutex<Counts>>,
    /// Rung when new buyers may have arrived, one a worker.
    pub paces: Vec<Notify>,
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
enum Fresh {
    Buyer(u32, Instant),
    NotYet,
    NoMore,
}

impl Shared {
    /// A storm that has not begun.
    pub fn new(plan: StormPlan, target: Target, buyers: Buyers, answers: Option<AnswersFile>) -> Self {
        let mut order: Vec<u32> = (0..plan.buyers).collect();
        order.shuffle(&mut SmallRng::seed_from_u64(plan.seed));
        let workers = plan.workers_used();
        Self {
            boards: (0..workers).map(|_| Mutex::default()).collect(),
            paces: (0..workers).map(|_| Notify::new()).collect(),
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
        self.boards.len()
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

    fn peek(&self, next: u32, now: Instant) -> Fresh {
        let Some(&buyer) = self.order.get(next as usize) else { return Fresh::NoMore };
        let at = self.arrival(next).unwrap_or(now);
        if self.plan.duration.is_some_and(|duration| at.duration_since(self.started_at()) >= duration) {
            return Fresh::NoMore;
        }
        if at > now { Fresh::NotYet } else { Fresh::Buyer(buyer, at) }
    }

    fn fresh(&self, now: Instant) -> Fresh {
        loop {
            let next = self.next.load(Ordering::Relaxed);
            let found = self.peek(next, now);
            let Fresh::Buyer(..) = found else { return found };
            if self.next.compare_exchange(next, next + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return found;
            }
        }
    }
}

/// A buyer on the way to a final answer.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// The buyer's number.
    pub buyer: u32,
    /// The first (with a rate: the intended) send.
    pub first: Instant,
    /// A `202` that waits for its verdict.
    pub queued: Option<Rc<Queued>>,
    overload_tries: u16,
    connection_tries: u16,
}

/// A place in the queue.
#[derive(Debug)]
pub(super) struct Queued {
    /// The order's id.
    pub id: String,
    /// When the wait for a verdict ends.
    pub deadline: Instant,
    pause: Cell<Duration>,
    closed: Cell<bool>,
}

impl Queued {
    /// Waiting for its verdict from now on, and looked at after `pause` for the first time.
    pub fn new(id: String, deadline: Instant, pause: Duration) -> Self {
        Self { id, deadline, pause: Cell::new(pause), closed: Cell::new(false) }
    }

    /// The verdict has been told, or given up.
    pub fn closed(&self) -> bool {
        self.closed.get()
    }
}

/// How a final answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    /// As the answer to the purchase.
    Answer,
    /// By asking for the queued order.
    Poll,
    /// By event.
    Event,
}

/// What a free connection does next.
pub(super) enum Take {
    /// Serve this buyer.
    Case(Case),
    /// Nothing is due.
    Wait,
    /// Nothing will be due.
    Done,
}

/// A case that has to wait; the earliest is the greatest.
struct Later {
    due: Instant,
    case: Case,
}

impl PartialEq for Later {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}
impl Eq for Later {}
impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}
impl Ord for Later {
    fn cmp(&self, other: &Self) -> Order {
        other.due.cmp(&self.due)
    }
}

/// The state of one worker.
pub(super) struct Worker {
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// Keeps connections from being opened all at once.
    pub connecting: Semaphore,
    tally: RefCell<Tally>,
    lines: RefCell<Option<Lines>>,
    later: RefCell<BinaryHeap<Later>>,
    open: Cell<u64>,
    resting: Cell<usize>,
    idle: Notify,
    rng: RefCell<SmallRng>,
}

/// Runs worker `index` to its end: all its buyers answered or lost, or the storm stopped.
pub(super) fn run(shared: Arc<Shared>, index: usize) -> Result<Tally, StormError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        shared.stop();
        StormError::Generator(error.to_string())
    })?;
    let (all, workers) = (shared.plan.connections_used(), shared.workers());
    let connections = all / workers + usize::from(index < all % workers);
    let worker = Rc::new(Worker::new(shared, index));
    LocalSet::new().block_on(&runtime, async {
        let mut crew = JoinSet::new();
        for _ in 0..connections {
            crew.spawn_local(connection::run(Rc::clone(&worker)));
        }
        tokio::select! {
            () = join(&mut crew) => {}
            () = worker.tick(index) => {}
        }
    });
    worker.publish(index);
    Ok(worker.tally.take())
}

async fn join(crew: &mut JoinSet<()>) {
    while let Some(ended) = crew.join_next().await {
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
            lines: RefCell::new(shared.answers.clone().map(Lines::new)),
            later: RefCell::default(),
            open: Cell::new(0),
            resting: Cell::new(0),
            idle: Notify::new(),
            rng: RefCell::new(SmallRng::seed_from_u64(shared.plan.seed ^ (index as u64 + 1))),
            shared,
        }
    }

    /// Wakes connections for what is due, publishes counts, writes answers. Returns only when the storm is stopped.
    async fn tick(&self, index: usize) {
        let mut clock = tokio::time::interval(limits::TICK);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut published, mut flushed) = (Instant::now(), Instant::now());
        while !self.shared.stopped() {
            tokio::select! {
                _ = clock.tick() => {}
                () = self.shared.paces[index].notified() => {}
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
        *self.shared.boards[index].lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// What a free connection does next. When more is due, another one is woken, which does the same.
    pub fn take(&self) -> Take {
        let now = Instant::now();
        if let Some(case) = self.due(now) {
            self.wake(now);
            return Take::Case(case);
        }
        match self.shared.fresh(now) {
            Fresh::Buyer(buyer, first) => {
                self.open.set(self.open.get() + 1);
                self.tally.borrow_mut().counts.started += 1;
                self.wake(now);
                Take::Case(Case { buyer, first, queued: None, overload_tries: 0, connection_tries: 0 })
            }
            Fresh::NoMore if self.open.get() == 0 => Take::Done,
            Fresh::NoMore | Fresh::NotYet => Take::Wait,
        }
    }

    /// Waits until something may be due.
    pub async fn rest(&self) {
        self.resting.set(self.resting.get() + 1);
        self.idle.notified().await;
        self.resting.set(self.resting.get() - 1);
    }

    fn wake(&self, now: Instant) {
        if self.resting.get() == 0 {
            return;
        }
        match self.shared.peek(self.shared.next.load(Ordering::Relaxed), now) {
            Fresh::Buyer(..) => self.idle.notify_one(),
            Fresh::NoMore if self.open.get() == 0 => self.idle.notify_waiters(),
            Fresh::NoMore | Fresh::NotYet => {
                if self.later.borrow().peek().is_some_and(|later| later.due <= now) {
                    self.idle.notify_one();
                }
            }
        }
    }

    fn due(&self, now: Instant) -> Option<Case> {
        let mut queue = self.later.borrow_mut();
        while queue.peek().is_some_and(|later| later.due <= now) {
            let case = queue.pop()?.case;
            if !case.queued.as_ref().is_some_and(|queued| queued.closed()) {
                return Some(case);
            }
        }
        None
    }

    fn postpone(&self, case: Case, pause: Duration) {
        self.later.borrow_mut().push(Later { due: Instant::now() + pause, case });
    }

    /// Counts a request.
    pub fn sent(&self) {
        self.tally.borrow_mut().counts.requests += 1;
    }

    /// Counts something that came and is no answer of the contract.
    pub fn fault(&self, what: &str) {
        self.tally.borrow_mut().counts.fault(what);
    }

    /// The buyer has its final answer; only the first counts.
    pub fn settle(&self, case: &Case, told: &Told<'_>, via: Via) {
        if !self.close(case) {
            return;
        }
        let now = Instant::now();
        let mut tally = self.tally.borrow_mut();
        tally.answer(&told.kind(), now.duration_since(case.first), now);
        match via {
            Via::Answer => tally.counts.replayed += u64::from(told.status == 200 && told.id.is_some()),
            Via::Poll => tally.counts.told_by_poll += 1,
            Via::Event => tally.counts.told_by_event += 1,
        }
        drop(tally);
        if let Some(lines) = self.lines.borrow_mut().as_mut() {
            let (plan, buyers) = (&self.shared.plan, &self.shared.buyers);
            let (buyer, key) = (buyers.name(case.buyer), buyers.key(case.buyer));
            lines.add(&Line::new(&buyer, &key, &plan.sale, &plan.item, plan.units, told));
        }
    }

    /// Marks the case as over; `false` when it already was.
    fn close(&self, case: &Case) -> bool {
        if case.queued.as_ref().is_some_and(|queued| queued.closed.replace(true)) {
            return false;
        }
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            self.wake(Instant::now());
        }
        true
    }

    /// The server is overloaded or failed: the same again, when and if the budget allows.
    pub fn again(&self, mut case: Case, status: u16, after: Option<Duration>) {
        case.overload_tries += 1;
        if case.overload_tries > self.shared.plan.overload_tries {
            self.close(&case);
            return;
        }
        let counts = &mut self.tally.borrow_mut().counts;
        match status {
            429 => counts.rate_limited_retries += 1,
            503 => counts.overloaded_retries += 1,
            _ => {
                counts.server_error_retries += 1;
                counts.fault(&format!("http_{status}"));
            }
        }
        let cap = self.shared.plan.retry_after_cap;
        let pause = after.unwrap_or(cap).min(cap).max(limits::RETRY_AFTER_MIN);
        self.postpone(case, self.jittered(pause));
    }

    /// The connection broke, or what came over it was no answer: the same again over another one, bounded.
    pub fn broken(&self, mut case: Case, fault: &Fault) {
        match fault {
            Fault::Malformed(what) => self.fault(what),
            Fault::Connect | Fault::Broken | Fault::TimedOut => {
                self.tally.borrow_mut().counts.connection_errors += 1;
            }
        }
        if case.queued.is_some() {
            self.look_later(case);
            return;
        }
        case.connection_tries += 1;
        if case.connection_tries > limits::CONNECTION_TRIES_MAX {
            self.close(&case);
            return;
        }
        let pause = limits::BACKOFF_MIN * 2_u32.pow(u32::from(case.connection_tries - 1).min(5));
        self.postpone(case, self.jittered(pause.min(limits::BACKOFF_MAX)));
    }

    /// A connection could not be opened before the storm; its first buyer will try again.
    pub fn not_connected(&self) {
        self.tally.borrow_mut().counts.connection_errors += 1;
    }

    /// The buyer has a place in the queue: its verdict is looked for until its deadline.
    pub fn queued(&self, mut case: Case, place: Queued) -> Case {
        self.tally.borrow_mut().counts.queued += 1;
        let pause = place.pause.get();
        case.queued = Some(Rc::new(place));
        self.postpone(case.clone(), pause);
        case
    }

    /// No verdict yet: another look, or none when its time is over.
    pub fn look_later(&self, case: Case) {
        let Some(queued) = case.queued.clone() else { return };
        let left = queued.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.close(&case);
            return;
        }
        let pause = (queued.pause.get() * 3 / 2).min(limits::POLL_MAX);
        queued.pause.set(pause);
        self.postpone(case, pause.min(left));
    }

    /// Up to a quarter more, so that those refused together do not come back together.
    fn jittered(&self, pause: Duration) -> Duration {
        pause.mul_f64(1.0 + self.rng.borrow_mut().random_range(0.0..0.25))
    }
}
