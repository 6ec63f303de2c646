//! Carries out recalls: takes units out of a slot, and records in the store that these units are no
//! longer in the slot.
use doorbuster_base::failpoint::{self, Failpoint};
use doorbuster_core::slot::RecallOutcome;
use doorbuster_core::{Grant, Recall, RecallId};
use doorbuster_slots::{SlotError, Slots};

use crate::error::EngineError;
use crate::node::Node;

pub(super) async fn take_units(
    slots: &Slots,
    from: &Grant,
    recall: &Recall,
) -> Result<RecallOutcome, SlotError> {
    let outcome = slots.recall(from.slot, recall.id, from.id, from.epoch, recall.asked).await?;
    let (recall, target) = (recall.id, recall.target);
    tracing::debug!(slot = %from.slot, ?recall, ?target, ?outcome, "recalled from a slot");
    Ok(outcome)
}

/// Ends a recall in the store. `taken` is the number of units that the slot gave up. Returns how
/// many units the store moved.
pub(super) async fn finish_recall(
    node: &Node,
    recall: RecallId,
    taken: u64,
) -> Result<u64, EngineError> {
    failpoint::reach(Failpoint::RecallTaken);
    let moved = node.store().finish_recall(recall, taken).await?;
    tracing::debug!(?recall, units = moved, "moved recalled units");
    node.meter().recalls.add_one();
    Ok(moved)
}

pub(super) fn new_id() -> RecallId {
    RecallId(rand::random::<u64>() >> 1)
}
