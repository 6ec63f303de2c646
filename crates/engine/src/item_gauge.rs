//! One item's exact counts, as of the last commit that this node has read. The free units can be
//! read without a lock.
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use doorbuster_core::Stock;
use doorbuster_core::sold_out::FreeUnits;
use doorbuster_store::ItemCounts;
use tokio::sync::Notify;

/// The value of the lower half of `packed` if the stock is unlimited.
const UNLIMITED: u64 = u32::MAX as u64;

/// An item's counts, as of the last commit that this node has read.
#[derive(Debug)]
pub struct ItemGauge {
    /// The upper half has the number of held and kept units, which may become free again. The lower
    /// half has the number of free units.
    packed: AtomicU64,
    counts: Mutex<ItemCounts>,
    /// The number of units that the largest parked request needs.
    parked: AtomicU32,
    /// How many times [`ItemGauge::publish`] was called.
    published: AtomicU64,
    changed: Notify,
    progress: Notify,
}

impl ItemGauge {
    /// Creates a gauge with these counts.
    #[must_use]
    pub fn new(counts: ItemCounts) -> Self {
        Self {
            packed: AtomicU64::new(pack(&counts)),
            counts: Mutex::new(counts),
            parked: AtomicU32::new(0),
            published: AtomicU64::new(0),
            changed: Notify::new(),
            progress: Notify::new(),
        }
    }

    /// Publishes newer counts. The caller must publish commits in their sequence. Before this call,
    /// the caller must add the requests of the commit's orders to
    /// [`crate::holders::RequestsWithOrders`].
    pub fn publish(&self, counts: ItemCounts) {
        let mut shown = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        self.published.fetch_add(1, Ordering::AcqRel);
        *shown = counts;
        self.show(&counts);
    }

    /// Publishes counts that the caller has read from the store. `published` is the result of
    /// [`ItemGauge::published`] before this read. If a commit has published counts since then,
    /// publishes nothing and returns `false`, and the caller must read the counts again.
    #[must_use]
    pub fn publish_read(&self, counts: ItemCounts, published: u64) -> bool {
        let mut shown = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if self.published() != published {
            return false;
        }
        *shown = counts;
        self.show(&counts);
        true
    }

    /// Returns how many times [`ItemGauge::publish`] was called so far.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    fn show(&self, counts: &ItemCounts) {
        // This method and `note_parked` use sequentially consistent operations, so that no wake-up
        // is lost. Either the parked request reads these counts, or this method finds the request
        // in `parked`.
        self.packed.store(pack(counts), Ordering::SeqCst);
        self.changed.notify_waiters();
        let parked = self.parked.load(Ordering::SeqCst);
        if self.free().free.is_some_and(|free| free < u64::from(parked)) {
            self.wake_parked();
        }
    }

    /// Records that a request for this many units is about to wait for [`ItemGauge::progress`].
    /// After this call, the request must read the counts again. A change of the counts before this
    /// call does not wake the request.
    pub fn note_parked(&self, units: u32) {
        self.parked.fetch_max(units, Ordering::SeqCst);
    }

    /// Returns the number of free units, and the number of units that may become free again. The
    /// caller must read these numbers *before* it reads the set of requests that have an order.
    #[must_use]
    pub fn free(&self) -> FreeUnits {
        let packed = self.packed.load(Ordering::SeqCst);
        let free = packed & UNLIMITED;
        FreeUnits { free: (free != UNLIMITED).then_some(free), reserved: packed >> 32 }
    }

    /// Returns all counts.
    #[must_use]
    pub fn counts(&self) -> ItemCounts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many of the pool's units may go to slots: all except those kept for the
    /// waitlist.
    #[must_use]
    pub fn open_pool(&self) -> u64 {
        let counts = self.counts();
        counts.pool.saturating_sub(counts.kept)
    }

    /// Wakes the item's parked requests. Called after a slot got units, and when too few units are
    /// free for some parked requests.
    pub fn wake_parked(&self) {
        self.parked.store(0, Ordering::SeqCst);
        self.progress.notify_waiters();
    }

    /// Returns a signal that wakes its waiters whenever counts of the item are published.
    #[must_use]
    pub fn changed(&self) -> &Notify {
        &self.changed
    }

    /// Returns a signal that wakes its waiters when a parked request should try again.
    #[must_use]
    pub fn progress(&self) -> &Notify {
        &self.progress
    }
}

fn pack(counts: &ItemCounts) -> u64 {
    let free = match counts.total {
        Stock::Counted(_) => {
            (counts.pool.saturating_sub(counts.kept) + counts.in_slots).min(UNLIMITED - 1)
        }
        Stock::Unlimited => UNLIMITED,
    };
    // Kept units count like held units, because both may become free again.
    (counts.held + counts.kept).min(UNLIMITED) << 32 | free
}

#[cfg(test)]
mod tests {
    use doorbuster_core::ItemId;

    use super::*;

    #[test]
    fn a_gauge_returns_the_published_counts_from_one_word() {
        let counts = ItemCounts {
            item: ItemId(1),
            total: Stock::Counted(100),
            pool: 3,
            kept: 0,
            in_slots: 4,
            held: 5,
            paid: 88,
            waiting: 0,
        };
        let gauge = ItemGauge::new(counts);
        assert_eq!(gauge.free(), FreeUnits { free: Some(7), reserved: 5 });
        gauge.publish(ItemCounts { kept: 2, waiting: 2, ..counts });
        assert_eq!(
            gauge.free(),
            FreeUnits { free: Some(5), reserved: 7 },
            "units that are kept for the waitlist must count as units that may come back"
        );
        gauge.publish(ItemCounts { total: Stock::Unlimited, ..counts });
        assert_eq!(gauge.free(), FreeUnits { free: None, reserved: 5 });
        let most = ItemCounts { pool: 1_000_000_000, in_slots: 0, held: 1_000_000_000, ..counts };
        gauge.publish(most);
        assert_eq!(gauge.free(), FreeUnits { free: Some(1_000_000_000), reserved: 1_000_000_000 });
    }
}
