//! Distributes an item's pool to its slots: all units at once, or in portions. A slot gets its next
//! portion before it is empty. Runs while the item is reconciled.
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_core::refill::{self, Portion};
use doorbuster_core::slot::SlotView;
use doorbuster_core::{Counter, Spread, Stock};

use crate::catalogue::ItemState;
use crate::engine::{Engine, EngineError};

use super::open_slot::OpenSlot;

/// After another node recalled units from this node's slots, this node takes no units from the pool
/// for this long.
pub(super) const POOL_REST_MS: i64 = 300;

/// The portions in which a slot gets an item's units, and the number of slots that share the pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portions {
    pub(super) spread: Spread,
    slots: u32,
}

impl Portions {
    /// Returns the portions of the item's own spread if every node reaches every slot, if the item
    /// uses sub-domains, or if its stock is unlimited. In all other cases, returns small portions,
    /// so that a dead node withholds few units.
    pub(super) fn for_item(engine: &Engine, item: &ItemState) -> Self {
        let spread = item.row.spread;
        if engine.layout().reaches_all_slots() {
            return Self { spread, slots: spread.partitions };
        }
        let slots = u32::try_from(engine.nodes()).unwrap_or(u32::MAX).max(1);
        match item.gauge.counts().total {
            Stock::Counted(total) if !spread.uses_sub_domains() => {
                Self { spread: refill::node_memory_spread(total, slots, spread.choose), slots }
            }
            _ => Self { spread, slots },
        }
    }

    /// Returns whether a slot in this state would get units from a pool of this size.
    pub(super) fn needs_units(&self, pool: u64, view: &SlotView) -> bool {
        !self.spread.uses_sub_domains()
            || refill::next_portion(&self.spread, pool, self.slots, view, 0).is_some()
    }

    /// Returns the portion of the pool for each slot.
    fn split_pool(&self, pool: u64, limit: u32, open_slots: &[OpenSlot]) -> Vec<Option<Portion>> {
        let first = |units| Portion { units, counter: Counter::A };
        if !self.spread.uses_sub_domains() {
            let levels: Vec<u64> =
                open_slots.iter().map(|open_slot| open_slot.view.available).collect();
            return refill::distribute_pool(pool, u64::from(limit), &levels)
                .into_iter()
                .map(first)
                .map(Some)
                .collect();
        }
        let fresh = open_slots.iter().filter(|open_slot| open_slot.grant.granted == 0).count();
        let others = (self.slots as usize).saturating_sub(open_slots.len());
        let mut parts = refill::initial_portions(&self.spread, pool, fresh + others).into_iter();
        let share = |open_slot: &OpenSlot| match open_slot.grant.granted {
            0 => parts.next().map(first),
            _ => refill::next_portion(&self.spread, pool, self.slots, &open_slot.view, 0),
        };
        open_slots.iter().map(share).collect()
    }
}

/// Gives the slots their portions of the pool. Returns whether any units were given.
pub(super) async fn refill(
    engine: &Engine,
    item: &ItemState,
    open_slots: &[OpenSlot],
) -> Result<bool, EngineError> {
    let pool = item.gauge.open_pool();
    if pool == 0 {
        return Ok(false);
    }
    let pool_rest_ms = item.work.pool_rests_until.load(Ordering::Acquire) - engine.now().0;
    if pool_rest_ms > 0 {
        engine.wake_after(
            Duration::from_millis(pool_rest_ms.unsigned_abs().min(POOL_REST_MS.unsigned_abs())),
            item.row.id,
        );
        return Ok(false);
    }
    let parts = Portions::for_item(engine, item).split_pool(pool, item.row.limit, open_slots);
    let mut any = false;
    for (open_slot, part) in open_slots.iter().zip(parts) {
        if let Some(part) = part {
            any |= refill_slot(engine, open_slot, part).await?;
        }
    }
    Ok(any)
}

/// Refills one slot. Returns `true` if the slot got units.
pub(super) async fn refill_slot(
    engine: &Engine,
    open_slot: &OpenSlot,
    part: Portion,
) -> Result<bool, EngineError> {
    if part.units == 0 {
        return Ok(false);
    }
    let given = engine.store().refill(open_slot.grant.id, part.units, part.counter).await?;
    if given > 0 {
        tracing::debug!(slot = %open_slot.grant.slot, units = given, counter = part.counter.as_str(), "refilled");
        engine.meter().count_refill(given);
    }
    Ok(given > 0)
}
