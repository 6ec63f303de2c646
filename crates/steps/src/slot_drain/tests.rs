//! Tests the effects that a drain's steps request, their sequence, and each way in which a drain
//! ends.
use doorbuster_core::{Counter, Epoch, ItemId, RecallTarget, Seq, SlotKey, TicketN};

use super::*;
use crate::fixture;

fn grant(resolved: u64) -> Grant {
    let max_n = TicketN(resolved);
    Grant { max_n, resolved, ..fixture::grant(7, SlotKey { item: ItemId(1), index: 0 }, 5) }
}

fn view(stopped: bool, available: u64, n: u64) -> SlotView {
    SlotView {
        grant: GrantId(7),
        epoch: Epoch(1),
        available,
        counters: [available, 0],
        active: Counter::A,
        mark: false,
        applied: Seq(0),
        n: TicketN(n),
        unacknowledged: 0,
        stopped,
        sealed: false,
    }
}

fn pending() -> Recall {
    Recall {
        id: RecallId(4),
        grant: GrantId(7),
        target: RecallTarget::Pool,
        asked: 5,
        taken: 0,
        done: false,
    }
}

/// Returns the effect after these inputs.
fn look(drain: &mut SlotDrain, slot: SlotView, grant: Grant, recalls: Vec<Recall>) -> Effect {
    assert_eq!(drain.next(Input::Slot(Some(slot))), Effect::ReadGrant);
    assert_eq!(drain.next(Input::Grant(Some(grant))), Effect::ReadRecalls);
    drain.next(Input::Recalls(recalls))
}

#[test]
fn a_slot_is_stopped_emptied_and_closed() {
    let (mut drain, first) = SlotDrain::begin(false);
    assert_eq!(first, Effect::ReadSlot);
    assert_eq!(look(&mut drain, view(false, 5, 1), grant(0), Vec::new()), Effect::StopSlot);
    assert_eq!(drain.next(Input::Done), Effect::ReadSlot);
    let effect = look(&mut drain, view(true, 5, 1), grant(0), Vec::new());
    assert_eq!(effect, Effect::BeginRecall(5));
    assert_eq!(drain.next(Input::Done), Effect::ReadSlot);
    let effect = look(&mut drain, view(true, 5, 1), grant(0), vec![pending()]);
    assert_eq!(effect, Effect::TakeUnits(pending()));
    let effect = drain.next(Input::Taken(Some(RecallOutcome::Taken(5))));
    assert_eq!(effect, Effect::FinishRecall(RecallId(4), 5));
    // The slot is read again, because it has no units now.
    assert_eq!(drain.next(Input::Done), Effect::ReadSlot);
    let effect = look(&mut drain, view(true, 0, 1), grant(1), Vec::new());
    assert_eq!(effect, Effect::Close(GrantId(7)));
    assert_eq!(drain.decision().map(|decision| decision.step), Some(SlotDrainStep::Close));
    assert_eq!(drain.next(Input::Done), Effect::Finish(true));
}

#[test]
fn a_drain_waits_for_unsettled_tickets_and_for_refused_recalls() {
    let (mut drain, _) = SlotDrain::begin(false);
    let effect = look(&mut drain, view(true, 0, 1), grant(0), Vec::new());
    assert_eq!(effect, Effect::Finish(false));
    let (mut drain, _) = SlotDrain::begin(false);
    look(&mut drain, view(true, 5, 1), grant(0), vec![pending()]);
    assert_eq!(drain.next(Input::Taken(Some(RecallOutcome::Refused))), Effect::Finish(false));
}

#[test]
fn a_slot_that_does_not_answer_a_recall_is_closed_when_its_drain_is_overdue() {
    for (is_overdue, effect) in [(false, Effect::Finish(false)), (true, Effect::Close(GrantId(7)))]
    {
        let (mut drain, _) = SlotDrain::begin(is_overdue);
        look(&mut drain, view(true, 5, 1), grant(0), vec![pending()]);
        assert_eq!(drain.next(Input::Taken(None)), effect);
    }
}

#[test]
fn a_slot_without_an_open_grant_is_drained() {
    let (mut drain, _) = SlotDrain::begin(false);
    drain.next(Input::Slot(None));
    assert_eq!(drain.next(Input::Grant(None)), Effect::Finish(true));
}

#[test]
fn an_overdue_drain_closes_the_grant_of_a_slot_that_does_not_answer() {
    for (is_overdue, effect) in [(false, Effect::Finish(false)), (true, Effect::Close(GrantId(7)))]
    {
        let (mut drain, _) = SlotDrain::begin(is_overdue);
        drain.next(Input::Slot(None));
        assert_eq!(drain.next(Input::Grant(Some(grant(0)))), effect);
    }
}

#[test]
fn a_drain_that_cannot_end_now_ends_after_a_few_decisions() {
    let (mut drain, _) = SlotDrain::begin(false);
    for _ in 1..DECISIONS_MAX {
        assert_eq!(look(&mut drain, view(false, 5, 0), grant(0), Vec::new()), Effect::StopSlot);
        assert_eq!(drain.next(Input::Done), Effect::ReadSlot);
    }
    assert_eq!(look(&mut drain, view(false, 5, 0), grant(0), Vec::new()), Effect::StopSlot);
    assert_eq!(drain.next(Input::Done), Effect::Finish(false));
}
