//! Tests several nodes on one PostgreSQL. Each node must learn of the other nodes' commits, and
//! together the nodes must never sell a unit twice.

mod digests;
mod limits;
mod rest;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::event::{Attribution, EventType};
use doorbuster_core::money::{CaptureOutcome, PaymentState, RefundCause};
use doorbuster_core::order::{ChangeOutcome, EndReason};
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{
    BuyerId, Counter, NodeId, Order, OrderState, RecallId, RecallTarget, RequestKey, Seq, SlotKey,
    Stock, Ticket, TicketId, Verdict,
};
use doorbuster_store::conformance::{Fixture, id_key, new_item, new_sale};
use doorbuster_store::{Committed, MoneyQuery};
use tokio::task::JoinSet;

use crate::cluster;
use crate::events::message;
use crate::fixture::open_postgres;
use crate::watch::Stopwatch;

/// The longest time until a node knows another node's commit.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);

/// Opens two nodes on a new database.
pub async fn two() -> (Fixture, Fixture, String) {
    let cluster = cluster::shared();
    let database = cluster.database();
    let url = cluster.url(&database);
    (open_postgres(&url, 1).await, open_postgres(&url, 2).await, database)
}

/// Waits until `enough` accepts the commits that were published to a node. Returns these commits.
pub async fn wait(
    fixture: &Fixture,
    within: Duration,
    enough: impl Fn(&[Committed]) -> bool,
) -> Vec<Committed> {
    let (since, mut all) = (Stopwatch::start(), Vec::new());
    loop {
        all.extend(fixture.commits.take());
        if enough(&all) {
            return all;
        }
        assert!(since.elapsed() < within, "not published within {within:?}: {all:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn for_node(ticket: &Ticket, node: u32) -> Arc<Ticket> {
    Arc::new(Ticket { node: NodeId(node), ..ticket.clone() })
}

/// When units move from one slot to another, no count changes. Still, the commit must be published,
/// because the node of the receiving slot must learn of the units.
#[tokio::test]
async fn units_that_move_between_nodes_are_published_with_unchanged_counts() {
    let (a, b, _) = two().await;
    let from = a.slot(10, 6, 5).await;
    let item = from.slot.item;
    let into = b.open(SlotKey { item, index: 2 }, 4).await;
    b.store
        .begin_recall(RecallId(1), from.id, RecallTarget::Grant(into.id), 5)
        .await
        .expect("writes");
    let now = b.counts(item).await;
    wait(&b, KNOWN_WITHIN, |all| all.iter().any(|c| c.counts.contains(&now))).await;
    // Commits of earlier steps may arrive late. The test takes these commits first, so that it does
    // not mistake one of them for the expected commit.
    while !b.commits.take().is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(a.store.finish_recall(RecallId(1), 5).await.expect("writes"), 5);
    wait(&b, KNOWN_WITHIN, |all| all.iter().any(|c| c.counts.contains(&now))).await;
    assert_eq!(b.counts(item).await, now, "the counts must stay the same");
    let feed = b.store.feed_after(into.id, Seq(0), 9).await.expect("reads");
    assert_eq!(feed.iter().map(|row| row.units).collect::<Vec<_>>(), [5]);
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}

#[tokio::test]
async fn a_commit_of_one_node_reaches_the_other_with_orders_and_counts() {
    let (a, b, _) = two().await;
    let grant = a.slot(100, 50, 5).await;
    let item = grant.slot.item;
    let now = a.counts(item).await;
    let all = wait(&b, KNOWN_WITHIN, |all| all.iter().any(|c| c.counts.contains(&now))).await;
    assert!(
        all.iter().any(|c| c.sales),
        "the creation and the opening of a sale must be published: {all:?}"
    );
    for (n, held) in [(1, 2), (2, 4)] {
        let order = a.reserve(&grant, n, &format!("buyer-{n}"), 2).await;
        let now = a.counts(item).await;
        assert_eq!(now.held, held);
        let all = wait(&b, KNOWN_WITHIN, |all| all.iter().any(|c| c.counts.contains(&now))).await;
        let at = all.iter().position(|c| c.counts.contains(&now)).expect("waited for");
        let known: Vec<_> = all[..=at].iter().flat_map(|c| &c.orders).collect();
        assert_eq!(known, [&order], "published counts must include only published orders");
        assert!(all.iter().all(|c| !c.sales && c.verdicts.is_empty()), "{all:?}");
    }
    let id = a
        .store
        .orders(doorbuster_store::OrderQuery { limit: 1, ..Default::default() })
        .await
        .expect("reads")
        .rows[0]
        .id;
    a.store.end_order(id, EndReason::Cancel, Attribution::BUYER.clone()).await.expect("writes");
    let ended =
        |c: &Committed| c.orders.iter().any(|o| o.id == id && o.state == OrderState::Cancelled);
    wait(&b, KNOWN_WITHIN, |all| all.iter().any(ended)).await;
    b.store.step_sale("sale-0", PhaseStep::Pause).await.expect("writes");
    wait(&a, KNOWN_WITHIN, |all| all.iter().any(|c| c.sales)).await;
    // The table `catalogue` has one row, so a node's own change can hide an earlier change of
    // another node. For this reason, the node must be notified even of its own change.
    wait(&b, KNOWN_WITHIN, |all| all.iter().any(|c| c.sales)).await;
    a.store.close().await;
    b.store.close().await;
}

#[tokio::test]
async fn verdicts_reach_the_node_that_waits_for_them() {
    let (a, b, _) = two().await;
    let grant = a.slot(100, 50, 2).await;
    let tickets: Vec<_> = [("anna", "k", 2), ("anna", "l", 1), ("anna", "k", 2), ("bert", "k", 1)]
        .into_iter()
        .zip(1..)
        .map(|((who, key, units), n)| {
            for_node(&a.ticket(&grant, n, who, key, units), if n == 4 { 1 } else { 2 })
        })
        .collect();
    b.commits.forget();
    let resolved = a.store.settle(tickets.clone()).await.expect("settles");
    let all =
        wait(&b, KNOWN_WITHIN, |all| all.iter().map(|c| c.verdicts.len()).sum::<usize>() >= 3)
            .await;
    let mut verdicts: Vec<_> = all.into_iter().flat_map(|c| c.verdicts).collect();
    verdicts.sort_by_key(|(token, _)| *token);
    let mut wanted: Vec<_> =
        tickets[..3].iter().zip(&resolved).map(|(t, r)| (t.token, r.clone())).collect();
    wanted.sort_by_key(|(token, _)| *token);
    assert_eq!(verdicts, wanted);
    assert_eq!(resolved[1].verdict, Verdict::LimitReached);
    assert_eq!(resolved[2].verdict, Verdict::Order(resolved[0].id));
    assert!(
        a.commits.take().iter().all(|c| c.verdicts.is_empty()),
        "a node must not get verdicts of tickets that it settled itself"
    );
    a.store.close().await;
    b.store.close().await;
}

/// Returns the tickets of one of two nodes, in batches. The nodes get requests of the same buyers,
/// and a third of the requests go to both nodes.
fn crowd(fixture: &Fixture, grant: &doorbuster_core::Grant, side: u64) -> Vec<Vec<Arc<Ticket>>> {
    let tickets: Vec<_> = (0..240_u64)
        .map(|i| {
            let buyer = (i * 7 + side * 3) % 40;
            let key =
                if i % 3 == 0 { format!("both-{}", i / 40) } else { format!("{side}-{}", i / 40) };
            let ticket = fixture.ticket(grant, i + 1, &format!("buyer-{buyer:02}"), &key, 1);
            for_node(&ticket, side as u32 + 1)
        })
        .collect();
    tickets.chunks(20).map(<[_]>::to_vec).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settlers_on_two_nodes_never_exceed_a_limit() {
    let (a, b, _) = two().await;
    let item = a.item(Stock::Counted(1_000), 3).await;
    let grants = [
        a.open(SlotKey { item, index: 0 }, 500).await,
        a.open(SlotKey { item, index: 1 }, 500).await,
    ];
    let mut settlers = tokio::task::JoinSet::new();
    for (side, fixture) in [&a, &b].into_iter().enumerate() {
        for batch in crowd(&a, &grants[side], side as u64) {
            let store = fixture.store.clone();
            settlers.spawn(async move { store.settle(batch).await.expect("settles") });
        }
    }
    let resolved: Vec<_> = settlers.join_all().await.into_iter().flatten().collect();
    assert_eq!(resolved.len(), 480);
    let reserved: BTreeSet<TicketId> =
        resolved.iter().filter(|r| r.verdict == Verdict::Reserved).map(|r| r.id).collect();
    assert_eq!(reserved.len(), 40 * 3, "each buyer must have exactly the limit");
    for buyer in 0..40 {
        let buyer = BuyerId::new(&format!("buyer-{buyer:02}")).expect("a name");
        assert_eq!(a.store.quota(item, buyer).await.expect("reads"), 3);
    }
    assert_eq!(a.dead_tickets().await, [], "a conflict must not create a dead letter");
    a.expect_units(item, 0, 880, 120, 0).await;
    for fixture in [&a, &b] {
        let known = wait(fixture, KNOWN_WITHIN, |all| {
            all.iter().flat_map(|c| &c.orders).map(|o| o.id).collect::<BTreeSet<_>>().len() >= 120
        });
        let known: BTreeSet<_> = known.await.iter().flat_map(|c| &c.orders).map(|o| o.id).collect();
        assert_eq!(known, reserved, "each node must know every order");
    }
    a.store.close().await;
    b.store.close().await;
}

/// Asserts that an order's events, state and payments agree after concurrent changes.
async fn judge(
    fixture: &Fixture,
    order: &Order,
    ended: bool,
    captured: Option<&CaptureOutcome>,
) -> OrderState {
    let now = fixture.store.order(order.id).await.expect("reads").expect("an order");
    let of = MoneyQuery { order: Some(order.id.to_string()), limit: 9, ..MoneyQuery::default() };
    let payments = fixture.store.payments(of.clone()).await.expect("reads").rows;
    let refunds = fixture.store.refunds(of).await.expect("reads").rows;
    match captured {
        Some(CaptureOutcome::Paid(paid)) => {
            assert_eq!(
                (&now, payments.len(), refunds.len()),
                (paid, 1, 0),
                "{payments:?} {refunds:?}"
            );
            assert_eq!(payments[0].state, PaymentState::Captured);
        }
        Some(CaptureOutcome::Refund(refund)) => {
            assert_eq!((payments.len(), &refunds[..]), (1, std::slice::from_ref(refund)));
            assert_eq!(
                (payments[0].state, refund.cause),
                (PaymentState::Refunded, RefundCause::Late)
            );
        }
        None => assert_eq!(
            (payments.len(), refunds.len()),
            (0, 0),
            "an order without a payment must not have payments or refunds"
        ),
        other => panic!("the payment is neither paid nor refunded: {other:?}"),
    }
    let is_paid = now.state == OrderState::Paid;
    assert!(is_paid || matches!(now.state, OrderState::Cancelled | OrderState::Expired), "{now:?}");
    assert_eq!(is_paid, matches!(captured, Some(CaptureOutcome::Paid(_))), "{captured:?}");
    assert!(is_paid || ended, "{now:?}");
    let history = fixture.store.history(order.id).await.expect("reads");
    let times = |what: &[EventType]| {
        history.iter().filter(|stored| what.contains(&stored.event.what)).count()
    };
    assert_eq!(times(&[EventType::OrderPaid]), usize::from(is_paid), "{history:?}");
    assert_eq!(
        times(&[EventType::OrderCancelled, EventType::OrderExpired]),
        usize::from(ended),
        "{history:?}"
    );
    now.state
}

/// One node tries to pay two of every three orders, and the other node tries to cancel every order.
/// Both nodes expire orders. Refills move some of the returned units to a slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_do_not_pay_expire_and_cancel_the_same_order_twice() {
    let (a, b, _) = two().await;
    let grant = a.slot(200, 200, 4).await;
    let mut orders = Vec::new();
    for n in 1..=60 {
        orders.push(a.reserve(&grant, n, &format!("buyer-{n}"), 2).await);
    }
    a.clock.advance(doorbuster_store::conformance::HOLD_MS);
    b.clock.advance(doorbuster_store::conformance::HOLD_MS);
    let (mut pays, mut ends, mut refills) =
        (JoinSet::new(), JoinSet::<Vec<TicketId>>::new(), JoinSet::new());
    for (at, order) in orders.iter().enumerate() {
        let (from_a, from_b, id) = (a.store.clone(), b.store.clone(), order.id);
        if at % 4 == 0 {
            for store in [a.store.clone(), b.store.clone()] {
                ends.spawn(async move {
                    store
                        .expire_due(3)
                        .await
                        .expect("writes")
                        .into_iter()
                        .map(|order| order.id)
                        .collect::<Vec<_>>()
                });
            }
            let (store, into) = (b.store.clone(), grant.id);
            refills.spawn(async move { store.refill(into, 4, Counter::A).await.expect("writes") });
        }
        ends.spawn(async move {
            let changed = from_b
                .end_order(id, EndReason::Cancel, Attribution::BUYER.clone())
                .await
                .expect("writes");
            if matches!(changed, ChangeOutcome::Done(_)) { vec![id] } else { Vec::new() }
        });
        if at % 3 > 0 {
            let paid = message(&id.to_string(), 2, &format!("evt_{at}"), &format!("pay_{at}"));
            pays.spawn(async move { (id, from_a.capture(paid, true).await.expect("writes")) });
        }
    }
    let captured: BTreeMap<_, _> = pays.join_all().await.into_iter().collect();
    let ended = ends.join_all().await.concat();
    let given: u64 = refills.join_all().await.into_iter().sum();
    let once: BTreeSet<_> = ended.iter().copied().collect();
    assert_eq!(once.len(), ended.len(), "an order must not end twice");
    let mut paid = 0;
    for order in &orders {
        let state = judge(&b, order, once.contains(&order.id), captured.get(&order.id)).await;
        paid += if state == OrderState::Paid { 2 } else { 0 };
    }
    assert_eq!(a.store.expire_due(100).await.expect("writes"), [], "every order must have ended");
    a.expect_units(grant.slot.item, 120 - paid - given, 80 + given, 0, paid).await;
    a.store.close().await;
    b.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_makes_one_adjustment_and_one_slot_has_one_grant_over_all_nodes() {
    let (a, b, _) = two().await;
    let item = a.item(Stock::Counted(100), 3).await;
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..12_u64 {
        let store = if at % 2 == 0 { a.store.clone() } else { b.store.clone() };
        tasks.spawn(async move {
            let slot = SlotKey { item, index: 0 };
            let grant = store
                .open_grant(slot, doorbuster_core::GrantId(at + 1), 10)
                .await
                .expect("writes")
                .expect("an item");
            let (reason, key) = ("recount".to_owned(), "one".to_owned());
            let adjustment = doorbuster_store::Adjustment { item, units: 7, reason, key };
            (grant.id, store.adjust(adjustment).await.expect("writes"))
        });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>().len(), 1);
    let done = answers
        .iter()
        .filter(|(_, o)| matches!(o, doorbuster_store::AdjustOutcome::Done(_)))
        .count();
    assert_eq!(done, 1);
    a.expect_units(item, 97, 10, 0, 0).await;
    let again = new_sale("sale-0", vec![new_item("item", Stock::Counted(1), 1)]);
    assert_eq!(
        b.store.create_sale(again).await.expect("writes"),
        None,
        "an id must be taken at every node"
    );
    a.store.close().await;
    b.store.close().await;
}

#[tokio::test]
async fn a_forced_verdict_reaches_every_node_that_may_wait() {
    let (a, b, _) = two().await;
    let grant = a.slot(10, 10, 5).await;
    let ticket = for_node(&a.ticket(&grant, 1, "anna", "a", 2), 2);
    let id = id_key().id_of(&ticket);
    let parts = id_key().open(&id, "anna").expect("a valid id");
    a.clock.advance(10_001);
    b.commits.forget();
    let forced =
        a.store.force_verdict(id, parts, ticket.buyer.clone()).await.expect("writes").expect("due");
    let all = wait(&b, KNOWN_WITHIN, |all| all.iter().any(|c| !c.verdicts.is_empty())).await;
    let verdicts: Vec<_> = all.into_iter().flat_map(|c| c.verdicts).collect();
    assert_eq!(verdicts, [(ticket.token, forced)]);
    let key = RequestKey::new("a").expect("a key");
    assert_eq!(b.store.order_of(ticket.buyer.clone(), key).await.expect("reads"), None);
    a.store.close().await;
    b.store.close().await;
}
