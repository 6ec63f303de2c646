//! The events that a worker has read ahead.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_store::EventRead;
use tokio::time::Instant;

/// An event that was read less than this time ago may be sent without another read. An erasure can
/// change the event in the store, so an event that waits longer is read again.
const RECENT: Duration = Duration::from_secs(2);

/// Returns the name of an event's type.
pub(super) fn event_type(read: &EventRead) -> &str {
    match read {
        Ok(stored) => stored.event.what.as_str(),
        Err(unreadable) => &unreadable.what,
    }
}

/// The events that were read ahead, by position.
#[derive(Default)]
pub(super) struct ReadAhead(HashMap<i64, (Instant, Arc<EventRead>)>);

impl ReadAhead {
    /// Adds an event that was read now.
    pub(super) fn insert(&mut self, position: i64, read: EventRead) {
        self.0.insert(position, (Instant::now(), Arc::new(read)));
    }

    /// Returns the event at this position, if it was read less than [`RECENT`] ago.
    pub(super) fn recent(&self, position: i64) -> Option<Arc<EventRead>> {
        let (read_at, read) = self.0.get(&position)?;
        (read_at.elapsed() < RECENT).then(|| read.clone())
    }

    /// Removes the events up to this position.
    pub(super) fn remove_to(&mut self, position: i64) {
        self.0.retain(|at, _| *at > position);
    }
}
