//! The evidence that proves that a slot lost its memory.
//!
//! A node reads the grant in the store, then the slot, then the feed length. The evidence contains
//! the id of the grant that the node read, and only that grant is closed. So an old reading is
//! harmless.
use crate::rows::{CloseCause, Grant};
use crate::rules::{Rule, enforces};
use crate::slot::SlotView;
use crate::value::Seq;

/// Returns what a slot's answer proves about the grant that was read before, or `None` if it proves
/// nothing.
///
/// `slot` is `None` if the slot answered that it has no epoch. Do not call this function if the
/// slot did not answer. Read `feed_len` last.
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

/// Returns what an idle slot proves. A slot is idle if all numbers are resolved, the feed is
/// applied, the queue is empty, no recall is pending, and the store has the same grant before and
/// after.
///
/// Read in this sequence: `before`, the slot, `recalls_pending`, `after`. Then `after` shows a
/// recall that finishes between the last two reads. In the reverse order neither read would show
/// the recall, and a healthy slot would seem to have lost the recalled units.
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
