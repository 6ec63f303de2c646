//! What parked requests are waiting for, first come first: the tail is gathered for the first of
//! them.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use doorbuster_core::{SlotKey, Units};

/// Units that a parked request needs, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The slot that it is put to first.
    pub slot: SlotKey,
    /// How many it asks for.
    pub units: Units,
}

/// What an item's parked requests want. Bounded by the places for parked requests.
#[derive(Debug, Default)]
pub struct Wants {
    queue: Mutex<BTreeMap<u64, Want>>,
    next: AtomicU64,
    /// As many as are in the queue, to be read without its lock.
    waiting: AtomicU64,
}

impl Wants {
    /// Stands in line until the result is dropped.
    pub fn enter(&self, want: Want) -> Waiting<'_> {
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).insert(place, want);
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting { wants: self, place }
    }

    /// Whether anybody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// What whoever came first wants.
    #[must_use]
    pub fn first(&self) -> Option<Want> {
        if self.is_empty() {
            return None;
        }
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .first_key_value()
            .map(|(_, want)| *want)
    }
}

/// A place in the line.
#[derive(Debug)]
pub struct Waiting<'a> {
    wants: &'a Wants,
    place: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.wants.queue.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.place);
        self.wants.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster_core::ItemId;

    #[test]
    fn whoever_came_first_is_first_until_gone() {
        let wants = Wants::default();
        let want = |units| Want {
            slot: SlotKey { item: ItemId(1), index: units },
            units: Units::new(units).expect("in range"),
        };
        assert!(wants.is_empty() && wants.first().is_none());
        let first = wants.enter(want(1));
        let second = wants.enter(want(2));
        assert_eq!(wants.first(), Some(want(1)));
        drop(first);
        assert_eq!(wants.first(), Some(want(2)));
        drop(second);
        assert!(wants.is_empty() && wants.first().is_none());
    }
}
