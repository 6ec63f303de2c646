//! The portions in which an item's slots get the units of the pool.
use doorbuster_core::refill::{self, Portion};
use doorbuster_core::slot::SlotView;
use doorbuster_core::{Counter, Spread, Stock};

use super::OpenSlot;

/// The portions in which a slot gets an item's units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portions {
    /// The spread whose settings decide the sizes of the portions.
    pub spread: Spread,
    slots: u32,
}

impl Portions {
    /// Returns the portions for an item with the setting `spread`. `nodes` is the number of live
    /// nodes if the slots are in the nodes' memory, and `None` if every node reaches every slot.
    ///
    /// If the slots are in the nodes' memory, and the item has counted stock and no sub-domains,
    /// the portions are small. So if a node dies, its slot withholds only few units. In all other
    /// cases, the portions have the sizes that `spread` sets.
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

    /// Returns the portion of the pool that each slot gets. `limit` is the largest number of units
    /// in one request.
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
