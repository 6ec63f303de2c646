//! Simulates changes of an item's partitions while its sale runs. A leader drains the slots that
//! the spread no longer uses, and gives new slots a part of the units.
use doorbuster_core::ItemId;
use doorbuster_core::respread::SpreadSlot;
use doorbuster_core::rows::RecallTarget;

use super::World;
use crate::op::spread::SpreadOp;
use crate::state::ItemWidth;

impl World {
    pub(crate) fn width(&self, item: ItemId) -> ItemWidth {
        self.widths[item.0 as usize - 1]
    }

    /// Returns a shared slot's index among the shared slots of its item. Returns `None` for a slot
    /// in a node's memory, which is not shared.
    fn partition_of(&self, slot: usize) -> Option<usize> {
        let place = &self.places[slot];
        let before = self.places[..slot].iter();
        place
            .node
            .is_none()
            .then(|| before.filter(|p| p.at.item == place.at.item && p.node.is_none()).count())
    }

    pub(crate) fn is_within(&self, slot: usize, partitions: usize) -> bool {
        self.partition_of(slot).is_none_or(|index| index < partitions)
    }

    pub(crate) fn is_in_spread(&self, slot: usize) -> bool {
        self.is_within(slot, self.width(self.places[slot].at.item).partitions)
    }

    /// Returns the slots of an item that have an open grant, but are outside of a spread with this
    /// many partitions. A node whose snapshot has this number of partitions uses such a slot only
    /// in a request's last try.
    pub(crate) fn leaving(&self, item: ItemId, partitions: usize) -> Vec<usize> {
        let leaves = |&slot: &usize| {
            let at = self.places[slot].at;
            at.item == item
                && !self.is_within(slot, partitions)
                && self.store.open_grant(at).is_some()
        };
        (0..self.places.len()).filter(leaves).collect()
    }

    pub(crate) fn respread_op(&mut self, op: SpreadOp) {
        match op {
            SpreadOp::Set { item, partitions, choose } => {
                self.respread(self.item_of(item), partitions, choose)
            }
            SpreadOp::Leave { leader, slot } => self.leave(leader % 2, self.slot_of(slot)),
        }
    }

    fn respread(&mut self, item: ItemId, partitions: u8, choose: u8) {
        let shared = self.places.iter().filter(|p| p.at.item == item && p.node.is_none()).count();
        if shared == 0 {
            return;
        }
        let before = self.width(item).partitions;
        let partitions = usize::from(partitions) % shared + 1;
        self.widths[item.0 as usize - 1] = ItemWidth { partitions, choose };
        if partitions != before {
            let what = if partitions > before { "widened" } else { "narrowed" };
            self.checker.count_case(what);
        }
    }

    pub(crate) fn share_of(&self, slot: usize) -> Option<SpreadSlot> {
        let place = &self.places[slot];
        let grant = self.store.open_grant(place.at).filter(|g| g.acked && g.counted)?;
        let view = place.slot.view().filter(|v| v.grant == grant.id)?;
        let into = RecallTarget::Grant(grant.id);
        Some(SpreadSlot {
            slot: place.at,
            available: view.available,
            is_new: grant.granted == 0 && !self.store.pending().any(|r| r.target == into),
            asked: self.store.pending().any(|r| r.grant == grant.id),
        })
    }

    /// Checks at the end that slots outside the spread have no open grant, and that new slots got a
    /// part of the units.
    pub(super) fn spreads_at_rest(&mut self) {
        let left: Vec<_> = (0..self.places.len())
            .filter(|&i| !self.is_in_spread(i))
            .map(|i| self.places[i].at)
            .collect();
        self.checker.left_slots_at_rest(&self.store, &left);
        for item in 0..self.setup.items.len() {
            let item = ItemId(item as i64 + 1);
            let shares: Vec<SpreadSlot> = (0..self.places.len())
                .filter(|&i| {
                    let place = &self.places[i];
                    place.at.item == item && place.node.is_none() && self.is_in_spread(i)
                })
                .filter_map(|i| self.share_of(i))
                .collect();
            let limit = u64::from(self.setup.items[item.0 as usize - 1].limit);
            if self.store.has_open_slots(item)
                && self.store.pool(item) == 0
                && self.setup.tight == 0
            {
                self.checker.shares_at_rest(item, limit, self.spread(item).initial, &shares);
            }
        }
    }
}
