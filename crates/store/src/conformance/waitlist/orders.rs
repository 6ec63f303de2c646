//! Tests that orders from a waitlist behave like other orders.
use doorbuster_core::event::{Actor, Attribution};
use doorbuster_core::limits::WAITLIST_HOLD_MS;
use doorbuster_core::money::{Capture, CaptureOutcome, Money, PaymentId};
use doorbuster_core::order::{EndReason, PayOutcome};
use doorbuster_core::waitlist::JoinOutcome;
use doorbuster_core::{Counter, Order, OrderState, SlotKey, Stock};

use crate::contract::BlockKind;

use super::{
    Fixture, all_on_hold, buyer, cancel, expect_waitlist, join, join_new, names, new_item,
    new_sale, serve,
};

async fn served(fixture: &Fixture, item: doorbuster_core::ItemId) -> Order {
    let mut orders = serve(fixture, item).await.orders;
    assert_eq!(orders.len(), 1, "{orders:?}");
    orders.remove(0)
}

/// A served buyer has the payment window of the waitlist or of the item, whichever is shorter.
pub async fn the_payment_window_of_a_served_order_is_the_shorter_one(fixture: Fixture) {
    let short =
        super::super::NewItem { hold_ms: 60_000, ..new_item("phone", Stock::Counted(1), 1) };
    let sale = fixture
        .store
        .create_sale(new_sale("short", vec![short]))
        .await
        .expect("writes")
        .expect("a free id");
    fixture.store.step_sale("short", doorbuster_core::sale::PhaseStep::Open).await.expect("writes");
    let item = sale.items[0].id;
    let grant = fixture.open(SlotKey { item, index: 0 }, 1).await;
    let held = fixture.reserve(&grant, 1, "holder", 1).await;
    join_new(&fixture, item, "anna").await;
    cancel(&fixture, &held).await;
    let order = served(&fixture, item).await;
    assert_eq!(order.pay_by, fixture.clock.now().plus(60_000));
}

/// Units of ended orders go to the next waiting buyer, and paid orders stay paid.
pub async fn an_order_from_a_waitlist_behaves_like_others(fixture: Fixture) {
    let (grant, orders) = all_on_hold(&fixture, 4, 1).await;
    let item = grant.slot.item;
    for who in ["anna", "bert", "cleo", "dora"] {
        join_new(&fixture, item, who).await;
    }
    cancel(&fixture, &orders[0]).await;
    let anna = served(&fixture, item).await;
    cancel(&fixture, &anna).await;
    expect_waitlist(&fixture, item, 3, 1).await;
    let bert = served(&fixture, item).await;
    assert_eq!(fixture.store.next_due().await.expect("reads"), Some(bert.pay_by));
    fixture.clock.advance(WAITLIST_HOLD_MS);
    let expired = fixture.store.expire_due(9).await.expect("writes");
    assert_eq!(
        expired.iter().map(|o| (o.id, o.state)).collect::<Vec<_>>(),
        [(bert.id, OrderState::Expired)]
    );
    expect_waitlist(&fixture, item, 2, 1).await;
    let cleo = served(&fixture, item).await;
    assert!(matches!(fixture.store.pay_order(cleo.id).await.expect("writes"), PayOutcome::Done(_)));
    fixture.expect_units(item, 0, 0, 3, 1).await;
    fixture
        .store
        .end_order(cleo.id, EndReason::Refund, Attribution::ENGINE.clone())
        .await
        .expect("writes");
    expect_waitlist(&fixture, item, 1, 1).await;
    let dora = served(&fixture, item).await;
    assert_eq!(names(std::slice::from_ref(&dora)), ["dora"]);
    assert!(matches!(fixture.store.pay_order(dora.id).await.expect("writes"), PayOutcome::Done(_)));
    fixture.expect_units(item, 0, 0, 3, 1).await;
    expect_waitlist(&fixture, item, 0, 0).await;
}

/// A buyer who got an order from the waitlist and cancelled it, or did not pay, cannot join again.
/// Other buyers can join.
pub async fn a_buyer_who_did_not_pay_does_not_join_again(fixture: Fixture) {
    let (grant, orders) = all_on_hold(&fixture, 4, 1).await;
    let item = grant.slot.item;
    for who in ["anna", "bert", "cleo"] {
        join_new(&fixture, item, who).await;
    }
    for order in &orders[..3] {
        cancel(&fixture, order).await;
    }
    let served = serve(&fixture, item).await.orders;
    assert_eq!(names(&served), ["anna", "bert", "cleo"]);
    fixture.store.pay_order(served[2].id).await.expect("writes");
    cancel(&fixture, &served[0]).await;
    fixture.clock.advance(WAITLIST_HOLD_MS);
    fixture.store.expire_due(9).await.expect("writes");
    // Other buyers buy the returned units, so that all units are held again.
    fixture.store.refill(grant.id, 9, Counter::A).await.expect("writes");
    fixture.reserve(&grant, 5, "dora", 1).await;
    fixture.reserve(&grant, 6, "emil", 1).await;
    for (order, state) in [(&served[0], OrderState::Cancelled), (&served[1], OrderState::Expired)] {
        let ended = fixture.store.order(order.id).await.expect("reads").expect("an order");
        assert_eq!(ended.state, state);
        let who = order.buyer.as_str();
        assert_eq!(
            join(&fixture, item, who, "new").await,
            JoinOutcome::Lapsed(ended.clone()),
            "{who}"
        );
        assert_eq!(
            join(&fixture, item, who, order.key.as_str()).await,
            JoinOutcome::Order(ended),
            "a join with the order's key must return the order"
        );
    }
    fixture
        .store
        .end_order(served[2].id, EndReason::Refund, Attribution::ENGINE.clone())
        .await
        .expect("writes");
    fixture.store.refill(grant.id, 9, Counter::A).await.expect("writes");
    fixture.reserve(&grant, 7, "fred", 1).await;
    for who in ["cleo", "holder-1"] {
        assert!(
            matches!(join(&fixture, item, who, "new").await, JoinOutcome::Done(_)),
            "{who} must be able to join"
        );
    }
    expect_waitlist(&fixture, item, 2, 0).await;
}

/// If an operator cancelled a buyer's order, the buyer can join the waitlist again, at its end.
pub async fn a_buyer_whose_order_an_operator_cancelled_joins_again(fixture: Fixture) {
    let (grant, orders) = all_on_hold(&fixture, 2, 2).await;
    let item = grant.slot.item;
    join_new(&fixture, item, "anna").await;
    cancel(&fixture, &orders[0]).await;
    let first = served(&fixture, item).await;
    let operator = Attribution::from_actor(Actor::Operator("key_1".to_owned()));
    fixture.store.end_order(first.id, EndReason::Cancel, operator).await.expect("writes");
    // The returned units are bought again, so that all units are held as before.
    fixture.store.refill(grant.id, 9, Counter::A).await.expect("writes");
    let bought = fixture.reserve(&grant, 3, "anna", 1).await;
    cancel(&fixture, &bought).await;
    fixture.store.refill(grant.id, 9, Counter::A).await.expect("writes");
    let bert = fixture.reserve(&grant, 4, "bert", 1).await;
    let JoinOutcome::Done(again) = join(&fixture, item, "anna", "again").await else {
        panic!("anna must get an entry")
    };
    assert_eq!(again.n.0, 2, "the new entry must be at the end of the waitlist");
    cancel(&fixture, &bert).await;
    let second = served(&fixture, item).await;
    assert_eq!((second.id, names(std::slice::from_ref(&second))), (again.id, vec!["anna"]));
    fixture.clock.advance(WAITLIST_HOLD_MS);
    fixture.store.expire_due(9).await.expect("writes");
    fixture.store.refill(grant.id, 9, Counter::A).await.expect("writes");
    fixture.reserve(&grant, 5, "cleo", 1).await;
    let expired = fixture.store.order(second.id).await.expect("reads").expect("an order");
    assert_eq!(
        join(&fixture, item, "anna", "new").await,
        JoinOutcome::Lapsed(expired),
        "a buyer whose last order expired unpaid must not join"
    );
    expect_waitlist(&fixture, item, 0, 0).await;
}

/// Reconciliation counts orders from a waitlist like other orders.
pub async fn the_units_of_a_waitlist_add_up(fixture: Fixture) {
    let (grant, orders) = all_on_hold(&fixture, 2, 1).await;
    let item = grant.slot.item;
    join_new(&fixture, item, "anna").await;
    join_new(&fixture, item, "bert").await;
    cancel(&fixture, &orders[0]).await;
    let anna = served(&fixture, item).await;
    let paid = Capture {
        event: "msg_1".to_owned(),
        provider: "paybank".to_owned(),
        payment: PaymentId("pay_1".to_owned()),
        order: anna.id.to_string(),
        money: Money { minor: 1_999, currency: "EUR".to_owned() },
    };
    assert!(matches!(
        fixture.store.capture(paid, true).await.expect("writes"),
        CaptureOutcome::Paid(_)
    ));
    cancel(&fixture, &orders[1]).await;
    let bert = served(&fixture, item).await;
    let books = fixture.store.reconcile(None, None).await.expect("reads");
    assert_eq!(books.differences, []);
    let row = &books.items[0];
    assert_eq!((row.pool, row.in_slots, row.held, row.paid, row.ended), (0, 0, 1, 1, 2));
    while fixture.store.sequence_events(100).await.expect("writes") > 0 {}
    let moved = fixture.store.order_transitions(None, 0, 100).await.expect("reads").rows;
    let of = |id| {
        moved.iter().filter(|m| m.order == id).map(|m| (m.before, m.after)).collect::<Vec<_>>()
    };
    assert_eq!(
        of(anna.id),
        [(None, OrderState::Reserved), (Some(OrderState::Reserved), OrderState::Paid)]
    );
    assert_eq!(of(bert.id), [(None, OrderState::Reserved)]);
    fixture.check_invariants().await;
}

/// A late payment may take a kept unit, but only if the next waiting buyer does not have the unit
/// yet.
pub async fn a_late_payment_competes_with_the_next_waiting_buyer(fixture: Fixture) {
    let (grant, orders) = all_on_hold(&fixture, 2, 1).await;
    let item = grant.slot.item;
    join_new(&fixture, item, "anna").await;
    join_new(&fixture, item, "bert").await;
    cancel(&fixture, &orders[0]).await;
    let anna = served(&fixture, item).await;
    fixture.clock.advance(WAITLIST_HOLD_MS);
    fixture.store.expire_due(9).await.expect("writes");
    expect_waitlist(&fixture, item, 1, 1).await;
    assert!(
        matches!(fixture.store.pay_order(anna.id).await.expect("writes"), PayOutcome::Done(o) if o.state == OrderState::Paid)
    );
    expect_waitlist(&fixture, item, 1, 0).await;
    fixture
        .store
        .end_order(anna.id, EndReason::Refund, Attribution::ENGINE.clone())
        .await
        .expect("writes");
    let bert = served(&fixture, item).await;
    assert_eq!(bert.buyer.as_str(), "bert");
    assert!(
        matches!(
            fixture.store.pay_order(orders[0].id).await.expect("writes"),
            PayOutcome::Refund(_)
        ),
        "the payment must be refunded, because bert has the unit"
    );
    fixture.expect_units(item, 0, 0, 2, 0).await;
}

/// A blocked buyer may join at a node that does not know the block yet. This entry ends when units
/// return, and the next buyer gets the unit.
pub async fn a_blocked_buyer_in_a_waitlist_is_not_served(fixture: Fixture) {
    let (grant, orders) = all_on_hold(&fixture, 3, 1).await;
    let item = grant.slot.item;
    let [robot, past, anna] = ["robot", "past", "anna"];
    for who in [robot, past, anna] {
        join_new(&fixture, item, who).await;
    }
    let now = fixture.clock.now();
    for (who, until) in [(robot, None), (past, Some(now))] {
        let block = fixture.store.insert_block(BlockKind::Buyer, who, until, "a robot", 20).await;
        assert!(block.expect("writes").is_some(), "{who}");
    }
    for order in &orders[..2] {
        cancel(&fixture, order).await;
    }
    assert_eq!(names(&serve(&fixture, item).await.orders), [past, anna]);
    let left = fixture.store.waitlist_position_of(item, &buyer(robot)).await.expect("reads");
    assert_eq!(left, None);
    expect_waitlist(&fixture, item, 0, 0).await;
}
