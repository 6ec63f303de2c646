//! Tests several nodes on one store, each test with its own PostgreSQL and Redis. A test can stop a
//! node as if its process were killed.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use doorbuster_config::Roles;
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{PartitionChoice, Spread};
use doorbuster_engine::purchase::{PurchaseOutcome, Refusal};
use doorbuster_store::{AdjustOutcome, Adjustment};
use tokio::time::Instant;

use crate::app::TestApp;
use crate::watch::Stopwatch;
use fixture::{Deployment, SALE, TestNode, until};

mod blocks;
mod cache;
mod epoch_roll;
mod fixture;
mod flood;
mod leaders;
mod live_spread;
mod phases;
pub(crate) mod redis;
mod refusals;
mod refused_writes;
pub(crate) mod servers;
mod settlers;
mod short_stock;
mod wait_bounds;

/// Within this time, a killed node's lease ends, and the other nodes take over its work.
const AFTER_LEASE: Duration = Duration::from_secs(12);
/// All units must be sold within this time. It is long, because the machine may be slow.
const TIMEOUT: Duration = Duration::from_secs(120);

pub(crate) async fn number(app: &TestApp, name: &str) -> u64 {
    let metrics = app.get("/metrics").await.text();
    let value =
        metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    value.unwrap_or_else(|| panic!("the metric {name} is missing"))
}

/// Sells 1 to 7 units at a time at all nodes in turn, until every unit is sold or `timeout` is
/// over. Returns the number of confirmed units.
async fn sell_out(nodes: &[&TestNode], stock: u64, timeout: Duration) -> u64 {
    let (sold, next) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let give_up = Arc::new(AtomicBool::new(false));
    let mut crowd = tokio::task::JoinSet::new();
    for n in 0..24 {
        let (node, sold, next, give_up) =
            (nodes[n % nodes.len()].buyer_client(), sold.clone(), next.clone(), give_up.clone());
        crowd.spawn(async move {
            while sold.load(Ordering::Acquire) < stock && !give_up.load(Ordering::Acquire) {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let mut units = n * 5 % 7 + 1;
                loop {
                    match node.buy(&format!("b{n}"), "k", units as u32).await {
                        PurchaseOutcome::Created(order) | PurchaseOutcome::Replayed(order) => {
                            sold.fetch_add(order.units.to_u64(), Ordering::AcqRel);
                        }
                        PurchaseOutcome::Refused(Refusal::SoldOut(left)) if left.available > 0 => {
                            units = left.available.min(units - 1).max(1);
                            if !give_up.load(Ordering::Acquire)
                                && sold.load(Ordering::Acquire) < stock
                            {
                                continue;
                            }
                        }
                        PurchaseOutcome::Refused(Refusal::SoldOut(_)) => {
                            tokio::time::sleep(Duration::from_millis(5)).await
                        }
                        PurchaseOutcome::Queued { .. } => {}
                        PurchaseOutcome::Refused(Refusal::Unavailable | Refusal::Overloaded) => {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                            if !give_up.load(Ordering::Acquire) {
                                continue;
                            }
                        }
                        other => panic!("{other:?}"),
                    }
                    break;
                }
            }
        });
    }
    let ended = tokio::time::timeout(timeout, async {
        while crowd.join_next().await.transpose().expect("the task did not panic").is_some() {}
    });
    if ended.await.is_err() {
        give_up.store(true, Ordering::Release);
        while crowd.join_next().await.transpose().expect("the task did not panic").is_some() {}
    }
    sold.load(Ordering::Acquire)
}

async fn is_sold(node: &TestNode, stock: u64, sold: u64) {
    let counts = node.counts().await;
    assert_eq!((sold, counts.held, counts.pool + counts.in_slots), (stock, stock, 0), "{counts:?}");
    let audit = node.audit().await;
    assert!(audit.findings.is_empty(), "{audit:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_a_slot_each_sell_exactly_the_stock() {
    let home = Deployment::postgres();
    let (first, second) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    first.open_sale(400, 10, Spread::default()).await;
    second.wait_for_phase(doorbuster_core::Phase::Open).await;
    let sold = sell_out(&[&first, &second], 400, TIMEOUT).await;
    is_sold(&first, 400, sold).await;
    assert_eq!(first.audit().await.repairs, 0);
    // A buyer finds an earlier order at any node, even after the item is sold out.
    until("the other node knows that all units are sold", async || {
        second.gauge().free().free == Some(0)
    })
    .await;
    let again = second.buy("b0", "k", 1).await;
    assert!(matches!(again, PurchaseOutcome::Replayed(_)), "{again:?}");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_units_of_a_node_that_died_are_sold_by_the_other() {
    let home = Deployment::postgres();
    let (first, second) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    first.open_sale(100, 10, Spread::default()).await;
    second.wait_for_phase(doorbuster_core::Phase::Open).await;
    let shop = second.buyer_client();
    assert!(
        matches!(shop.buy("kept", "k", 2).await, PurchaseOutcome::Created(_)),
        "timed out; expected: the second node has units"
    );
    second.crash();
    let sold = sell_out(&[&first], 98, AFTER_LEASE + TIMEOUT).await;
    is_sold(&first, 100, sold + 2).await;
    assert!(
        matches!(first.buy("kept", "k", 2).await, PurchaseOutcome::Replayed(_)),
        "the store must keep confirmed orders"
    );
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_of_ten_units_is_served_at_any_node_while_ten_units_are_left() {
    let home = Deployment::postgres();
    let (first, second) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    first.open_sale(20, 10, Spread::default()).await;
    second.wait_for_phase(doorbuster_core::Phase::Open).await;
    for n in 0..10 {
        let node = if n % 2 == 0 { &first } else { &second };
        let outcome = node.buy(&format!("b{n}"), "k", 1).await;
        assert!(matches!(outcome, PurchaseOutcome::Created(_)), "{outcome:?}");
    }
    let outcome = second.buy("anna", "k", 10).await;
    assert!(matches!(outcome, PurchaseOutcome::Created(_)), "{outcome:?}");
    is_sold(&first, 20, 20).await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds_across_nodes_and_changes_reach_every_node() {
    let home = Deployment::postgres();
    let (first, second) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    first.open_sale(60, 3, Spread::default()).await;
    second.wait_for_phase(doorbuster_core::Phase::Open).await;
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..20 {
        let shop = if n % 2 == 0 { first.buyer_client() } else { second.buyer_client() };
        asking.spawn(async move { shop.buy("anna", &format!("k{n}"), 1).await });
    }
    let answers = asking.join_all().await;
    let created = answers.iter().filter(|a| matches!(a, PurchaseOutcome::Created(_))).count();
    let limited = answers
        .iter()
        .filter(|a| matches!(a, PurchaseOutcome::Refused(Refusal::LimitReached { .. })))
        .count();
    assert_eq!((created, limited), (3, 17), "{answers:?}");
    // To lower the stock by this much, the node needs units from the slots of both nodes.
    let adjustment = Adjustment {
        item: first.item().row.id,
        units: -57,
        reason: "recount".into(),
        key: "a".into(),
    };
    let lowered = first.engine.stock.adjust(adjustment).await.expect("the store is available");
    assert!(matches!(lowered, AdjustOutcome::Done(_)), "{lowered:?}");
    first.step(PhaseStep::Pause).await;
    let paused = first.buy("bert", "k", 1).await;
    assert!(
        matches!(paused, PurchaseOutcome::Refused(Refusal::Paused | Refusal::SoldOut(_))),
        "{paused:?}"
    );
    second.wait_for_phase(doorbuster_core::Phase::Paused).await;
    second.step(PhaseStep::Close).await;
    first.wait_for_phase(doorbuster_core::Phase::Closed).await;
    is_sold(&second, 3, 3).await;
    first.stop().await;
    second.stop().await;
}

/// Pauses a sale while buyers purchase at both nodes. During the pause, units are sold only for
/// tickets from before the pause.
async fn pauses_under_load(home: Deployment, spread: Spread) {
    let (first, second) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    first.open_sale(10_000, 10, spread).await;
    second.wait_for_phase(doorbuster_core::Phase::Open).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut crowd = tokio::task::JoinSet::new();
    for n in 0..16 {
        let (shop, stop) =
            (if n % 2 == 0 { first.buyer_client() } else { second.buyer_client() }, stop.clone());
        crowd.spawn(async move {
            let (mut sold, mut asked) = (0, 0);
            while !stop.load(Ordering::Acquire) {
                asked += 1;
                match shop.buy(&format!("b{n}-{asked}"), "k", 1).await {
                    PurchaseOutcome::Created(_) => sold += 1,
                    PurchaseOutcome::Refused(
                        Refusal::Unavailable | Refusal::Overloaded | Refusal::Paused,
                    ) => {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    other => panic!("{other:?}"),
                }
            }
            sold
        });
    }
    until("both nodes sell", async || first.counts().await.held > 50).await;
    first.step(PhaseStep::Pause).await;
    let at_pause = first.counts().await;
    assert_eq!(at_pause.in_slots, 0);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(second.counts().await, at_pause, "a paused sale must sell no unit");
    second.wait_for_phase(doorbuster_core::Phase::Paused).await;
    second.step(PhaseStep::Resume).await;
    until("both nodes sell after the pause", async || {
        first.counts().await.held > at_pause.held + 50
    })
    .await;
    stop.store(true, Ordering::Release);
    let sold: u64 = crowd.join_all().await.into_iter().sum();
    first.step(PhaseStep::Close).await;
    let counts = first.counts().await;
    assert_eq!((counts.held, counts.in_slots), (sold, 0));
    assert_eq!(first.audit().await.repairs, 0);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_drains_the_slots_of_every_node() {
    pauses_under_load(Deployment::postgres(), Spread::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_drains_the_slots_that_nodes_share() {
    pauses_under_load(Deployment::cluster(), Spread { partitions: 2, ..Spread::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_over_partitions_in_redis_sell_exactly_the_stock() {
    let home = Deployment::cluster();
    let buyers = Roles { settle: false, control: false, ..Roles::ALL };
    let (first, second) =
        (home.node(Roles { api: false, ..Roles::ALL }).await, home.node(buyers).await);
    let third = home.node(buyers).await;
    let spread = Spread {
        partitions: 4,
        auto: false,
        choose: PartitionChoice::Buyer,
        initial: 40,
        threshold: 5,
        refill: 20,
    };
    first.open_sale(500, 10, spread).await;
    second.wait_for_phase(doorbuster_core::Phase::Open).await;
    third.wait_for_phase(doorbuster_core::Phase::Open).await;
    let sold = sell_out(&[&second, &third], 500, TIMEOUT).await;
    is_sold(&first, 500, sold).await;
    assert_eq!(first.audit().await.repairs, 0);
    for node in [second, third, first] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_lost_their_memory_start_again_and_the_whole_stock_is_sold() {
    let home = Deployment::cluster();
    let (first, second) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    first.open_sale(300, 10, Spread { partitions: 3, ..Spread::default() }).await;
    second.wait_for_phase(doorbuster_core::Phase::Open).await;
    let early = sell_out(&[&first, &second], 100, TIMEOUT).await;
    home.redis().flush();
    let lost = Stopwatch::start();
    until("the slots have units again", async || {
        let outcome = second.buy("after", "k", 1).await;
        matches!(outcome, PurchaseOutcome::Created(_) | PurchaseOutcome::Replayed(_))
    })
    .await;
    assert!(lost.elapsed() < Duration::from_secs(4), "{:?}", lost.elapsed());
    let sold_yet = early + 1;
    let sold = sell_out_from(&[&first, &second], 300 - sold_yet).await;
    is_sold(&first, 300, sold_yet + sold).await;
    assert!(first.audit().await.repairs >= 3, "the leader must detect the loss of each slot");
    let sale = first.engine.node.catalogue().sale(SALE).cloned().expect("open");
    assert_eq!(sale.row.phase, doorbuster_core::Phase::Open, "the audit must not pause the sale");
    first.stop().await;
    second.stop().await;
}

/// Sells one unit each to new buyers until `stock` units are sold. None of these buyers buys in
/// [`sell_out`].
async fn sell_out_from(nodes: &[&TestNode], stock: u64) -> u64 {
    let (mut sold, mut n) = (0, 0_usize);
    let began = Instant::now();
    while sold < stock {
        assert!(began.elapsed() < TIMEOUT, "timed out; {sold} of {stock} units are sold");
        n += 1;
        let outcome = nodes[n % nodes.len()].buy(&format!("late{n}"), "k", 1).await;
        match outcome {
            PurchaseOutcome::Created(order) => sold += order.units.to_u64(),
            PurchaseOutcome::Refused(Refusal::Unavailable | Refusal::Overloaded)
            | PurchaseOutcome::Queued { .. } => {}
            other => panic!("{sold} of {stock} units are sold: {other:?}"),
        }
    }
    sold
}
