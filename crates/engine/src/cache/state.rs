//! The state that a node needs to read the store for ids that it does not know.

use std::time::Duration;

use doorbuster_slots::{Locks, SharedRedis};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The state that a node needs to read the store for ids that it does not know.
#[derive(Debug, Default)]
pub struct Cache {
    /// The shared Redis and its locks, if the nodes share a Redis.
    shared: Option<(SharedRedis, Locks)>,
    /// Locked during a read of the store. The value has the start of the last read and its
    /// duration.
    pub(super) last_check: Mutex<Option<(Instant, Duration)>>,
}

impl Cache {
    /// Creates an empty cache. `shared` is the Redis that all nodes share, with its locks.
    pub fn new(shared: Option<(SharedRedis, Locks)>) -> Self {
        Self { shared, last_check: Mutex::default() }
    }

    /// Returns the shared Redis and its locks.
    pub fn shared(&self) -> Option<(&SharedRedis, &Locks)> {
        self.shared.as_ref().map(|(shared, locks)| (shared, locks))
    }
}
