//! The state that a node needs to read the store for unknown ids.

use std::time::Duration;

use doorbuster_slots::{Locks, SharedRedis};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The state that a node needs to read the store for unknown ids.
#[derive(Debug, Default)]
pub struct Cache {
    /// `None` if the nodes share no Redis.
    shared: Option<(SharedRedis, Locks)>,
    /// The start and the duration of the last read. Locked during a read of the store.
    pub(super) last_check: Mutex<Option<(Instant, Duration)>>,
}

impl Cache {
    /// Creates the state. `shared` is the Redis that all nodes share, with its locks.
    pub fn new(shared: Option<(SharedRedis, Locks)>) -> Self {
        Self { shared, last_check: Mutex::default() }
    }

    /// Returns the shared Redis and its locks.
    pub fn shared(&self) -> Option<(&SharedRedis, &Locks)> {
        self.shared.as_ref().map(|(shared, locks)| (shared, locks))
    }
}
