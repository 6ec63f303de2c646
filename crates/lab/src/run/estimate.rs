//! Estimates the remaining time of the runs.
//!
//! The time of a run depends on its level and its fault far more than on its strategy. A level of
//! one buyer at a time takes longest, and a fault adds time. So a remaining run is expected to take
//! as long as the past runs with the same level and fault.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::RunOptions;
use crate::fault::Fault;
use crate::limits::{ARRIVALS_WITH_FAULT, RUN_WITHIN};

/// The time of a run in addition to its sale: processes start, and rows are read.
const OVERHEAD: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Runs {
    left: u32,
    done: u32,
    took: Duration,
}

/// The past and the remaining runs, by level and fault.
#[derive(Debug)]
pub(super) struct Estimate {
    runs: BTreeMap<(usize, Fault), Runs>,
    counted_at: Instant,
}

impl Estimate {
    /// Counts all runs of these options as remaining, because no run has started.
    pub(super) fn new(options: &RunOptions, strategies: usize) -> Self {
        let mut runs: BTreeMap<(usize, Fault), Runs> = BTreeMap::new();
        for &fault in &options.faults {
            for &level in &options.levels {
                // There are 24 strategies at most.
                runs.entry((level, fault)).or_default().left += options.seeds * strategies as u32;
            }
        }
        Self { runs, counted_at: Instant::now() }
    }

    /// The number of remaining runs.
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

    /// Returns the expected time of the remaining runs.
    pub(super) fn left(&self) -> Duration {
        let expected = |(&(level, fault), runs): (&(usize, Fault), &Runs)| {
            let each = match (runs.done, fault) {
                (1.., _) => runs.took / runs.done,
                // One buyer at a time takes nearly the whole time of a run; more buyers at a time
                // take less time.
                (0, Fault::None) => OVERHEAD + RUN_WITHIN / (level as u32).clamp(1, 8),
                (0, _) => OVERHEAD + ARRIVALS_WITH_FAULT,
            };
            each * runs.left
        };
        self.runs.iter().map(expected).sum()
    }
}
