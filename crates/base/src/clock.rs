//! The store's clock. At the start, the store's clock takes the wall clock's time. Then it advances
//! with the monotonic clock. Small adjustments keep the store's clock near the wall clock.
//!
//! If the wall clock steps by more than [`STEP_MAX_MS`], the store's clock raises an alarm. Until
//! both clocks agree again or the program restarts, no order expires. If the step is at most
//! [`HEAL_MAX_MS`] (for example after the machine slept), the store's clock slowly follows the wall
//! clock. After a larger step, the store's clock does not follow.
//!
//! So a step of the wall clock can make an order expire too early, or a sale open too early, by at
//! most [`HEAL_MAX_MS`].
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use doorbuster_core::Millis;

/// If the wall clock differs from the store's clock by more than this many milliseconds, the
/// store's clock raises an alarm.
pub const STEP_MAX_MS: i64 = 2_000;
/// If the wall clock differs from the store's clock by more than this many milliseconds, the
/// store's clock does not follow. Otherwise a wall clock that is an hour ahead would open sales an
/// hour early.
const HEAL_MAX_MS: i64 = 60_000;
/// The largest adjustment by one call of [`Clock::adjust_to_wall`], in milliseconds.
const PULL_MAX_MS: i64 = 20;

/// A function that returns the time of the machine's wall clock, in milliseconds since 1970.
pub type WallClock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The store's clock, which does not jump. Cloning or reading this clock costs little.
#[derive(Clone)]
pub struct Clock(Arc<ClockState>);

struct ClockState {
    wall: WallClock,
    started: Instant,
    base: i64,
    offset: AtomicI64,
    alarm: AtomicBool,
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock").field("now", &self.now()).finish()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::with_wall(Arc::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        }))
    }
}

impl Clock {
    /// Creates a clock that starts at the time of the wall clock `wall`.
    #[must_use]
    pub fn with_wall(wall: WallClock) -> Self {
        let base = wall();
        let (offset, alarm) = (AtomicI64::new(0), AtomicBool::new(false));
        Self(Arc::new(ClockState { wall, started: Instant::now(), base, offset, alarm }))
    }

    /// Returns the store's time. Each call of [`Self::adjust_to_wall`] moves this time by at most
    /// 20 ms, forward or back.
    #[must_use]
    pub fn now(&self) -> Millis {
        let run = i64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        Millis(
            self.0.base.saturating_add(run).saturating_add(self.0.offset.load(Ordering::Relaxed)),
        )
    }

    /// Returns the wall clock's time, for comparisons with times that other programs wrote.
    #[must_use]
    pub fn wall(&self) -> Millis {
        Millis((self.0.wall)())
    }

    /// Moves the store's clock toward the wall clock by at most 20 ms. The server calls this about
    /// once per second. Returns how many milliseconds the wall clock was ahead.
    pub fn adjust_to_wall(&self) -> i64 {
        let ahead = (self.0.wall)().saturating_sub(self.now().0);
        self.0.alarm.store(ahead.abs() > STEP_MAX_MS, Ordering::Release);
        // The adjustment continues while the alarm is set. So if the machine slept for some
        // seconds, the clocks agree again within minutes, and the alarm ends.
        if ahead.abs() <= HEAL_MAX_MS {
            self.0.offset.fetch_add(ahead.clamp(-PULL_MAX_MS, PULL_MAX_MS), Ordering::Relaxed);
        }
        ahead
    }

    /// Returns whether the wall clock and the store's clock differ by more than [`STEP_MAX_MS`].
    /// While the two clocks differ by so much, no order expires.
    #[must_use]
    pub fn has_alarm(&self) -> bool {
        self.0.alarm.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_wall_clock_is_not_followed_and_raises_the_alarm() {
        let wall = Arc::new(AtomicI64::new(1_000_000));
        let read = wall.clone();
        let clock = Clock::with_wall(Arc::new(move || read.load(Ordering::Relaxed)));
        for step in [3_600_000, -3_600_000] {
            wall.fetch_add(step, Ordering::Relaxed);
            clock.adjust_to_wall();
            assert!(clock.has_alarm());
            assert!(
                (clock.now().0 - 1_000_000).abs() < 1_000,
                "the store's clock must not follow the step"
            );
            assert_eq!(
                clock.wall().0,
                1_000_000 + step,
                "`wall` must return the time after the step"
            );
            wall.fetch_sub(step, Ordering::Relaxed);
            clock.adjust_to_wall();
            assert!(!clock.has_alarm());
        }
    }

    #[test]
    fn a_small_difference_is_adjusted_slowly() {
        let wall = Arc::new(AtomicI64::new(0));
        let read = wall.clone();
        let clock = Clock::with_wall(Arc::new(move || read.load(Ordering::Relaxed)));
        wall.store(1_000, Ordering::Relaxed);
        clock.adjust_to_wall();
        assert!((0..500).contains(&clock.now().0));
        assert!(!clock.has_alarm());
    }
}
