//! Simulates how a leader gives units to a slot. The leader applies the rules to the data that it
//! has read.
use doorbuster_core::refill;

use super::World;

impl World {
    /// Returns the units with which a slot is opened. If the item uses sub-domains, this is the
    /// slot's initial portion. If not, the setup sets the units.
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
        self.checker.warmed_up(&spread, total, &shares);
        slots.iter().position(|&i| i == slot).map_or(0, |nth| shares[nth])
    }

    /// Refills the slot if it is low.
    pub(crate) fn refill_if_low(&mut self, leader: u8, slot: usize) {
        let at = self.places[slot].at;
        let spread = self.spread(at.item);
        let (Some(grant), Some(view)) = (self.store.open_grant(at), self.places[slot].slot.view())
        else {
            return;
        };
        if self.held
            || !self.is_in_spread(slot)
            || !spread.uses_sub_domains()
            || view.grant != grant.id
            || !grant.counted
        {
            return;
        }
        let (pool, on_its_way) =
            (self.store.pool(at.item), self.on_its_way(grant.id, view.applied));
        let slots = (0..self.places.len())
            .filter(|&i| self.places[i].at.item == at.item && self.is_in_spread(i))
            .count() as u32;
        if let Some(portion) = refill::next_portion(&spread, pool, slots, &view, on_its_way) {
            self.checker.portion(
                &spread,
                &view,
                (pool, on_its_way),
                (portion.counter, portion.units),
            );
            self.refill(leader, slot, portion.units, portion.counter);
        }
    }
}
