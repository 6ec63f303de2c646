//! Remembers which buyers have reached the limit of an item.
//!
//! A slot knows only the units that a buyer got under the slot's current grant. So a buyer at the
//! limit could get a ticket from another slot, or from the same slot after a new grant. The store
//! would then refuse this ticket. Because the node remembers these buyers, it refuses the request
//! before a slot issues a ticket.
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use doorbuster_core::Units;
use doorbuster_core::limit_counts::LimitCounts;

/// The buyers who have reached the limit of one item.
#[derive(Debug, Default)]
pub struct BuyersAtLimit {
    count: AtomicUsize,
    counts: Mutex<LimitCounts<Instant>>,
}

impl BuyersAtLimit {
    fn lock(&self) -> MutexGuard<'_, LimitCounts<Instant>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a count of the buyer's units that was read from the store. `ended_orders` is the
    /// number of the item's ended orders that the node knew when it read the count.
    pub fn learn(&self, buyer: u64, used: u32, ended_orders: u64) {
        let mut counts = self.lock();
        counts.learn(buyer, used, ended_orders, Instant::now());
        self.count.store(counts.buyers(), Ordering::Release);
    }

    /// If a request for `units` units would exceed the buyer's limit, returns how many units the
    /// buyer already has ([`LimitCounts::refuses`]). Otherwise, returns `None`. `as_of` is the time
    /// of the node's snapshot of the store. Counts that were read after this time are not used.
    pub fn refuses(
        &self,
        buyer: u64,
        units: Units,
        limit: u32,
        ended_orders: u64,
        as_of: Instant,
    ) -> Option<u32> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let is_in_snapshot = |read_at: Instant| read_at <= as_of;
        self.lock().refuses(buyer, (units, limit), ended_orders, is_in_snapshot)
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_core::limit_counts::BUYERS_MAX;

    use super::*;

    #[test]
    fn a_buyer_at_the_limit_is_known_until_an_order_ends() {
        let (at_limit, two) =
            (BuyersAtLimit::default(), Units::new(2).expect("the number is in range"));
        let before = Instant::now();
        let now = || Instant::now();
        assert_eq!(
            at_limit.refuses(7, Units::ONE, 3, 0, now()),
            None,
            "a buyer without a count must not be refused"
        );
        at_limit.learn(7, 2, 4);
        assert_eq!(at_limit.refuses(7, two, 3, 4, now()), Some(2));
        assert_eq!(
            at_limit.refuses(7, two, 3, 4, before),
            None,
            "a count must not be used if this node may lack one of the counted orders"
        );
        assert_eq!(
            at_limit.refuses(7, Units::ONE, 3, 4, now()),
            None,
            "a request within the limit must not be refused"
        );
        assert_eq!(at_limit.refuses(7, two, 4, 4, now()), None, "the raised limit must apply");
        assert_eq!(
            at_limit.refuses(8, two, 3, 4, now()),
            None,
            "one buyer's count must not cause a refusal of another buyer"
        );
        assert_eq!(
            at_limit.refuses(7, two, 3, 5, now()),
            None,
            "a count must not be used after another order ended"
        );
        at_limit.learn(8, 3, 5);
        at_limit.learn(9, 3, 4);
        assert_eq!(
            at_limit.refuses(9, two, 3, 5, now()),
            None,
            "a count from before the end of an order must not be used"
        );
        assert_eq!(
            at_limit.refuses(7, two, 3, 5, now()),
            None,
            "the end of an order must remove the counts of all buyers"
        );
        assert_eq!(at_limit.refuses(8, two, 3, 5, now()), Some(3));
    }

    #[test]
    fn at_the_bound_all_buyers_are_forgotten() {
        let at_limit = BuyersAtLimit::default();
        (0..BUYERS_MAX as u64 + 5).for_each(|buyer| at_limit.learn(buyer, 1, 0));
        assert_eq!(at_limit.lock().buyers(), 5);
    }
}
