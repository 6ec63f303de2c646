//! Tests the outbox: events, endpoints, deliveries, dead letters, and deletions.
use std::sync::Arc;

use doorbuster_core::event::{Attribution, EventType, Subject};
use doorbuster_core::money::{CaptureOutcome, PaymentState};
use doorbuster_core::order::EndReason;
use doorbuster_core::outbox::{EventFilter, PendingDelivery, PositionAdvance, RowChange};
use doorbuster_core::{Millis, NodeId, Order, OrderState, TicketId};

use super::Fixture;
use super::money::message;
use crate::contract::{
    DeadLetterContent, DeadLetterCounts, DeadLetterId, DeadLetterKind, DeadLetterOutcome,
    DeliveryQuery, DeliveryState, Endpoint, EndpointChange, EndpointKind, EndpointSecret,
    EventRead, MoneyQuery, NewEndpoint, Redelivery, RetentionCutoffs, Rotation, StoredEvent,
};

const MOST: usize = 3;

fn secret(word: &str) -> EndpointSecret {
    EndpointSecret { secret: word.to_owned(), until: None }
}

fn new(id: &str) -> NewEndpoint {
    NewEndpoint {
        id: id.to_owned(),
        kind: EndpointKind::Webhook,
        url: "https://shop.example/hook".to_owned(),
        wanted: EventFilter::All,
        secret: Some(secret("one")),
        enabled: true,
    }
}

async fn add(fixture: &Fixture, id: &str) -> Endpoint {
    fixture.store.insert_endpoint(new(id), MOST).await.expect("writes").expect("there is room")
}

/// Returns the events, which must all be readable.
fn whole(read: Vec<EventRead>) -> Vec<StoredEvent> {
    read.into_iter().map(|read| read.expect("the event row is readable")).collect()
}

/// Gives a position to every event without a position. Returns the events after the position
/// `after`.
async fn events_after(fixture: &Fixture, after: i64) -> Vec<StoredEvent> {
    while fixture.store.sequence_events(2).await.expect("writes") == 2 {}
    whole(fixture.store.events_after(after, 1_000).await.expect("reads"))
}

pub(super) fn parcel(position: i64, about: &str, dead: bool) -> PendingDelivery {
    let error = Some("500".to_owned());
    PendingDelivery { position, about: Arc::from(about), tries: 1, next_at: Millis(7), error, dead }
}

pub(super) async fn pending(fixture: &Fixture, id: &str) -> Vec<PendingDelivery> {
    fixture.store.pending_deliveries(id, 100).await.expect("reads")
}

/// Adds an endpoint and creates three orders. Returns the endpoint's position, and the events about
/// the orders.
pub(super) async fn three(fixture: &Fixture) -> (i64, Vec<StoredEvent>) {
    let grant = fixture.slot(10, 10, 5).await;
    events_after(fixture, 0).await;
    let from = add(fixture, "end_1").await.position;
    for n in 1..=3 {
        fixture.reserve(&grant, n, "anna", 1).await;
    }
    let events = events_after(fixture, from).await;
    assert_eq!(events.len(), 3);
    (from, events)
}

/// Events are read in the order in which they happened, with their orders' values after the change.
pub async fn events_keep_their_order_and_content(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 5).await;
    let opened = events_after(&fixture, 0).await;
    assert!(opened.iter().any(|one| one.event.what == EventType::SaleOpened), "{opened:?}");
    let from = opened.last().expect("an event").position;
    let first = fixture.reserve(&grant, 1, "anna", 1).await;
    let second = fixture.reserve(&grant, 2, "bert", 2).await;
    fixture.clock.advance(5);
    let by = Attribution { why: Some("changed her mind".to_owned()), ..Attribution::BUYER.clone() };
    fixture.store.end_order(first.id, EndReason::Cancel, by.clone()).await.expect("writes");
    let events = events_after(&fixture, from).await;
    let what: Vec<_> = events.iter().map(|one| one.event.what).collect();
    assert_eq!(
        what,
        [EventType::OrderReserved, EventType::OrderReserved, EventType::OrderCancelled]
    );
    assert!(events.windows(2).all(|pair| pair[0].position < pair[1].position));
    assert_eq!(
        events[0].event.subject,
        Subject::Order(first.clone()),
        "a later change of the order must not change this event"
    );
    assert_eq!(events[1].event.subject, Subject::Order(second));
    let Subject::Order(cancelled) = &events[2].event.subject else { panic!("no order") };
    assert_eq!(
        (cancelled.id, cancelled.state, cancelled.ended_at),
        (first.id, OrderState::Cancelled, Some(fixture.clock.now()))
    );
    assert_eq!((&events[2].event.by, events[2].event.at), (&by, fixture.clock.now()));
    let last = events[2].position;
    assert_eq!(fixture.store.event_at(last).await.expect("reads"), Some(Ok(events[2].clone())));
    assert_eq!(fixture.store.event_at(last + 1).await.expect("reads"), None);
    assert_eq!(whole(fixture.store.events_after(from, 1).await.expect("reads")), events[..1]);
    assert_eq!(events_after(&fixture, last).await, []);
}

/// Endpoints are added, changed and removed. A new endpoint gets only later events.
pub async fn endpoints_are_added_changed_and_removed(fixture: Fixture) {
    fixture.slot(10, 10, 5).await;
    let first = add(&fixture, "end_1").await;
    let events = events_after(&fixture, 0).await;
    assert_eq!(first.position, events.last().expect("an event").position);
    assert!(first.position > 0, "the opening of the sale must have a position");
    fixture.clock.advance(1);
    let second = add(&fixture, "end_2").await;
    fixture.clock.advance(1);
    add(&fixture, "end_3").await;
    assert_eq!(
        fixture.store.insert_endpoint(new("end_4"), MOST).await.expect("writes"),
        None,
        "an endpoint beyond the maximum must be refused"
    );
    let wanted = EventFilter::Only(vec!["order.paid".to_owned(), "sale.moved".to_owned()]);
    let url = "https://other.example/".to_owned();
    let change = EndpointChange {
        url: Some(url.clone()),
        wanted: Some(wanted.clone()),
        enabled: Some(false),
        rotate: None,
    };
    let changed = fixture
        .store
        .update_endpoint("end_2", change.clone())
        .await
        .expect("writes")
        .expect("the endpoint exists");
    assert_eq!(changed, Endpoint { url, wanted, enabled: false, ..second.clone() });
    assert_eq!(fixture.store.update_endpoint("end_9", change).await.expect("writes"), None);
    let ids = |endpoints: Vec<Endpoint>| {
        endpoints.into_iter().map(|endpoint| endpoint.id).collect::<Vec<_>>()
    };
    let all = fixture.store.endpoints().await.expect("reads");
    assert_eq!(all[1], changed);
    assert_eq!(ids(all), ["end_1", "end_2", "end_3"]);
    assert!(fixture.store.delete_endpoint("end_2").await.expect("writes"));
    assert!(!fixture.store.delete_endpoint("end_2").await.expect("writes"));
    assert_eq!(ids(fixture.store.endpoints().await.expect("reads")), ["end_1", "end_3"]);
}

/// After a rotation, the new secret signs messages. Each earlier secret also signs messages, until
/// its time `until`.
pub async fn a_secret_is_replaced_while_the_old_one_signs(fixture: Fixture) {
    add(&fixture, "end_1").await;
    let rotate = async |word: &str, for_ms: i64| {
        let rotation =
            Rotation { secret: secret(word), old_until: fixture.clock.now().plus(for_ms), keep: 3 };
        let change = EndpointChange { rotate: Some(rotation), ..EndpointChange::default() };
        let endpoint = fixture
            .store
            .update_endpoint("end_1", change)
            .await
            .expect("writes")
            .expect("the endpoint exists");
        endpoint
            .secrets
            .into_iter()
            .map(|s| (s.secret, s.until.map(|until| until.0 - fixture.clock.now().0)))
            .collect::<Vec<_>>()
    };
    let named = |word: &str, until: Option<i64>| (word.to_owned(), until);
    assert_eq!(rotate("two", 100).await, [named("two", None), named("one", Some(100))]);
    assert_eq!(
        rotate("three", 500).await,
        [named("three", None), named("two", Some(500)), named("one", Some(100))]
    );
    assert_eq!(rotate("four", 500).await.len(), 3, "the maximum number of secrets must be kept");
    fixture.clock.advance(500);
    assert_eq!(rotate("five", 0).await, [named("five", None)], "ended secrets must be removed");
}

/// If several calls advance an endpoint from the same position, only one succeeds.
pub async fn an_endpoint_advances_once_from_each_position(fixture: Fixture) {
    let (from, events) = three(&fixture).await;
    let to = events[1].position;
    let progress =
        PositionAdvance { from, to, failed: vec![parcel(events[0].position, "a", false)] };
    let other = PositionAdvance { from, to: events[2].position, failed: vec![] };
    assert!(fixture.store.advance_endpoint("end_1", progress.clone()).await.expect("writes"));
    assert!(!fixture.store.advance_endpoint("end_1", progress.clone()).await.expect("writes"));
    assert!(!fixture.store.advance_endpoint("end_1", other).await.expect("writes"));
    assert!(!fixture.store.advance_endpoint("end_9", progress.clone()).await.expect("writes"));
    assert_eq!(fixture.store.endpoints().await.expect("reads")[0].position, to);
    assert_eq!(pending(&fixture, "end_1").await, progress.failed);
}

/// An undelivered event is kept until it is delivered, becomes a dead letter, or is discarded.
pub async fn undelivered_events_are_kept(fixture: Fixture) {
    let (from, events) = three(&fixture).await;
    let at: Vec<i64> = events.iter().map(|one| one.position).collect();
    let failed =
        vec![parcel(at[0], "a", false), parcel(at[1], "b", false), parcel(at[2], "c", true)];
    assert!(
        fixture
            .store
            .advance_endpoint("end_1", PositionAdvance { from, to: at[2], failed })
            .await
            .expect("writes")
    );
    let again = PendingDelivery {
        tries: 2,
        next_at: Millis(9),
        error: Some("502".to_owned()),
        ..parcel(at[0], "a", false)
    };
    let notes = vec![
        RowChange::Pending(again.clone()),
        RowChange::Delivered(at[1]),
        RowChange::Delivered(at[2]),
    ];
    fixture.store.record_deliveries("end_1", notes).await.expect("writes");
    assert_eq!(
        pending(&fixture, "end_1").await,
        std::slice::from_ref(&again),
        "one event must be delivered, and the dead letter must stay"
    );
    let page = |state, after, limit| {
        fixture.store.deliveries(DeliveryQuery {
            endpoint: "end_1".to_owned(),
            state,
            after,
            limit,
        })
    };
    let all = page(None, None, 1).await.expect("reads");
    assert_eq!((all.rows[0].position, all.rows[0].state), (at[2], DeliveryState::Dead));
    let rest = page(None, all.next, 1).await.expect("reads");
    assert_eq!((rest.rows[0].position, rest.rows[0].tries, rest.next), (at[0], 2, None));
    let seen = (EventType::OrderReserved.as_str().to_owned(), events[0].event.at);
    assert_eq!(rest.rows[0].event, Some(seen), "the delivery must have the event's type and time");
    assert_eq!(page(Some(DeliveryState::Discarded), None, 9).await.expect("reads").rows, []);
    fixture.clock.advance(3);
    fixture
        .store
        .record_deliveries(
            "end_1",
            vec![RowChange::Pending(PendingDelivery { dead: true, ..again })],
        )
        .await
        .expect("writes");
    assert_eq!(pending(&fixture, "end_1").await, []);
    let dead = page(Some(DeliveryState::Dead), None, 9).await.expect("reads").rows;
    assert_eq!(dead.iter().map(|row| row.at).max(), Some(fixture.clock.now()));
    let standing = fixture.store.endpoint_statuses().await.expect("reads").remove(0);
    assert_eq!(
        (standing.waiting, standing.pending, standing.dead, standing.oldest_at),
        (0, 0, 2, None)
    );
    assert!(fixture.store.delete_endpoint("end_1").await.expect("writes"));
    assert_eq!(
        fixture.store.dead_letter_counts().await.expect("reads"),
        DeadLetterCounts::default(),
        "the dead letters must be deleted with their endpoint"
    );
}

/// A committed event counts as waiting for each endpoint, even before the event has a position.
pub async fn events_without_a_position_wait(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 5).await;
    add(&fixture, "end_1").await;
    let waits = async || {
        let standing = fixture.store.endpoint_statuses().await.expect("reads").remove(0);
        (standing.waiting, standing.oldest_at)
    };
    assert_eq!(waits().await, (0, None), "events before the endpoint's addition must not wait");
    fixture.clock.advance(5);
    let first = Some(fixture.clock.now());
    fixture.reserve(&grant, 1, "anna", 1).await;
    fixture.clock.advance(5);
    fixture.reserve(&grant, 2, "bert", 1).await;
    assert_eq!(waits().await, (2, first), "events without positions must wait");
    let last = events_after(&fixture, 0).await.last().expect("events").position;
    assert_eq!(waits().await, (2, first), "events with positions must wait");
    fixture.clock.advance(5);
    fixture.reserve(&grant, 3, "carl", 1).await;
    assert_eq!(waits().await, (3, first), "events must wait, whether or not they have a position");
    let from = fixture.store.endpoints().await.expect("reads")[0].position;
    let to = PositionAdvance { from, to: last, failed: vec![] };
    assert!(fixture.store.advance_endpoint("end_1", to).await.expect("writes"));
    assert_eq!(waits().await, (1, Some(fixture.clock.now())), "delivered events must not wait");
}

/// While one node has the lease of an endpoint, no other node gets it.
pub async fn one_node_at_a_time_has_an_endpoint(fixture: Fixture) {
    add(&fixture, "end_1").await;
    let lease = async |node, ms| {
        fixture.store.lease_endpoint("end_1", NodeId(node), ms).await.expect("writes")
    };
    assert!(lease(1, 100).await && !lease(2, 100).await && lease(1, 100).await);
    fixture.clock.advance(100);
    assert!(lease(2, 100).await && !lease(1, 100).await);
    assert!(lease(2, 0).await && lease(1, 100).await, "another node must get a released lease");
    assert!(!fixture.store.lease_endpoint("end_9", NodeId(1), 100).await.expect("writes"));
    // When the clock is set back, the first node's lease becomes invalid.
    fixture.clock.advance(-3_600_000);
    assert!(lease(2, 100).await && !lease(1, 100).await, "another node must get an invalid lease");
}

/// A dead letter is resolved once: it is retried with the tries reset to 0, or it is discarded.
pub async fn dead_letters_are_listed_until_they_are_resolved(fixture: Fixture) {
    let (from, events) = three(&fixture).await;
    let at: Vec<i64> = events.iter().map(|one| one.position).collect();
    let failed = at.iter().map(|at| parcel(*at, "a", true)).collect();
    let progress = PositionAdvance { from, to: at[2], failed };
    assert!(fixture.store.advance_endpoint("end_1", progress).await.expect("writes"));
    assert_eq!(
        fixture.store.dead_letter_counts().await.expect("reads"),
        DeadLetterCounts { deliveries: 3, ..DeadLetterCounts::default() }
    );
    let page =
        fixture.store.list_dead_letters(DeadLetterKind::Delivery, None, 2).await.expect("reads");
    let rest = fixture
        .store
        .list_dead_letters(DeadLetterKind::Delivery, page.next, 2)
        .await
        .expect("reads");
    let letters: Vec<_> = page.rows.iter().chain(&rest.rows).collect();
    let of: Vec<_> =
        letters.iter().filter_map(|dead| dead.delivery.clone()).map(|(_, at, _)| at).collect();
    assert_eq!((of, rest.next), (vec![at[2], at[1], at[0]], None), "the newest must come first");
    assert_eq!(
        (letters[0].reason.as_str(), letters[0].about.as_str(), letters[0].tries),
        ("500", "a", 1)
    );
    let show =
        async |id: &DeadLetterId| fixture.store.dead_letter(id.clone()).await.expect("reads");
    for (letter, event) in letters.iter().zip(events.iter().rev()) {
        let Some((dead, DeadLetterContent::Event(Some(read)))) = show(&letter.id).await else {
            panic!("the dead letter must contain its event")
        };
        assert_eq!(
            (&dead, read.as_ref().as_ref().expect("the event row is readable")),
            (*letter, event)
        );
    }
    let retry = async |id: &DeadLetterId, most| {
        fixture.store.retry_dead_letter(id.clone(), most).await.expect("writes")
    };
    assert_eq!(retry(&letters[0].id, 0).await, DeadLetterOutcome::Full);
    assert_eq!(retry(&letters[0].id, 1).await, DeadLetterOutcome::Done);
    assert_eq!(retry(&letters[0].id, 9).await, DeadLetterOutcome::NotFound);
    let again = pending(&fixture, "end_1").await;
    assert_eq!(
        (again.len(), again[0].position, again[0].tries, again[0].next_at),
        (1, at[2], 0, fixture.clock.now())
    );
    let discard = async |id: &DeadLetterId| {
        fixture
            .store
            .discard_dead_letter(id.clone(), "not needed".to_owned())
            .await
            .expect("writes")
    };
    assert!(discard(&letters[1].id).await && !discard(&letters[1].id).await);
    assert_eq!(retry(&letters[1].id, 9).await, DeadLetterOutcome::NotFound);
    let query = DeliveryQuery {
        endpoint: "end_1".to_owned(),
        state: Some(DeliveryState::Discarded),
        after: None,
        limit: 9,
    };
    let discarded = fixture.store.deliveries(query).await.expect("reads").rows;
    assert_eq!((discarded.len(), discarded[0].why.as_deref()), (1, Some("not needed")));
    assert_eq!(fixture.store.dead_letter_counts().await.expect("reads").deliveries, 1);
    let nothing = TicketId::parse(&format!("ord_{}", "A".repeat(52))).expect("an id");
    for id in [DeadLetterId::Delivery(i64::MAX), DeadLetterId::Ticket(nothing)] {
        assert_eq!(retry(&id, 9).await, DeadLetterOutcome::NotFound);
        assert!(!discard(&id).await);
        assert!(show(&id).await.is_none());
    }
    assert!(
        show(&letters[0].id).await.is_none() && show(&letters[1].id).await.is_none(),
        "a resolved dead letter must not be found"
    );
    assert!(show(&letters[2].id).await.is_some());
    for kind in [DeadLetterKind::Refund, DeadLetterKind::Ticket] {
        assert_eq!(fixture.store.list_dead_letters(kind, None, 9).await.expect("reads").rows, []);
    }
}

/// An operator can request a new delivery of a delivered event and of a dead letter.
pub async fn an_event_is_delivered_again_on_request(fixture: Fixture) {
    let (from, events) = three(&fixture).await;
    let at: Vec<i64> = events.iter().map(|one| one.position).collect();
    let again = async |id: &str, at: i64, most| {
        fixture.store.redeliver(id, at, most).await.expect("writes")
    };
    let done = PositionAdvance { from, to: at[1], failed: vec![parcel(at[1], "b", true)] };
    assert!(fixture.store.advance_endpoint("end_1", done).await.expect("writes"));
    assert_eq!(again("end_9", at[0], 9).await, Redelivery::NoEndpoint);
    assert_eq!(again("end_1", at[2] + 1, 9).await, Redelivery::NoEvent);
    assert_eq!(again("end_1", at[2], 9).await, Redelivery::Ahead);
    assert_eq!(again("end_1", at[0], 0).await, Redelivery::Full);
    fixture.clock.advance(5_000);
    let requested_at = fixture.clock.now();
    assert_eq!(again("end_1", at[0], 9).await, Redelivery::Done);
    assert_eq!(again("end_1", at[0], 0).await, Redelivery::Done, "a repetition adds no row");
    assert_eq!(again("end_1", at[1], 9).await, Redelivery::Done, "a dead delivery must be retried");
    let rows = pending(&fixture, "end_1").await;
    assert_eq!(
        rows.iter().map(|row| (row.position, row.tries)).collect::<Vec<_>>(),
        [(at[0], 0), (at[1], 0)]
    );
    let Subject::Order(order) = &events[0].event.subject else { panic!("no order") };
    assert_eq!(&*rows[0].about, order.id.to_string());
    let standing = fixture.store.endpoint_statuses().await.expect("reads").remove(0);
    assert_eq!((standing.waiting, standing.pending), (1, 2));
    let to = PositionAdvance { from: at[1], to: at[2], failed: vec![] };
    assert!(
        events[2].event.at < requested_at
            && fixture.store.advance_endpoint("end_1", to).await.expect("writes")
    );
    let standing = fixture.store.endpoint_statuses().await.expect("reads").remove(0);
    assert_eq!(
        (standing.waiting, standing.oldest_at),
        (0, Some(requested_at)),
        "an old event must wait only since the request to send it again"
    );
}

/// The store deletes old events that are not about an order. The store also deletes old deliveries
/// that are dead letters or were discarded.
pub async fn rows_that_nothing_needs_are_deleted(fixture: Fixture) {
    let (from, events) = three(&fixture).await;
    fixture.clock.advance(1_000);
    let before = |ms: i64| {
        let at = fixture.clock.now().plus(-ms);
        let (events_before, dead_before, inbox_before) = (at, at, at);
        RetentionCutoffs { events_before, dead_before, inbox_before, ..RetentionCutoffs::NONE }
    };
    assert_eq!(
        fixture.store.delete_expired(before(1_000), 100).await.expect("writes"),
        0,
        "events that are not old enough must stay"
    );
    let sale = whole(fixture.store.events_after(0, 1).await.expect("reads")).remove(0);
    assert_eq!(sale.event.what, EventType::SaleOpened);
    assert_eq!(
        fixture.store.redeliver("end_1", sale.position, 9).await.expect("writes"),
        Redelivery::Done
    );
    assert_eq!(
        fixture.store.delete_expired(before(0), 100).await.expect("writes"),
        0,
        "an event that waits for delivery must stay"
    );
    let dead = PendingDelivery { dead: true, ..parcel(sale.position, "sale", true) };
    fixture.store.record_deliveries("end_1", vec![RowChange::Pending(dead)]).await.expect("writes");
    let to = events[2].position;
    assert!(
        fixture
            .store
            .advance_endpoint("end_1", PositionAdvance { from, to, failed: vec![] })
            .await
            .expect("writes")
    );
    assert_eq!(
        fixture.store.delete_expired(before(0), 100).await.expect("writes"),
        0,
        "an event must stay while its dead letter is too new"
    );
    fixture.clock.advance(1);
    let deleted = fixture.store.delete_expired(before(0), 100).await.expect("writes");
    assert_eq!(deleted, 2, "the dead letter must be deleted, and then its event");
    let left = whole(fixture.store.events_after(0, 100).await.expect("reads"));
    assert_eq!(left, events, "events of orders must stay");
    assert_eq!(
        fixture.store.dead_letter_counts().await.expect("reads"),
        DeadLetterCounts::default()
    );
    let Subject::Order(order) = &events[0].event.subject else { panic!("no order") };
    assert_eq!(fixture.store.history(order.id).await.expect("reads").len(), 1);
    old_messages_go_and_their_payment_stays(&fixture, order).await;
}

/// The store deletes the id of an old provider message, but keeps the payment. If the provider
/// repeats the message after that, the message changes nothing.
async fn old_messages_go_and_their_payment_stays(fixture: &Fixture, order: &Order) {
    let capture = async || {
        fixture.store.capture(message(order, "evt_1", "pay_1"), false).await.expect("writes")
    };
    let fail = async |event: &str| {
        fixture.store.fail_payment(message(order, event, "pay_1")).await.expect("writes")
    };
    assert!(matches!(capture().await, CaptureOutcome::Paid(_)));
    assert!(fail("evt_2").await, "a late message must be recorded");
    fixture.clock.advance(1_000);
    assert!(fail("evt_3").await);
    let what = RetentionCutoffs { inbox_before: fixture.clock.now(), ..RetentionCutoffs::NONE };
    assert_eq!(
        fixture.store.delete_expired(what, 100).await.expect("writes"),
        2,
        "the two old messages must be deleted"
    );
    assert_eq!((fail("evt_2").await, fail("evt_3").await), (true, false), "evt_3 must be known");
    assert_eq!(capture().await, CaptureOutcome::Repeated, "the payment must still be known");
    let all = MoneyQuery { limit: 9, ..MoneyQuery::default() };
    let payments = fixture.store.payments(all.clone()).await.expect("reads").rows;
    assert_eq!(
        payments.iter().map(|payment| payment.state).collect::<Vec<_>>(),
        [PaymentState::Captured]
    );
    assert_eq!(fixture.store.refunds(all).await.expect("reads").rows, []);
    fixture.expect_units(order.item, 0, 7, 2, 1).await;
}
