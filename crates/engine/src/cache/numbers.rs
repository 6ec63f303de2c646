//! The published numbers of an item: all units, unavailable units and available units.

use doorbuster_core::Stock;

use crate::catalogue::ItemState;
use crate::engine::Engine;

/// The published numbers of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemNumbers {
    /// All units. `None` means that the stock is unlimited.
    pub count: Option<u64>,
    /// Units that are not available now. They are held, paid, or in an unsettled ticket.
    pub access: u64,
    /// Units that are available now. `None` means that the stock is unlimited.
    pub remaining: Option<u64>,
    /// Units of reserved, unpaid orders. They become available again if the orders are not paid.
    pub held: u64,
    /// Units of paid orders.
    pub paid: u64,
}

impl Engine {
    /// Returns an item's numbers. They combine the counts at the last commit with the units that
    /// the item's slots have now. If a slot does not answer, or if this node does not reach all
    /// slots, the function cannot know the slots' units. Then all units that the item's slots got
    /// from the store count as available.
    pub async fn numbers(&self, item: &ItemState) -> ItemNumbers {
        let counts = item.gauge.counts();
        let (count, remaining) = match counts.total {
            Stock::Counted(total) => {
                let at_hand = self.available_units(item).await.min(counts.in_slots);
                (Some(total), Some((item.gauge.open_pool() + at_hand).min(total)))
            }
            Stock::Unlimited => (None, None),
        };
        let access = match count.zip(remaining) {
            Some((count, remaining)) => count - remaining,
            None => counts.held + counts.paid,
        };
        ItemNumbers { count, access, remaining, held: counts.held, paid: counts.paid }
    }
}
