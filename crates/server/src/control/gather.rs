//! The tail: gathers units from an item's other slots into the one whose request came first, when
//! the pool has none.
//!
//! Runs while the item is tended. Units of a slot that only another node reaches are asked for by a
//! pending recall, which that node carries out.
use std::time::Duration;

use doorbuster_core::refill::Portion;
use doorbuster_core::slot::RecallOutcome;
use doorbuster_core::tail::{self, SlotHolding};
use doorbuster_core::{Counter, Grant, Recall, RecallId, RecallTarget};

use crate::catalogue::ItemState;
use crate::engine::{Engine, EngineError};
use crate::failpoint::{self, Point};

use super::refill::give;
use super::tend::Place;

/// A node that had to give units away waits this long, and at random up to twice, before it asks
/// for them back: meanwhile the other one sells them.
const AFTER_YOU: Duration = Duration::from_millis(20);

/// What is known of an item while it is tended.
pub(super) struct Known<'a> {
    /// Its open grants.
    pub(super) grants: &'a [Grant],
    /// Its pending recalls.
    pub(super) pending: &'a [Recall],
    /// Whether a slot of this node had to give units to another.
    pub(super) gave_away: bool,
}

impl Known<'_> {
    fn open(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter().filter(|grant| grant.open && grant.acked)
    }
}

/// Gathers what the first in line lacks. True: units moved, or are asked for.
pub(super) async fn gather(
    engine: &Engine,
    item: &ItemState,
    places: &[Place],
    known: Known<'_>,
) -> Result<bool, EngineError> {
    let Some(want) = item.work.wants.first() else { return Ok(false) };
    let holdings = holdings(places, &known);
    let Some(plan) = tail::gather(want.units, want.slot, item.gauge.open_pool(), &holdings) else {
        return Ok(false);
    };
    let Some(target) = places.iter().find(|place| place.grant.slot == plan.into) else {
        return Ok(false);
    };
    let mut moved =
        give(engine, target, Portion { units: plan.refill, counter: Counter::A }).await?;
    if known.gave_away && !plan.recalls.is_empty() {
        later(engine, item);
        return Ok(moved);
    }
    for part in plan.recalls {
        let Some(from) = known.open().find(|grant| grant.slot == part.from) else { continue };
        let (id, into) =
            (RecallId(rand::random::<u64>() >> 1), RecallTarget::Grant(target.grant.id));
        let Some(recall) = engine.store().begin_recall(id, from.id, into, part.units).await? else {
            continue;
        };
        moved = true;
        if places.iter().any(|place| place.grant.id == from.id) {
            carry_out(engine, from, &recall).await?;
        }
    }
    Ok(moved)
}

/// Where the item's units are. Of a slot that only another node reaches, tickets in flight cannot
/// be told from units.
fn holdings(places: &[Place], known: &Known<'_>) -> Vec<SlotHolding> {
    let holding = |grant: &Grant| {
        let here = places.iter().find(|place| place.grant.id == grant.id);
        let into = RecallTarget::Grant(grant.id);
        SlotHolding {
            slot: grant.slot,
            available: here.map_or(grant.unsettled(), |place| place.view.available),
            on_its_way: known
                .pending
                .iter()
                .filter(|recall| recall.target == into)
                .map(|recall| recall.asked)
                .sum(),
            reachable: here.is_some(),
            asked: known.pending.iter().any(|recall| recall.grant == grant.id),
        }
    };
    let here = places.iter().map(|place| &place.grant);
    let away = known.open().filter(|grant| places.iter().all(|place| place.grant.id != grant.id));
    here.chain(away).filter(|grant| grant.counted).map(holding).collect()
}

/// Asks a slot for what is recalled, and finishes it: how many units moved. A refusal finishes
/// nothing: closing the grant will.
pub(super) async fn carry_out(
    engine: &Engine,
    from: &Grant,
    recall: &Recall,
) -> Result<Option<u64>, EngineError> {
    match engine.slots().recall(from.slot, recall.id, from.id, from.epoch, recall.asked).await? {
        RecallOutcome::Taken(taken) => {
            failpoint::pass(Point::RecallTaken);
            let moved = engine.store().finish_recall(recall.id, taken).await?;
            tracing::debug!(slot = %from.slot, units = moved, target = ?recall.target, "recalled");
            engine.meter().recall();
            Ok(Some(moved))
        }
        RecallOutcome::Refused => Ok(None),
    }
}

fn later(engine: &Engine, item: &ItemState) {
    let pause = AFTER_YOU.mul_f64(1.0 + rand::random::<f64>());
    engine.wake_after(pause, item.row.id);
}
