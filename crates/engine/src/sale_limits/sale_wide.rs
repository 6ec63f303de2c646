//! The limit that all buyers of a sale share. Every request of the sale checks this limit. So its
//! cell is not in the table of limits, because the table's locks would delay these requests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use doorbuster_core::gate::gcra::RateLimit;

use super::table::LimitCell;

/// A limit that all buyers of a sale share.
#[derive(Debug, Default)]
pub struct SaleWideLimit {
    cell: Mutex<LimitCell>,
    /// A copy of the limit's state, with which a node can refuse a request without the lock. It is
    /// zero while this node has an unspent share of the limit. Every request must then take the
    /// lock.
    state: AtomicU64,
}

impl SaleWideLimit {
    /// Locks the limit's cell, calls `step` with the cell, and returns the result of `step`.
    pub fn with<T>(&self, step: impl FnOnce(&mut LimitCell) -> T) -> T {
        let mut cell = self.cell.lock().unwrap_or_else(PoisonError::into_inner);
        let result = step(&mut cell);
        let state = if cell.share == 0 { cell.state } else { 0 };
        self.state.store(state, Ordering::Release);
        result
    }

    /// Tries to decide without the lock whether the limit refuses the request. If the limit refuses
    /// it, returns the nanoseconds to wait and the limit's state.
    ///
    /// Returns `None` if the caller must take the lock to decide. There are two reasons: the limit
    /// may allow the request, or an earlier setting of the limit has left the state above the
    /// burst.
    pub fn refused_nanos(&self, pace: RateLimit, now: u64) -> Option<(u64, u64)> {
        let state = self.state.load(Ordering::Acquire);
        let ahead = state.saturating_sub(now);
        let over = (ahead + pace.cost(1)).checked_sub(pace.burst_nanos())?;
        (over > 0 && ahead <= pace.burst_nanos()).then_some((over, state))
    }

    /// Returns the limit's state as it would be without this node's unspent share.
    pub fn used_state(&self) -> u64 {
        let mut cell = *self.cell.lock().unwrap_or_else(PoisonError::into_inner);
        cell.with_share(|node| node.used_state())
    }
}
