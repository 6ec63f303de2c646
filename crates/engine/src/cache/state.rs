//! The part of a node's state with which [`Cache`] limits the reads for unknown ids.

use std::time::Duration;

use doorbuster_slots::{Locks, SharedRedis};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The connection to the shared Redis, and the time of the last read for an unknown id.
#[derive(Debug, Default)]
pub struct Cache {
    /// `None` if the nodes share no Redis.
    shared: Option<(SharedRedis, Locks)>,
    /// When the last read of the store began, and how long it took. A task locks this field while
    /// it reads the store.
    pub(super) last_check: Mutex<Option<(Instant, Duration)>>,
}

impl Cache {
    /// Creates the state. `shared` is the Redis that all nodes share, with the locks in this Redis.
    pub fn new(shared: Option<(SharedRedis, Locks)>) -> Self {
        Self { shared, last_check: Mutex::default() }
    }

    /// Returns the shared Redis and its locks. Returns `None` if the nodes share no Redis.
    pub fn shared(&self) -> Option<(&SharedRedis, &Locks)> {
        self.shared.as_ref().map(|(shared, locks)| (shared, locks))
    }
}
