//! The state that a node keeps in memory to record the numbers of every sale.

use std::collections::HashMap;
use std::sync::atomic::AtomicI64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use doorbuster_core::Millis;
use doorbuster_telemetry::metrics::RateSample;

use super::pending::PendingPoints;
use super::step_counts::StepCounts;

/// What this node has recorded about a sale.
#[derive(Debug)]
pub(super) struct SaleProgress {
    /// The counters at the last recorded second.
    pub(super) last: RateSample,
    /// The number of orders at the last recorded second.
    pub(super) orders: u64,
    /// The last recorded units, queue length and number of waiting visitors.
    pub(super) levels: StepCounts,
    /// The last recorded second.
    pub(super) second: Millis,
}

/// Records the numbers of every sale.
#[derive(Debug, Default)]
pub(crate) struct SeriesRecorder {
    pub(super) sales: Mutex<HashMap<String, SaleProgress>>,
    pub(super) pending: Mutex<PendingPoints>,
    /// The minute in which this node last added up minutes. 0 means that the node has added up no
    /// minute since it became the leader.
    pub(super) summed: AtomicI64,
}

impl SeriesRecorder {
    /// Locks and returns the points that wait to be written.
    pub(super) fn pending(&self) -> MutexGuard<'_, PendingPoints> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of points that this node could not record.
    pub(crate) fn dropped(&self) -> u64 {
        self.pending().dropped
    }
}
