//! Implements [`Source`]: decides which buyer of a run sends its request next, and what the answers
//! mean. The load generator's event loop does the IO.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use doorbuster_harness::generator::event_loop::{Fault, Next, Progress as Read, Source};
use doorbuster_harness::generator::http::answer_parts;

use super::target::Requests;
use super::{
    Answers, BuyerLoad, BuyerRecord, LastAnswer, Progress, Reply, Target, order_of_arrival,
};
use crate::limits::{ANSWER_WITHIN, TRIES_MAX};

/// The first and the longest pause before a buyer repeats its request. Each pause is twice as long
/// as the previous one, up to the longest pause.
const RETRY_FIRST: Duration = Duration::from_millis(2);
const RETRY_LAST: Duration = Duration::from_millis(50);

/// A buyer who has started and still waits for the final answer. `index` is the buyer's place in
/// the sequence of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PendingBuyer {
    index: usize,
    begun: Instant,
    tries: u32,
    errors: u32,
}

pub(super) struct BuyerSource<'a> {
    crowd: &'a BuyerLoad,
    target: Target,
    requests: Requests,
    order: Vec<i64>,
    next: usize,
    start: Instant,
    /// The number of buyers who have started and still wait for their final answer.
    open: usize,
    /// Buyers who pause before they repeat their request.
    pausing: BinaryHeap<Reverse<(Instant, PendingBuyer)>>,
    progress: Arc<Progress>,
    last_answer: Instant,
    answers: Answers,
}

impl<'a> BuyerSource<'a> {
    pub(super) fn new(
        crowd: &'a BuyerLoad,
        target: Target,
        requests: Requests,
        progress: Arc<Progress>,
    ) -> Self {
        let now = Instant::now();
        Self {
            order: order_of_arrival(crowd.buyers, crowd.seed),
            next: 0,
            start: now,
            open: 0,
            pausing: BinaryHeap::new(),
            last_answer: now,
            answers: Answers::default(),
            crowd,
            target,
            requests,
            progress,
        }
    }

    pub(super) fn start(&mut self, now: Instant) {
        (self.start, self.last_answer) = (now, now);
        self.answers = Answers::default();
    }

    /// Returns the collected answers. They have no record of a buyer who did not start or has no
    /// last answer.
    pub(super) fn finish(mut self) -> Answers {
        self.answers.elapsed = self.last_answer.duration_since(self.start);
        self.answers.buyers = self.crowd.buyers;
        self.answers
    }

    /// Returns when the next new buyer arrives, or `None` if no more buyers come.
    fn arrival(&self) -> Option<Instant> {
        if self.next == self.order.len() {
            return None;
        }
        let at = match self.crowd.arrivals {
            None => self.start,
            Some(arrivals) => {
                // The buyers of a wave arrive at the same time, so that they compete for units. A
                // wave has `level` buyers.
                let wave = self.next / self.crowd.level * self.crowd.level;
                self.start + arrivals.mul_f64(wave as f64 / self.order.len() as f64)
            }
        };
        Some(at)
    }

    /// Returns the buyer who sends a request now. If no request is due, returns an error: the time
    /// of the next request, or `None` if no request is scheduled.
    fn take(&mut self, now: Instant) -> Result<PendingBuyer, Option<Instant>> {
        let due = self.pausing.peek().map(|Reverse((due, _))| *due);
        if due.is_some_and(|due| due <= now) {
            let Reverse((_, buyer)) = self.pausing.pop().expect("one is due");
            return Ok(buyer);
        }
        // A buyer who pauses before a repeat still counts as one of the `level` buyers, because the
        // buyer is still trying to buy.
        let may_begin = self.open < self.crowd.level;
        let arrival = self.arrival().filter(|_| may_begin);
        match arrival {
            Some(at) if at <= now && now.duration_since(self.start) <= self.crowd.within => {
                self.open += 1;
                self.next += 1;
                Ok(PendingBuyer { index: self.next - 1, begun: now, tries: 0, errors: 0 })
            }
            Some(at) if at > now => Err(due.into_iter().chain([at]).min()),
            _ => Err(due),
        }
    }

    fn end(&mut self, buyer: PendingBuyer, last_answer: LastAnswer, now: Instant) {
        self.open -= 1;
        self.last_answer = now;
        self.progress.sold.fetch_add(u64::from(last_answer == LastAnswer::Sold), Ordering::Relaxed);
        self.progress.answered.fetch_add(1, Ordering::Relaxed);
        self.answers.records.push(BuyerRecord {
            buyer: self.order[buyer.index],
            units: self.crowd.units,
            last_answer,
            latency: now.saturating_duration_since(buyer.begun),
            errors: buyer.errors,
        });
    }

    fn repeat(&mut self, buyer: PendingBuyer, now: Instant) {
        if buyer.tries >= TRIES_MAX {
            return self.end(buyer, LastAnswer::NoAnswer, now);
        }
        let pause = (RETRY_FIRST * (1 << buyer.tries.saturating_sub(1).min(5))).min(RETRY_LAST);
        self.pausing.push(Reverse((now + pause, buyer)));
    }

    fn end_refused(&mut self, mut buyer: PendingBuyer, text: String, now: Instant) {
        buyer.errors += 1;
        self.answers.first_error.get_or_insert(text);
        self.end(buyer, LastAnswer::Refused, now);
    }

    fn repeat_after_error(&mut self, mut buyer: PendingBuyer, text: String, now: Instant) {
        buyer.errors += 1;
        self.answers.first_error.get_or_insert(text);
        self.repeat(buyer, now);
    }
}

impl Source for BuyerSource<'_> {
    type Request = PendingBuyer;

    fn next(&mut self, now: Instant, out: &mut Vec<u8>) -> Next<PendingBuyer> {
        match self.take(now) {
            Ok(mut buyer) => {
                buyer.tries += 1;
                self.requests.write(self.order[buyer.index], out);
                Next::Request(buyer)
            }
            Err(at) => at.map_or(Next::Nothing, Next::At),
        }
    }

    fn read(&mut self, buyer: PendingBuyer, bytes: &mut [u8], now: Instant) -> Read<PendingBuyer> {
        let parts = match answer_parts(bytes) {
            Ok(Some(parts)) => parts,
            Ok(None) => return Read::Incomplete(buyer),
            Err(error) => {
                self.repeat_after_error(buyer, error.to_string(), now);
                return Read::DoneAndClosed;
            }
        };
        match self.target.read(parts.status, &bytes[parts.body_at..parts.end]) {
            Reply::Final(last_answer) => self.end(buyer, last_answer, now),
            Reply::Refused(text) => self.end_refused(buyer, text, now),
            Reply::Busy => self.repeat(buyer, now),
            Reply::Error(text) => {
                self.repeat_after_error(buyer, text, now);
                return Read::DoneAndClosed;
            }
        }
        Read::Done
    }

    fn failed(&mut self, request: Option<PendingBuyer>, fault: Fault) {
        let Some(buyer) = request else { return };
        let text = match fault {
            Fault::TimedOut => "no answer in time",
            Fault::Connect | Fault::Broken | Fault::Unexpected => "the connection was closed",
        };
        self.repeat_after_error(buyer, text.to_owned(), Instant::now());
    }

    fn is_over(&mut self, now: Instant, _under_way: usize) -> bool {
        let waited = now.duration_since(self.start);
        let more = self.next < self.order.len() && waited <= self.crowd.within;
        if self.open == 0 && !more || self.progress.stop.load(Ordering::Relaxed) {
            return true;
        }
        // The last new buyer started long ago, but buyers still repeat their requests. The servers
        // probably do not answer any more, so these buyers give up.
        let is_hopeless = waited > self.crowd.within + ANSWER_WITHIN * 2;
        while is_hopeless && let Some(Reverse((_, buyer))) = self.pausing.pop() {
            self.end(buyer, LastAnswer::NoAnswer, now);
        }
        false
    }
}
