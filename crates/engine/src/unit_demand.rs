//! The demand of an item: the units that its parked requests need. The server gathers the item's
//! last units for the parked requests, and begins with the oldest request.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use doorbuster_core::{SlotKey, Units};

/// The units that one parked request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitDemand {
    /// The slot that this request tries first.
    pub slot: SlotKey,
    /// The units that the request asks for.
    pub units: Units,
}

/// The demand of all parked requests of an item. The queue needs no bound, because the number of
/// parked requests is limited.
#[derive(Debug, Default)]
pub struct DemandQueue {
    queue: Mutex<BTreeMap<u64, UnitDemand>>,
    next: AtomicU64,
    /// A copy of the queue's length, which can be read without the lock.
    waiting: AtomicU64,
}

impl DemandQueue {
    /// Adds a request's demand to the end of the queue. Returns a number with which the caller
    /// removes the demand.
    pub fn register(&self, demand: UnitDemand) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).insert(number, demand);
        self.waiting.fetch_add(1, Ordering::AcqRel);
        number
    }

    /// Removes the demand with this number. The caller must call this function exactly once for
    /// each of its demands.
    pub fn remove(&self, number: u64) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }

    /// Returns whether the queue is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// Returns the demand of the first request.
    #[must_use]
    pub fn first(&self) -> Option<UnitDemand> {
        if self.is_empty() {
            return None;
        }
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .first_key_value()
            .map(|(_, demand)| *demand)
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_core::ItemId;

    use super::*;

    #[test]
    fn the_first_demand_stays_first_until_it_is_removed() {
        let unit_demand = DemandQueue::default();
        let demand = |units| UnitDemand {
            slot: SlotKey { item: ItemId(1), index: units },
            units: Units::new(units).expect("the number is in range"),
        };
        assert!(unit_demand.is_empty() && unit_demand.first().is_none());
        let first = unit_demand.register(demand(1));
        let second = unit_demand.register(demand(2));
        assert_eq!(unit_demand.first(), Some(demand(1)));
        unit_demand.remove(first);
        assert_eq!(unit_demand.first(), Some(demand(2)));
        unit_demand.remove(second);
        assert!(unit_demand.is_empty() && unit_demand.first().is_none());
    }
}
