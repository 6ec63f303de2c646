//! Gathers an item's last units from its other slots when the pool is empty. The units go to the
//! slot with the oldest waiting request.
//!
//! Runs while the item is reconciled. If only another node reaches a slot with units, this node
//! begins a recall, and the other node moves the units.
use std::time::Duration;

use doorbuster_base::failpoint::{self, Failpoint};
use doorbuster_core::gather::{self, SlotHolding};
use doorbuster_core::refill::Portion;
use doorbuster_core::{Counter, Grant, Recall, RecallId, RecallTarget};

use crate::catalogue::ItemState;
use crate::engine::{Engine, EngineError};

use super::open_slot::OpenSlot;
use super::refill::refill_slot;

/// After a node gave units to another node, it waits for this long before it recalls units. A
/// random part makes the wait up to twice as long. During the wait, the other node can sell the
/// units.
const GIVE_WAY: Duration = Duration::from_millis(20);

/// An item's state while it is reconciled.
pub(super) struct ItemSnapshot<'a> {
    /// The item's open grants.
    pub(super) grants: &'a [Grant],
    /// The item's pending recalls.
    pub(super) pending: &'a [Recall],
    /// Whether, in this round, a slot of this node gave units to the pool or to another node's
    /// slot.
    pub(super) gave_away: bool,
}

impl ItemSnapshot<'_> {
    fn open(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter().filter(|grant| grant.open && grant.acked)
    }
}

/// Gathers the units that the first waiting request lacks. Returns `true` if units were moved or
/// recalled.
pub(super) async fn gather(
    engine: &Engine,
    item: &ItemState,
    open_slots: &[OpenSlot],
    snapshot: ItemSnapshot<'_>,
) -> Result<bool, EngineError> {
    let Some(want) = item.work.unit_demand.first() else { return Ok(false) };
    let holdings = holdings(open_slots, &snapshot);
    let Some(plan) = gather::gather(want.units, want.slot, item.gauge.open_pool(), &holdings)
    else {
        return Ok(false);
    };
    let Some(target) = open_slots.iter().find(|open_slot| open_slot.grant.slot == plan.into) else {
        return Ok(false);
    };
    let mut moved =
        refill_slot(engine, target, Portion { units: plan.refill, counter: Counter::A }).await?;
    if snapshot.gave_away && !plan.recalls.is_empty() {
        retry_later(engine, item);
        return Ok(moved);
    }
    for part in plan.recalls {
        let Some(from) = snapshot.open().find(|grant| grant.slot == part.from) else { continue };
        let (id, into) =
            (RecallId(rand::random::<u64>() >> 1), RecallTarget::Grant(target.grant.id));
        let Some(recall) = engine.store().begin_recall(id, from.id, into, part.units).await? else {
            continue;
        };
        moved = true;
        if open_slots.iter().any(|open_slot| open_slot.grant.id == from.id) {
            carry_out_recall(engine, from, &recall).await?;
        }
    }
    Ok(moved)
}

/// Returns where the item's units are. If only another node reaches a slot, the units of the slot's
/// tickets in flight count as units of the slot.
fn holdings(open_slots: &[OpenSlot], snapshot: &ItemSnapshot<'_>) -> Vec<SlotHolding> {
    let holding = |grant: &Grant| {
        let here = open_slots.iter().find(|open_slot| open_slot.grant.id == grant.id);
        let into = RecallTarget::Grant(grant.id);
        SlotHolding {
            slot: grant.slot,
            available: here.map_or(grant.unsettled(), |open_slot| open_slot.view.available),
            on_its_way: snapshot
                .pending
                .iter()
                .filter(|recall| recall.target == into)
                .map(|recall| recall.asked)
                .sum(),
            reachable: here.is_some(),
            asked: snapshot.pending.iter().any(|recall| recall.grant == grant.id),
        }
    };
    let here = open_slots.iter().map(|open_slot| &open_slot.grant);
    let away = snapshot
        .open()
        .filter(|grant| open_slots.iter().all(|open_slot| open_slot.grant.id != grant.id));
    here.chain(away).filter(|grant| grant.counted).map(holding).collect()
}

/// Takes the recalled units from a slot and finishes the recall. Returns the number of moved units,
/// or `None` if the slot refused.
pub(super) async fn carry_out_recall(
    engine: &Engine,
    from: &Grant,
    recall: &Recall,
) -> Result<Option<u64>, EngineError> {
    let slots = engine.slots();
    let outcome = slots.recall(from.slot, recall.id, from.id, from.epoch, recall.asked).await?;
    let Some(taken) = outcome.units_to_move() else { return Ok(None) };
    failpoint::pass(Failpoint::RecallTaken);
    let moved = engine.store().finish_recall(recall.id, taken).await?;
    tracing::debug!(slot = %from.slot, units = moved, target = ?recall.target, "recalled");
    engine.meter().count_recall();
    Ok(Some(moved))
}

fn retry_later(engine: &Engine, item: &ItemState) {
    let pause = GIVE_WAY.mul_f64(1.0 + rand::random::<f64>());
    engine.wake_after(pause, item.row.id);
}
