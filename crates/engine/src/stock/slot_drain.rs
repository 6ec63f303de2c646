//! Drains the slots that left an item's spread while the item's sale is open. If another node
//! becomes the leader during a drain, the new leader continues the drain from the store's rows.
use doorbuster_core::{CloseCause, Grant, RecallTarget};
use doorbuster_steps::slot_drain::{Effect, Input, SlotDrain};

use super::{StockControl, recall};
use crate::catalogue::ItemState;
use crate::error::{DRAIN_MAX, EngineError};

/// Drains a slot as far as this is possible now. [`doorbuster_steps::slot_drain`] has the sequence
/// of the effects. Returns `true` if the slot's grant is closed.
pub(super) async fn drain_slot(
    stock: &StockControl,
    item: &ItemState,
    grant: &Grant,
) -> Result<bool, EngineError> {
    let (id, slot) = (grant.id, grant.slot);
    let is_overdue = item.work.leaving.age(slot) > DRAIN_MAX;
    let (mut drain, mut effect) = SlotDrain::begin(is_overdue);
    loop {
        let input = match effect {
            // If the slot is unreachable or has no data, the steps get `None`. They then close the
            // grant in two cases: the slot never acknowledged the grant, or the drain is overdue.
            Effect::ReadSlot => Input::Slot(stock.view_in_time(slot).await.flatten()),
            Effect::ReadGrant => {
                Input::Grant(stock.node.store().grant(id).await?.filter(|grant| grant.open))
            }
            Effect::ReadRecalls => {
                let mut recalls = stock.node.store().pending_recalls().await?;
                recalls.retain(|recall| recall.grant == id);
                Input::Recalls(recalls)
            }
            Effect::TakeUnits(taken) => {
                // Without an answer, the recall stays pending, and a later drain repeats it.
                Input::Taken(recall::take_units(&stock.slots, grant, &taken).await.ok())
            }
            Effect::FinishRecall(taken, units) => {
                recall::finish_recall(&stock.node, taken, units).await?;
                Input::Done
            }
            Effect::StopSlot => match stock.slots.stop(slot, true).await {
                Ok(()) => Input::Done,
                Err(_) => return Ok(false),
            },
            Effect::BeginRecall(units) => {
                let target = RecallTarget::Pool;
                stock.node.store().begin_recall(recall::new_id(), id, target, units).await?;
                Input::Done
            }
            Effect::Close(closed) => {
                stock.node.store().close_grant(closed, CloseCause::Rolled).await?;
                leave_to_retirement(stock, grant, is_overdue);
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

/// Tells the job `retire` to delete the slot's data. This function does not delete the data itself,
/// because the caller has the item's lock and must not wait for the slot.
fn leave_to_retirement(stock: &StockControl, grant: &Grant, is_overdue: bool) {
    tracing::info!(
        slot = stock.node.catalogue().slot_name(grant.slot),
        is_overdue,
        event = "spread.slot_closed",
        "closed a slot that the spread no longer uses"
    );
    stock.node.control().add_leftover(grant.slot, grant.epoch);
}
