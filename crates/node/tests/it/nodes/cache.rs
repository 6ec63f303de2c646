//! Tests the shared cache: reads for unknown ids, the delay until a new sale is known, access
//! rights, and operation without Redis.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorbuster_config::Roles;
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{Phase, Spread};
use doorbuster_engine::purchase::PurchaseOutcome;
use doorbuster_store::NewSale;
use doorbuster_store::conformance::new_sale;
use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fixture::{Deployment, SALE, TestNode, phone, until};
use crate::app::TIMEOUT;
use crate::watch::Stopwatch;

const MISSES: usize = 10_000;
/// The longest time that a node waits while another node reads the store.
const PEER_READ_MAX: Duration = Duration::from_millis(50);
/// The shortest time between two reads of the store. With Redis, this time applies to all nodes
/// together. Without Redis, it applies to each node separately.
const MARKER_TTL: Duration = Duration::from_millis(10);

fn readings(nodes: &[&TestNode]) -> u64 {
    nodes.iter().map(|node| node.engine.node.meter().catalogue_checks.get()).sum()
}

/// Sends [`MISSES`] requests for unknown ids to each node at the same time. Returns the duration,
/// and the number of reads of the store.
async fn misses(nodes: &[&TestNode]) -> (Duration, u64) {
    let before = readings(nodes);
    let began = Instant::now();
    let mut crowd = JoinSet::new();
    for _ in 0..MISSES {
        for node in nodes {
            let engine = node.engine.clone();
            crowd.spawn(async move { engine.catalogue_reader.refresh_paced().await });
        }
    }
    crowd.join_all().await;
    (began.elapsed(), readings(nodes) - before)
}

fn at_most(took: Duration) -> u64 {
    u64::try_from(took.as_millis() / MARKER_TTL.as_millis()).unwrap_or(u64::MAX) + 2
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_misses_at_once_read_the_store_a_few_times() {
    let home = Deployment::cluster();
    let (a, b) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    let (took, read) = misses(&[&a, &b]).await;
    println!("{} misses at two nodes in {took:?}: the store was read {read} times", 2 * MISSES);
    // One node reads the store for both nodes, so two nodes together may read as often as one node.
    assert!((1..=at_most(took)).contains(&read), "the store was read {read} times in {took:?}");
    home.redis().end();
    // The first calls find that the connection to Redis is broken. If the last read of the store
    // took long, the node may have to wait before the next read. So the test repeats its requests.
    let (begun, mut took, mut read) = (Stopwatch::start(), Duration::ZERO, 0);
    while read == 0 {
        assert!(begun.elapsed() < TIMEOUT, "without Redis, a node must read the store");
        let again = misses(&[&a, &b]).await;
        (took, read) = (took + again.0, read + again.1);
    }
    println!("without Redis, the store was read {read} times in {took:?}");
    assert!((1..=2 * at_most(took)).contains(&read), "the store was read {read} times in {took:?}");
    a.crash();
    b.crash();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_misses_read_a_store_without_redis_a_few_times() {
    let home = Deployment::postgres();
    let a = home.node(Roles::ALL).await;
    let (took, read) = misses(&[&a]).await;
    println!("{MISSES} misses in {took:?}: the store was read {read} times");
    assert!((1..=at_most(took)).contains(&read), "the store was read {read} times in {took:?}");
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_sale_is_known_at_once_in_the_midst_of_unknown_ids() {
    let home = Deployment::cluster();
    let (a, b) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    let stop = Arc::new(AtomicBool::new(false));
    let flood = {
        let (engine, stop) = (b.engine.clone(), stop.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Acquire) {
                engine.catalogue_reader.refresh_paced().await;
                tokio::task::yield_now().await;
            }
        })
    };
    a.open_sale(20, 10, Spread::default()).await;
    let opened = Stopwatch::start();
    b.wait_for_phase(Phase::Open).await;
    println!("the other node knows the sale after {:?}", opened.elapsed());
    assert!(opened.elapsed() < Duration::from_secs(1), "{:?}", opened.elapsed());
    stop.store(true, Ordering::Release);
    flood.await.expect("the task did not panic");
    assert!(matches!(b.buy("anna", "k", 1).await, PurchaseOutcome::Created(_)));
    a.stop().await;
    b.stop().await;
}

fn read_all(nodes: &[TestNode]) -> u64 {
    nodes.iter().map(|node| node.engine.node.meter().read_all.get()).sum()
}

fn another(number: usize) -> NewSale {
    NewSale { front_door: "{}".into(), ..new_sale(&format!("other-{number}"), Vec::new()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_four_nodes_one_reads_a_changed_row_and_the_others_use_its_copy() {
    let home = Deployment::cluster();
    let mut nodes = Vec::new();
    for _ in 0..4 {
        nodes.push(home.node(Roles::ALL).await);
    }
    const CHANGES: usize = 20;
    let (mut quick, mut read) = (0, 0);
    for number in 0..CHANGES {
        let (before, begun) = (read_all(&nodes), Instant::now());
        nodes[0]
            .engine
            .sales
            .create_sale(another(number))
            .await
            .expect("a store")
            .expect("a free id");
        let reads = nodes.iter().map(|node| node.engine.catalogue_reader.refresh());
        for looked in join_all(reads).await {
            looked.expect("a store");
        }
        for node in &nodes {
            assert!(node.engine.node.catalogue().sale(&format!("other-{number}")).is_some());
        }
        let round = read_all(&nodes) - before;
        assert!((1..=4).contains(&round), "{round}");
        // After `PEER_READ_MAX`, a node stops waiting and reads the store itself, so slower changes
        // do not count.
        if begun.elapsed() < PEER_READ_MAX {
            (quick, read) = (quick + 1, read + round);
        }
    }
    println!(
        "{quick} of {CHANGES} changes at four nodes were quick: all sales were read {read} times \
         for these"
    );
    assert!(
        read <= quick + quick / 4,
        "for {quick} changes, all sales were read {read} times, which is too often"
    );
    let before = read_all(&nodes);
    for node in &nodes {
        node.engine.catalogue_reader.refresh().await.expect("a store");
    }
    assert_eq!(read_all(&nodes), before);
    nodes[1].open_sale(20, 10, Spread::default()).await;
    for node in &nodes {
        node.wait_for_phase(Phase::Open).await;
        let truth = node.engine.node.store().sale(SALE).await.expect("a store").expect("a sale");
        assert_eq!(node.engine.node.catalogue().sale(SALE).expect("known").row, truth);
    }
    home.redis().end();
    nodes[0].engine.sales.create_sale(another(CHANGES)).await.expect("a store").expect("a free id");
    for node in &nodes {
        node.engine.catalogue_reader.refresh().await.expect("a store");
        assert!(
            node.engine.node.catalogue().sale(&format!("other-{CHANGES}")).is_some(),
            "without Redis, a node must read the store"
        );
    }
    for node in nodes {
        node.crash();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_that_another_node_deleted_and_recreated_has_its_items() {
    let home = Deployment::cluster();
    let (a, b) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    a.open_sale(20, 10, Spread::default()).await;
    b.wait_for_phase(Phase::Open).await;
    let draft = || NewSale { items: vec![phone(5, 1)], ..another(1) };
    a.engine.sales.create_sale(draft()).await.expect("a store").expect("a free id");
    b.engine.catalogue_reader.refresh().await.expect("a store");
    // Node `b` does not read the catalogue between the deletion and the new creation.
    let looked = b.engine.clone();
    let store = a.engine.node.store();
    store.delete_sale("other-1", None).await.expect("a store");
    store.create_sale(draft()).await.expect("a store").expect("a free id");
    looked.catalogue_reader.refresh().await.expect("a store");
    let sale = b.engine.node.catalogue().sale("other-1").cloned().expect("the sale exists");
    assert_eq!(sale.items.len(), 1);
    a.stop().await;
    b.stop().await;
}

/// Returns the item's counts in Redis, and the number of the writer that wrote them. Redis refuses
/// counts from a writer with a lower number.
fn published(home: &Deployment) -> Option<(String, u64)> {
    let key = home.redis().ask(&["KEYS", &format!("*status:{SALE}")]);
    let said = |field| home.redis().ask(&["HGET", key.trim(), field]).trim().to_owned();
    Some((said("item:phone"), said("fence").parse().ok()?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_publishes_the_numbers_and_another_goes_on_when_it_dies() {
    let home = Deployment::cluster();
    let first = home.node(Roles::ALL).await;
    first.open_sale(20, 10, Spread::default()).await;
    until("the counts are published", async || {
        published(&home).is_some_and(|(text, _)| text == "20 1 0")
    })
    .await;
    let second = home.node(Roles::ALL).await;
    assert!(matches!(first.buy("anna", "k", 3).await, PurchaseOutcome::Created(_)));
    until("the new counts are published", async || {
        published(&home).is_some_and(|(text, _)| text == "20 1 3")
    })
    .await;
    let (_, fence) = published(&home).expect("the counts are published");
    first.crash();
    let began = Instant::now();
    let other = async || published(&home).is_some_and(|(_, now)| now > fence);
    while !other().await {
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "timed out; expected: another node publishes the counts"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    second.step(PhaseStep::Pause).await;
    until("the pause is published", async || {
        published(&home).is_some_and(|(text, _)| text == "20 0 3")
    })
    .await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_read_the_store_publishes_no_numbers() {
    let home = Deployment::cluster();
    let node = home.node(Roles::ALL).await;
    node.open_sale(20, 10, Spread::default()).await;
    until("the counts are published", async || published(&home).is_some()).await;
    let locked = home.lock_reads("catalogue");
    until("the old counts expire", async || published(&home).is_none()).await;
    locked.release();
    until("the counts are published again", async || published(&home).is_some()).await;
    node.crash();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_of_a_later_writer_are_not_overwritten() {
    /// The number of a writer whose clock is centuries ahead. Lua can represent the number exactly.
    const LATER: u64 = 9_000_000_000_000_000;
    let home = Deployment::cluster();
    let node = home.node(Roles::ALL).await;
    node.open_sale(20, 10, Spread::default()).await;
    until("the counts are published", async || published(&home).is_some()).await;
    let redis = home.redis();
    let key = |ends: String| redis.ask(&["KEYS", &format!("*:{ends}")]).trim().to_owned();
    let (numbers, taken) = (key(format!("status:{SALE}")), key("fence:status".to_owned()));
    // The test's values do not expire, so they disappear only if the node replaces them.
    let write = "redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'item:phone', 'later') return redis.call('PERSIST', KEYS[1])";
    redis.ask(&["EVAL", write, "1", &numbers, &LATER.to_string()]);
    let is_there = || published(&home) == Some(("later".to_owned(), LATER));
    // A node publishes only while it holds a lock. After a refused write, the node releases the
    // lock and acquires it again. Three acquisitions thus prove a refused write.
    let (begun, mut times, mut last) = (Stopwatch::start(), 0, redis.ask(&["GET", &taken]));
    while times < 3 && is_there() {
        assert!(begun.elapsed() < TIMEOUT, "timed out; expected: the node tries to publish");
        let now = redis.ask(&["GET", &taken]);
        times += u32::from(now != last);
        last = now;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(is_there(), "{:?}", published(&home));
    redis.ask(&["DEL", &numbers]);
    until("the counts are published again", async || {
        published(&home).is_some_and(|(text, _)| text == "20 1 0")
    })
    .await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_without_units_are_not_queried() {
    let home = Deployment::cluster();
    let node = home.node(Roles::ALL).await;
    node.open_sale(3, 10, Spread::default()).await;
    assert!(matches!(node.buy("anna", "k", 3).await, PurchaseOutcome::Created(_)));
    until("all units are sold", async || node.gauge().counts().in_slots == 0).await;
    let before = home.redis().script_calls();
    for _ in 0..1_000 {
        assert_eq!(node.engine.stock.available_units(&node.item()).await, 0);
    }
    assert!(
        home.redis().script_calls() - before < 1_000,
        "too many scripts; only the leader's own checks may read the slots"
    );
    node.stop().await;
}
