//! Portions: how many units of the pool an item's slots get at a time.
use doorbuster_core::refill::{self, Portion};
use doorbuster_core::slot::SlotView;
use doorbuster_core::{Counter, Spread, Stock};

use super::OpenSlot;

/// How many of an item's units a slot gets at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portions {
    /// The spread whose settings decide the sizes of the portions.
    pub spread: Spread,
    slots: u32,
}

impl Portions {
    /// Decides how many units the slots of an item with the setting `spread` get at a time. `nodes`
    /// is the number of live nodes if the slots are in the nodes' memory, and `None` if every node
    /// reaches every slot.
    ///
    /// Usually, `spread` sets the sizes of the portions. But if the slots are in the nodes' memory,
    /// and the item has counted stock and no sub-domains, the portions are small, so that the slot
    /// of a dead node withholds only few units.
    #[must_use]
    pub fn new(spread: Spread, total: Stock, nodes: Option<u64>) -> Self {
        let Some(nodes) = nodes else { return Self { spread, slots: spread.partitions } };
        let slots = u32::try_from(nodes).unwrap_or(u32::MAX).max(1);
        match total {
            Stock::Counted(total) if !spread.uses_sub_domains() => {
                Self { spread: refill::node_memory_spread(total, slots, spread.choose), slots }
            }
            _ => Self { spread, slots },
        }
    }

    /// Returns whether a slot in this state would get units from a pool with `pool` units. Without
    /// sub-domains, this is always true.
    #[must_use]
    pub fn needs_units(&self, pool: u64, view: &SlotView) -> bool {
        !self.spread.uses_sub_domains()
            || refill::next_portion(&self.spread, pool, self.slots, view, 0).is_some()
    }

    /// Divides the pool's units among `open_slots`. Returns each slot's portion, in the same
    /// sequence. `limit` is the largest number of units in one request.
    pub(super) fn split_pool(
        &self,
        pool: u64,
        limit: u32,
        open_slots: &[OpenSlot],
    ) -> Vec<Option<Portion>> {
        let first = |units| Portion { units, counter: Counter::A };
        if !self.spread.uses_sub_domains() {
            let levels: Vec<u64> = open_slots.iter().map(|slot| slot.view.available).collect();
            return refill::distribute_pool(pool, u64::from(limit), &levels)
                .into_iter()
                .map(first)
                .map(Some)
                .collect();
        }
        let fresh = open_slots.iter().filter(|slot| slot.grant.granted == 0).count();
        let others = (self.slots as usize).saturating_sub(open_slots.len());
        let mut parts = refill::initial_portions(&self.spread, pool, fresh + others).into_iter();
        let share = |slot: &OpenSlot| match slot.grant.granted {
            0 => parts.next().map(first),
            _ => {
                let on_its_way = slot.rows_on_their_way();
                refill::next_portion(&self.spread, pool, self.slots, &slot.view, on_its_way)
            }
        };
        open_slots.iter().map(share).collect()
    }
}
