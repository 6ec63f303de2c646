//! The slots that are no longer in an item's spread but may still have an open grant.
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use doorbuster_core::SlotKey;
use tokio::time::Instant;

/// The slots outside an item's spread that may have an open grant. If a listed slot has no open
/// grant, the only effect is one unnecessary call of the slot.
#[derive(Debug, Default)]
pub struct LeavingSlots {
    /// For each leaving slot, the time at which this node detected that the slot is leaving.
    slots: Mutex<HashMap<SlotKey, Instant>>,
    /// Whether any slot is leaving. Most requests read only this flag and need no lock.
    any: AtomicBool,
    /// Whether a slot was removed since the last call of [`LeavingSlots::take_removed`].
    removed: AtomicBool,
}

impl LeavingSlots {
    /// Updates the list after a change of the spread: `before` has the slots of the old spread,
    /// `after` the slots of the new spread.
    pub fn respread(&self, before: &[SlotKey], after: &[SlotKey]) {
        if before.len() == after.len() && self.is_empty() {
            return;
        }
        self.change(|slots| {
            slots.retain(|slot, _| !after.contains(slot));
            for slot in before.iter().filter(|slot| !after.contains(slot)) {
                slots.entry(*slot).or_insert_with(Instant::now);
            }
        });
    }

    /// Replaces the list by `open`. The caller passes all slots that are outside the spread and
    /// have an open grant.
    pub fn observe(&self, open: &[SlotKey]) {
        if open.is_empty() && self.is_empty() {
            return;
        }
        self.change(|slots| {
            slots.retain(|slot, _| open.contains(slot));
            for slot in open {
                slots.entry(*slot).or_insert_with(Instant::now);
            }
        });
    }

    /// Removes a slot whose grant is closed.
    pub fn remove(&self, slot: SlotKey) {
        self.change(|slots| {
            slots.remove(&slot);
        });
    }

    /// Returns whether [`LeavingSlots::set_removed`] was called since the last call of this
    /// function.
    #[must_use]
    pub fn take_removed(&self) -> bool {
        self.removed.swap(false, Ordering::AcqRel)
    }

    /// Makes the next call of [`LeavingSlots::take_removed`] return true.
    pub fn set_removed(&self) {
        self.removed.store(true, Ordering::Release);
    }

    /// Returns the slots that are leaving the spread.
    #[must_use]
    pub fn list(&self) -> Vec<SlotKey> {
        if self.is_empty() {
            return Vec::new();
        }
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<SlotKey> = slots.keys().copied().collect();
        list.sort_unstable();
        list
    }

    /// Returns whether no slot is leaving the spread.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// Returns for how long a slot has been leaving the spread, or 0 if it is not leaving.
    #[must_use]
    pub fn age(&self, slot: SlotKey) -> Duration {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.get(&slot).map_or(Duration::ZERO, Instant::elapsed)
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<SlotKey, Instant>)) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let before: Vec<SlotKey> = slots.keys().copied().collect();
        change(&mut slots);
        if before.iter().any(|slot| !slots.contains_key(slot)) {
            self.set_removed();
        }
        self.any.store(!slots.is_empty(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_core::ItemId;

    use super::*;

    fn slots(indexes: impl IntoIterator<Item = u32>) -> Vec<SlotKey> {
        indexes.into_iter().map(|index| SlotKey { item: ItemId(1), index }).collect()
    }

    #[test]
    fn a_slot_leaves_with_a_narrower_spread_until_it_is_closed_or_returns() {
        let leaving = LeavingSlots::default();
        leaving.respread(&slots(0..4), &slots(0..1));
        assert_eq!(leaving.list(), slots(1..4));
        assert!(!leaving.take_removed());
        leaving.respread(&slots(0..1), &slots(0..2));
        assert_eq!(
            leaving.list(),
            slots(2..4),
            "a slot that is in the spread again must not be listed"
        );
        leaving.remove(slots([2])[0]);
        assert_eq!((leaving.list(), leaving.is_empty()), (slots([3]), false));
        leaving.observe(&slots([5]));
        assert_eq!(leaving.list(), slots([5]), "slots without an open grant must not be listed");
        assert_eq!([leaving.take_removed(), leaving.take_removed()], [true, false]);
        leaving.observe(&[]);
        assert!(leaving.is_empty());
    }
}
