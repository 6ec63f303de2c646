//! Tests that a node does not refuse a buyer because another node is late or unreachable.
use std::time::{Duration, Instant};

use doorbuster_config::Roles;
use doorbuster_core::event::Attribution;
use doorbuster_core::order::ChangeOutcome;
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{Phase, Spread};
use doorbuster_engine::control::concurrent_slots;
use doorbuster_engine::purchase::{PurchaseOutcome, Refusal};
use doorbuster_store::{SaleRow, StepOutcome};

use super::fixture::{Deployment, SALE, until};
use crate::watch::Stopwatch;

/// A request is parked for at most one second. So the test repeats an attempt in which the awaited
/// change takes longer than this.
const CHANGE_BY: Duration = Duration::from_millis(600);
/// The earliest time of a request's last query. If no message comes, a waiting request queries the
/// slots once more at the end of its wait of one second.
const LAST_QUERY_MIN: Duration = Duration::from_millis(950);

/// Checks the outcome of a purchase whose ticket is not settled. The outcome is `Queued` or, if the
/// node's lease has lapsed, `Unavailable`.
fn expect_undecided(outcome: &PurchaseOutcome) {
    let unavailable = matches!(outcome, PurchaseOutcome::Refused(Refusal::Unavailable));
    assert!(unavailable || matches!(outcome, PurchaseOutcome::Queued { .. }), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_at_the_limit_is_refused_at_a_node_that_does_not_lead() {
    let home = Deployment::cluster();
    let (first, second) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    first.open_sale(100, 1, Spread { partitions: 2, ..Spread::default() }).await;
    second.wait_for_phase(Phase::Open).await;
    assert!(matches!(second.buy("anna", "k1", 1).await, PurchaseOutcome::Created(_)));
    let PurchaseOutcome::Created(order) = first.buy("bert", "k1", 1).await else {
        panic!("the purchase was refused although units are available")
    };
    let engine = first.engine.clone();
    let cancelled = first
        .run(async move { engine.orders.cancel(order.id, Attribution::BUYER.clone()).await })
        .await;
    assert!(matches!(cancelled, Ok(ChangeOutcome::Done(_))), "{cancelled:?}");
    until("the second node counts one held unit", async || second.gauge().counts().held == 1).await;
    for n in 2..6 {
        let asked = Stopwatch::start();
        let answer = second.buy("anna", &format!("k{n}"), 1).await;
        assert!(
            matches!(answer, PurchaseOutcome::Refused(Refusal::LimitReached { limit: 1, used: 1 })),
            "{answer:?}"
        );
        assert!(
            asked.elapsed() < Duration::from_millis(900),
            "the request was not parked: {:?}",
            asked.elapsed()
        );
    }
    assert!(
        matches!(second.buy("bert", "k2", 1).await, PurchaseOutcome::Created(_)),
        "a buyer whose order has ended must be able to buy again"
    );
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_undecided_at_one_node_is_never_sold_out_at_another() {
    let home = Deployment::postgres();
    let first = home.node(Roles { settle: false, ..Roles::ALL }).await;
    first.open_sale(1, 1, Spread::default()).await;
    until("the first node has the unit", async || first.counts().await.in_slots == 1).await;
    let second = home.node(Roles::ALL).await;
    second.wait_for_phase(Phase::Open).await;
    let shop = first.buyer_client();
    let waiting = tokio::spawn(async move { shop.buy("anna", "k", 1).await });
    until("the request's ticket is issued", async || first.queued().await == 1).await;
    let outcome = second.buy("anna", "k", 1).await;
    assert!(matches!(outcome, PurchaseOutcome::Refused(Refusal::Unavailable)), "{outcome:?}");
    expect_undecided(&waiting.await.expect("no panic"));
    second.stop().await;
    first.crash();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_undecided_at_one_node_is_never_over_the_limit_at_another() {
    let home = Deployment::postgres();
    let no_settler = Roles { settle: false, ..Roles::ALL };
    let (first, second) = (home.node(no_settler).await, home.node(no_settler).await);
    first.open_sale(100, 1, Spread::default()).await;
    second.wait_for_phase(Phase::Open).await;
    let (one, other) = (first.buyer_client(), second.buyer_client());
    let waiting = tokio::spawn(async move { one.buy("anna", "k", 1).await });
    until("the request's ticket is issued", async || first.queued().await == 1).await;
    let beside = tokio::spawn(async move { other.buy("anna", "other", 1).await });
    until("another request of the buyer is queued at the other node", async || {
        second.queued().await == 1
    })
    .await;
    let outcome = second.buy("anna", "k", 1).await;
    assert!(matches!(outcome, PurchaseOutcome::Refused(Refusal::Unavailable)), "{outcome:?}");
    for undecided in [waiting, beside] {
        expect_undecided(&undecided.await.expect("no panic"));
    }
    first.crash();
    second.crash();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_by_the_only_slot_that_nodes_share_is_confirmed_in_the_store() {
    let home = Deployment::cluster();
    let node = home.node(Roles { settle: false, ..Roles::ALL }).await;
    node.open_sale(10, 1, Spread::default()).await;
    let shop = node.buyer_client();
    let waiting = tokio::spawn(async move { shop.buy("anna", "k", 1).await });
    until("the request's ticket is issued", async || node.queued().await == 1).await;
    let outcome = node.buy("anna", "other", 1).await;
    let unavailable = PurchaseOutcome::Refused(Refusal::Unavailable);
    assert_eq!(
        outcome, unavailable,
        "the request must not be refused while the ticket that uses up the limit is undecided"
    );
    expect_undecided(&waiting.await.expect("no panic"));
    node.crash();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_is_paused_and_closed_while_its_slots_are_unreachable() {
    let home = Deployment::cluster();
    let (first, second) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    first.open_sale(100, 1, Spread { partitions: 4, ..Spread::default() }).await;
    second.wait_for_phase(Phase::Open).await;
    assert!(matches!(second.buy("anna", "k", 1).await, PurchaseOutcome::Created(_)));
    home.redis().end();
    first.step(PhaseStep::Pause).await;
    let counts = first.counts().await;
    assert_eq!(
        (counts.pool, counts.in_slots, counts.held),
        (99, 0, 1),
        "a paused sale must have all unsold units in the pool"
    );
    second.wait_for_phase(Phase::Paused).await;
    assert!(matches!(second.buy("bert", "k", 1).await, PurchaseOutcome::Refused(Refusal::Paused)));
    second.step(PhaseStep::Close).await;
    first.wait_for_phase(Phase::Closed).await;
    assert!(matches!(first.buy("anna", "k", 1).await, PurchaseOutcome::Replayed(_)));
    assert!(first.audit().await.findings.is_empty());
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_drops_its_data_of_a_closed_sale_when_possible() {
    let home = Deployment::cluster();
    let node = home.node(Roles::ALL).await;
    node.open_sale(10, 1, Spread { partitions: 2, ..Spread::default() }).await;
    assert!(matches!(node.buy("anna", "k", 1).await, PurchaseOutcome::Created(_)));
    until("all tickets are settled", async || node.queued().await == 0).await;
    home.redis().refuse_writes(true);
    node.step(PhaseStep::Close).await;
    assert_eq!(home.redis().keys(":requests"), 1, "the unreachable slot must still have its data");
    home.redis().refuse_writes(false);
    until("the slot's data is deleted", async || {
        home.redis().keys(":requests") + home.redis().keys(":queue") == 0
    })
    .await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tickets_of_a_sale_that_ended_long_ago_are_settled_and_its_data_is_deleted() {
    let home = Deployment::cluster();
    let node = home.node(Roles { settle: false, ..Roles::ALL }).await;
    node.open_sale(10, 1, Spread::default()).await;
    let client = node.buyer_client();
    let buying = tokio::spawn(async move { client.buy("anna", "k", 1).await });
    until("a ticket is queued", async || node.queued().await == 1).await;
    // No node settles the ticket, so the sale closes without it after a bounded wait.
    node.step(PhaseStep::Close).await;
    node.crash();
    buying.abort();
    home.sql("UPDATE sale SET closed_at = closed_at - 3600000");
    let node = home.node(Roles::ALL).await;
    until("the slot's data is deleted", async || {
        home.redis().keys(":requests") + home.redis().keys(":queue") == 0
    })
    .await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_lost_their_memory_are_found_by_any_node_that_reaches_them() {
    let home = Deployment::cluster();
    // The test blocks the first node, so the second node must settle the tickets.
    let first = home.node(Roles { settle: false, ..Roles::ALL }).await;
    let second = home.node(Roles::ALL).await;
    first.open_sale(100, 1, Spread::default()).await;
    second.wait_for_phase(Phase::Open).await;
    assert!(matches!(second.buy("anna", "k", 1).await, PurchaseOutcome::Created(_)));
    let stands = first.block_runtime(Duration::from_millis(2_800));
    home.redis().flush();
    let lost = Stopwatch::start();
    until("the slot has units again", async || {
        matches!(second.buy("bert", "k", 1).await, PurchaseOutcome::Created(_))
    })
    .await;
    assert!(
        lost.elapsed() < Duration::from_millis(2_300),
        "no new leader repaired the slot: {:?}",
        lost.elapsed()
    );
    stands.await.expect("the task did not panic");
    assert!(matches!(second.buy("anna", "k", 1).await, PurchaseOutcome::Replayed(_)));
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_stock_data_refuses_no_buyer() {
    let home = Deployment::postgres();
    let (first, second) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    first.open_sale(1, 1, Spread::default()).await;
    second.wait_for_phase(Phase::Open).await;
    assert!(matches!(first.buy("anna", "k", 1).await, PurchaseOutcome::Created(_)));
    until("the second node knows that all units are sold", async || {
        second.gauge().free().free == Some(0)
    })
    .await;
    let outcome = second.buy("bert", "k", 1).await;
    assert!(matches!(outcome, PurchaseOutcome::Refused(Refusal::SoldOut(_))), "{outcome:?}");
    let (go_on, stands) = second.block_until_released();
    until("the node's copy is too old", async || {
        matches!(second.refuse_from_memory("bert", "k", 1), Some(Refusal::Unavailable))
    })
    .await;
    drop(go_on);
    stands.await.expect("the task did not panic");
    until("the node has read the store again", async || {
        matches!(second.refuse_from_memory("bert", "k", 1), Some(Refusal::SoldOut(_)))
    })
    .await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slots_of_concurrent_sales_are_counted_before_a_sale_opens() {
    let home = Deployment::cluster();
    let node = home.node(Roles::ALL).await;
    node.open_sale(100, 1, Spread { partitions: 64, ..Spread::default() }).await;
    let row = node.engine.node.catalogue().sale(SALE).expect("open").row.clone();
    let other = |starts_at: Option<i64>, ends_at: Option<i64>| SaleRow {
        id: "other".into(),
        phase: if starts_at.is_some() { Phase::Scheduled } else { Phase::Draft },
        starts_at: starts_at.map(|at| node.engine.node.now().plus(at)),
        ends_at: ends_at.map(|at| node.engine.node.now().plus(at)),
        ..row.clone()
    };
    let count = |row: &SaleRow, own| concurrent_slots(&node.engine.node, row, own);
    assert_eq!(count(&row, 64), 64, "the sale itself must count only once");
    assert_eq!(count(&other(None, None), 1_000), 1_064);
    assert_eq!(
        count(&other(Some(60_000), Some(90_000)), 1_000),
        1_064,
        "a sale without an end must count as concurrent with a later sale"
    );
    node.step(PhaseStep::Close).await;
    assert_eq!(count(&other(None, None), 1_000), 1_000);
    node.stop().await;
}

/// Sends a buyer's second request while the first request is undecided at the same node. The second
/// request gets its own answer as soon as the first request is decided.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_waits_for_an_earlier_request_is_answered_when_the_earlier_is_decided() {
    let home = Deployment::postgres();
    let (first, second) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    first.open_sale(100, 1, Spread::default()).await;
    second.wait_for_phase(Phase::Open).await;
    assert!(
        matches!(second.buy("kept", "k", 1).await, PurchaseOutcome::Created(_)),
        "the second node must have units"
    );
    // An attempt with a slow database proves nothing, so the test then tries another buyer.
    for n in 0.. {
        assert!(n < 20, "the database was too slow in every attempt");
        let buyer = format!("b{n}");
        let locked = home.lock_table("orders");
        let (shop, of) = (second.buyer_client(), buyer.clone());
        let decided = tokio::spawn(async move { shop.buy(&of, "first", 1).await });
        until("the first request is queued", async || second.queued().await == 1).await;
        // The test measures the time with the same clock as the request does.
        let asked = Instant::now();
        let (shop, of) = (second.buyer_client(), buyer.clone());
        let waits =
            tokio::spawn(async move { (shop.buy(&of, "second", 1).await, asked.elapsed()) });
        until("the second request waits, or it was answered", async || {
            second.parked() == 1 || waits.is_finished()
        })
        .await;
        locked.release();
        let decided = decided.await.expect("the task did not panic");
        let decided_after = asked.elapsed();
        let (outcome, after) = waits.await.expect("the task did not panic");
        if decided_after < CHANGE_BY {
            assert!(matches!(decided, PurchaseOutcome::Created(_)), "{decided:?}");
            assert!(
                matches!(
                    outcome,
                    PurchaseOutcome::Refused(Refusal::LimitReached { limit: 1, used: 1 })
                ),
                "the answer after {after:?} must be that the limit is reached: {outcome:?}"
            );
            // After `LAST_QUERY_MIN`, the request queries the slots again even without a message.
            // So only an earlier answer proves that a message woke the request.
            if after < LAST_QUERY_MIN {
                break;
            }
        }
    }
    first.stop().await;
    second.stop().await;
}

/// Buys at a node that does not lead, before any slot has units. Returns the time at which the
/// units arrived, the answer, and the time of the answer.
async fn bought_before_the_first_units() -> (Duration, PurchaseOutcome, Duration) {
    let home = Deployment::cluster();
    let (first, second) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    first.make_sale(100, 1, Spread { partitions: 2, ..Spread::default() }).await;
    // Because of this lock, the sale opens before the sale's slots have grants.
    let locked = home.lock_table("slot_grant");
    let engine = first.engine.clone();
    let opened = tokio::spawn(async move { engine.sales.step_sale(SALE, PhaseStep::Open).await });
    second.wait_for_phase(Phase::Open).await;
    let asked = Instant::now();
    let shop = second.buyer_client();
    let waits = tokio::spawn(async move { (shop.buy("anna", "k", 1).await, asked.elapsed()) });
    until("the request waits, or it was answered", async || {
        second.parked() == 1 || waits.is_finished()
    })
    .await;
    locked.release();
    let opened = opened.await.expect("the task did not panic");
    assert!(matches!(opened, Ok(StepOutcome::Done { .. })), "{opened:?}");
    until("the slots have units", async || first.counts().await.in_slots > 0).await;
    let there_after = asked.elapsed();
    let (outcome, after) = waits.await.expect("the task did not panic");
    first.stop().await;
    second.stop().await;
    (there_after, outcome, after)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_who_comes_before_the_first_units_is_served_when_they_arrive() {
    // An attempt with slow servers proves nothing, so the test then tries again.
    for n in 0.. {
        assert!(
            n < 6,
            "in every attempt, the request learned of the units only at the last moment"
        );
        let (there_after, outcome, after) = bought_before_the_first_units().await;
        if there_after < CHANGE_BY && after < LAST_QUERY_MIN {
            assert!(
                matches!(outcome, PurchaseOutcome::Created(_)),
                "units came after {there_after:?}, the answer after {after:?}: {outcome:?}"
            );
            break;
        }
    }
}

/// This test measures whether a unit moves between slots within the second for which a request is
/// parked.
mod windows {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_only_unit_is_sold_at_once_from_any_slot() {
        let home = Deployment::postgres();
        let (first, second) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
        first.open_sale(1, 1, Spread::default()).await;
        second.wait_for_phase(Phase::Open).await;
        for (n, node) in [&first, &second, &first, &second].into_iter().enumerate() {
            // The test sends each request only once. The request may wait until the unit arrives.
            let outcome = node.buy(&format!("b{n}"), "k", 1).await;
            let PurchaseOutcome::Created(order) = outcome else { panic!("{n}: {outcome:?}") };
            let orders = node.engine.orders.clone();
            let cancel = async move { orders.cancel(order.id, Attribution::BUYER.clone()).await };
            let cancelled = node.run(cancel).await;
            assert!(matches!(cancelled, Ok(ChangeOutcome::Done(_))), "{cancelled:?}");
            until("both nodes count one free unit", async || {
                first.gauge().free().free == Some(1) && second.gauge().free().free == Some(1)
            })
            .await;
        }
        first.stop().await;
        second.stop().await;
    }
}
