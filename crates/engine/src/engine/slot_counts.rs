//! The numbers of an item's slots, for display.

use std::time::Duration;

use doorbuster_slots::SlotError;

use super::Engine;
use crate::catalogue::ItemState;

/// Longest wait for the numbers of an item's slots. The wait is short, because the numbers are only
/// displayed.
const SLOT_QUERY_MAX: Duration = Duration::from_millis(250);

impl Engine {
    /// Returns the number of units for which an item's slots can issue tickets now. This number is
    /// unknown if a slot does not answer in time, or if this node does not reach all slots. In
    /// these cases, returns the number of all unsettled units that the item's slots got from the
    /// store.
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

    /// Returns how many tickets of an item wait for their verdicts in queues that this node
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
}
