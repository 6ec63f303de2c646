//! The live nodes that settle, as this node last saw them.

use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use doorbuster_core::assignment::Settlers;
use tokio::time::Instant;

/// The live nodes that settle, as this node last saw them.
#[derive(Debug)]
pub(super) struct SettlerWatch {
    since: Instant,
    settlers: Mutex<Settlers>,
    /// The number of nodes that settle at least one open slot.
    pub(super) sharing: AtomicUsize,
}

impl Default for SettlerWatch {
    fn default() -> Self {
        Self { since: Instant::now(), settlers: Mutex::default(), sharing: AtomicUsize::new(1) }
    }
}

impl SettlerWatch {
    /// Returns the settlers, locked.
    pub(super) fn settlers(&self) -> MutexGuard<'_, Settlers> {
        self.settlers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the time since this value was created, in milliseconds.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
