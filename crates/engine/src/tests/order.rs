//! Tests steps that must run in a fixed sequence. See "Rules that are not shared with the
//! simulator" in docs/protocol.md.
use doorbuster_core::event::Attribution;
use doorbuster_core::limits::PARKED_MAX;
use doorbuster_core::{CloseCause, Grant};
use doorbuster_store::{Committed, OrderQuery};

use super::*;
use crate::catalogue::ItemState;
use crate::settle;
use crate::stock::reconcile;

fn item(engine: &EngineParts) -> Arc<ItemState> {
    engine.node.catalogue().sale("spring").expect("created").items[0].clone()
}

async fn grant(engine: &EngineParts) -> Grant {
    let grants =
        engine.node.store().grants(item(engine).row.id).await.expect("the store is available");
    grants.into_iter().find(|grant| grant.open).expect("a grant is open")
}

/// Sends a purchase request in its own task, and waits until the node has parked or answered the
/// request. Returns the task.
async fn parks(
    engine: &Arc<EngineParts>,
    buyer: &'static str,
    key: &'static str,
) -> tokio::task::JoinHandle<PurchaseOutcome> {
    let before = engine.purchases.parked();
    let buying = engine.clone();
    let buying = tokio::spawn(async move { buy(&buying, buyer, key, 1).await });
    while engine.purchases.parked() == before && !buying.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    buying
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_remembers_each_order_that_it_returned() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    open_sale(&engine, Stock::Counted(2), 1, 900_000).await;
    let order = bought(&engine, "anna", "k", 1).await;
    let request = engine.node.id_key().request_hash("anna", "k");
    // Makes the node forget the order, as if another node had settled it.
    let forget = || {
        engine.node.holders().begin_rebuild();
        engine.node.holders().finish_rebuild();
        assert!(!engine.node.holders().holds(request));
    };
    forget();
    let again = buy(&engine, "anna", "k", 1).await;
    assert!(matches!(&again, PurchaseOutcome::Replayed(same) if same.id == order.id), "{again:?}");
    assert!(engine.node.holders().holds(request));
    forget();
    engine.orders.look_up_order(order.id, None).await.expect("the store is available");
    assert!(
        !engine.node.holders().holds(request),
        "the node must not remember an order that an operator reads"
    );
    let read = engine.orders.look_up_order(order.id, Some(&order.buyer)).await;
    assert!(matches!(read, Ok(OrderLookup::Order(_))), "{read:?}");
    assert!(engine.node.holders().holds(request));
    forget();
    let mine = OrderQuery { buyer: Some(order.buyer.clone()), limit: 5, ..OrderQuery::default() };
    assert_eq!(
        engine.orders.list_orders(mine).await.expect("the store is available").rows.len(),
        1
    );
    assert!(engine.node.holders().holds(request));
    // Buys the second unit, because a buyer can join a waitlist only while every unit is held.
    bought(&engine, "ben", "k", 1).await;
    forget();
    let joined = engine.waitlists.join_waitlist(&item(&engine), &order.buyer, &order.key).await;
    assert!(joined.is_ok(), "{joined:?}");
    assert!(engine.node.holders().holds(request));
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_gets_its_next_grant_even_without_units() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    open_sale(&engine, Stock::Counted(1), 1, 900_000).await;
    bought(&engine, "anna", "k", 1).await;
    let (item, first) = (item(&engine), grant(&engine).await);
    assert!(
        engine
            .node
            .store()
            .close_grant(first.id, CloseCause::EpochMissing)
            .await
            .expect("the store is available")
    );
    reconcile(&engine.stock, &item).await.expect("the store is available");
    let next = grant(&engine).await;
    assert!(next.epoch > first.epoch && next.acked && next.granted == 0, "{next:?}");
    let view = engine
        .stock
        .slots()
        .view(next.slot)
        .await
        .expect("in memory")
        .expect("the slot has an epoch");
    assert_eq!((view.grant, view.epoch, view.available), (next.id, next.epoch, 0));
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recall_that_its_slot_refused_stays_pending() {
    let dir = TempDir::new();
    let bounds = SlotBounds { recalls: 1, ..SlotBounds::default() };
    let engine = engine_bounded(&dir, Roles::ALL, Clock::default(), bounds).await;
    open_sale(&engine, Stock::Counted(10), 1, 900_000).await;
    let item = item(&engine);
    // While the test has the lock, no other task reconciles the item.
    let alone = engine.stock.lock_item(&item).await;
    assert_eq!(alone.recall_to_pool(2).await.expect("the store is available"), 2);
    let before = grant(&engine).await;
    assert_eq!(
        alone.recall_to_pool(3).await.expect("the store is available"),
        0,
        "the slot's memory of recalls is full, so the slot must give no units"
    );
    let pending = engine.node.store().pending_recalls().await.expect("the store is available");
    assert_eq!(
        pending.iter().map(|recall| (recall.grant, recall.asked)).collect::<Vec<_>>(),
        [(before.id, 3)]
    );
    assert_eq!(grant(&engine).await, before);
    drop(alone);
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_parked_requests_is_bounded() {
    let dir = TempDir::new();
    let engine = engine_with(&dir, Roles { settle: false, ..Roles::ALL }).await;
    open_sale(&engine, Stock::Counted(1), 1, 900_000).await;
    let first = buy_within(&engine, "anna", "k", 1, Duration::ZERO).await;
    assert!(matches!(first, PurchaseOutcome::Queued { .. }), "{first:?}");
    engine.purchases.parked.fetch_add(PARKED_MAX - 1, Ordering::AcqRel);
    // Anna's ticket in flight has the only unit and may be returned, so Bert's request is parked.
    let last = parks(&engine, "bert", "k").await;
    assert_eq!(engine.purchases.parked(), PARKED_MAX);
    let answer = buy(&engine, "carl", "k", 1).await;
    assert!(matches!(answer, PurchaseOutcome::Refused(Refusal::Overloaded)), "{answer:?}");
    assert_eq!(
        engine.purchases.parked(),
        PARKED_MAX,
        "the refused request must give back its permit"
    );
    last.abort();
    drop(last.await);
    assert_eq!(engine.purchases.parked(), PARKED_MAX - 1);
    // Settles Anna's ticket, so that the ticket does not delay the stop.
    let settling = tokio::spawn(settle::run(engine.node.clone(), engine.stock.slots().clone()));
    engine.stock.stop_node().await;
    settling.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_refusal_of_an_earlier_ticket_does_not_decide_a_new_attempt() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    open_sale(&engine, Stock::Counted(2), 1, 900_000).await;
    let first = bought(&engine, "anna", "k1", 1).await;
    // After a pause, the slot has a new grant. Under this grant, it has no record of Anna's order.
    step(&engine, PhaseStep::Pause).await;
    step(&engine, PhaseStep::Resume).await;
    let item = item(&engine);
    reconcile(&engine.stock, &item).await.expect("the store is available");
    // While the test has the lock, no job delivers returned units to the slot.
    let alone = engine.stock.lock_item(&item).await;
    let refused = buy(&engine, "anna", "k2", 1).await;
    assert_eq!(refused, PurchaseOutcome::Refused(Refusal::LimitReached { limit: 1, used: 1 }));
    assert!(matches!(
        engine.orders.cancel(first.id, Attribution::BUYER.clone()).await,
        Ok(ChangeOutcome::Done(_))
    ));
    let again = parks(&engine, "anna", "k2").await;
    drop(alone);
    let again = again.await.expect("the task did not panic");
    assert!(matches!(again, PurchaseOutcome::Created(_)), "{again:?}");
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_request_gets_its_order_although_the_sale_is_paused_meanwhile() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    open_sale(&engine, Stock::Counted(2), 1, 900_000).await;
    let order = bought(&engine, "anna", "k", 1).await;
    // The node forgets the order, and the slot loses its epoch: the test causes both.
    engine.node.holders().begin_rebuild();
    engine.node.holders().finish_rebuild();
    let item = item(&engine);
    let alone = engine.stock.lock_item(&item).await;
    engine.stock.slots().retire(item.slots[0], None).await.expect("in memory");
    let again = parks(&engine, "anna", "k").await;
    // The test now tells the node of the order and of the pause, as another node's commits would.
    engine.node.holders().insert(engine.node.id_key().request_hash("anna", "k").low_64_bits());
    let mut row = engine.node.catalogue().sale("spring").expect("created").row.clone();
    row.phase = Phase::Paused;
    assert!(engine.node.put_sale(row, &[], false));
    let again = again.await.expect("the task did not panic");
    assert_eq!(again, PurchaseOutcome::Replayed(order));
    drop(alone);
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_ends_the_counts_of_buyers_at_the_limit() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    draft(&engine, Stock::Counted(9), 1, 900_000).await;
    let item = engine.node.catalogue().sale("spring").expect("created").items[0].clone();
    let (at_limit, feed) = (&item.work.at_limit, &item.work.feed);
    let refuses =
        || at_limit.refuses(7, Units::ONE, 1, feed.ended_orders(), std::time::Instant::now());
    at_limit.learn(7, 1, feed.ended_orders());
    engine.node.memory.publish(&Committed::default());
    assert_eq!(refuses(), Some(1));
    engine.node.memory.publish(&Committed { may_lose_orders: true, ..Committed::default() });
    assert_eq!(refuses(), None, "the counted orders may be lost");
    engine.stock.stop_node().await;
}
