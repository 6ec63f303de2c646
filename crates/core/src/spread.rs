//! How an item's stock is spread: how many slots there are, how a request finds its slot, and how
//! many units a slot gets.
//!
//! A slot has two counters, its sub-domains. Tickets deduct units from the active counter, while
//! the leader refills the drained counter from the pool. So each slot needs only a few units at a
//! time, and most units stay in the pool, for the slots that need them.
use serde::{Deserialize, Serialize};

use crate::limits::{PARTITIONS_MAX, STOCK_MAX};

pub use doorbuster_types::{Counter, PartitionChoice};

/// The settings that divide an item's stock among its slots. When the settings arrive,
/// [`Spread::fault`] checks them.
///
/// `initial`, `threshold` and `refill` are all 0 or all above 0. If they are 0, sub-domains are not
/// in use: the slots get the whole pool, and use only counter A.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Spread {
    /// How many independent slots the item has: 1 to [`PARTITIONS_MAX`]. If the slots are in the
    /// memory of nodes, this number is not used, because each node has one slot.
    pub partitions: u32,
    /// Whether the server chooses the number of partitions, and raises this number under load
    /// ([`crate::respread::AutoWidth`]).
    pub auto: bool,
    /// How the server chooses a request's home partition, which the request tries first.
    pub choose: PartitionChoice,
    /// How many units each slot gets when it is opened.
    pub initial: u64,
    /// If a slot's active counter has fewer units than this, the slot gets a refill.
    pub threshold: u64,
    /// The number of units in one refill.
    pub refill: u64,
}

impl Default for Spread {
    /// Returns a spread with one slot that holds all units.
    fn default() -> Self {
        Self {
            partitions: 1,
            auto: false,
            choose: PartitionChoice::Buyer,
            initial: 0,
            threshold: 0,
            refill: 0,
        }
    }
}

/// The reason why a spread is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SpreadFault {
    /// The spread has no partition, or more than [`PARTITIONS_MAX`].
    #[error("partitions must be 1 to {PARTITIONS_MAX}")]
    Partitions,
    /// One or two of `initial`, `threshold` and `refill` are 0.
    #[error("initial, threshold and refill must all be 0 or all be above 0")]
    HalfInUse,
    /// `threshold` is above `initial`, so a new slot would need a refill immediately.
    #[error("threshold must not be above initial")]
    ThresholdAboveInitial,
    /// `initial` or `refill` is larger than the largest stock.
    #[error("initial and refill must be at most {STOCK_MAX}")]
    TooLarge,
}

impl Spread {
    /// Returns the fault of an invalid spread, or `None` if the spread is valid.
    #[must_use]
    pub fn fault(&self) -> Option<SpreadFault> {
        let sizes = [self.initial, self.threshold, self.refill];
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            Some(SpreadFault::Partitions)
        } else if sizes.contains(&0) && sizes != [0; 3] {
            Some(SpreadFault::HalfInUse)
        } else if self.threshold > self.initial {
            Some(SpreadFault::ThresholdAboveInitial)
        } else if self.initial.max(self.refill) > STOCK_MAX {
            Some(SpreadFault::TooLarge)
        } else {
            None
        }
    }

    /// Returns whether sub-domains are in use. If so, each slot gets only a few units at first, and
    /// more units by later refills.
    #[must_use]
    pub fn uses_sub_domains(&self) -> bool {
        self.refill > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Spread), wanted: Option<SpreadFault>) {
        let mut spread = Spread {
            partitions: 8,
            auto: false,
            choose: PartitionChoice::Buyer,
            initial: 400,
            threshold: 50,
            refill: 100,
        };
        change(&mut spread);
        assert_eq!(spread.fault(), wanted, "{spread:?}");
    }

    #[test]
    fn an_invalid_spread_is_refused() {
        check(|_| {}, None);
        check(|s| *s = Spread::default(), None);
        check(|s| s.partitions = 64, None);
        check(|s| s.partitions = 0, Some(SpreadFault::Partitions));
        check(|s| s.partitions = 65, Some(SpreadFault::Partitions));
        check(|s| s.initial = 0, Some(SpreadFault::HalfInUse));
        check(|s| s.threshold = 0, Some(SpreadFault::HalfInUse));
        check(|s| s.refill = 0, Some(SpreadFault::HalfInUse));
        check(|s| (s.threshold, s.refill) = (401, 500), Some(SpreadFault::ThresholdAboveInitial));
        check(|s| s.refill = 49, None);
        check(|s| s.initial = STOCK_MAX + 1, Some(SpreadFault::TooLarge));
    }

    #[test]
    fn the_names_of_choices_are_parsed() {
        assert!(
            Counter::ALL
                .iter()
                .all(|&c| Counter::parse(c.as_str()) == Some(c) && c.other().other() == c)
        );
        assert!(
            PartitionChoice::ALL.iter().all(|&c| PartitionChoice::parse(c.as_str()) == Some(c))
        );
    }
}
