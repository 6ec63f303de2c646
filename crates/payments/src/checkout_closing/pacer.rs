//! Limits how many queries per second the server sends to a provider.
//!
//! Uses the generic cell rate algorithm (ITU-T I.371) with a burst of [`AT_ONCE`] queries.
use std::time::{Duration, Instant};

use crate::silence::AT_ONCE;

#[derive(Debug)]
pub(super) struct QueryPacer {
    interval: Duration,
    /// The time at which a full burst is available again. Each query moves this time one interval
    /// later.
    full_at: Instant,
}

impl QueryPacer {
    pub(super) fn new(per_sec: u32, now: Instant) -> Self {
        Self { interval: Duration::from_secs(1) / per_sec.max(1), full_at: now }
    }

    /// Returns how long the next query must wait, or `None` if it may start now.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Duration> {
        self.full_at = self.full_at.max(now);
        let burst = self.interval * (AT_ONCE as u32 - 1);
        let wait = (self.full_at - now).saturating_sub(burst);
        (!wait.is_zero()).then_some(wait)
    }

    pub(super) fn count_queries(&mut self, queries: u32) {
        self.full_at += self.interval * queries;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(pacer: &mut QueryPacer, mut now: Instant, ms: u64) -> usize {
        let (end, mut started) = (now + Duration::from_millis(ms), 0);
        while now < end {
            while pacer.wait(now).is_none() {
                pacer.count_queries(1);
                started += 1;
            }
            now += pacer.wait(now).expect("the rate is used up");
        }
        started
    }

    #[test]
    fn queries_start_at_the_rate_after_a_first_burst() {
        let now = Instant::now();
        let mut pacer = QueryPacer::new(80, now);
        assert_eq!(started(&mut pacer, now, 1), AT_ONCE, "the first burst");
        let later = now + Duration::from_secs(10);
        assert_eq!(started(&mut pacer, later, 10_000), AT_ONCE + 799, "a burst, then the rate");
    }

    #[test]
    fn an_unused_rate_does_not_add_up() {
        let now = Instant::now();
        let mut pacer = QueryPacer::new(1, now);
        let later = now + Duration::from_secs(3_600);
        assert_eq!(started(&mut pacer, later, 999), AT_ONCE);
        assert_eq!(started(&mut pacer, later + Duration::from_secs(1), 999), 1);
    }
}
