//! Money: each captured payment becomes one paid order or one refund, whatever is repeated, late or wrong.
use std::slice::from_ref;

use doorbuster_core::event::By;
use doorbuster_core::limits::{REFUND_TRIES_MAX, backoff_ms};
use doorbuster_core::money::{
    Capture, Captured, Money, Payment, PaymentId, PaymentState, Refund, RefundCause, RefundId,
    RefundNews, RefundState, RefundTold,
};
use doorbuster_core::order::{Changed, Ending};
use doorbuster_core::{Cause, Counter, Millis, Order, OrderState};

use super::{HOLD_MS, Rig, id_of};
use crate::contract::{MoneyQuery, Notice};

pub mod by_hand;
pub mod checkouts;
pub mod pages;
pub mod races;
pub mod told;

const PROVIDER: &str = "paybank";

/// What `units` of a test's item cost.
fn price(units: u32) -> Money {
    Money { minor: 1_999 * i64::from(units), currency: "EUR".to_owned() }
}

/// A right message for an order.
pub(super) fn message(order: &Order, event: &str, payment: &str) -> Capture {
    Capture {
        event: event.to_owned(),
        provider: PROVIDER.to_owned(),
        payment: PaymentId(payment.to_owned()),
        order: order.id.to_string(),
        money: price(order.units.get()),
    }
}

async fn capture(rig: &Rig, told: &Capture) -> Captured {
    rig.store.capture(told.clone(), false).await.expect("writes")
}

fn refunded(captured: Captured) -> Refund {
    match captured {
        Captured::Refund(refund) => refund,
        other => panic!("no refund: {other:?}"),
    }
}

async fn payments(rig: &Rig, query: MoneyQuery) -> Vec<Payment> {
    rig.store.payments(MoneyQuery { limit: 100, ..query }).await.expect("reads").rows
}

async fn refunds(rig: &Rig, query: MoneyQuery) -> Vec<Refund> {
    rig.store.refunds(MoneyQuery { limit: 100, ..query }).await.expect("reads").rows
}

fn of(order: &Order) -> MoneyQuery {
    MoneyQuery { order: Some(order.id.to_string()), oldest_first: true, ..MoneyQuery::default() }
}

async fn now(rig: &Rig, order: &Order) -> Order {
    rig.store.order(order.id).await.expect("reads").expect("an order")
}

async fn notices(rig: &Rig) -> Vec<Notice> {
    rig.store.check().await.expect("reads").notices
}

/// A payment pays for its order once, however often its provider says so.
pub async fn a_payment_pays_once(rig: Rig) {
    let grant = rig.slot(10, 10, 4).await;
    let order = rig.reserve(&grant, 1, "anna", 3).await;
    rig.clock.pass(7);
    rig.told.forget();
    let told = message(&order, "evt_1", "pay_1");
    let Captured::Paid(paid) = capture(&rig, &told).await else { panic!("it is the right amount") };
    assert_eq!((paid.state, paid.paid_at), (OrderState::Paid, Some(rig.clock.now())));
    assert_eq!(now(&rig, &order).await, paid);
    assert!(
        rig.told.take().iter().any(|t| t.events && t.orders == [paid.clone()]),
        "publishers and pages hear of it"
    );
    let payment = Payment {
        id: told.payment.clone(),
        provider: PROVIDER.to_owned(),
        order: order.id.to_string(),
        money: price(3),
        state: PaymentState::Captured,
        at: rig.clock.now(),
    };
    assert_eq!(payments(&rig, of(&order)).await, from_ref(&payment));
    rig.clock.pass(1);
    assert_eq!(capture(&rig, &told).await, Captured::Repeated, "the same message");
    let other = Capture { event: "evt_2".to_owned(), ..told.clone() };
    assert_eq!(
        capture(&rig, &other).await,
        Captured::Repeated,
        "the same payment in another message"
    );
    assert_eq!(capture(&rig, &other).await, Captured::Repeated);
    assert_eq!(payments(&rig, of(&order)).await, [payment]);
    assert_eq!(refunds(&rig, of(&order)).await, []);
    rig.expect_units(grant.slot.item, 0, 7, 0, 3).await;
    assert_eq!(notices(&rig).await, []);
    // What one provider calls its message says nothing about another's.
    let second =
        Capture { provider: "other".to_owned(), payment: PaymentId("pay_2".to_owned()), ..told };
    assert_eq!(refunded(capture(&rig, &second).await).cause, RefundCause::Second);
}

/// A second payment for a paid order goes back, and is noticed.
pub async fn a_second_payment_goes_back(rig: Rig) {
    let grant = rig.slot(10, 10, 4).await;
    let order = rig.reserve(&grant, 1, "anna", 2).await;
    capture(&rig, &message(&order, "evt_1", "pay_1")).await;
    rig.clock.pass(5);
    let told = message(&order, "evt_2", "pay_2");
    let refund = refunded(capture(&rig, &told).await);
    let wanted = Refund {
        id: RefundId::of(&told.payment),
        payment: told.payment.clone(),
        provider: PROVIDER.to_owned(),
        order: order.id.to_string(),
        money: price(2),
        cause: RefundCause::Second,
        state: RefundState::Pending,
        accepted: false,
        tries: 0,
        next_at: rig.clock.now(),
        error: None,
        at: rig.clock.now(),
        settled_at: None,
    };
    assert_eq!(refund, wanted);
    assert_eq!(refunds(&rig, of(&order)).await, [wanted]);
    let states: Vec<_> = payments(&rig, of(&order)).await.iter().map(|p| p.state).collect();
    assert_eq!(states, [PaymentState::Captured, PaymentState::Refunded]);
    let notice = Notice {
        what: RefundCause::Second,
        item: Some(order.item),
        payment: told.payment,
        order: order.id.to_string(),
        money: price(2),
        at: rig.clock.now(),
    };
    assert_eq!(notices(&rig).await, [notice]);
    rig.expect_units(grant.slot.item, 0, 8, 0, 2).await;
}

/// Another amount or currency pays for nothing.
pub async fn what_is_not_the_price_goes_back(rig: Rig) {
    let grant = rig.slot(10, 10, 4).await;
    let order = rig.reserve(&grant, 1, "anna", 2).await;
    let right = message(&order, "", "");
    let wrong = [
        Money { minor: 1_999, ..price(2) },
        Money { minor: 3_999, ..price(2) },
        Money { minor: -3_998, ..price(2) },
        Money { currency: "eur".to_owned(), ..price(2) },
        Money { currency: "USD".to_owned(), ..price(2) },
    ];
    for (n, money) in wrong.into_iter().enumerate() {
        let (event, payment) = (format!("evt_{n}"), PaymentId(format!("pay_{n}")));
        let refund = refunded(
            capture(&rig, &Capture { event, payment, money: money.clone(), ..right.clone() }).await,
        );
        assert_eq!((refund.cause, refund.money), (RefundCause::Mismatch, money));
    }
    assert_eq!(now(&rig, &order).await, order, "it waits for its payment still");
    assert_eq!(notices(&rig).await.len(), 5);
    assert!(matches!(capture(&rig, &message(&order, "evt_9", "pay_9")).await, Captured::Paid(_)));
    rig.expect_units(grant.slot.item, 0, 8, 0, 2).await;
}

/// Money for no order of ours goes back and is listed.
pub async fn a_payment_for_nothing_goes_back(rig: Rig) {
    let grant = rig.slot(10, 10, 4).await;
    let order = rig.reserve(&grant, 1, "anna", 2).await;
    // The same grant and number, another request: an id that somebody made up.
    let forged = id_of(&rig.ticket(&grant, 1, "anna", "another", 2)).to_string();
    assert_ne!(forged, order.id.to_string());
    for (n, named) in ["", "ord_x", "nothing", &forged].into_iter().enumerate() {
        let right = message(&order, &format!("evt_{n}"), &format!("pay_{n}"));
        let told = Capture { order: named.to_owned(), ..right };
        let refund = refunded(capture(&rig, &told).await);
        assert_eq!((refund.cause, refund.order.as_str()), (RefundCause::UnknownOrder, named));
        assert_eq!(
            refunds(&rig, MoneyQuery { order: Some(named.to_owned()), ..of(&order) }).await,
            [refund]
        );
    }
    assert_eq!(now(&rig, &order).await, order);
    assert_eq!(payments(&rig, of(&order)).await, []);
    let items = |item| MoneyQuery { items: Some(vec![item]), ..MoneyQuery::default() };
    assert_eq!(payments(&rig, items(order.item)).await, [], "none of them is of an item");
    let noticed = notices(&rig).await;
    assert_eq!(
        noticed.iter().map(|n| (n.what, n.item)).collect::<Vec<_>>(),
        vec![(RefundCause::UnknownOrder, None); 4]
    );
    assert_eq!(noticed[0].order, forged, "the newest first");
    rig.adds_up().await;
}

/// A late payment takes units that lie in the pool.
pub async fn a_late_payment_takes_what_is_there(rig: Rig) {
    let grant = rig.slot(10, 10, 4).await;
    let order = rig.reserve(&grant, 1, "anna", 3).await;
    rig.clock.pass(HOLD_MS);
    assert_eq!(rig.store.expire_due(10).await.expect("writes").len(), 1);
    let Captured::Paid(paid) = capture(&rig, &message(&order, "evt_1", "pay_1")).await else {
        panic!("3 lie there")
    };
    assert_eq!(
        (paid.state, paid.ended_at, paid.paid_at),
        (OrderState::Paid, None, Some(rig.clock.now()))
    );
    assert_eq!(capture(&rig, &message(&order, "evt_1", "pay_1")).await, Captured::Repeated);
    rig.expect_units(grant.slot.item, 0, 7, 0, 3).await;
}

/// What the pool lacks may be in slots: nothing is decided before they were asked.
pub async fn a_late_payment_waits_for_units_in_slots(rig: Rig) {
    let grant = rig.slot(10, 10, 4).await;
    let order = rig.reserve(&grant, 1, "anna", 3).await;
    rig.store.end_order(order.id, Ending::Cancel, By::BUYER.clone()).await.expect("writes");
    assert_eq!(rig.store.refill(grant.id, 2, Counter::A).await.expect("writes"), 2);
    let told = message(&order, "evt_1", "pay_1");
    let cancelled = now(&rig, &order).await;
    assert_eq!(capture(&rig, &told).await, Captured::Lacks { order: cancelled.clone(), units: 2 });
    assert_eq!(
        (payments(&rig, of(&order)).await, refunds(&rig, of(&order)).await),
        (vec![], vec![]),
        "not written"
    );
    let late = rig.store.capture(told.clone(), true).await.expect("writes");
    assert_eq!(refunded(late).cause, RefundCause::Late);
    assert_eq!(rig.store.capture(told, true).await.expect("writes"), Captured::Repeated);
    assert_eq!(now(&rig, &order).await, cancelled);
    assert_eq!(notices(&rig).await, [], "nobody did anything wrong");
    rig.expect_units(grant.slot.item, 1, 9, 0, 0).await;
}

/// A late payment beyond the limit goes back, though there are units.
pub async fn a_late_payment_beyond_the_limit_is_refunded(rig: Rig) {
    let grant = rig.slot(10, 10, 4).await;
    let order = rig.reserve(&grant, 1, "anna", 3).await;
    rig.store.end_order(order.id, Ending::Cancel, By::BUYER.clone()).await.expect("writes");
    rig.reserve(&grant, 2, "anna", 2).await;
    assert_eq!(
        refunded(capture(&rig, &message(&order, "evt_1", "pay_1")).await).cause,
        RefundCause::Late
    );
    rig.expect_units(grant.slot.item, 3, 5, 2, 0).await;
}

/// A late payment when nothing is left anywhere goes back at once.
pub async fn a_late_payment_for_what_is_gone_is_refunded(rig: Rig) {
    let grant = rig.slot(3, 3, 3).await;
    let order = rig.reserve(&grant, 1, "anna", 3).await;
    rig.store.end_order(order.id, Ending::Cancel, By::BUYER.clone()).await.expect("writes");
    rig.store.close_grant(grant.id, Cause::Ended).await.expect("writes");
    let again = rig.open(grant.slot, 3).await;
    rig.reserve(&again, 1, "bert", 3).await;
    assert_eq!(
        refunded(capture(&rig, &message(&order, "evt_1", "pay_1")).await).cause,
        RefundCause::Late
    );
    rig.expect_units(grant.slot.item, 0, 0, 3, 0).await;
}

/// A payment that did not succeed is known and changes nothing; it may succeed yet.
pub async fn a_failed_payment_may_succeed_yet(rig: Rig) {
    let grant = rig.slot(10, 10, 4).await;
    let order = rig.reserve(&grant, 1, "anna", 2).await;
    let told = message(&order, "evt_1", "pay_1");
    assert!(rig.store.fail_payment(told.clone()).await.expect("writes"));
    assert!(!rig.store.fail_payment(told.clone()).await.expect("writes"));
    assert_eq!(capture(&rig, &told).await, Captured::Repeated, "the message was taken");
    assert_eq!(payments(&rig, of(&order)).await[0].state, PaymentState::Failed);
    assert_eq!(now(&rig, &order).await, order);
    assert!(matches!(capture(&rig, &message(&order, "evt_2", "pay_1")).await, Captured::Paid(_)));
    let late = Capture { event: "evt_3".to_owned(), ..told };
    assert!(rig.store.fail_payment(late).await.expect("writes"), "a message that came late");
    let states: Vec<_> = payments(&rig, of(&order)).await.iter().map(|p| p.state).collect();
    assert_eq!(states, [PaymentState::Captured]);
    rig.expect_units(grant.slot.item, 0, 8, 0, 2).await;
}

/// A refunded order refunds its payment, once, and the provider's word settles it.
pub async fn a_refunded_order_refunds_its_payment(rig: Rig) {
    let grant = rig.slot(10, 10, 4).await;
    let order = rig.reserve(&grant, 1, "anna", 2).await;
    capture(&rig, &message(&order, "evt_1", "pay_1")).await;
    let end = || rig.store.end_order(order.id, Ending::Refund, By::ENGINE.clone());
    assert!(matches!(end().await.expect("writes"), Changed::Done(_)));
    assert!(matches!(end().await.expect("writes"), Changed::Already(_)));
    let refund = refunds(&rig, of(&order)).await.remove(0);
    let pending =
        (RefundCause::Operator, RefundState::Pending, RefundId::of(&PaymentId("pay_1".to_owned())));
    assert_eq!((refund.cause, refund.state, refund.id.clone()), pending);
    assert_eq!(payments(&rig, of(&order)).await[0].state, PaymentState::Refunded);
    rig.expect_units(grant.slot.item, 2, 8, 0, 0).await;
    rig.clock.pass(9);
    let tell = async |event: &str, id: &RefundId, news| {
        let (provider, event) = (PROVIDER.to_owned(), event.to_owned());
        rig.store.settle_refund(provider, event, id.clone(), news).await.expect("writes")
    };
    assert_eq!(tell("evt_2", &refund.id, RefundNews::Settled).await, RefundTold::Taken);
    assert_eq!(tell("evt_2", &refund.id, RefundNews::Settled).await, RefundTold::Repeated);
    let settled = refunds(&rig, of(&order)).await.remove(0);
    assert_eq!((settled.state, settled.settled_at), (RefundState::Settled, Some(rig.clock.now())));
    rig.clock.pass(9);
    assert_eq!(tell("evt_3", &refund.id, RefundNews::Settled).await, RefundTold::Taken);
    let failed = rig
        .store
        .note_refund(refund.id.clone(), RefundNews::Failed("?".to_owned()))
        .await
        .expect("writes");
    assert_eq!(failed, Some(settled.clone()), "what arrived has arrived");
    let nobodys = RefundId("re_none".to_owned());
    for _ in 0..2 {
        assert_eq!(
            tell("evt_4", &nobodys, RefundNews::Settled).await,
            RefundTold::NoRefund,
            "it is not taken"
        );
    }
    assert_eq!(refunds(&rig, of(&order)).await, from_ref(&settled));
    // But for the money itself: the provider says that it came back.
    let news = async |news| {
        rig.store.note_refund(refund.id.clone(), news).await.expect("writes").expect("a refund")
    };
    let why = || RefundNews::CameBack("the account is closed".to_owned());
    assert_eq!(tell("evt_5", &refund.id, why()).await, RefundTold::Taken);
    let back = refunds(&rig, of(&order)).await.remove(0);
    assert_eq!((back.state, back.settled_at, back.accepted), (RefundState::Failed, None, false));
    assert!(
        back.error.as_deref().is_some_and(|error| error.contains("the account is closed")),
        "{back:?}"
    );
    assert_eq!(rig.store.dead_counts().await.expect("reads").refunds, 1, "an operator is to look");
    assert_eq!(tell("evt_6", &refund.id, RefundNews::Settled).await, RefundTold::Taken);
    for late in [
        RefundNews::Settled,
        RefundNews::Accepted { again_ms: 5 },
        RefundNews::Failed("?".to_owned()),
    ] {
        assert_eq!(news(late).await, back, "nothing late undoes it");
    }
    // An operator has it asked for anew; older news are of what came back.
    let again =
        rig.store.retry_refund(refund.id.clone()).await.expect("writes").expect("it was given up");
    assert_eq!((again.state, again.accepted, again.tries), (RefundState::Pending, false, 0));
    assert_eq!(tell("evt_7", &refund.id, RefundNews::Settled).await, RefundTold::Taken);
    assert_eq!(refunds(&rig, of(&order)).await[0].state, RefundState::Pending);
    assert!(news(RefundNews::Accepted { again_ms: 5 }).await.accepted, "an answer is believed");
    assert_eq!(tell("evt_8", &refund.id, RefundNews::Settled).await, RefundTold::Taken);
    let doubted = refunds(&rig, of(&order)).await.remove(0);
    assert_eq!(
        (doubted.state, doubted.next_at),
        (RefundState::Pending, rig.clock.now()),
        "it may be about what came back"
    );
    assert_eq!(news(RefundNews::Settled).await.state, RefundState::Settled);
    rig.adds_up().await;
}

/// A provider is asked again after longer and longer waits, then an operator is.
pub async fn a_refund_is_tried_again_and_given_up(rig: Rig) {
    let grant = rig.slot(10, 10, 4).await;
    let order = rig.reserve(&grant, 1, "anna", 2).await;
    assert_eq!(rig.store.next_refund_due().await.expect("reads"), None);
    let named = |n: u32| Capture {
        order: "none".to_owned(),
        ..message(&order, &format!("e{n}"), &format!("p{n}"))
    };
    let first = refunded(capture(&rig, &named(1)).await);
    rig.clock.pass(1);
    let second = refunded(capture(&rig, &named(2)).await);
    let due = async || {
        rig.store.refunds_due(9).await.expect("reads").into_iter().map(|r| r.id).collect::<Vec<_>>()
    };
    let news = async |news| {
        rig.store.note_refund(first.id.clone(), news).await.expect("writes").expect("a refund")
    };
    assert_eq!(due().await, [first.id.clone(), second.id.clone()], "the longest due first");
    assert_eq!(rig.store.refunds_due(1).await.expect("reads"), from_ref(&first));
    let waiting = news(RefundNews::Accepted { again_ms: 500 }).await;
    assert!(waiting.accepted && waiting.state == RefundState::Pending);
    assert_eq!(due().await, from_ref(&second.id));
    rig.store.note_refund(second.id, RefundNews::Settled).await.expect("writes");
    assert_eq!(
        (due().await, rig.store.next_refund_due().await.expect("reads")),
        (vec![], Some(waiting.next_at))
    );
    rig.clock.pass(500);
    let mut spread = false;
    for tries in 1..REFUND_TRIES_MAX {
        assert_eq!(due().await, from_ref(&first.id));
        let failed = news(RefundNews::Failed(format!("no {tries}"))).await;
        assert_eq!((failed.tries, failed.error), (tries, Some(format!("no {tries}"))));
        let (wait, about) = (failed.next_at.0 - rig.clock.now().0, backoff_ms(tries));
        assert!(
            (about * 3 / 4..=about * 5 / 4).contains(&wait) && failed.accepted,
            "{wait} is about {about}"
        );
        spread |= wait != about;
        rig.clock.pass(wait - 1);
        assert_eq!(due().await, []);
        rig.clock.pass(1);
    }
    assert!(spread, "what fails together is not asked for together");
    let discard = async || {
        rig.store.discard_refund(first.id.clone(), "paid by hand".to_owned()).await.expect("writes")
    };
    assert!(!discard().await, "it may still succeed");
    assert_eq!(rig.store.retry_refund(first.id.clone()).await.expect("writes"), None);
    assert_eq!(news(RefundNews::Failed("no".to_owned())).await.state, RefundState::Failed);
    assert_eq!((due().await, rig.store.next_refund_due().await.expect("reads")), (vec![], None));
    assert!(discard().await);
    assert!(!discard().await, "once");
    let again =
        rig.store.retry_refund(first.id.clone()).await.expect("writes").expect("it was given up");
    assert_eq!(
        (again.state, again.tries, again.next_at),
        (RefundState::Pending, 0, rig.clock.now())
    );
    assert_eq!(due().await, [first.id]);
    rig.adds_up().await;
}

fn later(rig: &Rig, ms: i64) -> Millis {
    rig.clock.now().plus(ms)
}
