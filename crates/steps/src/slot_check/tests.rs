//! Tests the sequence of the reads that check a slot, and the findings of the check.
use doorbuster_core::{Counter, Epoch, GrantId, ItemId, Seq, SlotKey, TicketN};

use super::*;
use crate::fixture;

fn grant() -> Grant {
    let before = fixture::grant(7, SlotKey { item: ItemId(1), index: 0 }, 10);
    Grant { settled: 4, max_n: TicketN(4), resolved: 4, feed_len: Seq(2), ..before }
}

fn slot() -> SlotView {
    SlotView {
        grant: GrantId(7),
        epoch: Epoch(1),
        available: 6,
        counters: [6, 0],
        active: Counter::A,
        mark: false,
        applied: Seq(2),
        n: TicketN(4),
        unacknowledged: 0,
        stopped: false,
        sealed: false,
    }
}

fn run(
    slot: Option<SlotView>,
    pending: bool,
    after: Option<Grant>,
    finds_full: bool,
) -> Vec<Effect> {
    let (mut check, mut effect) = SlotCheck::start(Arc::new(grant()), finds_full);
    let mut effects = vec![effect];
    loop {
        effect = check.next(match effect {
            Effect::ReadSlot => Input::Slot(slot.clone()),
            Effect::ReadRecalls => Input::RecallsPending(pending),
            Effect::ReadGrant => Input::Grant(after.clone().map(Arc::new)),
            Effect::Finish(_) => return effects,
        });
        effects.push(effect);
    }
}

fn finding(slot: Option<SlotView>, pending: bool, after: Grant) -> Finding {
    match run(slot, pending, Some(after), true).last() {
        Some(Effect::Finish(finding)) => *finding,
        other => panic!("the check did not end: {other:?}"),
    }
}

#[test]
fn the_slot_is_read_before_the_recalls_and_the_grant_last() {
    let effects = run(Some(slot()), false, Some(grant()), true);
    let finish = Effect::Finish(Finding::Healthy);
    assert_eq!(effects, [Effect::ReadSlot, Effect::ReadRecalls, Effect::ReadGrant, finish]);
}

#[test]
fn a_check_finds_lost_units_a_lost_epoch_and_a_full_memory() {
    let fewer = SlotView { available: 5, ..slot() };
    let found = |slot, pending| finding(slot, pending, grant());
    assert_eq!(found(Some(fewer.clone()), false), Finding::Lost(CloseCause::QuietMismatch));
    assert_eq!(
        found(Some(fewer.clone()), true),
        Finding::Healthy,
        "missing units must not prove a loss while a recall is pending"
    );
    assert_eq!(found(None, false), Finding::Lost(CloseCause::EpochMissing));
    let full = SlotView { sealed: true, ..fewer };
    assert_eq!(found(Some(full.clone()), false), Finding::Full);
    let ignored = run(Some(full), false, Some(grant()), false);
    assert_eq!(ignored.last(), Some(&Effect::Finish(Finding::Lost(CloseCause::QuietMismatch))));
}

#[test]
fn a_changed_or_deleted_grant_is_no_evidence() {
    let fewer = SlotView { available: 5, ..slot() };
    let changed = Grant { granted: 9, ..grant() };
    assert_eq!(finding(Some(fewer.clone()), false, changed), Finding::Healthy);
    let effects = run(Some(fewer), false, None, true);
    assert_eq!(effects.last(), Some(&Effect::Finish(Finding::Healthy)));
}
