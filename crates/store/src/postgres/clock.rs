//! The database's time on this node: the last sample of the database's clock, plus the time that
//! has passed on this node since then (`Instant`).
//!
//! The store's time is the database's clock, so that this node and the database's transactions use
//! the same time. A second clock, the monotonic clock, follows slowly if the database's clock is
//! set to another time. The expiry of orders and the opening of sales use the earlier time of the
//! two clocks. So no order expires and no sale opens too early after the database's clock was set
//! forward.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use doorbuster_core::Millis;

use crate::limits::{
    PG_CLOCK_ROUND_TRIP_MAX, PG_CLOCK_SLEW_INTERVAL, PG_CLOCK_SLEW_MAX, PG_CLOCK_STEP_MAX,
};

pub(crate) struct Clock {
    /// A clock that replaces the database's clock in tests.
    fixed: Option<Arc<dyn Fn() -> Millis + Send + Sync>>,
    /// A clock that replaces the monotonic clock in tests.
    fixed_monotonic: Option<Arc<dyn Fn() -> Millis + Send + Sync>>,
    born: Instant,
    /// The database's time when this `Clock` was created (`born`), in milliseconds.
    at_birth: AtomicI64,
    /// The monotonic clock's time at `born`, in milliseconds.
    monotonic_at_birth: AtomicI64,
    /// The time of the last correction of the monotonic clock, in milliseconds since `born`.
    slewed_at: AtomicI64,
    /// Whether the database's clock and the monotonic clock differ by more than
    /// [`PG_CLOCK_STEP_MAX`].
    stepped: AtomicBool,
    /// The start of the newest poll that this node has published, in milliseconds since `born`.
    saw: AtomicI64,
}

impl Clock {
    /// Returns a clock that has not read the database's time yet. `fixed` and `fixed_monotonic`
    /// replace the two clocks. If only `fixed` is given, it replaces both.
    pub(super) fn new(
        fixed: Option<Arc<dyn Fn() -> Millis + Send + Sync>>,
        fixed_monotonic: Option<Arc<dyn Fn() -> Millis + Send + Sync>>,
    ) -> Self {
        let [at_birth, monotonic_at_birth, slewed_at, saw] = [0; 4].map(AtomicI64::new);
        Self {
            fixed_monotonic: fixed_monotonic.or_else(|| fixed.clone()),
            fixed,
            born: Instant::now(),
            at_birth,
            monotonic_at_birth,
            slewed_at,
            stepped: AtomicBool::new(false),
            saw,
        }
    }

    pub(super) fn now(&self) -> Millis {
        match &self.fixed {
            Some(fixed) => fixed(),
            None => Millis(self.at_birth.load(Ordering::Acquire)).plus(millis(self.born.elapsed())),
        }
    }

    /// Returns the earlier of the database's time and the monotonic clock's time.
    pub(crate) fn monotonic(&self) -> Millis {
        match &self.fixed_monotonic {
            Some(fixed) => fixed(),
            None => {
                let careful = self.monotonic_at_birth.load(Ordering::Acquire);
                Millis(careful.min(self.at_birth.load(Ordering::Acquire)))
                    .plus(millis(self.born.elapsed()))
            }
        }
    }

    /// Returns whether the database's clock was set to another time, and it still differs from the
    /// monotonic clock by more than [`PG_CLOCK_STEP_MAX`].
    pub(crate) fn has_stepped(&self) -> bool {
        self.stepped.load(Ordering::Acquire)
    }

    /// Records that this node has published the result of a poll that began at this instant.
    pub(super) fn set_seen(&self, began: Instant) {
        self.saw.store(millis(began.saturating_duration_since(self.born)), Ordering::Release);
    }

    /// Makes the age of the published state unknown. Until the next published poll,
    /// [`Clock::staleness`] returns a very long time.
    pub(super) fn forget_seen(&self) {
        self.saw.store(i64::MIN / 2, Ordering::Release);
    }

    pub(crate) fn staleness(&self) -> Duration {
        let now = millis(self.born.elapsed());
        Duration::from_millis(
            now.saturating_sub(self.saw.load(Ordering::Acquire)).max(0).unsigned_abs(),
        )
    }

    /// Returns the start of the newest poll whose result was published. If there is no such poll,
    /// returns the start of this clock, which is before every read.
    pub(crate) fn published_as_of(&self) -> Instant {
        let saw = u64::try_from(self.saw.load(Ordering::Acquire)).unwrap_or(0);
        self.born + Duration::from_millis(saw)
    }

    /// Returns the time that the database reported (`reported`). In a test with a fixed clock,
    /// returns the time of that clock instead.
    pub(super) fn for_transaction(&self, reported: Millis) -> Millis {
        self.fixed.as_ref().map_or(reported, |fixed| fixed())
    }

    /// Adds a sample: the database read its time (`reported`) between `sent` and `answered`. A
    /// sample with a long round trip is too imprecise, and is discarded, unless it is the first
    /// sample.
    pub(super) fn add_sample(&self, sent: Instant, reported: Millis, answered: Instant) {
        let round_trip = answered.duration_since(sent);
        if round_trip > PG_CLOCK_ROUND_TRIP_MAX && self.at_birth.load(Ordering::Acquire) != 0 {
            return;
        }
        let since_birth = sent.saturating_duration_since(self.born) + round_trip / 2;
        let is_first = self.at_birth.swap(reported.0 - millis(since_birth), Ordering::AcqRel) == 0;
        self.slew(reported.0 - millis(since_birth), millis(since_birth), is_first);
    }

    /// Moves the monotonic clock towards the database's clock by a bounded amount. `at_birth` is
    /// the database's time at the instant `born`. `now` is the time since `born`. Both are in
    /// milliseconds.
    fn slew(&self, at_birth: i64, now: i64, is_first: bool) {
        if is_first {
            return self.monotonic_at_birth.store(at_birth, Ordering::Release);
        }
        let ahead = at_birth - self.monotonic_at_birth.load(Ordering::Acquire);
        if now - self.slewed_at.load(Ordering::Acquire) >= millis(PG_CLOCK_SLEW_INTERVAL) {
            self.slewed_at.store(now, Ordering::Release);
            let most = millis(PG_CLOCK_SLEW_MAX);
            self.monotonic_at_birth.fetch_add(ahead.clamp(-most, most), Ordering::AcqRel);
        }
        let stepped = ahead.abs() > millis(PG_CLOCK_STEP_MAX);
        match (self.stepped.swap(stepped, Ordering::AcqRel), stepped) {
            (false, true) => tracing::error!(
                ahead_ms = ahead,
                event = "database.clock_set",
                "the database's clock was set; correct the clock, or restart the nodes; until the \
                 node's time agrees with the new time, the earlier of the two times decides when \
                 orders expire and sales open"
            ),
            (true, false) => tracing::info!(
                event = "database.clock_trusted",
                "the database's clock is trusted again"
            ),
            _ => {}
        }
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_sample_belongs_to_the_middle_of_its_round_trip() {
        let clock = Clock::new(None, None);
        let sent = clock.born + Duration::from_millis(10);
        clock.add_sample(sent, Millis(1_000_000), sent + Duration::from_millis(20));
        let now = clock.now().0;
        assert!((999_980..1_000_500).contains(&now), "{now}");
        clock.add_sample(sent, Millis(5), sent + PG_CLOCK_ROUND_TRIP_MAX * 2);
        assert!(clock.now().0 >= now, "a slow answer must be discarded");
    }

    #[test]
    fn the_monotonic_clock_does_not_follow_a_step_of_the_databases_clock() {
        let clock = Clock::new(None, None);
        let add_sample = |after_ms: i64, at_birth: i64| {
            let at = clock.born + Duration::from_millis(after_ms.unsigned_abs());
            clock.add_sample(at, Millis(at_birth + after_ms), at);
        };
        add_sample(0, 10_000_000);
        assert!(!clock.has_stepped());
        add_sample(10, 13_600_000);
        assert!(
            clock.has_stepped() && clock.now().0 >= 13_600_000,
            "the store's time must be the database's time"
        );
        assert!((10_000_000..10_001_000).contains(&clock.monotonic().0), "{:?}", clock.monotonic());
        add_sample(20, 13_600_000);
        add_sample(5_000, 13_600_000);
        assert!(
            clock.monotonic().0 < 10_001_000,
            "one correction must be small: {:?}",
            clock.monotonic()
        );
        add_sample(6_500, 6_400_000);
        assert!(
            clock.has_stepped() && clock.monotonic().0 < 6_401_000,
            "the monotonic clock must follow a clock that was set back"
        );
        add_sample(8_000, 10_000_000);
        assert!(!clock.has_stepped());
    }

    #[test]
    fn published_state_is_as_old_as_the_start_of_its_poll() {
        let clock = Clock::new(None, None);
        clock.set_seen(clock.born);
        std::thread::sleep(Duration::from_millis(5));
        assert!(clock.staleness() >= Duration::from_millis(5));
        clock.set_seen(Instant::now());
        assert!(clock.staleness() < Duration::from_secs(1));
    }
}
