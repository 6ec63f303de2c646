//! Estimates how long the remaining runs take.
//!
//! The time of a run depends mostly on its level and its fault, and little on its strategy. So the
//! estimate for a remaining run is the average time of the past runs with the same level and fault.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::RunOptions;
use crate::fault::Fault;
use crate::limits::{ARRIVALS_WITH_FAULT, RUN_WITHIN};

/// A run takes this much longer than its sale, because the run starts processes and reads rows.
const OVERHEAD: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Runs {
    left: u32,
    done: u32,
    took: Duration,
}

/// The remaining runs and the past runs, by level and fault.
#[derive(Debug)]
pub(super) struct Estimate {
    runs: BTreeMap<(usize, Fault), Runs>,
    counted_at: Instant,
}

impl Estimate {
    pub(super) fn new(options: &RunOptions, strategies: usize) -> Self {
        let mut runs: BTreeMap<(usize, Fault), Runs> = BTreeMap::new();
        for &fault in &options.faults {
            for &level in &options.levels {
                // There are at most 24 strategies, so their number fits a u32.
                runs.entry((level, fault)).or_default().left += options.seeds * strategies as u32;
            }
        }
        Self { runs, counted_at: Instant::now() }
    }

    pub(super) fn runs_left(&self) -> usize {
        self.runs.values().map(|runs| runs.left as usize).sum()
    }

    /// Counts a run that ended now.
    pub(super) fn count(&mut self, level: usize, fault: Fault) {
        let took = self.counted_at.elapsed();
        self.counted_at = Instant::now();
        if let Some(runs) = self.runs.get_mut(&(level, fault)) {
            runs.left -= 1;
            runs.done += 1;
            runs.took += took;
        }
    }

    pub(super) fn left(&self) -> Duration {
        let expected = |(&(level, fault), runs): (&(usize, Fault), &Runs)| {
            let each = match (runs.done, fault) {
                (1.., _) => runs.took / runs.done,
                // No run with this level and this fault has ended yet. A run with one buyer at a
                // time takes nearly `RUN_WITHIN`; a run with more buyers takes less.
                (0, Fault::None) => OVERHEAD + RUN_WITHIN / (level as u32).clamp(1, 8),
                (0, _) => OVERHEAD + ARRIVALS_WITH_FAULT,
            };
            each * runs.left
        };
        self.runs.iter().map(expected).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn options() -> RunOptions {
        RunOptions {
            program: "doorbuster".into(),
            strategies: vec!["unit-rows", "redis-lua"],
            buyers: 10,
            stock: 5,
            units: 1,
            levels: vec![1, 16],
            faults: vec![Fault::None, Fault::Crash],
            seed: 1,
            seeds: 2,
            command: String::new(),
            stop: Arc::default(),
        }
    }

    #[test]
    fn the_estimate_falls_with_each_run_to_zero() {
        let mut estimate = Estimate::new(&options(), 2);
        assert_eq!(estimate.runs_left(), 16);
        let mut left = vec![estimate.left()];
        for level in [1, 16] {
            for fault in [Fault::None, Fault::Crash] {
                for _ in 0..4 {
                    // Moves the start of this run back by one second, so that the run seems to have
                    // taken one second. On a slow machine, it seems to take a little longer.
                    estimate.counted_at -= Duration::from_secs(1);
                    estimate.count(level, fault);
                    left.push(estimate.left());
                }
            }
        }
        assert!(left.is_sorted_by(|before, after| before > after), "{left:?}");
        assert_eq!((estimate.runs_left(), estimate.left()), (0, Duration::ZERO));
    }

    #[test]
    fn a_run_takes_as_long_as_past_runs_with_its_level_and_fault() {
        let mut estimate = Estimate::new(&options(), 2);
        let before = estimate.left();
        for secs in [100, 300] {
            estimate.counted_at -= Duration::from_secs(secs);
            estimate.count(16, Fault::Crash);
        }
        // Four runs have this level and fault, and two of them remain. Each should take 200 s, the
        // mean of the two past runs.
        let unknown = (OVERHEAD + ARRIVALS_WITH_FAULT) * 4;
        let grown = (estimate.left() + unknown).saturating_sub(before).as_secs_f64();
        assert!((400.0..401.0).contains(&grown), "{grown}");
    }
}
