//! Tests the effects that a slot's start requests, their sequence, and each way in which a start
//! ends.
use doorbuster_core::{Counter, Epoch, ItemId, Seq, SlotKey, TicketN};

use super::*;
use crate::fixture;

fn grant(granted: u64, acked: bool) -> Grant {
    Grant { acked, ..fixture::grant(7, SlotKey { item: ItemId(1), index: 0 }, granted) }
}

fn view(grant: GrantId) -> SlotView {
    SlotView {
        grant,
        epoch: Epoch(1),
        available: 0,
        counters: [0, 0],
        active: Counter::A,
        mark: false,
        applied: Seq(0),
        n: TicketN(0),
        unacknowledged: 0,
        stopped: false,
        sealed: false,
    }
}

#[test]
fn a_slot_without_a_grant_gets_one_even_without_units() {
    let (mut start, first) = SlotStart::begin(None, 3);
    assert_eq!(first, Effect::OpenGrant);
    assert_eq!(start.next(Input::Grant(Some(grant(0, false)))), Effect::ReadSlot);
    let terms = GrantTerms {
        grant: GrantId(7),
        epoch: Epoch(1),
        counted: true,
        available: 0,
        threshold: 3,
    };
    assert_eq!(start.next(Input::Slot(None)), Effect::Init(terms));
    let accepted = start.next(Input::InitAnswer(ApplyOutcome::At(Seq(0))));
    assert_eq!(accepted, Effect::Acknowledge(GrantId(7)));
    assert_eq!(start.next(Input::Recorded), Effect::Finish(StartOutcome::Accepted(grant(0, true))));
}

#[test]
fn a_slot_never_gets_the_same_grant_twice() {
    let begin = || SlotStart::begin(Some(grant(5, true)), 0).0;
    let has_it = begin().next(Input::Slot(Some(view(GrantId(7)))));
    assert_eq!(has_it, Effect::Finish(StartOutcome::HasGrant(grant(5, true), view(GrantId(7)))));
    for lost in [None, Some(view(GrantId(6)))] {
        assert_eq!(begin().next(Input::Slot(lost)), Effect::Finish(StartOutcome::Lost));
    }
}

#[test]
fn a_start_ends_if_no_grant_can_be_opened_or_the_slot_is_ahead() {
    let (mut start, _) = SlotStart::begin(None, 0);
    assert_eq!(start.next(Input::Grant(None)), Effect::Finish(StartOutcome::NoGrant));
    let (mut start, _) = SlotStart::begin(Some(grant(0, false)), 0);
    start.next(Input::Slot(Some(view(GrantId(9)))));
    let ahead = start.next(Input::InitAnswer(ApplyOutcome::Foreign));
    assert_eq!(ahead, Effect::Finish(StartOutcome::Ahead(GrantId(7))));
}
