//! Tests the two counters of a slot, the bound of its queue, and the queue of a restored copy.
use super::*;
use crate::id::IdKey;
use crate::rows::FeedCause;
use crate::stock::blank_feed_row;

const GRANT: GrantId = GrantId(7);

fn request(n: u64, units: u64) -> TicketRequest {
    let (key, name) = (IdKey::new([1; 32]), format!("b{n}"));
    TicketRequest {
        token: Token(n),
        buyer: BuyerId::new(&name).expect("a name"),
        key: RequestKey::new("k").expect("a key"),
        buyer_hash: key.buyer_hash(&name),
        request: key.request_hash(&name, "k"),
        units: Units::new(units as u32).expect("in range"),
        limit: 1_000_000,
        decide_by: Millis(1_000),
        node: NodeId(1),
    }
}

/// Returns a slot with a threshold of 3. Counter A is active and has `a` units; counter B has `b`
/// units.
fn slot(a: u64, b: u64) -> Slot {
    let mut slot = Slot::with_bounds(ItemId(1), SlotBounds::default());
    slot.init(GrantTerms {
        grant: GRANT,
        epoch: Epoch(1),
        counted: true,
        available: a,
        threshold: 3,
    });
    feed(&mut slot, 1, b, Counter::B, FeedCause::Refill);
    slot
}

fn feed(slot: &mut Slot, seq: u64, units: u64, counter: Counter, cause: FeedCause) {
    let row = FeedRow { grant: GRANT, seq: Seq(seq), units, counter, ..blank_feed_row(cause) };
    assert_eq!(slot.apply(Epoch(1), &row, &IdKey::new([1; 32])), ApplyOutcome::At(Seq(seq)));
}

fn state(slot: &Slot) -> ([u64; 2], Counter, bool) {
    let view = slot.view().expect("the slot has an epoch");
    assert_eq!(view.available, view.counters.iter().sum::<u64>());
    (view.counters, view.active, view.mark)
}

fn check(a: u64, b: u64, units: u64, wanted: ([u64; 2], Counter, bool)) {
    let mut slot = slot(a, b);
    assert!(
        matches!(slot.ticket(&request(1, units)), TicketAnswer::Issued(_)),
        "the slot with {a} and {b} units must issue a ticket for {units} units"
    );
    assert_eq!(
        state(&slot),
        wanted,
        "wrong state after a ticket for {units} units of a slot with {a} and {b} units"
    );
}

#[test]
fn a_ticket_deducts_from_the_active_counter_and_flips_when_that_counter_is_low() {
    check(10, 9, 4, ([6, 9], Counter::A, false));
    check(10, 9, 7, ([3, 9], Counter::A, false));
    check(10, 9, 8, ([2, 9], Counter::B, true));
    check(10, 1, 8, ([2, 1], Counter::A, true));
    check(4, 9, 5, ([4, 4], Counter::B, true));
    check(4, 5, 5, ([4, 0], Counter::A, true));
    check(4, 5, 8, ([1, 0], Counter::A, true));
    check(4, 5, 9, ([0, 0], Counter::A, true));
}

#[test]
fn a_slot_is_short_only_when_both_counters_together_have_too_few_units() {
    let mut slot = slot(4, 5);
    assert_eq!(slot.ticket(&request(1, 10)), TicketAnswer::Short { available: 9 });
    assert_eq!(state(&slot), ([4, 5], Counter::A, false));
}

#[test]
fn new_units_clear_the_refill_mark_and_credits_do_not() {
    let mut slot = slot(4, 0);
    assert!(matches!(slot.ticket(&request(1, 2)), TicketAnswer::Issued(_)));
    assert_eq!(state(&slot), ([2, 0], Counter::A, true));
    feed(&mut slot, 2, 2, Counter::A, FeedCause::Returned);
    assert_eq!(state(&slot), ([4, 0], Counter::A, true));
    feed(&mut slot, 3, 6, Counter::B, FeedCause::Refill);
    assert_eq!(state(&slot), ([4, 6], Counter::A, false));
}

#[test]
fn a_recall_takes_from_the_inactive_counter_first() {
    let mut slot = slot(4, 5);
    let mut recall = |id, units| slot.recall(RecallId(id), GRANT, Epoch(1), units);
    assert_eq!(
        (recall(1, 3), recall(2, 3), recall(3, 9)),
        (RecallOutcome::Taken(3), RecallOutcome::Taken(3), RecallOutcome::Taken(3))
    );
    assert_eq!(state(&slot), ([0, 0], Counter::A, false));
}

#[test]
fn a_slot_without_a_threshold_never_flips_or_asks() {
    let mut slot = Slot::with_bounds(ItemId(1), SlotBounds::default());
    slot.init(GrantTerms {
        grant: GRANT,
        epoch: Epoch(1),
        counted: true,
        available: 3,
        threshold: 0,
    });
    for n in 0..3 {
        assert!(matches!(slot.ticket(&request(n, 1)), TicketAnswer::Issued(_)));
    }
    assert_eq!(state(&slot), ([0, 0], Counter::A, false));
}

fn issue(slot: &mut Slot, n: u64) -> IssuedTicket {
    match slot.ticket(&request(n, 1)) {
        TicketAnswer::Issued(ticket) => ticket,
        other => panic!("ticket {n} was not issued: {other:?}"),
    }
}

fn take(slot: &mut Slot) -> Vec<QueuedTicket> {
    let mut batch = Vec::new();
    slot.take(10, &mut batch);
    batch
}

#[test]
fn the_bound_of_a_queue_counts_only_tickets_that_are_not_acknowledged() {
    let mut slot = slot(9, 9);
    slot.bounds.queue = 2;
    issue(&mut slot, 1);
    issue(&mut slot, 2);
    assert_eq!(slot.ticket(&request(3, 1)), TicketAnswer::Full);
    // Acknowledges the second ticket before the first. The entry of the second ticket stays in the
    // queue behind the first, but no longer counts towards the bound.
    let second = take(&mut slot).pop().expect("two tickets");
    slot.acknowledge(second.at, second.ticket.token);
    issue(&mut slot, 3);
    assert_eq!(slot.ticket(&request(4, 1)), TicketAnswer::Full);
}

#[test]
fn a_restored_copy_does_not_deliver_a_ticket_that_is_acknowledged() {
    let mut slot = slot(9, 9);
    for n in 1..=3 {
        issue(&mut slot, n);
    }
    let mut copy = slot.clone();
    let second = take(&mut slot).remove(1);
    copy.acknowledge(second.at, second.ticket.token);
    let delivered: Vec<Token> = take(&mut copy).iter().map(|d| d.ticket.token).collect();
    assert_eq!(delivered, [Token(1), Token(3)]);
}
