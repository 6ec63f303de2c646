//! The interception tier's numbers for one item, in node memory: exact as of the last commit, read without a lock.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use doorbuster_core::Stock;
use doorbuster_core::refuse::Free;
use doorbuster_store::ItemCounts;
use tokio::sync::Notify;

/// Free and held units packed into one word: held in the upper half, free in the lower.
const UNLIMITED: u64 = u32::MAX as u64;

/// An item's counts at the last commit.
#[derive(Debug)]
pub struct Gauge {
    packed: AtomicU64,
    counts: Mutex<ItemCounts>,
    changed: Notify,
}

impl Gauge {
    /// A gauge that shows these counts.
    #[must_use]
    pub fn new(counts: ItemCounts) -> Self {
        Self { packed: AtomicU64::new(pack(&counts)), counts: Mutex::new(counts), changed: Notify::new() }
    }

    /// Shows newer counts. Called in commit order; whoever remembers the orders of that commit must have done so before.
    pub fn publish(&self, counts: ItemCounts) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
        self.packed.store(pack(&counts), Ordering::Release);
        self.changed.notify_waiters();
    }

    /// What may yet be had, in one atomic load. Read it *before* looking whether a request holds an order.
    #[must_use]
    pub fn free(&self) -> Free {
        let packed = self.packed.load(Ordering::Acquire);
        let free = packed & UNLIMITED;
        Free { free: (free != UNLIMITED).then_some(free), reserved: packed >> 32 }
    }

    /// All counts.
    #[must_use]
    pub fn counts(&self) -> ItemCounts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits for a change although no count changed (a slot got units).
    pub fn nudge(&self) {
        self.changed.notify_waiters();
    }

    /// Told at each change.
    #[must_use]
    pub fn changed(&self) -> &Notify {
        &self.changed
    }
}

fn pack(counts: &ItemCounts) -> u64 {
    let free = match counts.total {
        Stock::Counted(_) => (counts.pool + counts.in_slots).min(UNLIMITED - 1),
        Stock::Unlimited => UNLIMITED,
    };
    counts.held.min(UNLIMITED) << 32 | free
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster_core::ItemId;

    #[test]
    fn a_gauge_shows_what_was_published_in_one_word() {
        let counts =
            ItemCounts { item: ItemId(1), total: Stock::Counted(100), pool: 3, in_slots: 4, held: 5, paid: 88 };
        let gauge = Gauge::new(counts);
        assert_eq!(gauge.free(), Free { free: Some(7), reserved: 5 });
        gauge.publish(ItemCounts { total: Stock::Unlimited, ..counts });
        assert_eq!(gauge.free(), Free { free: None, reserved: 5 });
        let most = ItemCounts { pool: 1_000_000_000, in_slots: 0, held: 1_000_000_000, ..counts };
        gauge.publish(most);
        assert_eq!(gauge.free(), Free { free: Some(1_000_000_000), reserved: 1_000_000_000 });
    }
}
