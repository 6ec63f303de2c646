//! The conformance suite of slot backends: one function for each requirement. Each backend's tests
//! run every function on fresh slots.
#![allow(clippy::missing_panics_doc, reason = "these are tests: a panic is a failed test")]

use std::time::Duration;

use doorbuster_core::limits::SLOT_QUEUE_AGE_MAX_MS;
use doorbuster_core::rows::FeedCause;
use doorbuster_core::slot::{
    ApplyOutcome, GrantTerms, IssuedTicket, RecallOutcome, TicketAnswer, TicketRequest,
};
use doorbuster_core::{
    BuyerId, Counter, Epoch, FeedRow, GrantId, IdKey, ItemId, Millis, NodeId, RecallId, RequestKey,
    Seq, SlotKey, Ticket, Token, Units,
};

use crate::{DeliveryRef, DequeuedTicket, Slots};

/// The id key with which a backend under test must be opened.
#[must_use]
pub fn id_key() -> IdKey {
    IdKey::new([9; 32])
}

const SLOT: SlotKey = SlotKey { item: ItemId(1), index: 0 };
const GRANT: GrantId = GrantId(77);
const EPOCH: Epoch = Epoch(5);
/// An issued ticket must be delivered within this time.
const TAKE_MAX: Duration = Duration::from_secs(30);

fn units(n: u32) -> Units {
    Units::new(n).expect("in range")
}

/// Returns a request of `buyer` under `key`.
#[must_use]
pub fn request(buyer: &str, key: &str, n: u32, limit: u32) -> TicketRequest {
    let ids = id_key();
    TicketRequest {
        token: Token(u64::from(blake(buyer, key))),
        buyer: BuyerId::new(buyer).expect("a test's buyer"),
        key: RequestKey::new(key).expect("a test's key"),
        buyer_hash: ids.buyer_hash(buyer),
        request: ids.request_hash(buyer, key),
        units: units(n),
        limit,
        decide_by: Millis(1_000_000),
        node: NodeId(1),
    }
}

fn blake(buyer: &str, key: &str) -> u32 {
    id_key().request_hash(buyer, key).id_bits()
}

/// Returns the terms of a grant for a slot without sub-domains.
#[must_use]
pub fn terms(grant: GrantId, epoch: Epoch, available: u64) -> GrantTerms {
    GrantTerms { grant, epoch, counted: true, available, threshold: 0 }
}

async fn open_slot(slots: &Slots, available: u64) {
    slots.serve(&[SLOT]).expect("one slot");
    let applied = slots.init(SLOT, terms(GRANT, EPOCH, available)).await.expect("reachable");
    assert_eq!(applied, ApplyOutcome::At(Seq(0)));
}

async fn ask(slots: &Slots, buyer: &str, key: &str, n: u32, limit: u32) -> TicketAnswer {
    slots.ticket(SLOT, &request(buyer, key, n, limit)).await.expect("reachable")
}

async fn issue(slots: &Slots, buyer: &str, key: &str, n: u32) -> IssuedTicket {
    match ask(slots, buyer, key, n, 1_000_000).await {
        TicketAnswer::Issued(issue) => issue,
        other => panic!("expected a ticket, got {other:?}"),
    }
}

/// Takes `wanted` tickets. Calls `Slots::take` repeatedly, because one call may return fewer
/// tickets.
async fn take(slots: &Slots, wanted: usize) -> Vec<DequeuedTicket> {
    let mut taken = Vec::new();
    while taken.len() < wanted {
        let more = tokio::time::timeout(TAKE_MAX, slots.take(wanted - taken.len())).await;
        taken.extend(more.expect("tickets are waiting").expect("reachable"));
    }
    taken
}

async fn available(slots: &Slots) -> u64 {
    slots.view(SLOT).await.expect("reachable").expect("the slot has an epoch").available
}

fn returned(ticket: &Ticket, seq: u64) -> FeedRow {
    FeedRow {
        grant: ticket.grant,
        seq: Seq(seq),
        ticket: Some(id_key().id_of(ticket)),
        buyer: Some(ticket.buyer.clone()),
        key: Some(ticket.key.clone()),
        units: ticket.units.to_u64(),
        counter: Counter::A,
        quota_delta: -i64::from(ticket.units.get()),
        cause: FeedCause::Returned,
    }
}

fn refill(seq: u64, n: u64) -> FeedRow {
    FeedRow {
        grant: GRANT,
        seq: Seq(seq),
        ticket: None,
        buyer: None,
        key: None,
        units: n,
        counter: Counter::A,
        quota_delta: 0,
        cause: FeedCause::Refill,
    }
}

/// A slot without an epoch issues no tickets, applies no feed rows, and gives no units to a recall.
pub async fn a_slot_without_an_epoch_fails_closed(slots: Slots) {
    assert_eq!(ask(&slots, "a", "k", 1, 9).await, TicketAnswer::NoEpoch);
    assert_eq!(
        slots.apply(SLOT, EPOCH, &[refill(1, 5)]).await.expect("reachable"),
        ApplyOutcome::Foreign
    );
    let recalled = slots.recall(SLOT, RecallId(1), GRANT, EPOCH, 5).await.expect("reachable");
    assert_eq!(recalled, RecallOutcome::Refused);
    assert_eq!(slots.view(SLOT).await.expect("reachable"), None);
}

/// A slot accepts `init` only with an epoch that is higher than the slot's current epoch.
pub async fn init_takes_only_a_higher_epoch(slots: Slots) {
    open_slot(&slots, 10).await;
    issue(&slots, "a", "k", 4).await;
    open_slot(&slots, 10).await;
    assert_eq!(available(&slots).await, 6, "a repeated call must change nothing");
    let older = slots.init(SLOT, terms(GrantId(1), Epoch(4), 99)).await.expect("reachable");
    assert_eq!(older, ApplyOutcome::Foreign);
    assert_eq!(available(&slots).await, 6);
    let newer = slots.init(SLOT, terms(GrantId(2), Epoch(6), 3)).await.expect("reachable");
    assert_eq!(newer, ApplyOutcome::At(Seq(0)));
    assert_eq!(available(&slots).await, 3);
}

/// A ticket deducts at most the units that the slot has.
pub async fn a_ticket_deducts_no_more_than_the_slot_has(slots: Slots) {
    open_slot(&slots, 10).await;
    assert_eq!(issue(&slots, "a", "1", 4).await.n.0, 1);
    assert_eq!(issue(&slots, "b", "1", 4).await.n.0, 2);
    assert_eq!(ask(&slots, "c", "1", 4, 9).await, TicketAnswer::Short { available: 2 });
    assert_eq!(issue(&slots, "c", "2", 2).await.n.0, 3);
    assert_eq!(ask(&slots, "d", "1", 1, 9).await, TicketAnswer::Short { available: 0 });
    assert_eq!(available(&slots).await, 0);
}

/// Unlimited stock never runs out, but each buyer's limit still applies.
pub async fn unlimited_stock_is_bounded_only_by_limits(slots: Slots) {
    slots
        .init(SLOT, GrantTerms { counted: false, ..terms(GRANT, EPOCH, 0) })
        .await
        .expect("reachable");
    for i in 0..20 {
        issue(&slots, &format!("b{i}"), "k", 1_000_000).await;
    }
    assert_eq!(
        ask(&slots, "b0", "k2", 2, 1_000_001).await,
        TicketAnswer::LimitReached { used: 1_000_000 }
    );
}

/// A repeated request gets its ticket again. A request with other content under the same key gets
/// the answer "key reused". Neither request deducts units.
pub async fn a_known_request_gets_its_ticket_again(slots: Slots) {
    open_slot(&slots, 10).await;
    let first = issue(&slots, "a", "k", 4).await;
    let mut again = request("a", "k", 4, 9);
    again.token = Token(1);
    let answer = slots.ticket(SLOT, &again).await.expect("reachable");
    assert_eq!(answer, TicketAnswer::Repeated(first));
    assert_eq!(ask(&slots, "a", "k", 5, 9).await, TicketAnswer::KeyReused);
    issue(&slots, "b", "k", 1).await;
    assert_eq!(available(&slots).await, 5);
}

/// The slot adds up a buyer's units in all requests, and compares this sum with the buyer's limit.
pub async fn the_limit_counts_all_requests_of_a_buyer(slots: Slots) {
    open_slot(&slots, 100).await;
    assert!(matches!(ask(&slots, "a", "1", 6, 10).await, TicketAnswer::Issued(_)));
    assert_eq!(ask(&slots, "a", "2", 5, 10).await, TicketAnswer::LimitReached { used: 6 });
    assert!(matches!(ask(&slots, "a", "3", 4, 10).await, TicketAnswer::Issued(_)));
    assert_eq!(ask(&slots, "a", "4", 1, 10).await, TicketAnswer::LimitReached { used: 10 });
    assert!(matches!(ask(&slots, "b", "1", 10, 10).await, TicketAnswer::Issued(_)));
}

/// A credit gives a ticket's units back to the slot, and lowers the slot's count of the buyer's
/// units, once. Afterwards the slot treats the same request as a new one.
pub async fn a_credit_takes_effect_once_and_forgets_the_request(slots: Slots) {
    open_slot(&slots, 5).await;
    assert!(matches!(ask(&slots, "a", "k", 5, 5).await, TicketAnswer::Issued(_)));
    let taken = take(&slots, 1).await;
    let row = returned(&taken[0].delivery.ticket, 1);
    for _ in 0..2 {
        let applied =
            slots.apply(SLOT, EPOCH, std::slice::from_ref(&row)).await.expect("reachable");
        assert_eq!(applied, ApplyOutcome::At(Seq(1)));
        assert_eq!(available(&slots).await, 5);
    }
    assert!(
        matches!(ask(&slots, "a", "k", 5, 5).await, TicketAnswer::Issued(issue) if issue.n.0 == 2)
    );
}

/// Even a credit without a request key makes the slot forget the request. The store writes such a
/// credit if it decides a ticket from the ticket's id alone.
pub async fn credits_without_keys_forget_their_requests(slots: Slots) {
    open_slot(&slots, 5).await;
    let names = ["a", "b", "c"];
    for name in names {
        issue(&slots, name, "k", 1).await;
    }
    let taken = take(&slots, 3).await;
    let row = |i: usize| FeedRow { key: None, ..returned(&taken[i].delivery.ticket, i as u64 + 1) };
    // The test acknowledges the second and the third ticket. Only the first ticket stays in the
    // queue.
    let left = [taken[1].delivery_ref(), taken[2].delivery_ref()];
    slots.acknowledge(&left).await.expect("reachable");
    slots.apply(SLOT, EPOCH, &[row(0), row(1), row(2)]).await.expect("reachable");
    for name in names {
        assert!(matches!(ask(&slots, name, "k", 1, 5).await, TicketAnswer::Issued(_)), "{name}");
    }
}

/// A slot applies feed rows in sequence. The slot applies only rows of its own grant and epoch.
pub async fn feed_rows_are_applied_in_order(slots: Slots) {
    open_slot(&slots, 0).await;
    let apply =
        async |epoch, rows: Vec<FeedRow>| slots.apply(SLOT, epoch, &rows).await.expect("reachable");
    assert_eq!(apply(EPOCH, vec![refill(2, 5)]).await, ApplyOutcome::At(Seq(0)));
    assert_eq!(apply(EPOCH, vec![refill(1, 5), refill(2, 7)]).await, ApplyOutcome::At(Seq(2)));
    assert_eq!(apply(Epoch(4), vec![refill(3, 5)]).await, ApplyOutcome::Foreign);
    let foreign = FeedRow { grant: GrantId(1), ..refill(3, 5) };
    assert_eq!(apply(EPOCH, vec![foreign]).await, ApplyOutcome::Foreign);
    assert_eq!(available(&slots).await, 12);
}

/// A recall takes units only once for each recall id. The recall must name the slot's own grant and
/// epoch.
pub async fn a_recall_takes_units_once(slots: Slots) {
    open_slot(&slots, 10).await;
    let recall = async |id, grant, epoch, n| {
        slots.recall(SLOT, RecallId(id), grant, epoch, n).await.expect("reachable")
    };
    assert_eq!(recall(1, GRANT, EPOCH, 4).await, RecallOutcome::Taken(4));
    assert_eq!(recall(1, GRANT, EPOCH, 4).await, RecallOutcome::Taken(4));
    assert_eq!(recall(2, GRANT, Epoch(4), 4).await, RecallOutcome::Refused);
    assert_eq!(recall(3, GrantId(1), EPOCH, 4).await, RecallOutcome::Refused);
    assert_eq!(recall(4, GRANT, EPOCH, 40).await, RecallOutcome::Taken(6));
    assert_eq!(available(&slots).await, 0);
}

/// The queue delivers tickets in sequence, and keeps them until they are acknowledged.
pub async fn the_queue_keeps_tickets_until_acknowledged(slots: Slots) {
    open_slot(&slots, 10).await;
    for i in 0..4 {
        issue(&slots, &format!("b{i}"), "k", 1).await;
    }
    let first = take(&slots, 3).await;
    assert_eq!(first.iter().map(|t| t.delivery.ticket.n.0).collect::<Vec<_>>(), [1, 2, 3]);
    let wrong = DeliveryRef { token: Token(u64::MAX), ..first[0].delivery_ref() };
    slots.acknowledge(&[wrong, first[1].delivery_ref()]).await.expect("reachable");
    assert_eq!(slots.view(SLOT).await.expect("reachable").expect("epoch").unacknowledged, 3);
    slots.redeliver(SLOT).await.expect("reachable");
    let second = take(&slots, 3).await;
    assert_eq!(second.iter().map(|t| t.delivery.ticket.n.0).collect::<Vec<_>>(), [1, 3, 4]);
    let done: Vec<_> = second.iter().map(DequeuedTicket::delivery_ref).collect();
    slots.acknowledge(&done).await.expect("reachable");
    assert_eq!(slots.view(SLOT).await.expect("reachable").expect("epoch").unacknowledged, 0);
}

/// Tickets of an earlier epoch stay in the queue when the slot gets a new epoch.
pub async fn a_roll_keeps_the_queue(slots: Slots) {
    open_slot(&slots, 10).await;
    issue(&slots, "a", "k", 1).await;
    slots.init(SLOT, terms(GrantId(2), Epoch(6), 3)).await.expect("reachable");
    issue(&slots, "b", "k", 1).await;
    let taken = take(&slots, 2).await;
    assert_eq!(taken.iter().map(|t| t.delivery.ticket.grant.0).collect::<Vec<_>>(), [GRANT.0, 2]);
}

/// A stopped slot issues no new tickets, but a known request still gets its ticket.
pub async fn a_stopped_slot_issues_no_new_ticket(slots: Slots) {
    open_slot(&slots, 10).await;
    let known = issue(&slots, "a", "k", 1).await;
    slots.stop(SLOT, true).await.expect("reachable");
    assert_eq!(ask(&slots, "b", "k", 1, 9).await, TicketAnswer::Stopped);
    assert_eq!(ask(&slots, "a", "k", 1, 9).await, TicketAnswer::Repeated(known));
    slots.stop(SLOT, false).await.expect("reachable");
    issue(&slots, "b", "k", 1).await;
}

/// If a slot's oldest queued ticket has waited too long, the slot issues no tickets, because a new
/// ticket would be settled too late.
pub async fn a_slot_with_an_old_queue_is_full(slots: Slots) {
    open_slot(&slots, 10).await;
    issue(&slots, "a", "k", 1).await;
    let mut later = request("b", "k", 1, 9);
    later.decide_by = later.decide_by.plus(SLOT_QUEUE_AGE_MAX_MS + 1);
    assert_eq!(slots.ticket(SLOT, &later).await.expect("reachable"), TicketAnswer::Full);
    assert_eq!(available(&slots).await, 9);
    let oldest = &take(&slots, 1).await[0];
    slots.acknowledge(&[oldest.delivery_ref()]).await.expect("reachable");
    assert!(matches!(
        slots.ticket(SLOT, &later).await.expect("reachable"),
        TicketAnswer::Issued(_)
    ));
}

/// A slot with two counters follows these rules:
///
/// - The other counter becomes active if the active counter has too few units for a ticket. The
///   other counter also becomes active if it has more units and the ticket leaves the active
///   counter below the threshold.
/// - The counters merge if neither counter alone has enough units for a ticket, but both together
///   have enough.
/// - A ticket sets the refill mark if the active counter has too few units for the ticket, or is
///   below the threshold after it. A refill clears the mark.
pub async fn the_counters_flip_mark_and_merge(slots: Slots) {
    open_slot(&slots, 0).await;
    let terms = GrantTerms { threshold: 3, ..terms(GrantId(2), Epoch(6), 10) };
    slots.init(SLOT, terms).await.expect("reachable");
    let state = async || {
        let view = slots.view(SLOT).await.expect("reachable").expect("the slot has an epoch");
        (view.counters, view.active, view.mark)
    };
    let fill = async |seq, counter, n| {
        let row = FeedRow { grant: GrantId(2), counter, ..refill(seq, n) };
        slots.apply(SLOT, Epoch(6), &[row]).await.expect("reachable");
    };
    assert_eq!(state().await, ([10, 0], Counter::A, false));
    fill(1, Counter::B, 5).await;
    issue(&slots, "a", "1", 7).await;
    assert_eq!(
        state().await,
        ([3, 5], Counter::A, false),
        "counter A must stay active, because counter A is not below the threshold"
    );
    issue(&slots, "a", "2", 4).await;
    assert_eq!(
        state().await,
        ([3, 1], Counter::A, true),
        "counter B must serve the request; then A must be active, because A has more units"
    );
    fill(2, Counter::B, 1).await;
    assert_eq!(state().await, ([3, 2], Counter::A, false), "a refill must clear the refill mark");
    issue(&slots, "a", "3", 5).await;
    assert_eq!(state().await, ([0, 0], Counter::A, true), "the counters must merge");
    fill(3, Counter::B, 4).await;
    let recalled =
        slots.recall(SLOT, RecallId(1), GrantId(2), Epoch(6), 3).await.expect("reachable");
    assert_eq!((recalled, state().await), (RecallOutcome::Taken(3), ([0, 1], Counter::A, false)));
}

/// A slot is retired only after its queue is empty. After that, the slot has no epoch until a later
/// grant.
pub async fn a_slot_is_retired_once_its_queue_is_empty(slots: Slots) {
    open_slot(&slots, 10).await;
    issue(&slots, "a", "k", 1).await;
    assert!(!slots.retire(SLOT, Some(EPOCH)).await.expect("reachable"));
    assert_eq!(available(&slots).await, 9, "a slot with a queued ticket must keep its units");
    let taken = take(&slots, 1).await;
    slots.acknowledge(&[taken[0].delivery_ref()]).await.expect("reachable");
    for _ in 0..2 {
        assert!(
            slots.retire(SLOT, Some(EPOCH)).await.expect("reachable"),
            "a repeated call must succeed"
        );
    }
    assert_eq!(slots.view(SLOT).await.expect("reachable"), None);
    assert_eq!(ask(&slots, "a", "k", 1, 9).await, TicketAnswer::NoEpoch);
    slots.init(SLOT, terms(GrantId(2), Epoch(6), 3)).await.expect("reachable");
    assert_eq!(issue(&slots, "a", "k", 2).await.n.0, 1);
    assert_eq!(take(&slots, 1).await[0].delivery.ticket.grant, GrantId(2));
}

/// If a slot has a newer grant, a late call of `Slots::retire` for an earlier grant does not remove
/// the slot.
pub async fn a_late_retirement_keeps_a_newer_grant(slots: Slots) {
    slots.init(SLOT, terms(GRANT, Epoch(2), 10)).await.expect("reachable");
    assert!(!slots.retire(SLOT, Some(Epoch(1))).await.expect("reachable"));
    let view = slots.view(SLOT).await.expect("reachable").expect("the slot must keep its grant");
    assert_eq!((view.epoch, view.available), (Epoch(2), 10));
    assert!(slots.retire(SLOT, Some(Epoch(2))).await.expect("reachable"));
    assert_eq!(slots.view(SLOT).await.expect("reachable"), None);
}
