//! Samples of a sale's counts, one sample each second. Rates and latencies are computed from these
//! samples, so a request only has to increase the counts.

use std::collections::VecDeque;
use std::time::Instant;

use super::histogram::HistogramSnapshot;
use crate::answer_counts::{AnswerCounts, AnswerKind};

/// The length of a window in seconds.
pub const WINDOW_SECS: u32 = 10;

/// The counts of a sale at one moment.
#[derive(Clone, Debug)]
pub struct RateSample {
    /// When the counts were read.
    pub at: Instant,
    /// Answers by kind, in the order of [`AnswerKind::ALL`].
    pub answers: [u64; AnswerKind::ALL.len()],
    /// The latencies of the sale's purchases.
    pub latencies: HistogramSnapshot,
}

impl RateSample {
    /// Returns the current counts: this node's answers (`own`) plus the refusals that its edges
    /// reported (`edges`).
    #[must_use]
    pub fn now(own: &AnswerCounts, edges: &AnswerCounts, latencies: HistogramSnapshot) -> Self {
        let count = |kind: AnswerKind| own.get(kind) + edges.get(kind);
        Self {
            at: Instant::now(),
            answers: std::array::from_fn(|index| count(AnswerKind::ALL[index])),
            latencies,
        }
    }

    /// Returns a sample with the same time, in which all counts are zero.
    #[must_use]
    pub fn zero(&self) -> Self {
        let answers = [0; AnswerKind::ALL.len()];
        Self { at: self.at, answers, latencies: HistogramSnapshot::default() }
    }

    /// Returns the number of all answers.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.answers.iter().sum()
    }
}

/// Samples of the last [`WINDOW_SECS`] seconds, oldest first. If no request came in this time,
/// there is only one sample.
#[derive(Debug)]
pub struct RateWindow(VecDeque<RateSample>);

impl RateWindow {
    /// Creates a window that begins with `now`.
    #[must_use]
    pub fn new(now: RateSample) -> Self {
        Self(VecDeque::from([now]))
    }

    /// Adds the current counts. The caller must call this method once a second.
    pub fn tick(&mut self, now: RateSample) {
        while self.0.len() > WINDOW_SECS as usize {
            self.0.pop_front();
        }
        // If no request came during the whole window, the old samples are dropped to release their
        // memory.
        if self.oldest().total() == now.total() {
            self.0 = VecDeque::new();
        }
        self.0.push_back(now);
    }

    /// Returns the oldest sample, from which rates are measured.
    #[must_use]
    pub fn oldest(&self) -> &RateSample {
        self.0.front().expect("a window always has a sample")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_drops_old_values_and_shrinks_without_new_ones() {
        let (own, edges) = (AnswerCounts::default(), AnswerCounts::default());
        let sample = || RateSample::now(&own, &edges, HistogramSnapshot::default());
        let mut window = RateWindow::new(sample());
        for second in 0..30 {
            own.count(AnswerKind::SoldOut);
            edges.add(AnswerKind::SoldOut, 2);
            window.tick(sample());
            assert!(window.0.len() <= WINDOW_SECS as usize + 1);
            let counted = sample().total() - window.oldest().total();
            assert_eq!(counted, 3 * (second + 1).min(u64::from(WINDOW_SECS)));
        }
        for _ in 0..=WINDOW_SECS {
            window.tick(sample());
        }
        assert_eq!(window.0.len(), 1);
    }
}
