//! Upper bounds on the time a request waits for a hung slot, for a ticket that died late, and for a
//! verdict.
use std::process::Command;
use std::time::{Duration, Instant};

use doorbuster_core::{BuyerId, RequestKey, Spread, Units};
use doorbuster_server::config::Roles;
use doorbuster_server::purchase::{Purchase, PurchaseOutcome, Refusal};

use super::fixture::{Deployment, SALE, TestNode, until};

/// How long a request is parked.
const PARKED: Duration = Duration::from_secs(1);
/// Anything before this time happened well within its second.
const SOON: Duration = Duration::from_millis(600);
/// Its second, the second in which it asks all slots, and some more time.
const HEARD: Duration = Duration::from_millis(2_500);
/// Attempts, because a slow machine shows nothing.
const TRIES: u32 = 5;

/// One unit in each of this many slots, no further units, and buyers who may have two.
fn one_each(slots: u32) -> Spread {
    Spread { partitions: slots, initial: 1, threshold: 1, refill: 1, ..Spread::default() }
}

/// A node of an open sale with [`one_each`].
async fn with_one_each(home: &Deployment, slots: u32) -> TestNode {
    let node = home.node(Roles::ALL).await;
    node.open_sale(u64::from(slots), 2, one_each(slots)).await;
    until("every slot has its unit", async || {
        node.engine.available_units(&node.item()).await == u64::from(slots)
    })
    .await;
    node
}

/// Pauses or resumes a process.
fn signal(process: &str, signal: &str) {
    let sent = Command::new("kill").args([signal, process]).status();
    assert!(sent.expect("every machine has it").success(), "{signal} {process}");
}

/// A buyer for whom every slot is short, and the server of all slots hangs while the request is
/// parked. Returns when it hung, the answer, and its time.
async fn bought_while_all_slots_hang() -> (Duration, PurchaseOutcome, Duration) {
    let home = Deployment::cluster();
    let node = with_one_each(&home, 8).await;
    let said = home.redis().ask(&["INFO", "server"]);
    let server = said
        .lines()
        .find_map(|line| line.strip_prefix("process_id:"))
        .expect("a server says who it is");
    let server = server.trim();
    let stat = format!("/proc/{server}/stat");
    // No units are collected for the buyer meanwhile.
    let item = node.item();
    let untended = item.work.reconciling.lock().await;
    // By the clock that the request uses.
    let asked = Instant::now();
    let shop = node.buyer_client();
    let waits = tokio::spawn(async move { (shop.buy("anna", "k", 2).await, asked.elapsed()) });
    until("it waits, or was answered", async || node.parked() == 1 || waits.is_finished()).await;
    signal(server, "-STOP");
    until("the server hangs", async || {
        std::fs::read_to_string(&stat).is_ok_and(|said| said.contains(") T "))
    })
    .await;
    let hung_after = asked.elapsed();
    let (heard, after) = waits.await.expect("no panic");
    assert_eq!(node.parked(), 0, "its place is free");
    signal(server, "-CONT");
    drop(untended);
    until("the same request gets its order", async || {
        matches!(
            node.buy("anna", "k", 2).await,
            PurchaseOutcome::Created(_) | PurchaseOutcome::Replayed(_)
        )
    })
    .await;
    assert_eq!(node.counts().await.held, 2, "and no other");
    node.stop().await;
    (hung_after, heard, after)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_hangs_delays_a_request_by_about_one_second() {
    for n in 0.. {
        assert!(n < TRIES, "nobody hears anything in time");
        let (hung_after, heard, after) = bought_while_all_slots_hang().await;
        // A request that queried all slots before they hung may have a definite answer.
        if hung_after < SOON {
            assert!(
                matches!(heard, PurchaseOutcome::Refused(Refusal::Unavailable { .. })),
                "{heard:?} after {after:?}"
            );
            if after < HEARD {
                break;
            }
        }
    }
}

/// A buyer whose ticket dies with its slot's memory after the time of parking, at a node that
/// settles nothing. Returns the answer, and how often the node asked again.
async fn bought_with_a_ticket_that_dies_late() -> (PurchaseOutcome, u64) {
    let home = Deployment::cluster();
    let first = home.node(Roles { settle: false, ..Roles::ALL }).await;
    first.open_sale(10, 1, Spread::default()).await;
    until("the units are there", async || first.engine.available_units(&first.item()).await == 10)
        .await;
    let engine = first.engine.clone();
    let sale = engine.catalogue().sale(SALE).cloned().expect("it is open");
    let purchase = Purchase {
        buyer: BuyerId::new("anna").expect("a buyer"),
        key: RequestKey::new("k").expect("a key"),
        item: sale.items[0].clone(),
        sale,
        units: Units::ONE,
        // Longer than the whole test.
        wait: Duration::from_secs(30),
        door: None,
    };
    let waits = tokio::spawn(async move { engine.buy(&purchase).await });
    until("its ticket is issued, or it was answered", async || {
        first.queued().await == 1 || waits.is_finished()
    })
    .await;
    let cut = Instant::now();
    until("its second is over", async || cut.elapsed() > PARKED).await;
    home.redis().flush();
    // The settler comes after the ticket was lost, so no slot knows its result.
    let second = home.node(Roles::ALL).await;
    let heard = waits.await.expect("no panic");
    let asked_again = first.engine.meter().read().retried;
    second.stop().await;
    first.crash();
    (heard, asked_again)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_that_dies_late_is_requested_again() {
    for n in 0.. {
        let (heard, asked_again) = bought_with_a_ticket_that_dies_late().await;
        if matches!(heard, PurchaseOutcome::Created(_)) {
            assert_eq!(asked_again, 1, "by the node, not by the buyer");
            break;
        }
        assert!(n < TRIES, "{heard:?}, and not an order of the slot's next epoch");
    }
}

/// Whether the only request has its ticket, and is neither parked nor queued for units.
async fn has_left_the_queues(node: &TestNode) -> bool {
    node.queued().await == 1 && node.parked() == 0 && node.item().work.unit_demand.is_empty()
}

/// A buyer who was parked and queued until units were collected, and then waits for a verdict that
/// cannot come. Returns whether its places were free meanwhile, and the final answer.
async fn bought_after_a_wait() -> (bool, PurchaseOutcome) {
    let home = Deployment::cluster();
    let node = with_one_each(&home, 2).await;
    let item = node.item();
    let untended = item.work.reconciling.lock().await;
    let locked = home.lock_table("orders");
    let shop = node.buyer_client();
    let waits = tokio::spawn(async move { shop.buy("anna", "k", 2).await });
    until("it waits, or was answered", async || node.parked() == 1 || waits.is_finished()).await;
    // Now the other slot's unit is collected for it.
    drop(untended);
    until("it has its ticket, or was answered", async || {
        has_left_the_queues(&node).await || waits.is_finished()
    })
    .await;
    // In this order, because an answered request has left both.
    let has_left = has_left_the_queues(&node).await && !waits.is_finished();
    locked.release();
    let heard = waits.await.expect("no panic");
    node.stop().await;
    (has_left, heard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_a_ticket_does_not_wait_behind_other_requests() {
    for n in 0.. {
        let (has_left, heard) = bought_after_a_wait().await;
        if has_left && matches!(heard, PurchaseOutcome::Created(_)) {
            break;
        }
        assert!(n < TRIES, "{heard:?}; left its places: {has_left}");
    }
}
