//! Sends the requests of a [`RequestScript`] at a [`Pace`], and measures the answers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow, ensure};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::event_loop::{EventLoop, Fault, LoopOptions, Next, Progress, Source};
use super::tally::AnswerTime;
use super::{Load, Pace, RequestScript, RunResult, cores};

/// How long the generator waits for answers after the end of the measured time. A request that has
/// no answer by then counts as lost.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// After the measured time, the generator continues for at most this time to send requests that
/// were due but still wait for a free connection. This time is shorter than [`DRAIN_WITHIN`], so
/// that the answers to these requests can arrive in time.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// The seed of the arrival times. It is constant, so every run has the same arrival times.
const SEED: u64 = 0x00d0_04b5;
/// A rate in requests per second. At this rate and above, the generator sends all requests of one
/// [`TICK`] together.
pub(crate) const TICK_FROM_RATE: f64 = 20_000.0;
/// The length of a tick. A request waits at most this long for the requests that are sent together
/// with it. This delay is part of the measured latency.
pub(crate) const TICK: Duration = Duration::from_micros(250);

struct Measurement<'a, S> {
    script: &'a mut S,
    pace: Pace,
    rng: SmallRng,
    run: RunResult,
    /// When the next request is due. With [`Pace::Closed`], this time is not used.
    due: Instant,
    opens_at: Instant,
    closes_at: Instant,
    /// The time of the last answer.
    last: Instant,
    ended: bool,
    error: Option<Error>,
}

pub(super) fn run(
    load: &Load,
    addrs: &[SocketAddr],
    script: &mut impl RequestScript,
) -> Result<RunResult> {
    let now = Instant::now();
    let mut measurement = Measurement {
        script,
        pace: load.pace,
        rng: SmallRng::seed_from_u64(SEED),
        run: RunResult::default(),
        due: now,
        opens_at: now,
        closes_at: now,
        last: now,
        ended: false,
        error: None,
    };
    let options = LoopOptions {
        addrs: addrs.to_vec(),
        connections: load.connections,
        reopens: false,
        answer_within: None,
        tick: match load.pace {
            Pace::Open(rate) | Pace::Crowd(rate) if rate >= TICK_FROM_RATE => TICK,
            _ => Duration::ZERO,
        },
    };
    let mut connections = EventLoop::open(options, &mut measurement)?;
    let open = connections.free();
    ensure!(open == load.connections, "only {open} connections could be opened");
    let cpu_time = cores::thread_cpu_time();
    let start = Instant::now();
    measurement.start(start, load);
    connections.run(&mut measurement)?;
    let spent = cores::thread_cpu_time().saturating_sub(cpu_time);
    measurement.give_up_the_rest();
    let Measurement { mut run, last, opens_at, ended, error, .. } = measurement;
    if let Some(error) = error {
        return Err(error);
    }
    run.generator_busy =
        spent.as_secs_f64() / last.duration_since(start).as_secs_f64().max(f64::MIN_POSITIVE);
    run.time = if ended { last.duration_since(opens_at).min(load.time) } else { load.time };
    run.lost += connections.under_way() as u64;
    Ok(run)
}

impl<S: RequestScript> Measurement<'_, S> {
    fn start(&mut self, now: Instant, load: &Load) {
        self.opens_at = now + load.warm_up;
        self.closes_at = self.opens_at + load.time;
        self.last = now;
        self.due = now;
        if let Pace::Open(rate) | Pace::Crowd(rate) = self.pace {
            self.advance(rate);
        }
    }

    fn advance(&mut self, rate: f64) {
        let chance = self.rng.random::<f64>().max(f64::MIN_POSITIVE);
        self.due += Duration::from_secs_f64(-chance.ln() / rate);
    }

    /// Finds all requests that were due within the measured time but were not sent. Counts them as
    /// given up.
    fn give_up_the_rest(&mut self) {
        let (Pace::Open(rate) | Pace::Crowd(rate)) = self.pace else { return };
        while !self.ended && self.due < self.closes_at {
            self.run.given_up += 1;
            self.advance(rate);
        }
    }

    fn has_ended(&self, now: Instant) -> bool {
        let last = match self.pace {
            Pace::Closed => now,
            Pace::Open(_) | Pace::Crowd(_) => self.due,
        };
        let is_late = now > self.closes_at + SEND_WITHIN;
        self.ended || self.error.is_some() || last >= self.closes_at || is_late
    }
}

impl<S: RequestScript> Source for Measurement<'_, S> {
    /// When the request was due.
    type Request = Instant;

    fn next(&mut self, now: Instant, out: &mut Vec<u8>) -> Next<Instant> {
        if self.has_ended(now) {
            return Next::Nothing;
        }
        let due = match self.pace {
            Pace::Closed => now,
            Pace::Open(_) | Pace::Crowd(_) if self.due > now => return Next::At(self.due),
            Pace::Open(rate) | Pace::Crowd(rate) => {
                let due = self.due;
                self.advance(rate);
                due
            }
        };
        if !self.script.next(out) {
            self.ended = true;
            return Next::Nothing;
        }
        self.run.sent += 1;
        self.run.sent_in_time += u64::from(due >= self.opens_at);
        Next::Request(due)
    }

    fn all_busy(&mut self, now: Instant) {
        let Pace::Crowd(rate) = self.pace else { return };
        while self.due <= now && !self.has_ended(now) {
            self.run.given_up += 1;
            self.advance(rate);
        }
    }

    fn read(&mut self, due: Instant, bytes: &mut [u8], now: Instant) -> Progress<Instant> {
        match self.script.read(bytes) {
            Ok(Some(kind)) => {
                let time = if now < self.opens_at {
                    AnswerTime::WarmUp
                } else if now <= self.closes_at {
                    AnswerTime::Measured
                } else {
                    AnswerTime::Late
                };
                self.run.answer(kind, now.saturating_duration_since(due), time);
                self.last = now;
                Progress::Done
            }
            Ok(None) => Progress::Incomplete(due),
            Err(error) => {
                self.error.get_or_insert(error.context("failed to read an answer"));
                Progress::DoneAndClosed
            }
        }
    }

    fn failed(&mut self, request: Option<Instant>, fault: Fault) {
        match fault {
            // Only `EventLoop::open` reports this fault, because the loop does not reopen
            // connections. After `open`, the caller checks that all connections are open.
            Fault::Connect => {}
            Fault::Broken | Fault::TimedOut => {
                self.run.lost += u64::from(request.is_some());
                self.run.closed += 1;
            }
            Fault::Unexpected => {
                self.error.get_or_insert_with(|| anyhow!("an answer without a request"));
            }
        }
    }

    fn is_over(&mut self, now: Instant, under_way: usize) -> bool {
        let is_idle = under_way == 0 && (self.has_ended(now) || matches!(self.pace, Pace::Closed));
        is_idle || self.error.is_some() || now > self.closes_at + DRAIN_WITHIN
    }
}
