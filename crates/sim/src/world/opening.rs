//! Computes how many units a slot's first grant has.
use doorbuster_core::refill;

use super::World;

impl World {
    /// Returns the units of a slot's first grant: the initial portion if the slot has sub-domains,
    /// and otherwise the units in the slot's setup.
    pub(crate) fn opening_units(&mut self, slot: usize) -> u64 {
        let item = self.places[slot].at.item;
        let spread = self.spread(item);
        if !spread.uses_sub_domains() {
            return u64::from(self.setup.slots[slot].first);
        }
        let slots: Vec<_> = (0..self.places.len())
            .filter(|&i| self.places[i].at.item == item && self.is_in_spread(i))
            .collect();
        let total = u64::from(self.setup.items[item.0 as usize - 1].total.unwrap_or(0));
        let shares = refill::initial_portions(&spread, total, slots.len());
        self.checker.initial_portions_given(&spread, total, &shares);
        slots.iter().position(|&i| i == slot).map_or(0, |nth| shares[nth])
    }
}
