//! What happened is kept: an order's history is told as it was, by whom and why.
use doorbuster_core::event::{Actor, By, Event, EventType, Subject};
use doorbuster_core::money::{Captured, RefundCause};
use doorbuster_core::order::{Changed, Ending};
use doorbuster_core::{Order, Stock, TicketId, Verdict};

use super::{PROVIDER, capture, message, price};
use crate::conformance::{Rig, id_of, new_item, new_sale};

async fn history(rig: &Rig, id: TicketId) -> Vec<Event> {
    let told = rig.store.history(id).await.expect("reads");
    assert!(told.is_sorted_by(|a, b| a.seq < b.seq), "the oldest first: {told:?}");
    told.into_iter().map(|told| told.event).collect()
}

fn operator() -> By {
    By {
        actor: Actor::Operator("key_7".to_owned()),
        why: Some("They called; \"sorry\" — 'twas us".to_owned()),
    }
}

/// Each change of an order stands in its history, with the order as it was then.
pub async fn an_order_has_a_history(rig: Rig) {
    let grant = rig.slot(10, 10, 4).await;
    let reserved = rig.reserve(&grant, 1, "anna", 2).await;
    rig.clock.pass(10);
    let pay_by = reserved.pay_by.plus(77);
    let extend = rig.store.extend_order(reserved.id, pay_by, operator()).await.expect("writes");
    let Changed::Done(extended) = extend else { panic!("it is later") };
    rig.clock.pass(10);
    let cancel =
        rig.store.end_order(reserved.id, Ending::Cancel, By::BUYER.clone()).await.expect("writes");
    let Changed::Done(cancelled) = cancel else { panic!("it was reserved") };
    rig.clock.pass(10);
    let Captured::Paid(paid) = capture(&rig, &message(&reserved, "e1", "p1")).await else {
        panic!("units are there")
    };
    rig.clock.pass(10);
    let second = message(&reserved, "e2", "p2");
    let Captured::Refund(_) = capture(&rig, &second).await else { panic!("it was paid") };
    let twice = rig.clock.now();
    rig.clock.pass(10);
    let refund =
        rig.store.end_order(reserved.id, Ending::Refund, operator()).await.expect("writes");
    let Changed::Done(refunded) = refund else { panic!("it was paid") };
    let provider = By::actor(Actor::Provider(PROVIDER.to_owned()));
    let order = |what, order: &Order, by: &By, at| Event {
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
    let at = |order: &Order| order.ended_at.or(order.paid_at).expect("it is not reserved any more");
    let wanted = [
        order(EventType::OrderReserved, &reserved, By::BUYER, reserved.reserved_at),
        order(EventType::OrderExtended, &extended, &operator(), reserved.reserved_at.plus(10)),
        order(EventType::OrderCancelled, &cancelled, By::BUYER, at(&cancelled)),
        order(EventType::OrderPaid, &paid, &provider, at(&paid)),
        back,
        order(EventType::OrderRefunded, &refunded, &operator(), at(&refunded)),
    ];
    assert_eq!(history(&rig, reserved.id).await, wanted);
    assert_eq!((cancelled.paid_at, paid.ended_at), (None, None));
    rig.adds_up().await;
}

/// What did not happen is not told, nor what happened to others.
pub async fn only_what_happened_is_told(rig: Rig) {
    let grant = rig.slot(10, 10, 4).await;
    let order = rig.reserve(&grant, 1, "anna", 2).await;
    let other = rig.reserve(&grant, 2, "bert", 2).await;
    let again = rig.ticket(&grant, 1, "anna", "key-1", 2);
    rig.settle(&again).await;
    for how in [Ending::Refund, Ending::Expire] {
        let end = rig.store.end_order(order.id, how, By::ENGINE.clone()).await.expect("writes");
        assert!(matches!(end, Changed::WrongState(_)));
    }
    rig.told.forget();
    rig.store.extend_order(order.id, order.pay_by, By::ENGINE.clone()).await.expect("writes");
    assert!(rig.told.take().iter().all(|t| !t.events), "nothing happened");
    for of in [&order, &other] {
        let told: Vec<_> = history(&rig, of.id)
            .await
            .into_iter()
            .map(|event| (event.what, event.subject))
            .collect();
        assert_eq!(told, [(EventType::OrderReserved, Subject::Order(of.clone()))]);
    }
    // A number that is taken belongs to its order; a ticket that came with it tells nothing of that order.
    let taken = rig.ticket(&grant, 1, "cleo", "k", 1);
    assert!(rig.settle(&taken).await.order.is_none());
    assert_eq!(history(&rig, order.id).await.len(), 1);
    assert_eq!(history(&rig, id_of(&taken)).await, []);
    rig.adds_up().await;
}

/// A batch tells of each of its orders; what is settled again is not told again.
pub async fn a_batch_tells_of_each_order(rig: Rig) {
    let grant = rig.slot(100, 100, 4).await;
    let tickets: Vec<_> =
        (1..=20).map(|n| rig.ticket(&grant, n, &format!("buyer-{}", n % 15), "k", 1)).collect();
    rig.told.forget();
    let resolved = rig.store.settle(tickets.clone()).await.expect("settles");
    assert!(rig.told.take().iter().any(|t| t.events));
    rig.store.settle(tickets).await.expect("settles");
    let reserved = resolved.iter().filter(|r| r.verdict == Verdict::Reserved);
    let orders: Vec<&Order> = reserved.filter_map(|r| r.order.as_ref()).collect();
    assert_eq!(orders.len(), 15, "the others name the first of their buyer");
    for order in orders {
        let told: Vec<_> = history(&rig, order.id)
            .await
            .into_iter()
            .map(|event| (event.what, event.subject))
            .collect();
        assert_eq!(told, [(EventType::OrderReserved, Subject::Order(order.clone()))]);
    }
    rig.adds_up().await;
}

/// A sale tells that it opened, once, and that it closed.
pub async fn a_sale_tells_that_it_opened_and_closed(rig: Rig) {
    use doorbuster_core::sale::Step::{Close, Open, Pause, Resume, Schedule};
    rig.store
        .create_sale(new_sale("spring", vec![new_item("item", Stock::Counted(3), 1)]))
        .await
        .expect("writes");
    for step in [Schedule, Schedule, Open, Open, Pause, Resume, Close, Open, Close] {
        rig.clock.pass(1);
        rig.store.step_sale("spring", step).await.expect("writes");
    }
    while rig.store.sequence_events(100).await.expect("writes") > 0 {}
    let told = rig.store.told_after(0, 100).await.expect("reads");
    let told: Vec<_> =
        told.into_iter().map(|read| read.expect("a row as it was written")).collect();
    assert!(told.is_sorted_by(|a, b| a.position < b.position));
    let event = |what, ago: i64| Event {
        what,
        subject: Subject::Sale("spring".to_owned()),
        by: By::ENGINE.clone(),
        at: rig.clock.now().plus(-ago),
    };
    let wanted = [event(EventType::SaleOpened, 6), event(EventType::SaleClosed, 2)];
    assert_eq!(told.into_iter().map(|told| told.event).collect::<Vec<_>>(), wanted);
    rig.adds_up().await;
}
