//! Tests the effects of a recall to the pool, their sequence, and the slots from which units are
//! recalled.
use doorbuster_core::ItemId;

use super::*;
use crate::fixture;

fn slot(index: u32) -> SlotKey {
    SlotKey { item: ItemId(1), index }
}

/// Returns a grant with `granted` units, all of them unsettled.
fn grant(index: u32, granted: u64) -> Grant {
    fixture::grant(u64::from(index) + 10, slot(index), granted)
}

fn recall(grant: GrantId, target: RecallTarget, asked: u64) -> Recall {
    Recall { id: RecallId(4), grant, target, asked, taken: 0, done: false }
}

/// Recalls `units` units from three slots. This node reaches the first two slots, which have 2 and
/// 5 units. Only another node reaches the third slot, which has 9 units.
fn begin(units: u64, pending: Vec<Recall>) -> (PoolRecall, Effect) {
    let (mut steps, first) = PoolRecall::begin(vec![slot(0), slot(1)], units);
    assert_eq!(first, Effect::ReadGrants);
    let closed = Grant { open: false, ..grant(3, 50) };
    let grants = vec![grant(0, 4), grant(1, 6), grant(2, 9), closed];
    let counted = vec![grant(0, 4), grant(1, 6)];
    assert_eq!(steps.next(Input::Grants(grants)), Effect::CountUnits(counted));
    assert_eq!(steps.next(Input::Units(vec![Some(2), Some(5)])), Effect::ReadRecalls);
    let effect = steps.next(Input::Recalls(pending));
    (steps, effect)
}

#[test]
fn slots_with_most_units_give_first_until_the_pool_lacks_nothing() {
    let (mut steps, effect) = begin(13, Vec::new());
    let from = GrantId(12);
    assert_eq!(effect, Effect::BeginRecall { from, units: 9 });
    // Another node moves the units of this slot later. So the pool does not have them yet.
    let started = recall(from, RecallTarget::Pool, 9);
    let effect = steps.next(Input::RecallBegun(Some(started)));
    assert_eq!(effect, Effect::BeginRecall { from: GrantId(11), units: 5 });
    let started = recall(GrantId(11), RecallTarget::Pool, 5);
    let effect = steps.next(Input::RecallBegun(Some(started.clone())));
    assert_eq!(effect, Effect::TakeUnits { from: grant(1, 6), recall: started });
    // The slot gives one unit less, because it sold a unit after it was counted.
    let effect = steps.next(Input::Taken(Some(RecallOutcome::Taken(4))));
    assert_eq!(effect, Effect::FinishRecall { recall: RecallId(4), units: 4 });
    let effect = steps.next(Input::Moved(4));
    assert_eq!(effect, Effect::BeginRecall { from: GrantId(10), units: 2 });
    assert_eq!(steps.next(Input::RecallBegun(None)), Effect::Finish(Some(4)));
}

#[test]
fn nothing_more_is_recalled_than_the_pool_lacks() {
    let pending = vec![recall(GrantId(12), RecallTarget::Pool, 9)];
    let (mut steps, effect) = begin(3, pending);
    let from = GrantId(11);
    assert_eq!(
        effect,
        Effect::BeginRecall { from, units: 3 },
        "the slot with a pending recall must not be asked again"
    );
    let started = recall(from, RecallTarget::Pool, 3);
    steps.next(Input::RecallBegun(Some(started)));
    steps.next(Input::Taken(Some(RecallOutcome::Taken(3))));
    assert_eq!(steps.next(Input::Moved(3)), Effect::Finish(Some(3)));
}

#[test]
fn a_slot_that_refuses_gives_nothing_and_other_slots_follow() {
    let elsewhere = RecallTarget::Grant(GrantId(11));
    let (mut steps, effect) = begin(20, vec![recall(GrantId(12), elsewhere, 9)]);
    assert_eq!(effect, Effect::BeginRecall { from: GrantId(12), units: 9 });
    let effect = steps.next(Input::RecallBegun(None));
    assert_eq!(effect, Effect::BeginRecall { from: GrantId(11), units: 5 });
    steps.next(Input::RecallBegun(Some(recall(GrantId(11), RecallTarget::Pool, 5))));
    let effect = steps.next(Input::Taken(Some(RecallOutcome::Refused)));
    assert_eq!(effect, Effect::BeginRecall { from: GrantId(10), units: 2 });
}

#[test]
fn slots_without_units_are_left_out() {
    let (mut steps, _) = PoolRecall::begin(vec![slot(0)], 5);
    steps.next(Input::Grants(vec![grant(0, 4), grant(2, 0)]));
    assert_eq!(steps.next(Input::Units(vec![Some(0)])), Effect::ReadRecalls);
    assert_eq!(steps.next(Input::Recalls(Vec::new())), Effect::Finish(Some(0)));
}

#[test]
fn slots_that_do_not_answer_are_left_out() {
    let begin = |units: Vec<Option<u64>>| {
        let (mut steps, _) = PoolRecall::begin(vec![slot(0), slot(1)], 5);
        steps.next(Input::Grants(vec![grant(0, 4), grant(1, 6)]));
        steps.next(Input::Units(units));
        let effect = steps.next(Input::Recalls(Vec::new()));
        (steps, effect)
    };
    let (mut steps, effect) = begin(vec![None, Some(6)]);
    assert_eq!(effect, Effect::BeginRecall { from: GrantId(11), units: 5 });
    let started = recall(GrantId(11), RecallTarget::Pool, 5);
    steps.next(Input::RecallBegun(Some(started.clone())));
    steps.next(Input::Taken(Some(RecallOutcome::Taken(3))));
    assert_eq!(steps.next(Input::Moved(3)), Effect::Finish(Some(3)));
    // The slots are counted, and then one of them stops answering.
    let (mut steps, _) = begin(vec![Some(0), Some(6)]);
    steps.next(Input::RecallBegun(Some(started)));
    assert_eq!(steps.next(Input::Taken(None)), Effect::Finish(None));
    assert_eq!(begin(vec![None, Some(0)]).1, Effect::Finish(None));
}
