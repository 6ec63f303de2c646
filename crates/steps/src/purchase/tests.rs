//! Tests of single steps of a purchase. The simulator tests their sequences.
use doorbuster_core::limits::PARK_MS;
use doorbuster_core::slot::{IssuedTicket, TicketAnswer};
use doorbuster_core::sold_out::FreeUnits;
use doorbuster_core::{GrantId, ItemId, Millis, Phase, SlotKey, TicketN, Token, Units, Verdict};

use super::*;
use crate::memory::{DoorAnswer, MEMORY_AGE_MAX_MS, refuse};

const SLOT: SlotKey = SlotKey { item: ItemId(1), index: 0 };

struct Node {
    free: u64,
    phase: Phase,
    may_hold: bool,
    queued: Option<Queued>,
    age_ms: i64,
    is_node_local: bool,
    is_only_node: bool,
}

const NODE: Node = Node {
    free: 5,
    phase: Phase::Open,
    may_hold: false,
    queued: None,
    age_ms: 0,
    is_node_local: false,
    is_only_node: false,
};

impl NodeMemory for Node {
    fn free(&self) -> FreeUnits {
        FreeUnits { free: Some(self.free), reserved: 0 }
    }

    fn phase(&self) -> (Phase, Option<Millis>) {
        (self.phase, None)
    }

    fn is_stopping(&self) -> bool {
        false
    }

    fn may_hold(&self) -> bool {
        self.may_hold || self.queued.is_some()
    }

    fn age_ms(&self) -> i64 {
        self.age_ms
    }
}

impl NodeView for Node {
    fn holds(&self) -> bool {
        self.may_hold
    }

    fn queued(&self) -> Option<Queued> {
        self.queued
    }

    fn store_now(&self) -> Millis {
        Millis(0)
    }

    fn used_at_limit(&self) -> Option<u32> {
        None
    }

    fn ended_orders(&self) -> u64 {
        0
    }

    fn is_behind(&self, _: SlotKey, _: u64) -> bool {
        false
    }

    fn has_other_slots(&self) -> bool {
        false
    }

    fn reaches_all_slots(&self) -> bool {
        true
    }

    fn is_node_local(&self) -> bool {
        self.is_node_local
    }

    fn is_only_node(&self) -> bool {
        self.is_only_node
    }

    fn first_slot(&mut self) -> Option<SlotKey> {
        Some(SLOT)
    }

    fn second_slot(&mut self, _: SlotKey) -> Option<SlotKey> {
        None
    }

    fn every_slot(&mut self) -> Vec<SlotKey> {
        vec![SLOT]
    }
}

fn units(n: u32) -> Units {
    Units::new(n).expect("in range")
}

fn ticket() -> IssuedTicket {
    let (token, grant, n) = (Token(1), GrantId(1), TicketN(1));
    IssuedTicket { token, grant, n, units: units(1), decide_by: Millis(10_000) }
}

fn run(node: &mut Node, inputs: &[(i64, Input)]) -> Effect {
    run_at_door(node, None, inputs)
}

/// Runs a purchase with these results of its effects, each with its time. Returns the effect after
/// the last result. `door` is the front door's refusal, if any.
fn run_at_door(node: &mut Node, door: Option<DoorRefusal>, inputs: &[(i64, Input)]) -> Effect {
    let (mut attempt, mut effect) = Attempt::start((ItemId(1), units(1), 2), door, Millis(0), node);
    for &(at, input) in inputs {
        effect = attempt.next(input, Millis(at), node);
    }
    effect
}

fn refused(refusal: Refusal) -> Effect {
    Effect::Answer(Outcome::Refused(refusal))
}

#[test]
fn a_request_gets_its_order_or_its_ticket() {
    let issued = (1, Input::Slot(TicketAnswer::Issued(ticket())));
    assert_eq!(run(&mut { NODE }, &[]), Effect::AskSlot { slot: SLOT, is_bounded: false });
    let reserved = [issued, (2, Input::Verdict(Verdict::Reserved))];
    assert_eq!(run(&mut { NODE }, &reserved), Effect::RememberOrder);
    let remembered = [&reserved[..], &[(2, Input::Done)]].concat();
    assert_eq!(run(&mut { NODE }, &remembered), Effect::Answer(Outcome::Created));
    let elapsed = [issued, (2, Input::Elapsed)];
    assert_eq!(run(&mut { NODE }, &elapsed), Effect::RememberQueued(ticket()));
    let remembered = [&elapsed[..], &[(2, Input::Done)]].concat();
    assert_eq!(run(&mut { NODE }, &remembered), Effect::Answer(Outcome::Queued(ticket())));
}

#[test]
fn a_lost_ticket_is_replaced_once_and_after_a_pause() {
    let lost = [(1, Input::Slot(TicketAnswer::Issued(ticket()))), (2, Input::GrantClosed)];
    assert_eq!(run(&mut { NODE }, &lost), Effect::RenewToken);
    let again = [&lost[..], &[(2, Input::Done)]].concat();
    let park = Effect::Park { why: Unserved::TicketLost, until: Millis(2 + PARK_MS), waits: 1 };
    assert_eq!(run(&mut { NODE }, &again), park);
    let twice = [&again[..], &[(3, Input::Woken)], &lost].concat();
    assert_eq!(run(&mut { NODE }, &twice), refused(Refusal::Unavailable));
}

#[test]
fn a_refusal_of_an_earlier_ticket_starts_a_new_try() {
    let repeated = (1, Input::Slot(TicketAnswer::Repeated(ticket())));
    let verdict = (2, Input::Verdict(Verdict::LimitReached));
    assert_eq!(run(&mut { NODE }, &[repeated, verdict]), Effect::Wake);
    let parked = run(&mut { NODE }, &[repeated, verdict, (2, Input::Done)]);
    assert!(matches!(parked, Effect::Park { why: Unserved::NotReady, .. }), "{parked:?}");
    let elapsed = run(&mut { NODE }, &[repeated, (2, Input::Elapsed)]);
    assert_eq!(elapsed, Effect::ReadVerdict(ticket()));
}

#[test]
fn a_refusal_by_a_slot_is_confirmed_unless_the_node_knows_that_it_is_right() {
    let reached = [(1, Input::Slot(TicketAnswer::LimitReached { used: 2 }))];
    assert_eq!(run(&mut { NODE }, &reached), Effect::ConfirmRefusal);
    // The leader also creates orders, for buyers on the waitlist. So some orders may be unknown to
    // this node, even if it has the item's only slot.
    let local = || Node { is_node_local: true, ..NODE };
    assert_eq!(run(&mut local(), &reached), Effect::ConfirmRefusal);
    let only = || Node { is_node_local: true, is_only_node: true, ..NODE };
    let reused = [(1, Input::Slot(TicketAnswer::KeyReused))];
    assert_eq!(run(&mut local(), &reused), Effect::ConfirmRefusal);
    assert_eq!(run(&mut only(), &reused), refused(Refusal::KeyReused));
    // The slot also counts units of tickets that may still be returned.
    assert_eq!(run(&mut only(), &reached), Effect::ConfirmRefusal);
    let free = [reached[0], (2, Input::Confirmed(0, None))];
    let parked = run(&mut { NODE }, &free);
    assert!(matches!(parked, Effect::Park { why: Unserved::Undecided, .. }), "{parked:?}");
}

#[test]
fn a_parked_request_that_holds_an_order_gets_it_when_the_sale_is_paused() {
    let short = (1, Input::Slot(TicketAnswer::Short { available: 0 }));
    let inputs = [short, (PARK_MS, Input::Elapsed), short];
    let mut node = NODE;
    let (mut attempt, _) = Attempt::start((ItemId(1), units(1), 2), None, Millis(0), &mut node);
    node.phase = Phase::Paused;
    node.may_hold = true;
    let mut effect = Effect::Wake;
    for (at, input) in inputs {
        effect = attempt.next(input, Millis(at), &mut node);
    }
    assert_eq!(effect, Effect::LookUpOrder);
    let found = Input::LookedUp(Some(Outcome::for_order(true)));
    assert_eq!(attempt.next(found, Millis(PARK_MS), &mut node), Effect::RememberOrder);
    let answer = attempt.next(Input::Done, Millis(PARK_MS), &mut node);
    assert_eq!(answer, Effect::Answer(Outcome::Replayed));
    assert!(attempt.is_over());
}

#[test]
fn memory_refuses_only_while_it_is_recent_and_the_request_holds_no_order() {
    let answer = |node: &Node| refuse(node, units(1), |_| DoorAnswer::Open);
    assert_eq!(answer(&NODE), None);
    let paused = Node { phase: Phase::Paused, age_ms: MEMORY_AGE_MAX_MS, ..NODE };
    assert_eq!(answer(&paused), Some(Refusal::Paused));
    let old = Node { free: 0, age_ms: MEMORY_AGE_MAX_MS + 1, ..NODE };
    assert_eq!(answer(&old), Some(Refusal::Unavailable));
    assert_eq!(answer(&Node { may_hold: true, ..old }), None);
}

#[test]
fn a_refused_request_gets_the_ticket_that_was_queued_before() {
    let door = Some(DoorRefusal::PassExpired);
    let refused_at_door = refused(Refusal::AtDoor(DoorRefusal::PassExpired));
    assert_eq!(run_at_door(&mut { NODE }, door, &[]), refused_at_door);
    let queued = |item| Node { queued: Some(Queued { item, ticket: ticket() }), ..NODE };
    let same = || queued(ItemId(1));
    let wait = Effect::AwaitVerdict { ticket: ticket(), is_mine: false, may_be_lost: false };
    assert_eq!(run_at_door(&mut same(), door, &[]), wait);
    let elapsed = [(1, Input::Elapsed)];
    assert_eq!(run_at_door(&mut same(), door, &elapsed), Effect::ReadVerdict(ticket()));
    let undecided = [elapsed[0], (2, Input::NoVerdict)];
    assert_eq!(run_at_door(&mut same(), door, &undecided), Effect::RememberQueued(ticket()));
    let returned = [
        (1, Input::Verdict(Verdict::Unavailable)),
        (1, Input::Done),
        (1, Input::Done),
        (1, Input::LookedUp(None)),
    ];
    let effects: Vec<_> = (1..=4).map(|n| run_at_door(&mut same(), door, &returned[..n])).collect();
    let expected =
        [Effect::Wake, Effect::ForgetQueued(ticket()), Effect::LookUpOrder, refused_at_door];
    assert_eq!(effects, expected);
    // A request with this key is already queued, for another item.
    let other = [undecided[0], undecided[1], (3, Input::LookedUp(None))];
    assert_eq!(run_at_door(&mut queued(ItemId(2)), door, &other[..2]), Effect::LookUpOrder);
    assert_eq!(run_at_door(&mut queued(ItemId(2)), door, &other), refused(Refusal::KeyReused));
}

#[test]
fn a_request_whose_queued_ticket_was_returned_sees_the_phase_after_the_wait() {
    let queued = Some(Queued { item: ItemId(1), ticket: ticket() });
    let node = &mut Node { queued, phase: Phase::Paused, ..NODE };
    let (mut attempt, effect) = Attempt::start((ItemId(1), units(1), 2), None, Millis(0), node);
    assert!(matches!(effect, Effect::AwaitVerdict { .. }), "{effect:?}");
    (node.phase, node.queued) = (Phase::Open, None);
    let inputs = [Input::Verdict(Verdict::Unavailable), Input::Done, Input::Done];
    for input in inputs {
        attempt.next(input, Millis(1), node);
    }
    let effect = attempt.next(Input::LookedUp(None), Millis(1), node);
    assert_eq!(effect, Effect::AskSlot { slot: SLOT, is_bounded: false });
}
