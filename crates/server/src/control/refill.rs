//! Shares an item's pool out to its slots: everything at once, or in portions that are refilled
//! before they run dry. Runs while the item is tended.
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_core::refill::{self, Portion};
use doorbuster_core::slot::SlotView;
use doorbuster_core::{Counter, Spread, Stock};

use crate::catalogue::ItemState;
use crate::engine::{Engine, EngineError};

use super::tend::Place;

/// A node that gave units to the pool because another needs them there takes none out for so long.
pub(super) const REST_MS: i64 = 300;

/// In what portions this item's units reach a slot, and how many slots share its pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portions {
    pub(super) spread: Spread,
    slots: u32,
}

impl Portions {
    /// As the shop asked; in small ones where it asked for none and what lies in one slot cannot be
    /// sold by another.
    pub(super) fn of(engine: &Engine, item: &ItemState) -> Self {
        let spread = item.row.spread;
        if engine.layout().reaches_all() {
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

    /// Whether a slot that says this of itself would get units of a pool with so many.
    pub(super) fn wants(&self, pool: u64, view: &SlotView) -> bool {
        !self.spread.uses_sub_domains()
            || refill::next_portion(&self.spread, pool, self.slots, view, 0).is_some()
    }

    /// What each place gets of the pool.
    fn share(&self, pool: u64, limit: u32, places: &[Place]) -> Vec<Option<Portion>> {
        let first = |units| Portion { units, counter: Counter::A };
        if !self.spread.uses_sub_domains() {
            let levels: Vec<u64> = places.iter().map(|place| place.view.available).collect();
            return refill::distribute_pool(pool, u64::from(limit), &levels)
                .into_iter()
                .map(first)
                .map(Some)
                .collect();
        }
        let fresh = places.iter().filter(|place| place.grant.granted == 0).count();
        let others = (self.slots as usize).saturating_sub(places.len());
        let mut parts = refill::initial_portions(&self.spread, pool, fresh + others).into_iter();
        let share = |place: &Place| match place.grant.granted {
            0 => parts.next().map(first),
            _ => refill::next_portion(&self.spread, pool, self.slots, &place.view, 0),
        };
        places.iter().map(share).collect()
    }
}

/// Gives the slots what they shall have of the pool. True: something was given.
pub(super) async fn refill(
    engine: &Engine,
    item: &ItemState,
    places: &[Place],
) -> Result<bool, EngineError> {
    let pool = item.gauge.open_pool();
    if pool == 0 {
        return Ok(false);
    }
    let rest_ms = item.work.rests_until.load(Ordering::Acquire) - engine.now().0;
    if rest_ms > 0 {
        engine.wake_after(
            Duration::from_millis(rest_ms.unsigned_abs().min(REST_MS.unsigned_abs())),
            item.row.id,
        );
        return Ok(false);
    }
    let parts = Portions::of(engine, item).share(pool, item.row.limit, places);
    let mut any = false;
    for (place, part) in places.iter().zip(parts) {
        if let Some(part) = part {
            any |= give(engine, place, part).await?;
        }
    }
    Ok(any)
}

/// One refill; true: the pool had something.
pub(super) async fn give(
    engine: &Engine,
    place: &Place,
    part: Portion,
) -> Result<bool, EngineError> {
    if part.units == 0 {
        return Ok(false);
    }
    let given = engine.store().refill(place.grant.id, part.units, part.counter).await?;
    if given > 0 {
        tracing::debug!(slot = %place.grant.slot, units = given, counter = part.counter.as_str(), "refilled");
        engine.meter().refill(given);
    }
    Ok(given > 0)
}
