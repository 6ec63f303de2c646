//! The interception tier's numbers of an item: how many there are, how many are gone, how many are
//! left.

use doorbuster_core::Stock;

use crate::catalogue::ItemState;
use crate::engine::Engine;

/// An item's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// All of them; `None`: unlimited.
    pub count: Option<u64>,
    /// Not to be had now: held, paid, or in a ticket that is not settled.
    pub access: u64,
    /// To be had now; `None`: unlimited.
    pub remaining: Option<u64>,
    /// Reserved and unpaid: they may come back.
    pub held: u64,
    /// Paid.
    pub paid: u64,
}

impl Engine {
    /// An item's numbers at the last commit, and what its slots have at this moment as far as they
    /// can be asked.
    pub async fn numbers(&self, item: &ItemState) -> Numbers {
        let counts = item.gauge.counts();
        let (count, remaining) = match counts.total {
            Stock::Counted(total) => {
                let at_hand = self.at_hand(item).await.min(counts.in_slots);
                (Some(total), Some((item.gauge.open_pool() + at_hand).min(total)))
            }
            Stock::Unlimited => (None, None),
        };
        let access = match count.zip(remaining) {
            Some((count, remaining)) => count - remaining,
            None => counts.held + counts.paid,
        };
        Numbers { count, access, remaining, held: counts.held, paid: counts.paid }
    }
}
