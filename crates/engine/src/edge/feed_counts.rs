//! Counters of the reads of the edge feed.

use doorbuster_telemetry::metrics::Counter;

/// Counters of the reads of the edge feed.
#[derive(Debug, Default)]
pub struct FeedCounts {
    /// Reads whose content the edge used.
    pub used: Counter,
    /// Generations of the feed that the edge began to read.
    pub generations: Counter,
    /// Reads that failed or had no usable content.
    pub failed: Counter,
}
