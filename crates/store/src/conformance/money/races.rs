//! Tests concurrent payments, cancellations, expiries and extensions. Whichever change comes first,
//! each payment pays for its order or is refunded once.
use std::sync::Arc;

use futures_util::future::join_all;

use doorbuster_core::event::{Attribution, Event, EventType, Subject};
use doorbuster_core::money::{Capture, CaptureOutcome, PaymentId, PaymentState, RefundCause};
use doorbuster_core::order::EndReason;
use doorbuster_core::{Grant, Order, OrderState, Ticket};

use super::{for_payment, message, payments, refunds};
use crate::conformance::{Fixture, HOLD_MS};
use crate::store::Store;

pub mod late;

/// The number of orders in a wave. All orders of a wave are changed concurrently.
const WAVE: u64 = 50;
const WAVES: u64 = 40;

/// Creates the orders of one wave, each of two units.
async fn wave(fixture: &Fixture, grant: &Grant, at: u64) -> Vec<Order> {
    let ticket = |n: u64| fixture.ticket(grant, at * WAVE + n, &format!("buyer-{at}-{n}"), "k", 2);
    let tickets: Vec<Arc<Ticket>> = (1..=WAVE).map(ticket).collect();
    let resolved = fixture.store.settle(tickets).await.expect("settles");
    resolved.into_iter().filter_map(|r| r.order).collect()
}

/// Captures a payment without a recall of units. If the pool lacks units, the payment is refunded.
fn pay(store: &Store, report: Capture) -> tokio::task::JoinHandle<CaptureOutcome> {
    let store = store.clone();
    tokio::spawn(async move { store.capture(report, true).await.expect("writes") })
}

fn end(store: &Store, order: &Order, how: EndReason) -> tokio::task::JoinHandle<bool> {
    let (store, id) = (store.clone(), order.id);
    tokio::spawn(async move { store.end_order(id, how, Attribution::BUYER.clone()).await.is_ok() })
}

/// Returns how many of the captured payments paid for the order, and the causes of the refunds.
fn tally(captured: &[CaptureOutcome]) -> (usize, Vec<RefundCause>) {
    let paid = captured.iter().filter(|c| matches!(c, CaptureOutcome::Paid(_))).count();
    let back = captured.iter().filter_map(|c| match c {
        CaptureOutcome::Refund(refund) => Some(refund.cause),
        _ => None,
    });
    (paid, back.collect())
}

/// Returns the states in an order's history. Asserts that each change is permitted and that the
/// last state is the order's current state.
fn follows(order: &Order, history: &[Event]) -> Vec<OrderState> {
    let mut states = Vec::new();
    let mut last = None;
    for event in history {
        let Subject::Order(then) = &event.subject else { continue };
        let from: Option<&Order> = last;
        let is_permitted = match (from.map(|o| o.state), event.what) {
            (None, EventType::OrderReserved) => true,
            (Some(OrderState::Reserved), EventType::OrderExtended) => {
                from.is_some_and(|o| o.pay_by < then.pay_by)
            }
            (Some(OrderState::Reserved), EventType::OrderCancelled) => true,
            (Some(OrderState::Reserved), EventType::OrderExpired) => event.at >= then.pay_by,
            (Some(from), EventType::OrderPaid) => {
                from != OrderState::Paid && from != OrderState::Refunded
            }
            (Some(OrderState::Paid), EventType::OrderRefunded) => true,
            _ => false,
        };
        assert!(is_permitted, "{from:?} cannot become {then:?}: {history:?}");
        states.push(then.state);
        last = Some(then);
    }
    assert_eq!(last, Some(order), "the last event must have the order's current state");
    states
}

async fn history(fixture: &Fixture, order: &Order) -> Vec<Event> {
    fixture
        .store
        .history(order.id)
        .await
        .expect("reads")
        .into_iter()
        .map(|stored| stored.event)
        .collect()
}

/// Asserts that each payment pays for the order or has one refund. Returns the order's state, and
/// whether the order was paid after its end.
async fn judge(
    fixture: &Fixture,
    order: &Order,
    captured: &[CaptureOutcome],
) -> (OrderState, bool) {
    let order = fixture.store.order(order.id).await.expect("reads").expect("an order");
    let (payments, refunds) =
        (payments(fixture, for_payment(&order)).await, refunds(fixture, for_payment(&order)).await);
    let (paid, back) = tally(captured);
    let standing = payments.iter().filter(|p| p.state == PaymentState::Captured).count();
    assert_eq!(standing, usize::from(order.state == OrderState::Paid), "{order:?} {payments:?}");
    assert_eq!(refunds.len() + standing, payments.len(), "{payments:?} {refunds:?}");
    for payment in payments.iter().filter(|p| p.state == PaymentState::Refunded) {
        assert_eq!(
            refunds.iter().filter(|r| r.payment == payment.id && r.money == payment.money).count(),
            1
        );
    }
    let states = follows(&order, &history(fixture, &order).await);
    assert_eq!(states.iter().filter(|s| **s == OrderState::Paid).count(), paid, "{states:?}");
    assert!(paid <= 1, "{captured:?}");
    assert_eq!(refunds.iter().filter(|r| r.cause != RefundCause::Operator).count(), back.len());
    let had_ended = states.iter().any(|s| matches!(s, OrderState::Cancelled | OrderState::Expired));
    (order.state, had_ended && order.state == OrderState::Paid)
}

/// Due orders are cancelled, extended, expired and paid concurrently. Each payment pays for its
/// order, even if the order has ended before.
pub async fn concurrent_changes_of_due_orders_have_one_result(fixture: Fixture) {
    let grant = fixture.slot(WAVE * WAVES * 2, WAVE * WAVES * 2, 2).await;
    let mut states = std::collections::BTreeMap::<OrderState, u64>::new();
    for at in 0..WAVES {
        let orders = wave(&fixture, &grant, at).await;
        fixture.clock.advance(HOLD_MS);
        let races = orders.iter().enumerate().map(|(n, order)| {
            let (store, id, later) = (fixture.store.clone(), order.id, order.pay_by.plus(1_000));
            let extend = async move {
                store.extend_order(id, later, Attribution::ENGINE.clone()).await.is_ok()
            };
            let paid = message(order, &format!("evt_{at}_{n}"), &format!("pay_{at}_{n}"));
            let again = Capture { event: format!("more_{at}_{n}"), ..paid.clone() };
            // The sequence in which the calls start differs from order to order.
            let order = order.clone();
            let store = fixture.store.clone();
            async move {
                let (mut pays, mut others, mut extend) = (Vec::new(), Vec::new(), Some(extend));
                for turn in 0..4 {
                    match (turn + n as u64 + at) % 4 {
                        0 => pays
                            .extend([&paid, &paid, &again].map(|paid| pay(&store, paid.clone()))),
                        1 => others.push(end(&store, &order, EndReason::Cancel)),
                        2 => others.extend(extend.take().map(tokio::spawn)),
                        _ => {
                            let store = store.clone();
                            others.push(tokio::spawn(
                                async move { store.expire_due(3).await.is_ok() },
                            ));
                        }
                    }
                }
                let captured: Vec<_> =
                    join_all(pays).await.into_iter().map(|c| c.expect("runs")).collect();
                let done = join_all(others).await.into_iter().map(|task| task.expect("runs"));
                assert!(done.into_iter().all(|done| done), "each call must return an answer");
                (order, captured)
            }
        });
        for (order, captured) in join_all(races).await {
            let repeated = captured.iter().filter(|c| **c == CaptureOutcome::Repeated).count();
            assert_eq!(repeated, 2, "one payment must have one effect: {captured:?}");
            let (state, _) = judge(&fixture, &order, &captured).await;
            *states.entry(state).or_default() += 1;
        }
        fixture.check_invariants().await;
    }
    assert_eq!(
        states.get(&OrderState::Paid),
        Some(&(WAVE * WAVES)),
        "each late payment must succeed, because the units and limits allow it"
    );
}

/// Of two concurrent payments for one order, at most one pays. A payment that does not pay is
/// refunded once.
pub async fn at_most_one_of_two_concurrent_payments_pays(fixture: Fixture) {
    let grant = fixture.slot(WAVE * WAVES * 2, WAVE * WAVES * 2, 2).await;
    let mut states = std::collections::BTreeMap::<OrderState, u64>::new();
    for at in 0..WAVES {
        let orders = wave(&fixture, &grant, at).await;
        let races = orders.into_iter().enumerate().map(|(n, order)| {
            let store = fixture.store.clone();
            let one = message(&order, &format!("a_{at}_{n}"), &format!("a_{at}_{n}"));
            let other = Capture {
                event: format!("b_{at}_{n}"),
                payment: PaymentId(format!("b_{at}_{n}")),
                ..one.clone()
            };
            async move {
                let how = if n % 2 == 0 { EndReason::Refund } else { EndReason::Cancel };
                let tasks = match n % 3 {
                    0 => (end(&store, &order, how), pay(&store, one), pay(&store, other)),
                    1 => {
                        let first = pay(&store, one);
                        (end(&store, &order, how), first, pay(&store, other))
                    }
                    _ => {
                        let (first, second) = (pay(&store, one), pay(&store, other));
                        (end(&store, &order, how), first, second)
                    }
                };
                assert!(tasks.0.await.expect("runs"), "each call must return an answer");
                (order, [tasks.1.await.expect("runs"), tasks.2.await.expect("runs")])
            }
        });
        for (order, captured) in join_all(races).await {
            let (state, _) = judge(&fixture, &order, &captured).await;
            let (paid, back) = tally(&captured);
            assert_eq!(paid + back.len(), 2, "{captured:?}");
            assert!(
                matches!(state, OrderState::Paid | OrderState::Refunded),
                "{state:?} {captured:?}"
            );
            *states.entry(state).or_default() += 1;
        }
        fixture.check_invariants().await;
    }
    assert!(
        states.contains_key(&OrderState::Paid) && states.contains_key(&OrderState::Refunded),
        "{states:?}"
    );
}
