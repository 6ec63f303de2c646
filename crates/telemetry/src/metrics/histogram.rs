//! Latencies in buckets of atomic counters. Recording a latency takes a search in a small table and
//! two additions, but no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds. One more bucket has no bound.
pub const BOUNDS_US: [u64; 40] = [
    5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, 5_000,
    7_000, 10_000, 15_000, 20_000, 30_000, 50_000, 70_000, 100_000, 150_000, 200_000, 300_000,
    500_000, 700_000, 1_000_000, 1_500_000, 2_000_000, 3_000_000, 5_000_000, 10_000_000,
    30_000_000, 60_000_000,
];

const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Recorded latencies.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum_us: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Records one latency.
    pub fn record(&self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us.min(3_600_000_000), Ordering::Relaxed);
    }

    /// Returns the current counts.
    #[must_use]
    pub fn read(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            buckets: std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed)),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

/// The counts of a histogram at one moment, or the increase of the counts between two moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSnapshot {
    buckets: [u64; BUCKETS],
    /// Sum of the latencies, in microseconds.
    pub sum_us: u64,
}

impl Default for HistogramSnapshot {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], sum_us: 0 }
    }
}

impl HistogramSnapshot {
    /// Returns the number of latencies.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns each bound in [`BOUNDS_US`] together with the number of latencies up to this bound.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let sums = self.buckets.iter().scan(0, |sum, bucket| {
            *sum += bucket;
            Some(*sum)
        });
        BOUNDS_US.into_iter().zip(sums)
    }

    /// Returns the counts since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            buckets: std::array::from_fn(|bucket| {
                self.buckets[bucket].saturating_sub(earlier.buckets[bucket])
            }),
            sum_us: self.sum_us.saturating_sub(earlier.sum_us),
        }
    }

    /// Returns the index and the count of each bucket that is not empty.
    pub fn filled(&self) -> impl Iterator<Item = (usize, u64)> {
        self.buckets.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }

    /// Adds a count to a bucket. Ignores an index that does not exist.
    pub fn add(&mut self, bucket: usize, count: u64) {
        if let Some(sum) = self.buckets.get_mut(bucket) {
            *sum += count;
        }
    }

    /// Returns the quantile `share` (0 to 1) of the latencies, in milliseconds: at least this share
    /// of the latencies is at or below the result. The result is a bucket's bound, so it may be
    /// higher than the exact quantile. A latency above the last bound counts as this bound. Returns
    /// 0 if no latency was recorded.
    #[must_use]
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let all = self.count();
        if all == 0 {
            return 0.0;
        }
        let rank = ((all as f64 * share).ceil() as u64).clamp(1, all);
        let bound = self
            .cumulative()
            .find(|(_, sum)| *sum >= rank)
            .map_or(BOUNDS_US[BOUNDS_US.len() - 1], |(us, _)| us);
        bound as f64 / 1_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_bound_that_covers_it() {
        let histogram = Histogram::default();
        let check = |share: f64, expected: f64| {
            assert_eq!(histogram.read().quantile_ms(share), expected, "{share}")
        };
        check(0.5, 0.0);
        for us in [90, 90, 90, 90, 90, 90, 90, 90, 90, 4_000] {
            histogram.record(Duration::from_micros(us));
        }
        check(0.5, 0.1);
        check(0.9, 0.1);
        check(0.99, 5.0);
        check(1.0, 5.0);
        let before = histogram.read();
        histogram.record(Duration::from_secs(1_000_000));
        assert_eq!(histogram.read().since(&before).count(), 1);
        check(1.0, 60_000.0);
        assert_eq!(histogram.read().cumulative().last(), Some((60_000_000, 10)));
    }
}
