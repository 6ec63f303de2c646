//! Orders out of a line live as others do; their units go to the next in line.
use doorbuster_core::event::{Actor, By};
use doorbuster_core::limits::LINE_HOLD_MS;
use doorbuster_core::line::Joined;
use doorbuster_core::money::{Capture, Captured, Money, PaymentId};
use doorbuster_core::order::{Ending, Paid};
use doorbuster_core::{Counter, Order, OrderState, SlotKey, Stock};

use super::{Rig, cancel, expect_line, held_out, join, names, new_item, new_sale, serve, stand};

async fn served(rig: &Rig, item: doorbuster_core::ItemId) -> Order {
    let mut orders = serve(rig, item).await.orders;
    assert_eq!(orders.len(), 1, "{orders:?}");
    orders.remove(0)
}

/// Where an item's own window is shorter, it holds.
pub async fn the_window_is_the_shorter_one(rig: Rig) {
    let short =
        super::super::NewItem { hold_ms: 60_000, ..new_item("phone", Stock::Counted(1), 1) };
    let sale = rig
        .store
        .create_sale(new_sale("short", vec![short]))
        .await
        .expect("writes")
        .expect("a free id");
    rig.store.step_sale("short", doorbuster_core::sale::Step::Open).await.expect("writes");
    let item = sale.items[0].id;
    let grant = rig.open(SlotKey { item, index: 0 }, 1).await;
    let held = rig.reserve(&grant, 1, "holder", 1).await;
    stand(&rig, item, "anna").await;
    cancel(&rig, &held).await;
    let order = served(&rig, item).await;
    assert_eq!(order.pay_by, rig.clock.now().plus(60_000));
}

/// Cancelled, expired and refunded units go to the next in line, and what is paid stays paid.
pub async fn an_order_out_of_a_line_lives_as_others_do(rig: Rig) {
    let (grant, orders) = held_out(&rig, 4, 1).await;
    let item = grant.slot.item;
    for who in ["anna", "bert", "cleo", "dora"] {
        stand(&rig, item, who).await;
    }
    cancel(&rig, &orders[0]).await;
    let anna = served(&rig, item).await;
    cancel(&rig, &anna).await;
    expect_line(&rig, item, 3, 1).await;
    let bert = served(&rig, item).await;
    assert_eq!(rig.store.next_due().await.expect("reads"), Some(bert.pay_by));
    rig.clock.pass(LINE_HOLD_MS);
    let expired = rig.store.expire_due(9).await.expect("writes");
    assert_eq!(
        expired.iter().map(|o| (o.id, o.state)).collect::<Vec<_>>(),
        [(bert.id, OrderState::Expired)]
    );
    expect_line(&rig, item, 2, 1).await;
    let cleo = served(&rig, item).await;
    assert!(matches!(rig.store.pay_order(cleo.id).await.expect("writes"), Paid::Done(_)));
    rig.expect_units(item, 0, 0, 3, 1).await;
    rig.store.end_order(cleo.id, Ending::Refund, By::ENGINE.clone()).await.expect("writes");
    expect_line(&rig, item, 1, 1).await;
    let dora = served(&rig, item).await;
    assert_eq!(names(std::slice::from_ref(&dora)), ["dora"]);
    assert!(matches!(rig.store.pay_order(dora.id).await.expect("writes"), Paid::Done(_)));
    rig.expect_units(item, 0, 0, 3, 1).await;
    expect_line(&rig, item, 0, 0).await;
}

/// Whoever was served and did not pay, or gave it up, does not stand there again; who paid, or bought without the line, may.
pub async fn whoever_was_served_in_vain_does_not_join_again(rig: Rig) {
    let (grant, orders) = held_out(&rig, 4, 1).await;
    let item = grant.slot.item;
    for who in ["anna", "bert", "cleo"] {
        stand(&rig, item, who).await;
    }
    for order in &orders[..3] {
        cancel(&rig, order).await;
    }
    let served = serve(&rig, item).await.orders;
    assert_eq!(names(&served), ["anna", "bert", "cleo"]);
    rig.store.pay_order(served[2].id).await.expect("writes");
    cancel(&rig, &served[0]).await;
    rig.clock.pass(LINE_HOLD_MS);
    rig.store.expire_due(9).await.expect("writes");
    // What came back is bought again: the item is held out as before.
    rig.store.refill(grant.id, 9, Counter::A).await.expect("writes");
    rig.reserve(&grant, 5, "dora", 1).await;
    rig.reserve(&grant, 6, "emil", 1).await;
    for (order, state) in [(&served[0], OrderState::Cancelled), (&served[1], OrderState::Expired)] {
        let ended = rig.store.order(order.id).await.expect("reads").expect("an order");
        assert_eq!(ended.state, state);
        let who = order.buyer.as_str();
        assert_eq!(join(&rig, item, who, "new").await, Joined::Lapsed(ended.clone()), "{who}");
        assert_eq!(
            join(&rig, item, who, order.key.as_str()).await,
            Joined::Order(ended),
            "the key has an order"
        );
    }
    rig.store.end_order(served[2].id, Ending::Refund, By::ENGINE.clone()).await.expect("writes");
    rig.store.refill(grant.id, 9, Counter::A).await.expect("writes");
    rig.reserve(&grant, 7, "fred", 1).await;
    for who in ["cleo", "holder-1"] {
        assert!(matches!(join(&rig, item, who, "new").await, Joined::Done(_)), "{who} may");
    }
    expect_line(&rig, item, 2, 0).await;
}

/// What an operator cancelled was not its buyer's doing: they join again, at the end. What they let lapse themselves still keeps them out.
pub async fn whose_order_an_operator_cancelled_joins_again(rig: Rig) {
    let (grant, orders) = held_out(&rig, 2, 2).await;
    let item = grant.slot.item;
    stand(&rig, item, "anna").await;
    cancel(&rig, &orders[0]).await;
    let first = served(&rig, item).await;
    let operator = By::actor(Actor::Operator("key_1".to_owned()));
    rig.store.end_order(first.id, Ending::Cancel, operator).await.expect("writes");
    // Whoever buys what came back holds it as before: the item is held out.
    rig.store.refill(grant.id, 9, Counter::A).await.expect("writes");
    let bought = rig.reserve(&grant, 3, "anna", 1).await;
    cancel(&rig, &bought).await;
    rig.store.refill(grant.id, 9, Counter::A).await.expect("writes");
    let bert = rig.reserve(&grant, 4, "bert", 1).await;
    let Joined::Done(again) = join(&rig, item, "anna", "again").await else {
        panic!("anna gets a place")
    };
    assert_eq!(again.n.0, 2, "a turn of its own");
    cancel(&rig, &bert).await;
    let second = served(&rig, item).await;
    assert_eq!((second.id, names(std::slice::from_ref(&second))), (again.id, vec!["anna"]));
    rig.clock.pass(LINE_HOLD_MS);
    rig.store.expire_due(9).await.expect("writes");
    rig.store.refill(grant.id, 9, Counter::A).await.expect("writes");
    rig.reserve(&grant, 5, "cleo", 1).await;
    let expired = rig.store.order(second.id).await.expect("reads").expect("an order");
    assert_eq!(
        join(&rig, item, "anna", "new").await,
        Joined::Lapsed(expired),
        "not for the order that was taken away"
    );
    expect_line(&rig, item, 0, 0).await;
}

/// The books know an order out of a line like any other, and its money.
pub async fn the_books_of_a_line_add_up(rig: Rig) {
    let (grant, orders) = held_out(&rig, 2, 1).await;
    let item = grant.slot.item;
    stand(&rig, item, "anna").await;
    stand(&rig, item, "bert").await;
    cancel(&rig, &orders[0]).await;
    let anna = served(&rig, item).await;
    let told = Capture {
        event: "msg_1".to_owned(),
        provider: "paybank".to_owned(),
        payment: PaymentId("pay_1".to_owned()),
        order: anna.id.to_string(),
        money: Money { minor: 1_999, currency: "EUR".to_owned() },
    };
    assert!(matches!(rig.store.capture(told, true).await.expect("writes"), Captured::Paid(_)));
    cancel(&rig, &orders[1]).await;
    let bert = served(&rig, item).await;
    let books = rig.store.books(None, None).await.expect("reads");
    assert_eq!(books.differences, []);
    let row = &books.items[0];
    assert_eq!((row.pool, row.in_slots, row.held, row.paid, row.ended), (0, 0, 1, 1, 2));
    while rig.store.sequence_events(100).await.expect("writes") > 0 {}
    let moved = rig.store.moved(None, 0, 100).await.expect("reads").rows;
    let of = |id| {
        moved.iter().filter(|m| m.order == id).map(|m| (m.before, m.after)).collect::<Vec<_>>()
    };
    assert_eq!(
        of(anna.id),
        [(None, OrderState::Reserved), (Some(OrderState::Reserved), OrderState::Paid)]
    );
    assert_eq!(of(bert.id), [(None, OrderState::Reserved)]);
    rig.adds_up().await;
}

/// Money that comes after the window takes a unit that lies in the pool, also one that is kept; else it goes back, and the next in line has the unit.
pub async fn a_late_payment_and_the_next_in_line(rig: Rig) {
    let (grant, orders) = held_out(&rig, 2, 1).await;
    let item = grant.slot.item;
    stand(&rig, item, "anna").await;
    stand(&rig, item, "bert").await;
    cancel(&rig, &orders[0]).await;
    let anna = served(&rig, item).await;
    rig.clock.pass(LINE_HOLD_MS);
    rig.store.expire_due(9).await.expect("writes");
    expect_line(&rig, item, 1, 1).await;
    assert!(
        matches!(rig.store.pay_order(anna.id).await.expect("writes"), Paid::Done(o) if o.state == OrderState::Paid)
    );
    expect_line(&rig, item, 1, 0).await;
    rig.store.end_order(anna.id, Ending::Refund, By::ENGINE.clone()).await.expect("writes");
    let bert = served(&rig, item).await;
    assert_eq!(bert.buyer.as_str(), "bert");
    assert!(
        matches!(rig.store.pay_order(orders[0].id).await.expect("writes"), Paid::Refund(_)),
        "it is bert's now"
    );
    rig.expect_units(item, 0, 0, 2, 0).await;
}
