//! The store's clock: wall time at start, advanced by the monotonic clock and slowly adjusted to
//! the wall clock.
//!
//! If the wall clock steps by more than [`STEP_MAX_MS`], an alarm is raised, and expiry pauses
//! until both clocks agree again or the program restarts. A step beyond [`HEAL_MAX_MS`] is never
//! followed. A smaller one, for example after the machine slept, is followed slowly. So a changed
//! clock makes no unpaid order expire early and opens no sale early by more than that.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use doorbuster_core::Millis;

/// The wall clock is not trusted if it differs from the store's clock by more than this.
pub const STEP_MAX_MS: i64 = 2_000;
/// Beyond this difference the store's clock is not adjusted at all, so that no sale opens an hour
/// early because a person set the clock.
const HEAL_MAX_MS: i64 = 60_000;
/// The largest adjustment by one [`Clock::discipline`].
const PULL_MAX_MS: i64 = 20;

/// Milliseconds since the epoch by the machine's wall clock.
pub type Wall = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A clock that does not jump. Cheap to clone and to read.
#[derive(Clone)]
pub struct Clock(Arc<ClockState>);

struct ClockState {
    wall: Wall,
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
    /// A clock over this wall clock, read once now and at each [`Clock::discipline`].
    #[must_use]
    pub fn with_wall(wall: Wall) -> Self {
        let base = wall();
        let (offset, alarm) = (AtomicI64::new(0), AtomicBool::new(false));
        Self(Arc::new(ClockState { wall, started: Instant::now(), base, offset, alarm }))
    }

    /// The store's time. Never jumps. It goes back by at most a few milliseconds during an
    /// adjustment.
    #[must_use]
    pub fn now(&self) -> Millis {
        let run = i64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        Millis(
            self.0.base.saturating_add(run).saturating_add(self.0.offset.load(Ordering::Relaxed)),
        )
    }

    /// The machine's wall clock, however it was set. Use it to compare with times that other
    /// programs wrote.
    #[must_use]
    pub fn wall(&self) -> Millis {
        Millis((self.0.wall)())
    }

    /// Compares the clocks and adjusts the store's clock slowly; called about once per second.
    /// Returns how far the wall clock is ahead, in milliseconds.
    pub fn discipline(&self) -> i64 {
        let ahead = (self.0.wall)().saturating_sub(self.now().0);
        self.0.alarm.store(ahead.abs() > STEP_MAX_MS, Ordering::Release);
        // The alarm does not stop the adjustment, so that a machine that slept for seconds recovers
        // in minutes. A larger step is not followed at all.
        if ahead.abs() <= HEAL_MAX_MS {
            self.0.offset.fetch_add(ahead.clamp(-PULL_MAX_MS, PULL_MAX_MS), Ordering::Relaxed);
        }
        ahead
    }

    /// Whether the wall clock was stepped. Nothing expires meanwhile.
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
            clock.discipline();
            assert!(clock.has_alarm());
            assert!((clock.now().0 - 1_000_000).abs() < 1_000, "the store's clock stays");
            assert_eq!(
                clock.wall().0,
                1_000_000 + step,
                "the wall clock's time is still available"
            );
            wall.fetch_sub(step, Ordering::Relaxed);
            clock.discipline();
            assert!(!clock.has_alarm());
        }
    }

    #[test]
    fn a_small_difference_is_adjusted_slowly() {
        let wall = Arc::new(AtomicI64::new(0));
        let read = wall.clone();
        let clock = Clock::with_wall(Arc::new(move || read.load(Ordering::Relaxed)));
        wall.store(1_000, Ordering::Relaxed);
        clock.discipline();
        assert!((0..500).contains(&clock.now().0));
        assert!(!clock.has_alarm());
    }
}
