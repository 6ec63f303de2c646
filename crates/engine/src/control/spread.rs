//! Follows a change of an item's spread while its sale runs: wakes the jobs that depend on the
//! spread, and drains the slots that left the spread. If the leader stops in the middle, the next
//! leader continues from the store's rows.
use std::time::Duration;

use doorbuster_core::{CloseCause, Grant, ItemId, RecallTarget, SlotKey};
use doorbuster_steps::slot_drain::{Effect, Input, SlotDrain};

use super::recall;
use crate::catalogue::ItemState;
use crate::engine::{DRAIN_MAX, Engine, EngineError};

/// After a change of an item's spread, the node reconciles the item again after each of these
/// pauses. The reason is that another node may have moved units during the pause.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(2)];

impl Engine {
    /// After a change of an item's spread, wakes the jobs that depend on the spread.
    pub(super) fn wake_spread_jobs(&self, item: ItemId) {
        self.node.control().queues_changed.notify_one();
        self.node.control().wake(item);
        for pause in LOOK_AGAIN {
            self.node.wake_after(pause, item);
        }
        if let Some(item) = self.node.catalogue().item_by_id(item) {
            item.gauge.wake_parked();
        }
    }
}

/// Drains a slot that left its item's spread, as far as possible now. Returns `true` if the slot's
/// grant is closed. [`doorbuster_steps::slot_drain`] has the sequence of the effects.
pub(super) async fn drain_slot(
    engine: &Engine,
    item: &ItemState,
    grant: &Grant,
) -> Result<bool, EngineError> {
    let (id, slot) = (grant.id, grant.slot);
    let is_overdue = item.work.leaving.age(slot) > DRAIN_MAX;
    let (mut drain, mut effect) = SlotDrain::begin(is_overdue);
    loop {
        let input = match effect {
            // If the slot is unreachable, its grant is closed when the drain is overdue.
            Effect::ReadSlot => Input::Slot(engine.slots().view(slot).await.ok().flatten()),
            Effect::ReadGrant => {
                Input::Grant(engine.node.store().grant(id).await?.filter(|grant| grant.open))
            }
            Effect::ReadRecalls => {
                let mut recalls = engine.node.store().pending_recalls().await?;
                recalls.retain(|recall| recall.grant == id);
                Input::Recalls(recalls)
            }
            Effect::TakeUnits(taken) => {
                Input::Taken(recall::take_units(engine, grant, &taken).await?)
            }
            Effect::FinishRecall(taken, units) => {
                recall::finish_recall(&engine.node, taken, units).await?;
                Input::Done
            }
            Effect::StopSlot => match engine.slots().stop(slot, true).await {
                Ok(()) => Input::Done,
                Err(_) => return Ok(false),
            },
            Effect::BeginRecall(units) => {
                let target = RecallTarget::Pool;
                engine.node.store().begin_recall(recall::new_id(), id, target, units).await?;
                Input::Done
            }
            Effect::Close(grant) => {
                engine.node.store().close_grant(grant, CloseCause::Rolled).await?;
                retire_closed(engine, slot, is_overdue).await;
                Input::Done
            }
            Effect::Finish(is_closed) => {
                if is_closed {
                    item.work.leaving.remove(slot);
                    item.gauge.wake_parked();
                }
                return Ok(is_closed);
            }
        };
        effect = drain.next(input);
    }
}

/// Deletes the data of a slot whose grant was closed.
async fn retire_closed(engine: &Engine, slot: SlotKey, is_overdue: bool) {
    tracing::info!(
        slot = engine.node.catalogue().slot_name(slot),
        is_overdue,
        event = "spread.slot_closed",
        "closed a slot that left the spread"
    );
    if let Err(error) = engine.slots().retire(slot).await {
        tracing::debug!(%error, %slot, "failed to retire a slot that left the spread");
    }
}
