//! What a node keeps in memory to record the statistics of every sale.

use std::collections::HashMap;
use std::sync::atomic::AtomicI64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use doorbuster_core::Millis;
use doorbuster_telemetry::metrics::RateSample;

use super::pending::PendingPoints;
use super::step_counts::StepCounts;

#[derive(Debug)]
pub(super) struct SaleProgress {
    /// The values of the sale's counters at the last recorded second.
    pub(super) last: RateSample,
    pub(super) orders: u64,
    /// The last recorded units, queue length and number of waiting visitors.
    pub(super) levels: StepCounts,
    pub(super) second: Millis,
}

#[derive(Debug, Default)]
pub(crate) struct SeriesRecorder {
    pub(super) sales: Mutex<HashMap<String, SaleProgress>>,
    pub(super) pending: Mutex<PendingPoints>,
    /// The minute in which this node, as the leader, last added up minutes. The value is 0 if this
    /// node is not the leader, or has not yet added up any minutes.
    pub(super) summed: AtomicI64,
}

impl SeriesRecorder {
    pub(super) fn pending(&self) -> MutexGuard<'_, PendingPoints> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of points that this node dropped, because the store did not accept them
    /// in time.
    pub(crate) fn dropped(&self) -> u64 {
        self.pending().dropped
    }
}
