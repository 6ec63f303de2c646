//! The numbers of an item for display.

use std::time::Duration;

use doorbuster_core::Stock;
use doorbuster_slots::SlotError;

use super::StockControl;
use crate::catalogue::ItemState;

/// The longest wait for an item's slots. The wait is short, because the numbers are only displayed.
const SLOT_QUERY_MAX: Duration = Duration::from_millis(250);

/// The published numbers of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemNumbers {
    /// All units. `None` means unlimited.
    pub count: Option<u64>,
    /// The number of units that cannot be bought now: held, paid, kept for the waitlist, or in a
    /// ticket that is not settled. If the stock is unlimited, counts only held and paid units.
    pub access: u64,
    /// Units that can be bought now. `None` means unlimited.
    pub remaining: Option<u64>,
    /// Units of reserved, unpaid orders.
    pub held: u64,
    /// Units of paid orders.
    pub paid: u64,
}

impl StockControl {
    /// Returns for how many units an item's slots can issue tickets now. If a slot does not answer
    /// in time, or if this node does not reach all slots, returns a number that may be too high:
    /// all unsettled units of the slots' grants.
    pub async fn available_units(&self, item: &ItemState) -> u64 {
        let in_slots = item.gauge.counts().in_slots;
        if in_slots == 0 || !self.node.layout().reaches_all_slots() {
            return in_slots;
        }
        let ask = async {
            let mut units = 0;
            for slot in item.reached_slots() {
                units += self.slots.view(slot).await?.map_or(0, |view| view.available);
            }
            Ok::<u64, SlotError>(units)
        };
        match tokio::time::timeout(SLOT_QUERY_MAX, ask).await {
            Ok(Ok(units)) => units.min(in_slots),
            Ok(Err(_)) | Err(_) => in_slots,
        }
    }

    /// Returns how many of an item's tickets wait to be settled, in the queues that this node
    /// reaches.
    pub async fn queued(&self, item: &ItemState) -> u64 {
        let mut tickets = 0;
        let ask = async {
            for slot in item.reached_slots() {
                let view = self.slots.view(slot).await.ok().flatten();
                tickets += view.map_or(0, |view| view.unacknowledged as u64);
            }
        };
        drop(tokio::time::timeout(SLOT_QUERY_MAX, ask).await);
        tickets
    }

    /// Computes an item's numbers from the counts at the last commit and from
    /// [`Self::available_units`].
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
