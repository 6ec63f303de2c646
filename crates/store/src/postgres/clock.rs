//! The database's time on this node: measured, and carried on by the monotonic clock.
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use doorbuster_core::Millis;

use crate::limits::PG_CLOCK_ROUND_TRIP_MAX;

/// Store time.
pub(super) struct Clock {
    /// A clock that takes its place, in tests.
    fixed: Option<Arc<dyn Fn() -> Millis + Send + Sync>>,
    born: Instant,
    /// Database time at `born`, in milliseconds.
    at_birth: AtomicI64,
}

impl Clock {
    pub(super) fn new(fixed: Option<Arc<dyn Fn() -> Millis + Send + Sync>>) -> Self {
        Self { fixed, born: Instant::now(), at_birth: AtomicI64::new(0) }
    }

    pub(super) fn now(&self) -> Millis {
        match &self.fixed {
            Some(fixed) => fixed(),
            None => Millis(self.at_birth.load(Ordering::Acquire)).plus(millis(self.born.elapsed())),
        }
    }

    /// The time of a transaction to which the database told its own.
    pub(super) fn of(&self, told: Millis) -> Millis {
        self.fixed.as_ref().map_or(told, |fixed| fixed())
    }

    /// Takes a measurement: what the database said, between these two instants. One that took long says too little.
    pub(super) fn measure(&self, asked: Instant, told: Millis, answered: Instant) {
        let round_trip = answered.duration_since(asked);
        if round_trip > PG_CLOCK_ROUND_TRIP_MAX && self.at_birth.load(Ordering::Acquire) != 0 {
            return;
        }
        let since_birth = asked.saturating_duration_since(self.born) + round_trip / 2;
        self.at_birth.store(told.0 - millis(since_birth), Ordering::Release);
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_from_the_middle_of_the_round_trip() {
        let clock = Clock::new(None);
        let asked = clock.born + Duration::from_millis(10);
        clock.measure(asked, Millis(1_000_000), asked + Duration::from_millis(20));
        let now = clock.now().0;
        assert!((999_980..1_000_500).contains(&now), "{now}");
        clock.measure(asked, Millis(5), asked + PG_CLOCK_ROUND_TRIP_MAX * 2);
        assert!(clock.now().0 >= now, "a slow answer is no measurement");
    }
}
