//! What counts as evidence that a slot lost its memory.
//!
//! A node reads the grant in the store, then the slot, then the feed length. Evidence closes only
//! the grant that was read, by the id of this grant. So an old reading is harmless.
use crate::rows::{CloseCause, Grant};
use crate::rules::{Rule, enforces};
use crate::slot::SlotView;
use crate::value::Seq;

/// What a slot's answer proves about the grant that was read before. `None` if it proves nothing.
///
/// `slot` is `None` if the slot answered that it has no epoch (not if it did not answer).
/// `feed_len` is read last.
#[must_use]
pub fn evidence(before: &Grant, slot: Option<&SlotView>, feed_len: Seq) -> Option<CloseCause> {
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

/// What an idle slot proves: all numbers resolved, feed applied, queue empty, no recall pending,
/// and the same grant in the store before and after.
///
/// The order of reading is: `before`, the slot, `recalls_pending`, `after`. A recall that is
/// finished between the last two then shows in `after`. In the reverse order it would show nowhere,
/// and a healthy slot that gave up units would look as if it had lost them.
#[must_use]
pub fn quiet_evidence(
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
