//! The store's clock: wall time at start, carried on by the monotonic clock, pulled gently towards
//! the wall.
//!
//! At a step of the wall clock beyond [`STEP_MAX_MS`] an alarm is raised and expiry rests until the
//! two agree again or the program is started anew. One beyond [`HEAL_MAX_MS`] is not followed; a
//! smaller one, as after a machine slept, is, gently. So no unpaid order expires early, and no sale
//! opens early by more than that, because somebody set a clock.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use doorbuster_core::Millis;

/// A difference between wall and store clock beyond which the wall clock is not believed.
pub const STEP_MAX_MS: i64 = 2_000;
/// A difference beyond which the store's clock is not even pulled: no sale opens an hour early
/// because somebody set a clock.
const HEAL_MAX_MS: i64 = 60_000;
/// How far one [`Clock::discipline`] moves the store's clock at most.
const PULL_MAX_MS: i64 = 20;

/// Milliseconds since the epoch by the machine's wall clock.
pub type Wall = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A clock that does not jump. Cheap to clone and to read.
#[derive(Clone)]
pub struct Clock(Arc<Shared>);

struct Shared {
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
        Self(Arc::new(Shared { wall, started: Instant::now(), base, offset, alarm }))
    }

    /// The time. Never jumps; goes back by at most a few milliseconds while it is pulled.
    #[must_use]
    pub fn now(&self) -> Millis {
        let run = i64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        Millis(
            self.0.base.saturating_add(run).saturating_add(self.0.offset.load(Ordering::Relaxed)),
        )
    }

    /// What the machine's wall clock says, however it was set: for what others write their own time
    /// on, who know nothing of the store's.
    #[must_use]
    pub fn wall(&self) -> Millis {
        Millis((self.0.wall)())
    }

    /// Compares with the wall clock and pulls gently towards it; called about once a second.
    /// Returns how far the wall is ahead, in milliseconds.
    pub fn discipline(&self) -> i64 {
        let ahead = (self.0.wall)().saturating_sub(self.now().0);
        self.0.alarm.store(ahead.abs() > STEP_MAX_MS, Ordering::Release);
        // Under the alarm too, so that a machine that slept for seconds heals in minutes; a larger
        // step is not followed at all.
        if ahead.abs() <= HEAL_MAX_MS {
            self.0.offset.fetch_add(ahead.clamp(-PULL_MAX_MS, PULL_MAX_MS), Ordering::Relaxed);
        }
        ahead
    }

    /// Whether the wall clock was stepped away: nothing expires meanwhile.
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
            assert_eq!(clock.wall().0, 1_000_000 + step, "and the other one is known");
            wall.fetch_sub(step, Ordering::Relaxed);
            clock.discipline();
            assert!(!clock.has_alarm());
        }
    }

    #[test]
    fn a_small_difference_is_pulled_gently() {
        let wall = Arc::new(AtomicI64::new(0));
        let read = wall.clone();
        let clock = Clock::with_wall(Arc::new(move || read.load(Ordering::Relaxed)));
        wall.store(1_000, Ordering::Relaxed);
        clock.discipline();
        assert!((0..500).contains(&clock.now().0));
        assert!(!clock.has_alarm());
    }
}
