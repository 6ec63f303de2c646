//! Tests which payments a node remembers, and what the node does with them after a failover of the
//! database.
use std::sync::Arc;

use doorbuster_base::clock::Clock;
use doorbuster_core::money::{Money, ReversalKind, ReversalOutcome, ReversalReport};
use doorbuster_testkit::TempDir;

use super::*;
use crate::fixture::{engine_with_checkout, stand_in, stripe_payments};

fn capture(number: usize) -> Capture {
    Capture {
        event: number.to_string(),
        provider: "sandbox".to_owned(),
        payment: PaymentId(format!("pay_{number}")),
        order: format!("ord_{number}"),
        money: Money { minor: 1, currency: "EUR".to_owned() },
    }
}

#[tokio::test]
async fn a_payment_that_the_database_lacked_is_looked_up_and_its_refund_is_recorded() {
    const REFUNDED: &str = r#"{"id":"pi_1","latest_charge":{"payment_intent":"pi_1",
        "amount_refunded":10,"currency":"cny"}}"#;
    let dir = TempDir::new();
    let clock = Clock::with_wall(Arc::new(|| 1_795_000_000_999_i64));
    let (engine, _, order) = engine_with_checkout(&dir, clock).await;
    let (address, seen) = stand_in(REFUNDED).await;
    let payments = stripe_payments(&engine, address);
    let capture = Capture {
        event: "evt_1".to_owned(),
        provider: "stripe".to_owned(),
        payment: PaymentId("pi_1".to_owned()),
        order: order.id.to_string(),
        money: Money { minor: 10, currency: "CNY".to_owned() },
    };
    let (_fences, changes) = watch::channel(2);
    let mut unasked = payments.apply_again(2, vec![capture.clone()], &changes).await;
    assert_eq!(unasked, std::slice::from_ref(&capture));
    payments.find_reversals(&mut unasked).await;
    let requests = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let lines: Vec<_> = requests.iter().filter_map(|request| request.lines().next()).collect();
    let line = "GET /v1/payment_intents/pi_1?expand%5B0%5D=latest_charge HTTP/1.1";
    assert_eq!((unasked.as_slice(), lines), (&[][..], vec![line]));
    let reversals = engine.node.store().reversals().await.expect("reads");
    let times: Vec<_> = reversals.iter().map(|found| found.at.0).collect();
    assert_eq!(times, [1_795_000_000_000], "{reversals:?}");
    let again = payments.apply_again(3, vec![capture], &changes).await;
    assert_eq!(again, [], "the database must not lack the payment any more");
    engine.stock.stop_node().await;
}

#[tokio::test]
async fn a_reversed_payment_that_the_database_lacks_stays_remembered() {
    let dir = TempDir::new();
    let (engine, _, order) = engine_with_checkout(&dir, Clock::default()).await;
    let mut payments = stripe_payments(&engine, "http://127.0.0.1:1".to_owned());
    payments.applied = Some(AppliedPayments::default());
    let paying = Capture {
        provider: "stripe".to_owned(),
        order: order.id.to_string(),
        money: Money { minor: 10, currency: "CNY".to_owned() },
        ..capture(1)
    };
    let report = ReversalReport {
        event: None,
        provider: paying.provider.clone(),
        payment: paying.payment.clone(),
        kind: ReversalKind::Returned,
        money: None,
        stands: true,
        reported_at: None,
        dispute: None,
    };
    let remembered = |payments: &Payments| {
        payments.applied.as_ref().map(|applied| applied.read(1)).unwrap_or_default()
    };
    payments.applied.as_ref().expect("set above").add(paying.clone());
    for (outcome, left) in
        [(ReversalOutcome::NoPayment, vec![paying.clone()]), (ReversalOutcome::Noted, Vec::new())]
    {
        let reversing = payments.apply_reversal(report.clone()).await.expect("writes");
        assert_eq!((reversing, remembered(&payments)), (outcome, left));
        payments.capture(paying.clone()).await.expect("writes");
    }
    engine.stock.stop_node().await;
}

#[tokio::test]
async fn a_payment_that_is_refunded_is_applied_again_too() {
    let (dir, fresh) = (TempDir::new(), TempDir::new());
    let (engine, _, order) = engine_with_checkout(&dir, Clock::default()).await;
    let mut payments = stripe_payments(&engine, "http://127.0.0.1:1".to_owned());
    payments.applied = Some(AppliedPayments::default());
    let [first, second] = [1, 2].map(|number| Capture {
        order: order.id.to_string(),
        money: Money { minor: 10, currency: "CNY".to_owned() },
        provider: "stripe".to_owned(),
        ..capture(number)
    });
    let outcome = payments.apply_capture(first.clone()).await.expect("writes");
    assert_eq!(outcome, PaymentEventOutcome::Paid);
    let outcome = payments.apply_capture(second.clone()).await.expect("writes");
    assert_eq!(outcome, PaymentEventOutcome::Refunded, "the order is already paid");
    let read = payments.applied.as_ref().expect("set above").read(2);
    assert_eq!(read, [first.clone(), second.clone()]);
    engine.stock.stop_node().await;
    // This store does not have the order, like a replica that was promoted before it got the order.
    let other = crate::fixture::engine(&fresh, Clock::default()).await;
    let payments = stripe_payments(&other, "http://127.0.0.1:1".to_owned());
    let (_fences, changes) = watch::channel(2);
    let unasked = payments.apply_again(2, read, &changes).await;
    assert_eq!(unasked, [], "the node must not ask about payments that it refunds");
    let refunds = other.node.store().refunds_pending().await;
    assert_eq!(refunds.expect("reads"), 2);
    other.stock.stop_node().await;
}

#[tokio::test]
async fn a_payment_without_an_answer_is_kept_and_a_free_order_needs_no_question() {
    let dir = TempDir::new();
    let (engine, ..) = engine_with_checkout(&dir, Clock::default()).await;
    let silent = stripe_payments(&engine, "http://127.0.0.1:1".to_owned());
    let mut unasked = (0..ASKED_AT_ONCE + 1).map(capture).collect::<Vec<_>>();
    let asked = silent.find_reversals(&mut unasked);
    let pause = Duration::from_millis(500);
    assert!(tokio::time::timeout(pause, asked).await.is_err(), "the node made no pause");
    assert_eq!(unasked.len(), ASKED_AT_ONCE + 1);
    unasked.iter_mut().for_each(|capture| capture.money.minor = 0);
    silent.find_reversals(&mut unasked).await;
    assert_eq!(unasked, [], "the node must not ask about free orders");
    engine.stock.stop_node().await;
}
