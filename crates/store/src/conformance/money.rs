//! Tests payments: each captured payment pays for one order or is refunded once.
use std::slice::from_ref;

use doorbuster_core::backoff::backoff_ms;
use doorbuster_core::event::Attribution;
use doorbuster_core::limits::REFUND_TRIES_MAX;
use doorbuster_core::money::{
    Capture, CaptureOutcome, Money, Payment, PaymentId, PaymentState, Refund, RefundCause,
    RefundId, RefundMessageOutcome, RefundState, RefundUpdate,
};
use doorbuster_core::order::{ChangeOutcome, EndReason};
use doorbuster_core::{CloseCause, Counter, Millis, Order, OrderState};

use super::{Fixture, HOLD_MS, id_of};
use crate::contract::{MoneyQuery, RefundNotice};

pub mod checkouts;
pub mod due_checkouts;
pub mod history;
pub mod operator;
pub mod pages;
pub mod races;
pub mod repeated_failures;
pub mod undecided;

const PROVIDER: &str = "paybank";

fn price(units: u32) -> Money {
    Money { minor: 1_999 * i64::from(units), currency: "EUR".to_owned() }
}

/// Returns a provider's valid message that reports a payment for the order.
pub(super) fn message(order: &Order, event: &str, payment: &str) -> Capture {
    Capture {
        event: event.to_owned(),
        provider: PROVIDER.to_owned(),
        payment: PaymentId(payment.to_owned()),
        order: order.id.to_string(),
        money: price(order.units.get()),
    }
}

async fn capture(fixture: &Fixture, report: &Capture) -> CaptureOutcome {
    fixture.store.capture(report.clone(), false).await.expect("writes")
}

fn refunded(captured: CaptureOutcome) -> Refund {
    match captured {
        CaptureOutcome::Refund(refund) => refund,
        other => panic!("expected a refund: {other:?}"),
    }
}

async fn payments(fixture: &Fixture, query: MoneyQuery) -> Vec<Payment> {
    fixture.store.payments(MoneyQuery { limit: 100, ..query }).await.expect("reads").rows
}

async fn refunds(fixture: &Fixture, query: MoneyQuery) -> Vec<Refund> {
    fixture.store.refunds(MoneyQuery { limit: 100, ..query }).await.expect("reads").rows
}

fn for_payment(order: &Order) -> MoneyQuery {
    MoneyQuery { order: Some(order.id.to_string()), oldest_first: true, ..MoneyQuery::default() }
}

async fn now(fixture: &Fixture, order: &Order) -> Order {
    fixture.store.order(order.id).await.expect("reads").expect("an order")
}

async fn notices(fixture: &Fixture) -> Vec<RefundNotice> {
    fixture.store.check().await.expect("reads").notices
}

/// A payment pays for its order once, however often its provider reports it.
pub async fn a_payment_pays_once(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 3).await;
    fixture.clock.advance(7);
    fixture.commits.forget();
    let report = message(&order, "evt_1", "pay_1");
    let CaptureOutcome::Paid(paid) = capture(&fixture, &report).await else {
        panic!("the payment must pay for the order")
    };
    assert_eq!((paid.state, paid.paid_at), (OrderState::Paid, Some(fixture.clock.now())));
    assert_eq!(now(&fixture, &order).await, paid);
    assert!(
        fixture.commits.take().iter().any(|t| t.events && t.orders == [paid.clone()]),
        "the payment must be published"
    );
    let payment = Payment {
        id: report.payment.clone(),
        provider: PROVIDER.to_owned(),
        order: order.id.to_string(),
        money: price(3),
        state: PaymentState::Captured,
        at: fixture.clock.now(),
    };
    assert_eq!(payments(&fixture, for_payment(&order)).await, from_ref(&payment));
    fixture.clock.advance(1);
    assert_eq!(capture(&fixture, &report).await, CaptureOutcome::Repeated, "a repeat took effect");
    let other = Capture { event: "evt_2".to_owned(), ..report.clone() };
    assert_eq!(
        capture(&fixture, &other).await,
        CaptureOutcome::Repeated,
        "a second message about the same payment must have no effect"
    );
    assert_eq!(capture(&fixture, &other).await, CaptureOutcome::Repeated);
    assert_eq!(payments(&fixture, for_payment(&order)).await, [payment]);
    assert_eq!(refunds(&fixture, for_payment(&order)).await, []);
    fixture.expect_units(grant.slot.item, 0, 7, 0, 3).await;
    assert_eq!(notices(&fixture).await, []);
    // Two providers may use the same message id.
    let second =
        Capture { provider: "other".to_owned(), payment: PaymentId("pay_2".to_owned()), ..report };
    assert_eq!(refunded(capture(&fixture, &second).await).cause, RefundCause::Second);
}

/// If an order is already paid, a second payment for it is refunded, and listed as a notice.
pub async fn a_second_payment_is_refunded(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 2).await;
    capture(&fixture, &message(&order, "evt_1", "pay_1")).await;
    fixture.clock.advance(5);
    let report = message(&order, "evt_2", "pay_2");
    let refund = refunded(capture(&fixture, &report).await);
    let wanted = Refund {
        id: RefundId::for_payment(&report.payment),
        payment: report.payment.clone(),
        provider: PROVIDER.to_owned(),
        order: order.id.to_string(),
        money: price(2),
        cause: RefundCause::Second,
        state: RefundState::Pending,
        accepted: false,
        tries: 0,
        next_at: fixture.clock.now(),
        error: None,
        at: fixture.clock.now(),
        settled_at: None,
    };
    assert_eq!(refund, wanted);
    assert_eq!(refunds(&fixture, for_payment(&order)).await, [wanted]);
    let states: Vec<_> =
        payments(&fixture, for_payment(&order)).await.iter().map(|p| p.state).collect();
    assert_eq!(states, [PaymentState::Captured, PaymentState::Refunded]);
    let notice = RefundNotice {
        what: RefundCause::Second,
        item: Some(order.item),
        payment: report.payment,
        order: order.id.to_string(),
        money: price(2),
        at: fixture.clock.now(),
    };
    assert_eq!(notices(&fixture).await, [notice]);
    fixture.expect_units(grant.slot.item, 0, 8, 0, 2).await;
}

/// A payment with a wrong amount or currency is refunded, and does not pay for the order.
pub async fn a_payment_of_another_amount_is_refunded(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 2).await;
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
            capture(&fixture, &Capture { event, payment, money: money.clone(), ..right.clone() })
                .await,
        );
        assert_eq!((refund.cause, refund.money), (RefundCause::Mismatch, money));
    }
    assert_eq!(now(&fixture, &order).await, order, "the order must still wait for payment");
    assert_eq!(notices(&fixture).await.len(), 5);
    assert!(matches!(
        capture(&fixture, &message(&order, "evt_9", "pay_9")).await,
        CaptureOutcome::Paid(_)
    ));
    fixture.expect_units(grant.slot.item, 0, 8, 0, 2).await;
}

/// A payment for an unknown order is refunded, and listed as a notice.
pub async fn a_payment_for_an_unknown_order_is_refunded(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 2).await;
    // The id is forged: it has the order's grant and number, but belongs to another request.
    let forged = id_of(&fixture.ticket(&grant, 1, "anna", "another", 2)).to_string();
    assert_ne!(forged, order.id.to_string());
    for (n, named) in ["", "ord_x", "nothing", &forged].into_iter().enumerate() {
        let right = message(&order, &format!("evt_{n}"), &format!("pay_{n}"));
        let report = Capture { order: named.to_owned(), ..right };
        let refund = refunded(capture(&fixture, &report).await);
        assert_eq!((refund.cause, refund.order.as_str()), (RefundCause::UnknownOrder, named));
        assert_eq!(
            refunds(&fixture, MoneyQuery { order: Some(named.to_owned()), ..for_payment(&order) })
                .await,
            [refund]
        );
    }
    assert_eq!(now(&fixture, &order).await, order);
    assert_eq!(payments(&fixture, for_payment(&order)).await, []);
    let items = |item| MoneyQuery { items: Some(vec![item]), ..MoneyQuery::default() };
    assert_eq!(payments(&fixture, items(order.item)).await, [], "an unknown order got an item");
    let noticed = notices(&fixture).await;
    assert_eq!(
        noticed.iter().map(|n| (n.what, n.item)).collect::<Vec<_>>(),
        vec![(RefundCause::UnknownOrder, None); 4]
    );
    assert_eq!(noticed[0].order, forged, "the newest notice must come first");
    fixture.check_invariants().await;
}

/// A late payment takes the units for its order from the pool.
pub async fn a_late_payment_takes_units_of_the_pool(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 3).await;
    fixture.clock.advance(HOLD_MS);
    assert_eq!(fixture.store.expire_due(10).await.expect("writes").len(), 1);
    let CaptureOutcome::Paid(paid) = capture(&fixture, &message(&order, "evt_1", "pay_1")).await
    else {
        panic!("the payment must get units of the pool")
    };
    assert_eq!(
        (paid.state, paid.ended_at, paid.paid_at),
        (OrderState::Paid, None, Some(fixture.clock.now()))
    );
    assert_eq!(
        capture(&fixture, &message(&order, "evt_1", "pay_1")).await,
        CaptureOutcome::Repeated
    );
    fixture.expect_units(grant.slot.item, 0, 7, 0, 3).await;
}

/// If the pool lacks units for a late payment, the caller can first recall units from slots.
pub async fn a_late_payment_waits_for_units_in_slots(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 3).await;
    fixture
        .store
        .end_order(order.id, EndReason::Cancel, Attribution::BUYER.clone())
        .await
        .expect("writes");
    assert_eq!(fixture.store.refill(grant.id, 2, Counter::A).await.expect("writes"), 2);
    let late = message(&order, "evt_1", "pay_1");
    let cancelled = now(&fixture, &order).await;
    assert_eq!(
        capture(&fixture, &late).await,
        CaptureOutcome::UnitsMissing { order: cancelled.clone(), units: 2 }
    );
    assert_eq!(
        (
            payments(&fixture, for_payment(&order)).await,
            refunds(&fixture, for_payment(&order)).await
        ),
        (vec![], vec![]),
        "the call must write nothing"
    );
    let last = fixture.store.capture(late.clone(), true).await.expect("writes");
    assert_eq!(refunded(last).cause, RefundCause::Late);
    assert_eq!(fixture.store.capture(late, true).await.expect("writes"), CaptureOutcome::Repeated);
    assert_eq!(now(&fixture, &order).await, cancelled);
    assert_eq!(notices(&fixture).await, [], "a late payment must not be listed as a mistake");
    fixture.expect_units(grant.slot.item, 1, 9, 0, 0).await;
}

/// A late payment is refunded if its order would exceed the buyer's limit, even if units are free.
pub async fn a_late_payment_beyond_the_limit_is_refunded(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 3).await;
    fixture
        .store
        .end_order(order.id, EndReason::Cancel, Attribution::BUYER.clone())
        .await
        .expect("writes");
    fixture.reserve(&grant, 2, "anna", 2).await;
    assert_eq!(
        refunded(capture(&fixture, &message(&order, "evt_1", "pay_1")).await).cause,
        RefundCause::Late
    );
    fixture.expect_units(grant.slot.item, 3, 5, 2, 0).await;
}

/// A late payment is refunded at once if neither the pool nor a slot has units.
pub async fn a_late_payment_without_any_units_left_is_refunded(fixture: Fixture) {
    let grant = fixture.slot(3, 3, 3).await;
    let order = fixture.reserve(&grant, 1, "anna", 3).await;
    fixture
        .store
        .end_order(order.id, EndReason::Cancel, Attribution::BUYER.clone())
        .await
        .expect("writes");
    fixture.store.close_grant(grant.id, CloseCause::Ended).await.expect("writes");
    let again = fixture.open(grant.slot, 3).await;
    fixture.reserve(&again, 1, "bert", 3).await;
    assert_eq!(
        refunded(capture(&fixture, &message(&order, "evt_1", "pay_1")).await).cause,
        RefundCause::Late
    );
    fixture.expect_units(grant.slot.item, 0, 0, 3, 0).await;
}

/// A failed payment does not change its order. The same payment may succeed later.
pub async fn a_failed_payment_may_succeed_later(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 2).await;
    let report = message(&order, "evt_1", "pay_1");
    assert!(fixture.store.fail_payment(report.clone()).await.expect("writes"));
    assert!(!fixture.store.fail_payment(report.clone()).await.expect("writes"));
    assert_eq!(capture(&fixture, &report).await, CaptureOutcome::Repeated, "a repeat took effect");
    assert_eq!(payments(&fixture, for_payment(&order)).await[0].state, PaymentState::Failed);
    assert_eq!(now(&fixture, &order).await, order);
    assert!(matches!(
        capture(&fixture, &message(&order, "evt_2", "pay_1")).await,
        CaptureOutcome::Paid(_)
    ));
    let late = Capture { event: "evt_3".to_owned(), ..report };
    assert!(fixture.store.fail_payment(late).await.expect("writes"), "the late message is lost");
    let states: Vec<_> =
        payments(&fixture, for_payment(&order)).await.iter().map(|p| p.state).collect();
    assert_eq!(states, [PaymentState::Captured]);
    fixture.expect_units(grant.slot.item, 0, 8, 0, 2).await;
}

/// If an order is refunded, its payment is refunded once. The provider's confirmation settles the
/// refund.
pub async fn a_refunded_order_refunds_its_payment(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 2).await;
    capture(&fixture, &message(&order, "evt_1", "pay_1")).await;
    let end = || fixture.store.end_order(order.id, EndReason::Refund, Attribution::ENGINE.clone());
    assert!(matches!(end().await.expect("writes"), ChangeOutcome::Done(_)));
    assert!(matches!(end().await.expect("writes"), ChangeOutcome::Already(_)));
    let refund = refunds(&fixture, for_payment(&order)).await.remove(0);
    let pending = (
        RefundCause::Operator,
        RefundState::Pending,
        RefundId::for_payment(&PaymentId("pay_1".to_owned())),
    );
    assert_eq!((refund.cause, refund.state, refund.id.clone()), pending);
    assert_eq!(payments(&fixture, for_payment(&order)).await[0].state, PaymentState::Refunded);
    fixture.expect_units(grant.slot.item, 2, 8, 0, 0).await;
    fixture.clock.advance(9);
    let send = async |event: &str, id: &RefundId, update| {
        let (provider, event) = (PROVIDER.to_owned(), event.to_owned());
        fixture.store.settle_refund(provider, event, id.clone(), update).await.expect("writes")
    };
    assert_eq!(
        send("evt_2", &refund.id, RefundUpdate::Settled).await,
        RefundMessageOutcome::Applied
    );
    assert_eq!(
        send("evt_2", &refund.id, RefundUpdate::Settled).await,
        RefundMessageOutcome::Repeated
    );
    let settled = refunds(&fixture, for_payment(&order)).await.remove(0);
    assert_eq!(
        (settled.state, settled.settled_at),
        (RefundState::Settled, Some(fixture.clock.now()))
    );
    fixture.clock.advance(9);
    assert_eq!(
        send("evt_3", &refund.id, RefundUpdate::Settled).await,
        RefundMessageOutcome::Applied
    );
    let failed = RefundUpdate::Failed("?".to_owned());
    let after = fixture.store.apply_refund_update(refund.id.clone(), failed).await;
    assert_eq!(after.expect("writes"), Some(settled.clone()), "a settled refund must stay settled");
    let unknown = RefundId("re_none".to_owned());
    for _ in 0..2 {
        assert_eq!(
            send("evt_4", &unknown, RefundUpdate::Settled).await,
            RefundMessageOutcome::NoRefund,
            "a message about an unknown refund must not be recorded"
        );
    }
    assert_eq!(refunds(&fixture, for_payment(&order)).await, from_ref(&settled));
    // A message says that the money of the settled refund came back. The refund fails when the
    // provider's answer to a later query confirms this.
    let apply = async |update| {
        let noted = fixture.store.apply_refund_update(refund.id.clone(), update).await;
        noted.expect("writes").expect("a refund")
    };
    let why = || RefundUpdate::CameBack("the account is closed".to_owned());
    assert_eq!(send("evt_5", &refund.id, why()).await, RefundMessageOutcome::Applied);
    let back = apply(why()).await;
    assert_eq!((back.state, back.settled_at, back.accepted), (RefundState::Failed, None, false));
    assert!(
        back.error.as_deref().is_some_and(|error| error.contains("the account is closed")),
        "{back:?}"
    );
    assert_eq!(
        fixture.store.dead_letter_counts().await.expect("reads").refunds,
        1,
        "the refund must be a dead letter"
    );
    assert_eq!(
        send("evt_6", &refund.id, RefundUpdate::Settled).await,
        RefundMessageOutcome::Applied
    );
    for late in [
        RefundUpdate::Settled,
        RefundUpdate::Accepted { again_ms: 5 },
        RefundUpdate::Failed("?".to_owned()),
    ] {
        assert_eq!(apply(late).await, back, "a late report must change nothing");
    }
    // An operator requests the refund again. A message that arrives after that can still be about
    // the first attempt.
    let again = fixture
        .store
        .retry_refund(refund.id.clone())
        .await
        .expect("writes")
        .expect("the refund had failed");
    assert_eq!((again.state, again.accepted, again.tries), (RefundState::Pending, false, 0));
    assert_eq!(
        send("evt_7", &refund.id, RefundUpdate::Settled).await,
        RefundMessageOutcome::Applied
    );
    assert_eq!(refunds(&fixture, for_payment(&order)).await[0].state, RefundState::Pending);
    assert!(apply(RefundUpdate::Accepted { again_ms: 5 }).await.accepted, "the answer must stay");
    assert_eq!(
        send("evt_8", &refund.id, RefundUpdate::Settled).await,
        RefundMessageOutcome::Applied
    );
    let doubted = refunds(&fixture, for_payment(&order)).await.remove(0);
    assert_eq!(
        (doubted.state, doubted.next_at),
        (RefundState::Pending, fixture.clock.now()),
        "the refund must be checked again: the message may be about the first attempt"
    );
    assert_eq!(apply(RefundUpdate::Settled).await.state, RefundState::Settled);
    fixture.check_invariants().await;
}

/// The server retries a refund with growing pauses, and finally makes it a dead letter.
pub async fn a_refund_is_retried_and_becomes_a_dead_letter(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 2).await;
    assert_eq!(fixture.store.next_refund_due().await.expect("reads"), None);
    let named = |n: u32| Capture {
        order: "none".to_owned(),
        ..message(&order, &format!("e{n}"), &format!("p{n}"))
    };
    let first = refunded(capture(&fixture, &named(1)).await);
    fixture.clock.advance(1);
    let second = refunded(capture(&fixture, &named(2)).await);
    let due = async || {
        fixture
            .store
            .refunds_due(9)
            .await
            .expect("reads")
            .into_iter()
            .map(|r| r.id)
            .collect::<Vec<_>>()
    };
    let apply = async |update| {
        let noted = fixture.store.apply_refund_update(first.id.clone(), update).await;
        noted.expect("writes").expect("a refund")
    };
    assert_eq!(due().await, [first.id.clone(), second.id.clone()], "the oldest must come first");
    assert_eq!(fixture.store.refunds_due(1).await.expect("reads"), from_ref(&first));
    let waiting = apply(RefundUpdate::Accepted { again_ms: 500 }).await;
    assert!(waiting.accepted && waiting.state == RefundState::Pending);
    assert_eq!(due().await, from_ref(&second.id));
    fixture.store.apply_refund_update(second.id, RefundUpdate::Settled).await.expect("writes");
    assert_eq!(
        (due().await, fixture.store.next_refund_due().await.expect("reads")),
        (vec![], Some(waiting.next_at))
    );
    fixture.clock.advance(500);
    let mut spread = false;
    for tries in 1..REFUND_TRIES_MAX {
        assert_eq!(due().await, from_ref(&first.id));
        let failed = apply(RefundUpdate::Failed(format!("no {tries}"))).await;
        assert_eq!((failed.tries, failed.error), (tries, Some(format!("no {tries}"))));
        let (wait, about) = (failed.next_at.0 - fixture.clock.now().0, backoff_ms(tries));
        assert!(
            (about * 3 / 4..=about * 5 / 4).contains(&wait) && failed.accepted,
            "the pause {wait} must be near {about}"
        );
        spread |= wait != about;
        fixture.clock.advance(wait - 1);
        assert_eq!(due().await, []);
        fixture.clock.advance(1);
    }
    assert!(spread, "the pauses must vary");
    let discard = fixture.store.discard_refund(first.id.clone(), "paid by hand".to_owned());
    assert!(!discard.await.expect("writes"), "a pending refund must not be discarded");
    assert_eq!(fixture.store.retry_refund(first.id.clone()).await.expect("writes"), None);
    assert_eq!(apply(RefundUpdate::Failed("no".to_owned())).await.state, RefundState::Failed);
    assert_eq!(
        (due().await, fixture.store.next_refund_due().await.expect("reads")),
        (vec![], None)
    );
    let again =
        fixture.store.retry_refund(first.id.clone()).await.expect("writes").expect("a failure");
    assert_eq!(
        (again.state, again.tries, again.next_at),
        (RefundState::Pending, 0, fixture.clock.now())
    );
    assert_eq!(due().await, [first.id]);
    fixture.check_invariants().await;
}

fn later(fixture: &Fixture, ms: i64) -> Millis {
    fixture.clock.now().plus(ms)
}
