//! The events that a worker has read ahead.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_store::EventRead;
use tokio::time::Instant;

/// The worker may send an event from its memory for this long after it has read the event. After
/// this time, the worker reads the event again, because an erasure may have changed the event in
/// the store.
const RECENT: Duration = Duration::from_secs(2);

pub(super) fn event_type(read: &EventRead) -> &str {
    match read {
        Ok(stored) => stored.event.what.as_str(),
        Err(unreadable) => &unreadable.what,
    }
}

/// The events, by position, with the time at which each was read.
#[derive(Default)]
pub(super) struct ReadAhead(HashMap<i64, (Instant, Arc<EventRead>)>);

impl ReadAhead {
    pub(super) fn insert(&mut self, position: i64, read: EventRead) {
        self.0.insert(position, (Instant::now(), Arc::new(read)));
    }

    pub(super) fn recent(&self, position: i64) -> Option<Arc<EventRead>> {
        let (read_at, read) = self.0.get(&position)?;
        (read_at.elapsed() < RECENT).then(|| read.clone())
    }

    pub(super) fn remove_to(&mut self, position: i64) {
        self.0.retain(|at, _| *at > position);
    }
}
