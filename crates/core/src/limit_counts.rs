//! If a buyer reached an item's limit, a node remembers the buyer's units. So the node can refuse
//! further requests of this buyer without asking a slot.
use hashbrown::HashMap;

use crate::rules::{Rule, enforces};
use crate::value::Units;

/// The largest number of buyers that are remembered for one item. If one more buyer must be
/// remembered, all earlier buyers are forgotten.
pub const BUYERS_MAX: usize = 65_536;

/// The store's counts of buyers' units, as a node read them. `T` is the type of the time of a read.
#[derive(Clone, Debug)]
pub struct LimitCounts<T> {
    /// The number of the item's ended orders that the node knew of when it read `used`. When
    /// another order ends, the units in `used` are out of date.
    ended_orders: u64,
    /// The units of each buyer, and the time at which they were read. The key is the buyer's keyed
    /// hash.
    used: HashMap<u64, (u32, T), foldhash::fast::FixedState>,
}

impl<T> Default for LimitCounts<T> {
    fn default() -> Self {
        Self { ended_orders: 0, used: HashMap::default() }
    }
}

impl<T: Copy> LimitCounts<T> {
    /// Returns the number of remembered buyers.
    #[must_use]
    pub fn buyers(&self) -> usize {
        self.used.len()
    }

    /// Records the store's count of a buyer's units. The node knew of `ended_orders` ended orders
    /// when it read the count. `read_at` is a time after the read.
    pub fn learn(&mut self, buyer: u64, used: u32, ended_orders: u64, read_at: T) {
        if ended_orders < self.ended_orders {
            return;
        }
        if ended_orders > self.ended_orders || self.used.len() >= BUYERS_MAX {
            self.used.clear();
            self.ended_orders = ended_orders;
        }
        self.used.insert(buyer, (used, read_at));
    }

    /// Returns the buyer's count of units if the request must be refused, because `units` more
    /// units would exceed the limit. Returns `None` if the request is within the limit, and also in
    /// these cases:
    ///
    /// - This node has no count of the buyer's units.
    /// - An order of the item ended after the read, so the count may be outdated.
    /// - The read is newer than the node's snapshot of the store: `is_in_snapshot` returns false.
    ///   The counted units may belong to an order that an earlier try of the same request made. The
    ///   node may not know this order yet.
    pub fn refuses(
        &self,
        buyer: u64,
        (units, limit): (Units, u32),
        ended_orders: u64,
        is_in_snapshot: impl FnOnce(T) -> bool,
    ) -> Option<u32> {
        let (used, read_at) = self.used.get(&buyer).copied()?;
        if self.ended_orders != ended_orders && enforces(Rule::LimitCountUntilEnd) {
            return None;
        }
        if !is_in_snapshot(read_at) && enforces(Rule::LimitCountInSnapshot) {
            return None;
        }
        (u64::from(used) + units.to_u64() > u64::from(limit)).then_some(used)
    }
}
