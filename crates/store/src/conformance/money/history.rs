//! Tests the history of an order: the state after each change, the actor and the reason.
use doorbuster_core::event::{Actor, Attribution, Event, EventType, Subject};
use doorbuster_core::money::{CaptureOutcome, RefundCause};
use doorbuster_core::order::{ChangeOutcome, EndReason};
use doorbuster_core::{Order, Stock, TicketId, Verdict};

use super::{PROVIDER, capture, message, price};
use crate::conformance::{Fixture, id_of, new_item, new_sale};

async fn history(fixture: &Fixture, id: TicketId) -> Vec<Event> {
    let events = fixture.store.history(id).await.expect("reads");
    assert!(
        events.is_sorted_by(|a, b| a.seq < b.seq),
        "the events must be sorted, oldest first: {events:?}"
    );
    events.into_iter().map(|stored| stored.event).collect()
}

fn operator() -> Attribution {
    Attribution {
        actor: Actor::Operator("key_7".to_owned()),
        why: Some("They called; \"sorry\" — 'twas us".to_owned()),
    }
}

/// Each change of an order is in its history, with the order's values after the change.
pub async fn an_order_has_a_history(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let reserved = fixture.reserve(&grant, 1, "anna", 2).await;
    fixture.clock.advance(10);
    let pay_by = reserved.pay_by.plus(77);
    let extend = fixture.store.extend_order(reserved.id, pay_by, operator()).await.expect("writes");
    let ChangeOutcome::Done(extended) = extend else { panic!("the extension must succeed") };
    fixture.clock.advance(10);
    let cancel = fixture
        .store
        .end_order(reserved.id, EndReason::Cancel, Attribution::BUYER.clone())
        .await
        .expect("writes");
    let ChangeOutcome::Done(cancelled) = cancel else { panic!("the order must be cancelled") };
    fixture.clock.advance(10);
    let CaptureOutcome::Paid(paid) = capture(&fixture, &message(&reserved, "e1", "p1")).await
    else {
        panic!("the payment must make the order active again")
    };
    fixture.clock.advance(10);
    let second = message(&reserved, "e2", "p2");
    let CaptureOutcome::Refund(_) = capture(&fixture, &second).await else { panic!("no refund") };
    let twice = fixture.clock.now();
    fixture.clock.advance(10);
    let refund =
        fixture.store.end_order(reserved.id, EndReason::Refund, operator()).await.expect("writes");
    let ChangeOutcome::Done(refunded) = refund else { panic!("the refund must succeed") };
    let provider = Attribution::from_actor(Actor::Provider(PROVIDER.to_owned()));
    let order = |what, order: &Order, by: &Attribution, at| Event {
        what,
        subject: Subject::Order(order.clone()),
        by: by.clone(),
        at,
    };
    let back = Event {
        what: EventType::PaymentRefunded,
        subject: Subject::Payment {
            payment: second.payment,
            order: second.order,
            money: price(2),
            cause: RefundCause::Second,
        },
        by: provider.clone(),
        at: twice,
    };
    let at = |order: &Order| order.ended_at.or(order.paid_at).expect("the order ended or was paid");
    let wanted = [
        order(EventType::OrderReserved, &reserved, Attribution::BUYER, reserved.reserved_at),
        order(EventType::OrderExtended, &extended, &operator(), reserved.reserved_at.plus(10)),
        order(EventType::OrderCancelled, &cancelled, Attribution::BUYER, at(&cancelled)),
        order(EventType::OrderPaid, &paid, &provider, at(&paid)),
        back,
        order(EventType::OrderRefunded, &refunded, &operator(), at(&refunded)),
    ];
    assert_eq!(history(&fixture, reserved.id).await, wanted);
    assert_eq!((cancelled.paid_at, paid.ended_at), (None, None));
    fixture.check_invariants().await;
}

/// If two callers extend an order's payment window concurrently, the window is extended by the sum
/// of both times. If the window has ended, the new window begins at the present.
pub async fn two_extensions_of_an_order_add_up(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 2).await;
    let extend = async || {
        let extended = fixture.store.extend_order_by(order.id, 500, operator()).await;
        assert!(matches!(extended.expect("writes"), ChangeOutcome::Done(_)));
    };
    tokio::join!(extend(), extend());
    let extended = fixture.store.order(order.id).await.expect("reads").expect("an order");
    assert_eq!(extended.pay_by, order.pay_by.plus(1_000));
    fixture.clock.advance(extended.pay_by.0 - fixture.clock.now().0 + 1_000);
    let past = fixture.store.extend_order(order.id, extended.pay_by.plus(500), operator()).await;
    assert_eq!(past.expect("writes"), ChangeOutcome::WrongState(extended), "the time has passed");
    extend().await;
    let extended = fixture.store.order(order.id).await.expect("reads").expect("an order");
    assert_eq!(extended.pay_by, fixture.clock.now().plus(500), "the buyer must get the whole time");
    let id = id_of(&fixture.ticket(&grant, 2, "bert", "key", 1));
    let unknown = fixture.store.extend_order_by(id, 500, operator()).await.expect("writes");
    assert_eq!(unknown, ChangeOutcome::NotFound);
    fixture.check_invariants().await;
}

/// A call that changes nothing appends no event. Each event is only in the history of its own
/// order.
pub async fn only_real_changes_are_events(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 2).await;
    let other = fixture.reserve(&grant, 2, "bert", 2).await;
    let again = fixture.ticket(&grant, 1, "anna", "key-1", 2);
    fixture.settle(&again).await;
    for how in [EndReason::Refund, EndReason::Expire] {
        let end = fixture
            .store
            .end_order(order.id, how, Attribution::ENGINE.clone())
            .await
            .expect("writes");
        assert!(matches!(end, ChangeOutcome::WrongState(_)));
    }
    fixture.commits.forget();
    fixture
        .store
        .extend_order(order.id, order.pay_by, Attribution::ENGINE.clone())
        .await
        .expect("writes");
    assert!(fixture.commits.take().iter().all(|t| !t.events), "the calls must not append events");
    for of in [&order, &other] {
        let events: Vec<_> = history(&fixture, of.id)
            .await
            .into_iter()
            .map(|event| (event.what, event.subject))
            .collect();
        assert_eq!(events, [(EventType::OrderReserved, Subject::Order(of.clone()))]);
    }
    // This ticket has the same number as the order's ticket, but is for another request. Its
    // settlement must append no event to the order's history.
    let reused = fixture.ticket(&grant, 1, "cleo", "k", 1);
    assert!(fixture.settle(&reused).await.order.is_none());
    assert_eq!(history(&fixture, order.id).await.len(), 1);
    assert_eq!(history(&fixture, id_of(&reused)).await, []);
    fixture.check_invariants().await;
}

/// Settling a batch of tickets appends an event for each new order. Settling the same batch again
/// appends no event.
pub async fn a_batch_appends_an_event_for_each_order(fixture: Fixture) {
    let grant = fixture.slot(100, 100, 4).await;
    let tickets: Vec<_> =
        (1..=20).map(|n| fixture.ticket(&grant, n, &format!("buyer-{}", n % 15), "k", 1)).collect();
    fixture.commits.forget();
    let resolved = fixture.store.settle(tickets.clone()).await.expect("settles");
    assert!(fixture.commits.take().iter().any(|t| t.events));
    fixture.store.settle(tickets).await.expect("settles");
    let reserved = resolved.iter().filter(|r| r.verdict == Verdict::Reserved);
    let orders: Vec<&Order> = reserved.filter_map(|r| r.order.as_ref()).collect();
    assert_eq!(orders.len(), 15, "each of the 15 buyers must have one order");
    for order in orders {
        let events: Vec<_> = history(&fixture, order.id)
            .await
            .into_iter()
            .map(|event| (event.what, event.subject))
            .collect();
        assert_eq!(events, [(EventType::OrderReserved, Subject::Order(order.clone()))]);
    }
    fixture.check_invariants().await;
}

/// A sale appends an event at its first opening, and another event at its closing.
pub async fn a_sale_appends_events_when_it_opens_and_closes(fixture: Fixture) {
    use doorbuster_core::sale::PhaseStep::{Close, Open, Pause, Resume, Schedule};
    fixture
        .store
        .create_sale(new_sale("spring", vec![new_item("item", Stock::Counted(3), 1)]))
        .await
        .expect("writes");
    for step in [Schedule, Schedule, Open, Open, Pause, Resume, Close, Open, Close] {
        fixture.clock.advance(1);
        fixture.store.step_sale("spring", step).await.expect("writes");
    }
    while fixture.store.sequence_events(100).await.expect("writes") > 0 {}
    let events = fixture.store.events_after(0, 100).await.expect("reads");
    let events: Vec<_> =
        events.into_iter().map(|read| read.expect("the event row is readable")).collect();
    assert!(events.is_sorted_by(|a, b| a.position < b.position));
    let event = |what, ago: i64| Event {
        what,
        subject: Subject::Sale("spring".to_owned()),
        by: Attribution::ENGINE.clone(),
        at: fixture.clock.now().plus(-ago),
    };
    let wanted = [event(EventType::SaleOpened, 6), event(EventType::SaleClosed, 2)];
    assert_eq!(events.into_iter().map(|stored| stored.event).collect::<Vec<_>>(), wanted);
    fixture.check_invariants().await;
}
