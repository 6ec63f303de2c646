//! Decides when a connection that got `503 overloaded` is served again.
//!
//! A refusal needs little processor time. But many clients that ignore `Retry-After` could together
//! use up the time that accepted orders need. So after a refusal, a connection waits for its turn.
//! The number of turns per second is fixed (the GCRA algorithm, ITU-T I.371).
//!
//! No connection pauses longer than its `Retry-After`. The connection of a trusted proxy never
//! pauses, because it carries the requests of many clients.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::limits::{OVERLOAD_RESUMES_PER_SEC, RETRY_SECS};

const PAUSE_MAX_US: u64 = RETRY_SECS as u64 * 1_000_000;

/// Times are in microseconds since `began`.
pub(crate) struct OverloadPacer {
    began: Instant,
    gap_us: u64,
    max_us: u64,
    last_turn_us: AtomicU64,
}

impl OverloadPacer {
    pub(crate) fn new(workers: NonZeroUsize) -> Self {
        let per_sec = OVERLOAD_RESUMES_PER_SEC
            .saturating_mul(u64::try_from(workers.get()).unwrap_or(u64::MAX));
        Self::with_gap((1_000_000 / per_sec).max(1), PAUSE_MAX_US)
    }

    fn with_gap(gap_us: u64, max_us: u64) -> Self {
        Self { began: Instant::now(), gap_us, max_us, last_turn_us: AtomicU64::new(0) }
    }

    /// Every connection pauses for `rest`.
    #[cfg(test)]
    pub(super) fn fixed_pause(rest: Duration) -> Self {
        let rest_us = u64::try_from(rest.as_micros()).expect("a test's time");
        Self::with_gap(rest_us, rest_us)
    }

    pub(crate) fn next(&self) -> Duration {
        let now_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.next_turn(now_us))
    }

    /// Assigns the next turn to the caller. Returns the time until this turn, in microseconds.
    fn next_turn(&self, now_us: u64) -> u64 {
        let next = |last: u64| (last.max(now_us) + self.gap_us).min(now_us + self.max_us);
        let last = self.last_turn_us.update(Ordering::Relaxed, Ordering::Relaxed, next);
        next(last) - now_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overload_pacer(workers: usize) -> OverloadPacer {
        OverloadPacer::new(NonZeroUsize::new(workers).expect("some"))
    }

    #[test]
    fn waiting_connections_are_answered_one_after_the_other() {
        let overload_pacer = overload_pacer(1);
        let turns: Vec<u64> = (0..1_000).map(|_| overload_pacer.next_turn(70)).collect();
        let gap = 1_000_000 / OVERLOAD_RESUMES_PER_SEC;
        assert!(turns.windows(2).all(|pair| pair[1] - pair[0] == gap), "{turns:?}");
        // All of these turns are over, so the next connection waits for only one gap.
        assert_eq!(overload_pacer.next_turn(10_000_000), gap);
    }

    #[test]
    fn no_connection_is_paused_longer_than_retry_after() {
        let overload_pacer = overload_pacer(1);
        let longest = (0..100_000).map(|_| overload_pacer.next_turn(5)).max().expect("some");
        assert_eq!(longest, PAUSE_MAX_US);
        assert_eq!(overload_pacer.next_turn(6), PAUSE_MAX_US);
    }

    #[test]
    fn more_workers_serve_more_connections() {
        let (one, four) = (overload_pacer(1), overload_pacer(4));
        assert_eq!(one.next_turn(0), 4 * four.next_turn(0));
    }
}
