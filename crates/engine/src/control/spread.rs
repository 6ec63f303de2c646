//! Follows a change of an item's spread while its sale runs. Drains the slots that left the spread,
//! and gives new slots their part. Runs on the leader, while the item is reconciled.
//!
//! `doorbuster_core::respread` decides each step. If the leader stops in the middle, the next
//! leader continues from the store's rows.
use std::time::Duration;

use doorbuster_core::respread::{self, SlotDrainStep, SlotShare};
use doorbuster_core::{CloseCause, Grant, ItemId, Recall, RecallId, RecallTarget};

use crate::catalogue::ItemState;
use crate::engine::{DRAIN_MAX, Engine, EngineError};

use super::gather::carry_out_recall;
use super::open_slot::OpenSlot;

/// The maximum number of steps for one slot in one round. The steps of a drain stop the slot,
/// recall its units and close its grant.
const STEPS_MAX: usize = 4;
/// Time between two checks of a slot whose tickets are being settled.
const LEAVE_POLL: Duration = Duration::from_millis(25);
/// After a change of an item's spread, the node reconciles the item again after each of these
/// pauses, because another node may have moved units during the pause.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(2)];

impl Engine {
    /// After a change of an item's spread, wakes the jobs that depend on the spread.
    pub(super) fn follow_spread(&self, item: ItemId) {
        self.control().queues_changed.notify_one();
        self.control().wake(item);
        for pause in LOOK_AGAIN {
            self.wake_after(pause, item);
        }
        if let Some(item) = self.catalogue().item_by_id(item) {
            item.gauge.wake_parked();
        }
    }
}

/// Drains the item's slots that are no longer in its spread. Takes each step of a drain that is
/// possible now. A later reconciliation takes the next steps.
pub(super) async fn drain_leaving(
    engine: &Engine,
    item: &ItemState,
    grants: &[Grant],
) -> Result<(), EngineError> {
    if !engine.control().leads() {
        return Ok(());
    }
    let has_slot = |grant: &Grant| engine.layout().has_slot(&item.row.spread, grant.slot.index);
    let mut waits = false;
    for grant in grants.iter().filter(|grant| grant.open && !has_slot(grant)) {
        waits |= !drain_slot(engine, item, grant).await?;
    }
    if waits {
        engine.wake_after(LEAVE_POLL, item.row.id);
    }
    Ok(())
}

/// Drains one slot. Returns `true` if the slot's grant is closed.
async fn drain_slot(engine: &Engine, item: &ItemState, grant: &Grant) -> Result<bool, EngineError> {
    let slot = grant.slot;
    for _ in 0..STEPS_MAX {
        // If the slot is unreachable, its grant is closed when the drain is overdue.
        let view = engine.slots().view(slot).await.ok().flatten();
        let Some(now) = engine.store().grant(grant.id).await?.filter(|grant| grant.open) else {
            item.work.leaving.remove(slot);
            return Ok(true);
        };
        let is_recalled = view.is_some() && finish_recalls(engine, &now).await?;
        let is_overdue = item.work.leaving.age(slot) > DRAIN_MAX;
        match respread::slot_drain_step(&now, view.as_ref(), is_recalled, is_overdue) {
            SlotDrainStep::Stop => {
                if engine.slots().stop(slot, true).await.is_err() {
                    return Ok(false);
                }
            }
            SlotDrainStep::Recall(units) => {
                let id = RecallId(rand::random::<u64>() >> 1);
                let target = RecallTarget::Pool;
                engine.store().begin_recall(id, now.id, target, units).await?;
            }
            SlotDrainStep::Wait => return Ok(false),
            SlotDrainStep::Close => {
                engine.store().close_grant(now.id, CloseCause::Rolled).await?;
                tracing::info!(
                    slot = engine.catalogue().slot_name(slot),
                    is_overdue,
                    event = "spread.slot_closed",
                    "closed a slot that left the spread"
                );
                if let Err(error) = engine.slots().retire(slot).await {
                    tracing::debug!(%error, %slot, "failed to retire a slot that left the spread");
                }
                item.work.leaving.remove(slot);
                item.gauge.wake_parked();
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Carries out the pending recalls from a leaving slot. Returns whether a recall remains because
/// the slot refused it.
async fn finish_recalls(engine: &Engine, grant: &Grant) -> Result<bool, EngineError> {
    let mut is_left = false;
    for recall in engine.store().pending_recalls().await? {
        if recall.grant == grant.id {
            is_left |= carry_out_recall(engine, grant, &recall).await?.is_none();
        }
    }
    Ok(is_left)
}

/// If the pool is empty, gives units of other slots to slots that never had units. Returns `true`
/// if units were moved.
pub(super) async fn share_with_new_slots(
    engine: &Engine,
    item: &ItemState,
    open_slots: &[OpenSlot],
    pending: &[Recall],
) -> Result<bool, EngineError> {
    let may_share = engine.control().leads() && engine.layout().reaches_all_slots();
    // While requests lack units, the units of other slots go to these requests.
    if !may_share || open_slots.len() < item.slots.len() || !item.work.unit_demand.is_empty() {
        return Ok(false);
    }
    let counted = open_slots.iter().filter(|open_slot| open_slot.grant.counted);
    let shares: Vec<SlotShare> = counted
        .map(|open_slot| {
            let into = RecallTarget::Grant(open_slot.grant.id);
            SlotShare {
                slot: open_slot.grant.slot,
                available: open_slot.view.available,
                is_new: open_slot.grant.granted == 0
                    && !pending.iter().any(|recall| recall.target == into),
                asked: pending.iter().any(|recall| recall.grant == open_slot.grant.id),
            }
        })
        .collect();
    let (least, pool) = (u64::from(item.row.limit), item.gauge.open_pool());
    let find = |slot| open_slots.iter().map(|open| &open.grant).find(|grant| grant.slot == slot);
    let mut moved = false;
    for part in respread::shares_for_new_slots(&item.row.spread, least, pool, &shares) {
        let (Some(from), Some(into)) = (find(part.from), find(part.into)) else { continue };
        let (id, target) = (RecallId(rand::random::<u64>() >> 1), RecallTarget::Grant(into.id));
        let begun = engine.store().begin_recall(id, from.id, target, part.units).await?;
        if let Some(recall) = begun {
            moved |= carry_out_recall(engine, from, &recall).await?.is_some();
        }
    }
    Ok(moved)
}
