//! One worker: a thread with a part of the connections. A worker serves the buyers that it has
//! started. A buyer that must wait is in the worker's queue and uses no connection.

mod source;

use std::collections::BinaryHeap;
use std::rc::Rc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::answer::{self, AnswerDecision, ExpectedOrder, FinalAnswer};
use super::answers_file::{AnswerBuffer, AnswerRecord};
use super::listener::{EventStream, StreamProgress};
use super::pending::{PendingBuyer, Queued, Scheduled};
use super::response::Head;
use super::shared::Shared;
use super::tally::Tally;
use super::{LoadError, limits};
use crate::generator::buyers::Template;
use crate::generator::cores;
use crate::generator::drive::{TICK, TICK_FROM_RATE};
use crate::generator::event_loop::{EventLoop, LoopOptions, Progress};

/// The way in which a final answer arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnswerSource {
    Answer,
    Poll,
    Event,
}

pub(super) enum Exchange {
    /// A purchase, or the poll of a queued purchase.
    Buyer(PendingBuyer),
    /// An event stream that a queued buyer listens to.
    Listen(PendingBuyer, Box<EventStream>),
}

pub(super) struct Worker<'a> {
    shared: &'a Shared,
    index: usize,
    template: Template,
    tally: Tally,
    lines: Option<AnswerBuffer>,
    scheduled: BinaryHeap<Scheduled>,
    /// Queued buyers for which an event stream will be opened.
    listening: Vec<PendingBuyer>,
    /// The number of buyers who have started, still have no final answer, and are not given up.
    open: u64,
    rng: SmallRng,
    published_at: Instant,
    flushed_at: Instant,
}

/// Runs worker `index` until each of its buyers has a final answer or counts as lost, or until the
/// run is stopped.
pub(super) fn run(shared: &Shared, index: usize) -> Result<Tally, LoadError> {
    let mut worker = Worker::new(shared, index);
    let (all, workers) = (shared.plan.connections_used(), shared.workers());
    let options = LoopOptions {
        addrs: vec![shared.target.addr],
        connections: all / workers + usize::from(index < all % workers),
        reopens: true,
        answer_within: Some(
            Duration::from_secs(shared.plan.wait_secs.into()) + limits::ANSWER_GRACE,
        ),
        tick: match shared.plan.rate {
            Some(rate) if rate >= TICK_FROM_RATE => TICK,
            _ => Duration::ZERO,
        },
    };
    let opened = EventLoop::open(options, &mut worker);
    // All workers wait for each other here. A worker that could not open its connections must wait
    // here too. Otherwise the other workers would wait for this worker forever.
    shared.ready.wait();
    shared.started_at();
    let before = cores::thread_cpu_time();
    let ran = opened.and_then(|mut connections| connections.run(&mut worker));
    worker.tally.cpu_time = cores::thread_cpu_time().saturating_sub(before);
    worker.publish();
    ran.map_err(|error| {
        shared.stop();
        LoadError::Generator(error.to_string())
    })?;
    Ok(worker.tally)
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared, index: usize) -> Self {
        let now = Instant::now();
        Self {
            template: shared.template(),
            tally: Tally::default(),
            lines: shared.answers.clone().map(AnswerBuffer::new),
            scheduled: BinaryHeap::new(),
            listening: Vec::new(),
            open: 0,
            rng: SmallRng::seed_from_u64(shared.plan.seed ^ (index as u64 + 1)),
            published_at: now,
            flushed_at: now,
            shared,
            index,
        }
    }

    fn publish(&self) {
        *self.shared.published_counts[self.index].lock().unwrap_or_else(PoisonError::into_inner) =
            self.tally.counts.clone();
    }

    /// Skips buyers that are finished.
    fn take_due(&mut self, now: Instant) -> Option<PendingBuyer> {
        while self.scheduled.peek().is_some_and(|scheduled| scheduled.due <= now) {
            let pending = self.scheduled.pop()?.pending;
            if !pending.is_closed() {
                return Some(pending);
            }
        }
        None
    }

    fn schedule(&mut self, pending: PendingBuyer, pause: Duration) {
        self.scheduled.push(Scheduled { due: Instant::now() + pause, pending });
    }

    /// Counts a buyer's final answer, and writes it to the answers file. A queued buyer may get the
    /// verdict twice: in an event and in the answer to a poll. Only the first of the two counts.
    fn record_answer(
        &mut self,
        pending: &PendingBuyer,
        answer: &FinalAnswer<'_>,
        via: AnswerSource,
        now: Instant,
    ) {
        if !self.close(pending) {
            return;
        }
        self.tally.answer(&answer.kind(), now.saturating_duration_since(pending.first), now);
        let counts = &mut self.tally.counts;
        match via {
            AnswerSource::Answer => {
                counts.replayed += u64::from(answer.status == 200 && answer.id.is_some())
            }
            AnswerSource::Poll => counts.told_by_poll += 1,
            AnswerSource::Event => counts.told_by_event += 1,
        }
        if let Some(lines) = &mut self.lines {
            let plan = &self.shared.plan;
            let (buyer, key) =
                (self.shared.buyers.name(pending.buyer), self.shared.key(pending.buyer));
            lines.add(&AnswerRecord::new(&buyer, &key, &plan.sale, &plan.item, plan.units, answer));
        }
    }

    /// Marks the buyer as finished. Returns `false` if the buyer was already finished.
    fn close(&mut self, pending: &PendingBuyer) -> bool {
        if pending.queued.as_ref().is_some_and(|queued| !queued.close()) {
            return false;
        }
        self.open -= 1;
        true
    }

    /// Handles the response to a purchase. Returns `false` if the response violates the contract.
    fn handle_purchase(
        &mut self,
        pending: PendingBuyer,
        (head, body): (&Head, &[u8]),
        now: Instant,
    ) -> bool {
        let shared = self.shared;
        let (plan, name) = (&shared.plan, || shared.buyers.name(pending.buyer));
        let expected =
            ExpectedOrder { sale: &plan.sale, item: &plan.item, units: plan.units, buyer: &name };
        match answer::decide(head, body, &expected) {
            AnswerDecision::Final(answer) => {
                self.record_answer(&pending, &answer, AnswerSource::Answer, now)
            }
            AnswerDecision::Queued { id, decide_by } => {
                self.await_verdict(pending, id.into_owned(), decide_by)
            }
            AnswerDecision::Retry { after, status } => self.schedule_retry(pending, status, after),
            AnswerDecision::Malformed(what) => {
                self.schedule_after_malformed(pending, what);
                return false;
            }
        }
        true
    }

    /// Handles the response to a poll. Returns `false` if the response violates the contract.
    fn handle_poll(
        &mut self,
        pending: PendingBuyer,
        queued: &Queued,
        (head, body): (&Head, &[u8]),
        now: Instant,
    ) -> bool {
        match answer::decide_verdict(head, body, &queued.id) {
            AnswerDecision::Final(answer) => {
                self.record_answer(&pending, &answer, AnswerSource::Poll, now)
            }
            AnswerDecision::Malformed(what) => {
                self.schedule_after_malformed(pending, what);
                return false;
            }
            AnswerDecision::Queued { .. } | AnswerDecision::Retry { .. } => {
                self.poll_later(pending)
            }
        }
        true
    }

    fn handle_events(
        &mut self,
        pending: PendingBuyer,
        mut stream: Box<EventStream>,
        bytes: &[u8],
        now: Instant,
    ) -> Progress<Exchange> {
        let Some(queued) = pending.queued.clone() else { return Progress::DoneAndClosed };
        match stream.find_verdict(bytes, &queued.id) {
            Ok(StreamProgress::Verdict(data)) => {
                if let Ok(Some(answer)) = answer::verdict_from_event(&data, &queued.id) {
                    self.record_answer(&pending, &answer, AnswerSource::Event, now);
                }
                Progress::DoneAndClosed
            }
            Ok(StreamProgress::Open) if !queued.is_closed() => {
                Progress::Consumed(Exchange::Listen(pending, stream))
            }
            // The stream or the buyer's wait has ended. A buyer who still waits also polls, so no
            // verdict is lost.
            Ok(StreamProgress::Open | StreamProgress::Closed) => Progress::DoneAndClosed,
            Err(what) => {
                self.tally.counts.count_fault(what);
                Progress::DoneAndClosed
            }
        }
    }

    /// Schedules a repeat after `429` or `5xx`. After too many repeats, gives the buyer up.
    fn schedule_retry(&mut self, mut pending: PendingBuyer, status: u16, after: Option<Duration>) {
        pending.overload_tries += 1;
        if pending.overload_tries > self.shared.plan.overload_tries {
            self.close(&pending);
            return;
        }
        let counts = &mut self.tally.counts;
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
        let pause = self.jittered(pause);
        self.schedule(pending, pause);
    }

    fn schedule_after_malformed(&mut self, pending: PendingBuyer, what: &str) {
        self.tally.counts.count_fault(what);
        self.schedule_again(pending);
    }

    /// Schedules the buyer's next request after a broken connection or a malformed answer. A queued
    /// buyer polls, and any other buyer repeats the purchase. After too many repeats of the
    /// purchase, gives the buyer up.
    fn schedule_again(&mut self, mut pending: PendingBuyer) {
        if pending.queued.is_some() {
            self.poll_later(pending);
            return;
        }
        pending.connection_tries += 1;
        if pending.connection_tries > self.shared.plan.connection_tries {
            self.close(&pending);
            return;
        }
        let pause = limits::BACKOFF_MIN * 2_u32.pow(u32::from(pending.connection_tries - 1).min(5));
        let pause = self.jittered(pause.min(limits::BACKOFF_MAX));
        self.schedule(pending, pause);
    }

    /// Schedules the polls of a queued buyer. The first queued buyers of the run, up to the plan's
    /// `listeners`, also open an event stream.
    fn await_verdict(&mut self, mut pending: PendingBuyer, id: String, decide_by: Timestamp) {
        self.tally.counts.queued += 1;
        let due = decide_by.duration_since(Timestamp::now());
        let wait = Duration::try_from(due).unwrap_or_default() + self.shared.plan.verdict_grace;
        let deadline = Instant::now() + wait.min(limits::VERDICT_WAIT_MAX);
        let before = self.shared.listeners.fetch_add(1, Ordering::Relaxed);
        let listens = before < self.shared.plan.listeners;
        let first_look = if listens { limits::POLL_MAX } else { limits::POLL_MIN };
        pending.queued = Some(Rc::new(Queued::new(id, deadline, first_look)));
        self.schedule(pending.clone(), first_look);
        if listens {
            self.listening.push(pending);
        }
    }

    /// Schedules the buyer's next poll, after a longer pause than before. If the deadline is over,
    /// gives the buyer up instead.
    fn poll_later(&mut self, pending: PendingBuyer) {
        let Some(queued) = pending.queued.clone() else { return };
        let left = queued.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.close(&pending);
            return;
        }
        let pause = (queued.pause.get() * 3 / 2).min(limits::POLL_MAX);
        queued.pause.set(pause);
        self.schedule(pending, pause.min(left));
    }

    /// Makes the pause longer by a random part of up to a quarter. So buyers whose requests fail at
    /// the same time repeat their requests at different times.
    fn jittered(&mut self, pause: Duration) -> Duration {
        pause.mul_f64(1.0 + self.rng.random_range(0.0..0.25))
    }
}
