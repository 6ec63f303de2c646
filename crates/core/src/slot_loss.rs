//! Decides whether a slot has lost its memory, so that its grant must be closed. A decision from
//! old readings does no harm, because a node can close only the grant that the node has read.
use crate::rows::{CloseCause, Grant};
use crate::rules::{Rule, enforces};
use crate::slot::SlotView;
use crate::value::Seq;

/// Returns the reason to close the grant `before`, if the slot's answer proves that the slot lost
/// its memory.
///
/// Read in this sequence: `before`, the slot, `feed_len`. `slot` is `None` if the slot answered
/// that it has no epoch. Do not call this function if the slot did not answer.
#[must_use]
pub fn loss_cause(before: &Grant, slot: Option<&SlotView>, feed_len: Seq) -> Option<CloseCause> {
    if !before.open || (!before.acked && enforces(Rule::EvidenceAfterInit)) {
        return None;
    }
    let Some(slot) = slot else {
        return enforces(Rule::LossEpochMissing).then_some(CloseCause::EpochMissing);
    };
    if slot.grant != before.id || slot.epoch != before.epoch {
        return enforces(Rule::LossEpochForeign).then_some(CloseCause::EpochForeign);
    }
    let behind = slot.n < before.max_n || slot.applied > feed_len;
    (behind && enforces(Rule::LossNumberBehind)).then_some(CloseCause::NumberBehind)
}

/// Returns the reason to close the grant of an idle slot, if the slot's units differ from the
/// grant's unsettled units. A slot is idle if all its tickets are resolved, its feed is applied,
/// its queue is empty and no recall is pending. `before` and `after` are two readings of the grant.
/// If they differ, returns `None`.
///
/// Read in this sequence: `before`, the slot, `recalls_pending`, `after`. A recall may finish
/// between the last two reads. Then `after` differs from `before`. In another sequence, such a
/// recall could remain unnoticed, and its units would seem to be lost.
#[must_use]
pub fn idle_loss_cause(
    before: &Grant,
    slot: &SlotView,
    after: &Grant,
    recalls_pending: bool,
) -> Option<CloseCause> {
    let same = before == after
        && before.open
        && before.acked
        && slot.grant == after.id
        && slot.epoch == after.epoch;
    let at_rest =
        slot.unacknowledged == 0 && slot.n.0 == after.resolved && slot.applied == after.feed_len;
    if !same || !at_rest || recalls_pending || !after.counted {
        return None;
    }
    let differs = slot.available != after.unsettled();
    (differs && enforces(Rule::LossQuietMismatch)).then_some(CloseCause::QuietMismatch)
}
