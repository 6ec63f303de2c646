//! Tests changes of orders: each order ends once, and its units are returned once.
use doorbuster_core::event::Attribution;
use doorbuster_core::order::{ChangeOutcome, EndReason, PayOutcome};
use doorbuster_core::rows::FeedCause;
use doorbuster_core::{CloseCause, Counter, Order, OrderState, Seq, SlotKey, TicketId};

use super::{Fixture, HOLD_MS, buyer, id_of};

async fn end(fixture: &Fixture, order: &Order, how: EndReason) -> ChangeOutcome {
    fixture.store.end_order(order.id, how, Attribution::BUYER.clone()).await.expect("writes")
}

async fn pay(fixture: &Fixture, order: &Order) -> PayOutcome {
    fixture.store.pay_order(order.id).await.expect("writes")
}

fn state(changed: &ChangeOutcome) -> Option<OrderState> {
    match changed {
        ChangeOutcome::Done(order) => Some(order.state),
        _ => None,
    }
}

/// A cancelled order returns its units to the pool, and lowers the buyer's quota, only once.
pub async fn an_order_is_cancelled_once(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 4).await;
    fixture.clock.advance(70);
    let ChangeOutcome::Done(cancelled) = end(&fixture, &order, EndReason::Cancel).await else {
        panic!("the cancellation must succeed")
    };
    assert_eq!(
        (cancelled.state, cancelled.ended_at),
        (OrderState::Cancelled, Some(fixture.clock.now()))
    );
    assert_eq!(fixture.store.order(order.id).await.expect("reads"), Some(cancelled.clone()));
    assert_eq!(
        end(&fixture, &order, EndReason::Cancel).await,
        ChangeOutcome::Already(cancelled.clone())
    );
    assert_eq!(
        end(&fixture, &order, EndReason::Expire).await,
        ChangeOutcome::WrongState(cancelled.clone())
    );
    assert_eq!(
        end(&fixture, &order, EndReason::Refund).await,
        ChangeOutcome::WrongState(cancelled)
    );
    fixture.expect_units(grant.slot.item, 4, 6, 0, 0).await;
    assert_eq!(fixture.store.quota(grant.slot.item, buyer("anna")).await.expect("reads"), 0);
    let feed = fixture.store.feed_after(grant.id, Seq(0), 9).await.expect("reads");
    let rows: Vec<_> = feed.iter().map(|f| (f.cause, f.units, f.quota_delta, f.ticket)).collect();
    assert_eq!(rows, [(FeedCause::OrderEnded, 0, -4, None)]);
    let again = fixture.reserve(&grant, 2, "anna", 4).await;
    assert_eq!(
        again.state,
        OrderState::Reserved,
        "the buyer must be able to use the returned quota"
    );
    fixture.check_invariants().await;
}

/// An unknown order cannot be changed.
pub async fn an_unknown_order_cannot_change(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let id: TicketId = id_of(&fixture.ticket(&grant, 1, "anna", "a", 1));
    assert_eq!(
        fixture
            .store
            .end_order(id, EndReason::Cancel, Attribution::BUYER.clone())
            .await
            .expect("writes"),
        ChangeOutcome::NotFound
    );
    assert_eq!(fixture.store.pay_order(id).await.expect("writes"), PayOutcome::NotFound);
    assert_eq!(fixture.store.order(id).await.expect("reads"), None);
    assert_eq!(fixture.store.verdict(id).await.expect("reads"), None);
}

/// A hold expires after its payment window. A paid order does not expire.
pub async fn holds_expire_when_they_are_due(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    assert_eq!(fixture.store.next_due().await.expect("reads"), None);
    let first = fixture.reserve(&grant, 1, "anna", 1).await;
    fixture.clock.advance(10);
    let second = fixture.reserve(&grant, 2, "bert", 2).await;
    let third = fixture.reserve(&grant, 3, "cleo", 3).await;
    assert_eq!(fixture.store.next_due().await.expect("reads"), Some(first.pay_by));
    fixture.clock.advance(HOLD_MS - 11);
    assert_eq!(
        end(&fixture, &first, EndReason::Expire).await,
        ChangeOutcome::WrongState(first.clone()),
        "an order that is not due must not expire"
    );
    assert_eq!(fixture.store.expire_due(10).await.expect("writes"), []);
    fixture.clock.advance(1);
    let expired = fixture.store.expire_due(10).await.expect("writes");
    assert_eq!(
        expired.iter().map(|o| (o.id, o.state)).collect::<Vec<_>>(),
        [(first.id, OrderState::Expired)]
    );
    assert_eq!(fixture.store.next_due().await.expect("reads"), Some(second.pay_by));
    pay(&fixture, &second).await;
    fixture.clock.advance(HOLD_MS);
    let expired = fixture.store.expire_due(10).await.expect("writes");
    assert_eq!(
        expired.iter().map(|o| o.id).collect::<Vec<_>>(),
        [third.id],
        "a paid order must not expire"
    );
    assert_eq!(fixture.store.next_due().await.expect("reads"), None);
    fixture.expect_units(grant.slot.item, 4, 4, 0, 2).await;
}

/// One call expires at most the requested number of orders. The order that became due first expires
/// first.
pub async fn expiry_is_bounded(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    for n in 1..=5 {
        fixture.reserve(&grant, n, &format!("buyer-{n}"), 1).await;
        fixture.clock.advance(1);
    }
    fixture.clock.advance(HOLD_MS);
    let mut numbers = Vec::new();
    for wanted in [2, 2, 1, 0] {
        let expired = fixture.store.expire_due(2).await.expect("writes");
        assert_eq!(expired.len(), wanted);
        numbers.extend(expired.iter().map(|o| o.n.0));
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    fixture.expect_units(grant.slot.item, 5, 5, 0, 0).await;
}

/// Concurrent calls never expire the same order. Each call expires as many orders as requested.
pub async fn concurrent_expiries_end_different_orders(fixture: Fixture) {
    const AT_ONCE: u64 = 4;
    let grant = fixture.slot(100, 100, 4).await;
    for n in 1..=AT_ONCE * 5 {
        fixture.reserve(&grant, n, &format!("buyer-{n}"), 1).await;
    }
    fixture.clock.advance(HOLD_MS);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let store = fixture.store.clone();
        tasks.spawn(async move { store.expire_due(5).await.expect("writes").len() });
    }
    assert_eq!(tasks.join_all().await, [5; AT_ONCE as usize]);
    fixture.expect_units(grant.slot.item, 20, 80, 0, 0).await;
}

/// One transaction expires orders of two items and three slots, and lowers the quota of each item.
pub async fn expiry_returns_every_quota(fixture: Fixture) {
    let (first, other) = (fixture.slot(20, 10, 9).await, fixture.slot(20, 10, 9).await);
    let second = fixture.open(SlotKey { index: 1, ..first.slot }, 10).await;
    for (at, (grant, units)) in
        [(&first, 1), (&second, 2), (&other, 3), (&first, 4)].into_iter().enumerate()
    {
        fixture
            .settle(&fixture.ticket(grant, at as u64 + 1, "anna", &format!("key-{at}"), units))
            .await;
    }
    fixture.clock.advance(HOLD_MS / 2);
    let stays = fixture
        .settle(&fixture.ticket(&first, 9, "anna", "stays", 2))
        .await
        .order
        .expect("an order");
    fixture.clock.advance(HOLD_MS / 2);
    assert_eq!(fixture.store.expire_due(10).await.expect("writes").len(), 4);
    for (item, used) in [(first.slot.item, stays.units.get()), (other.slot.item, 0)] {
        assert_eq!(fixture.store.quota(item, buyer("anna")).await.expect("reads"), used);
    }
    for (grant, deltas) in [(&first, vec![-1, -4]), (&second, vec![-2]), (&other, vec![-3])] {
        let feed = fixture.store.feed_after(grant.id, Seq(0), 9).await.expect("reads");
        let given_back = feed.iter().filter(|row| row.cause == FeedCause::OrderEnded);
        assert_eq!(given_back.map(|row| row.quota_delta).collect::<Vec<_>>(), deltas);
    }
    fixture.expect_units(first.slot.item, 7, 11, 2, 0).await;
}

/// Orders expire while their buyers purchase and pay. Afterwards each buyer's quota must match the
/// buyer's active orders.
pub async fn expiry_beside_purchases_of_the_same_buyers_loses_no_quota(fixture: Fixture) {
    const BUYERS: u64 = 20;
    let due = fixture.slot(200, 100, 4).await;
    let open = fixture.open(SlotKey { index: 1, ..due.slot }, 100).await;
    let mut orders = Vec::new();
    for n in 1..=BUYERS {
        orders.push(fixture.reserve(&due, n, &format!("buyer-{n}"), 2).await);
    }
    fixture.clock.advance(HOLD_MS);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let store = fixture.store.clone();
        tasks.spawn(async move { while !store.expire_due(3).await.expect("writes").is_empty() {} });
    }
    for n in 1..=BUYERS {
        let (store, order) = (fixture.store.clone(), orders[n as usize - 1].id);
        let ticket = fixture.ticket(&open, n, &format!("buyer-{n}"), &format!("again-{n}"), 1);
        tasks.spawn(async move {
            store.settle(vec![ticket]).await.expect("settles");
            match n % 3 {
                0 => drop(store.pay_order(order).await.expect("writes")),
                1 => drop(
                    store
                        .end_order(order, EndReason::Cancel, Attribution::BUYER.clone())
                        .await
                        .expect("writes"),
                ),
                _ => {}
            }
        });
    }
    tasks.join_all().await;
    while !fixture.store.expire_due(100).await.expect("writes").is_empty() {}
    for n in 1..=BUYERS {
        let paid =
            fixture.store.order(orders[n as usize - 1].id).await.expect("reads").expect("an order");
        let holds = if paid.state == OrderState::Paid { 3 } else { 1 };
        let quota =
            fixture.store.quota(due.slot.item, buyer(&format!("buyer-{n}"))).await.expect("reads");
        assert_eq!(quota, holds, "buyer-{n}");
    }
    fixture.check_invariants().await;
}

/// An order can be paid once, and then refunded once.
pub async fn a_paid_order_is_refunded_once(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 3).await;
    assert_eq!(
        state(&end(&fixture, &order, EndReason::Refund).await),
        None,
        "an unpaid order must not be refunded"
    );
    fixture.clock.advance(5);
    let PayOutcome::Done(paid) = pay(&fixture, &order).await else {
        panic!("the payment must succeed")
    };
    assert_eq!(
        (paid.state, paid.paid_at, paid.ended_at),
        (OrderState::Paid, Some(fixture.clock.now()), None)
    );
    assert_eq!(pay(&fixture, &order).await, PayOutcome::Already(paid.clone()));
    fixture.expect_units(grant.slot.item, 0, 7, 0, 3).await;
    assert_eq!(end(&fixture, &order, EndReason::Cancel).await, ChangeOutcome::WrongState(paid));
    assert_eq!(state(&end(&fixture, &order, EndReason::Refund).await), Some(OrderState::Refunded));
    let ChangeOutcome::Already(refunded) = end(&fixture, &order, EndReason::Refund).await else {
        panic!("the order was refunded twice")
    };
    assert_eq!(pay(&fixture, &order).await, PayOutcome::Refund(refunded));
    fixture.expect_units(grant.slot.item, 3, 7, 0, 0).await;
    assert_eq!(fixture.store.quota(grant.slot.item, buyer("anna")).await.expect("reads"), 0);
}

/// A late payment makes an order active again if the pool has enough units and the buyer's limit
/// allows them.
pub async fn a_late_payment_revives_an_expired_order(fixture: Fixture) {
    let grant = fixture.slot(4, 4, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 4).await;
    end(&fixture, &order, EndReason::Cancel).await;
    let PayOutcome::Done(revived) = pay(&fixture, &order).await else {
        panic!("the payment must make the order active again")
    };
    assert_eq!((revived.state, revived.ended_at), (OrderState::Paid, None));
    fixture.expect_units(grant.slot.item, 0, 0, 0, 4).await;
    let feed = fixture.store.feed_after(grant.id, Seq(0), 9).await.expect("reads");
    let rows: Vec<_> = feed.iter().map(|f| (f.cause, f.quota_delta)).collect();
    assert_eq!(rows, [(FeedCause::OrderEnded, -4), (FeedCause::OrderRevived, 4)]);
}

/// If the pool lacks units for a late payment, the order stays ended and the payment is refunded.
pub async fn a_late_payment_without_units_is_refunded(fixture: Fixture) {
    let grant = fixture.slot(4, 4, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 4).await;
    end(&fixture, &order, EndReason::Cancel).await;
    assert_eq!(fixture.store.refill(grant.id, 1, Counter::A).await.expect("writes"), 1);
    let PayOutcome::Refund(ended) = pay(&fixture, &order).await else {
        panic!("the payment must be refunded")
    };
    assert_eq!(ended.state, OrderState::Cancelled);
    fixture.expect_units(grant.slot.item, 3, 1, 0, 0).await;
}

/// If a late payment would exceed the buyer's limit, the order stays ended and the payment is
/// refunded.
pub async fn a_late_payment_beyond_the_limit_is_refunded(fixture: Fixture) {
    let grant = fixture.slot(9, 8, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 4).await;
    end(&fixture, &order, EndReason::Cancel).await;
    fixture.reserve(&grant, 2, "anna", 1).await;
    assert!(matches!(pay(&fixture, &order).await, PayOutcome::Refund(_)));
    fixture.expect_units(grant.slot.item, 5, 3, 1, 0).await;
}

/// An order can end after its grant was closed. Its units then return to the pool, and no slot gets
/// a feed row.
pub async fn an_order_outlives_its_grant(fixture: Fixture) {
    let grant = fixture.slot(9, 9, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 4).await;
    fixture.store.close_grant(grant.id, CloseCause::Ended).await.expect("writes");
    assert_eq!(state(&end(&fixture, &order, EndReason::Cancel).await), Some(OrderState::Cancelled));
    assert_eq!(fixture.grant(&grant).await.feed_len, Seq(0));
    fixture.expect_units(grant.slot.item, 9, 0, 0, 0).await;
}

/// A payment, a cancellation and an expiry of one order run concurrently. They end the order at
/// most once. Afterwards, the order is active if and only if the payment succeeded.
pub async fn one_of_several_concurrent_changes_wins(fixture: Fixture) {
    let grant = fixture.slot(100, 100, 4).await;
    for n in 1..=20 {
        let order = fixture.reserve(&grant, n, &format!("buyer-{n}"), 2).await;
        fixture.clock.advance(HOLD_MS);
        let tasks = (
            tokio::spawn({
                let (s, id) = (fixture.store.clone(), order.id);
                async move { s.pay_order(id).await }
            }),
            tokio::spawn({
                let (s, id) = (fixture.store.clone(), order.id);
                async move { s.end_order(id, EndReason::Cancel, Attribution::BUYER.clone()).await }
            }),
            tokio::spawn({
                let s = fixture.store.clone();
                async move { s.expire_due(5).await }
            }),
        );
        let (paid, cancelled, expired) = tokio::join!(tasks.0, tasks.1, tasks.2);
        let paid = matches!(paid.expect("runs").expect("writes"), PayOutcome::Done(_));
        let cancelled = matches!(cancelled.expect("runs").expect("writes"), ChangeOutcome::Done(_));
        let expired = expired.expect("runs").expect("writes").len();
        // If the order ends first, the payment may make the order active again. Then the payment
        // and one of the other calls have succeeded.
        let endings = usize::from(cancelled) + expired;
        let now = fixture.store.order(order.id).await.expect("reads").expect("an order").state;
        assert!(endings <= 1, "the order ended {endings} times");
        assert_eq!(
            now.is_active(),
            paid,
            "order: {now:?}, paid: {paid}, cancelled: {cancelled}, expired: {expired}"
        );
        let held = if paid { 2 } else { 0 };
        assert_eq!(fixture.store.quota(grant.slot.item, order.buyer).await.expect("reads"), held);
        fixture.check_invariants().await;
    }
}

/// Every change of an order is published to the sink, together with the item's counts after the
/// change.
pub async fn order_changes_are_published(fixture: Fixture) {
    let grant = fixture.slot(9, 9, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 4).await;
    fixture.commits.forget();
    end(&fixture, &order, EndReason::Cancel).await;
    let commits = fixture.commits.take();
    let states: Vec<_> = commits.iter().flat_map(|c| &c.orders).map(|o| (o.id, o.state)).collect();
    assert_eq!(states, [(order.id, OrderState::Cancelled)]);
    // The store may publish the changed order first, and the new counts in a later commit.
    let counts = commits.iter().flat_map(|c| &c.counts).last();
    assert_eq!(counts, Some(&fixture.counts(grant.slot.item).await));
    end(&fixture, &order, EndReason::Cancel).await;
    assert!(
        fixture.commits.take().iter().all(|t| t.orders.is_empty()),
        "a repeated cancellation must not be published"
    );
}
