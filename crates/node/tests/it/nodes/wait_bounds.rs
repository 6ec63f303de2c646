//! Tests that a request waits for a bounded time, even if a slot hangs, a ticket is lost, or a
//! verdict comes late.
use std::process::Command;
use std::time::{Duration, Instant};

use doorbuster_config::Roles;
use doorbuster_core::{BuyerId, RequestKey, Spread, Units};
use doorbuster_engine::purchase::{Purchase, PurchaseOutcome, Refusal};

use super::fixture::{Deployment, SALE, TestNode, until};

const PARKED: Duration = Duration::from_secs(1);
/// The slots must begin to hang within this time after the request, so that the request is still
/// parked then.
const HANG_BY: Duration = Duration::from_millis(600);
/// The latest time of the answer. It is the sum of the time of parking, one second for the
/// request's queries to all slots, and a margin.
const ANSWER_BY: Duration = Duration::from_millis(2_500);
/// The number of attempts. On a slow machine, an attempt may be too slow to prove anything.
const TRIES: u32 = 5;

fn one_each(slots: u32) -> Spread {
    Spread { partitions: slots, initial: 1, threshold: 1, refill: 1, ..Spread::default() }
}

/// Starts a node with an open sale that has exactly one unit for each slot ([`one_each`]). Each
/// buyer may have two units.
async fn with_one_each(home: &Deployment, slots: u32) -> TestNode {
    let node = home.node(Roles::ALL).await;
    node.open_sale(u64::from(slots), 2, one_each(slots)).await;
    until("every slot has its unit", async || {
        node.engine.stock.available_units(&node.item()).await == u64::from(slots)
    })
    .await;
    node
}

/// Returns the process id of the Redis server that has all slots.
pub(super) fn server_process(home: &Deployment) -> String {
    let said = home.redis().ask(&["INFO", "server"]);
    let id = said.lines().find_map(|line| line.strip_prefix("process_id:"));
    id.expect("the server reports its process id").trim().to_owned()
}

/// Pauses a process, and waits until it is paused.
pub(super) async fn hang(process: &str) {
    let stat = format!("/proc/{process}/stat");
    signal(process, "-STOP");
    until("the server hangs", async || {
        std::fs::read_to_string(&stat).is_ok_and(|said| said.contains(") T "))
    })
    .await;
}

pub(super) fn signal(process: &str, signal: &str) {
    let sent = Command::new("kill").args([signal, process]).status();
    assert!(sent.expect("every machine has the command").success(), "{signal} {process}");
}

/// Buys more units than any slot has, and makes Redis hang while the request is parked. Returns
/// three values: when Redis began to hang, counted from the request; the answer; and when the
/// answer came.
async fn bought_while_all_slots_hang() -> (Duration, PurchaseOutcome, Duration) {
    let home = Deployment::cluster();
    let node = with_one_each(&home, 8).await;
    let server = server_process(&home);
    // While the test holds this lock, the node moves no units between slots. So the request stays
    // parked.
    let item = node.item();
    let untended = node.engine.stock.lock_item(&item).await;
    // The test measures the time with the same clock as the request does.
    let asked = Instant::now();
    let shop = node.buyer_client();
    let waits = tokio::spawn(async move { (shop.buy("anna", "k", 2).await, asked.elapsed()) });
    until("the request waits, or it was answered", async || {
        node.parked() == 1 || waits.is_finished()
    })
    .await;
    hang(&server).await;
    let hung_after = asked.elapsed();
    let (outcome, after) = waits.await.expect("the task did not panic");
    assert_eq!(node.parked(), 0, "the request must not be parked any longer");
    signal(&server, "-CONT");
    drop(untended);
    until("the same request gets its order", async || {
        matches!(
            node.buy("anna", "k", 2).await,
            PurchaseOutcome::Created(_) | PurchaseOutcome::Replayed(_)
        )
    })
    .await;
    assert_eq!(node.counts().await.held, 2, "the same request must not get a second order");
    node.stop().await;
    (hung_after, outcome, after)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_hangs_delays_a_request_by_about_one_second() {
    for n in 0.. {
        assert!(n < TRIES, "no attempt got an answer in time");
        let (hung_after, outcome, after) = bought_while_all_slots_hang().await;
        // If the slots hung only after the request had asked all of them, the request may get a
        // definite answer. Such an attempt proves nothing.
        if hung_after < HANG_BY {
            assert!(
                matches!(outcome, PurchaseOutcome::Refused(Refusal::Unavailable)),
                "the answer after {after:?} must be that the slots are unavailable: {outcome:?}"
            );
            if after < ANSWER_BY {
                break;
            }
        }
    }
}

/// Buys at a node that does not settle tickets. When the request is no longer parked, the slot
/// loses its memory and thus the ticket. Returns the answer, and how many times the node sent the
/// request to the slot again.
async fn bought_with_a_ticket_that_dies_late() -> (PurchaseOutcome, u64) {
    let home = Deployment::cluster();
    let first = home.node(Roles { settle: false, ..Roles::ALL }).await;
    first.open_sale(10, 1, Spread::default()).await;
    until("the units are available", async || {
        first.engine.stock.available_units(&first.item()).await == 10
    })
    .await;
    let engine = first.engine.clone();
    let sale = engine.node.catalogue().sale(SALE).cloned().expect("the sale is open");
    let purchase = Purchase {
        buyer: BuyerId::new("anna").expect("a buyer"),
        key: RequestKey::new("k").expect("a key"),
        request: engine.node.id_key().request_hash("anna", "k"),
        item: sale.items[0].clone(),
        sale,
        units: Units::ONE,
        // The client would wait for longer than the whole test takes.
        wait: Duration::from_secs(30),
        door: None,
    };
    let waits = tokio::spawn(async move { engine.purchases.buy(&purchase).await });
    until("the request's ticket is issued, or the request was answered", async || {
        first.queued().await == 1 || waits.is_finished()
    })
    .await;
    let cut = Instant::now();
    until("the time of parking is over", async || cut.elapsed() > PARKED).await;
    home.redis().flush();
    // This settler starts after the ticket was lost. So it cannot settle the ticket.
    let second = home.node(Roles::ALL).await;
    let outcome = waits.await.expect("the task did not panic");
    let asked_again = first.engine.node.meter().retried.get();
    second.stop().await;
    first.crash();
    (outcome, asked_again)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_that_dies_late_is_requested_again() {
    for n in 0.. {
        let (outcome, asked_again) = bought_with_a_ticket_that_dies_late().await;
        if matches!(outcome, PurchaseOutcome::Created(_)) {
            assert_eq!(asked_again, 1, "the node must repeat the request exactly once");
            break;
        }
        assert!(n < TRIES, "the answer is {outcome:?} and not an order of the slot's next epoch");
    }
}

/// Returns whether the test's only request has its ticket, and is neither parked nor queued for
/// units.
async fn has_left_the_queues(node: &TestNode) -> bool {
    node.queued().await == 1 && node.parked() == 0 && node.item().work.unit_demand.is_empty()
}

/// Buys two units at a node whose two slots have one unit each. So the request is parked and queued
/// until the node moves a unit. The request then gets its ticket, but no verdict, because the test
/// locks the orders. Returns whether the request has then left the queues, and its final answer.
async fn bought_after_a_wait() -> (bool, PurchaseOutcome) {
    let home = Deployment::cluster();
    let node = with_one_each(&home, 2).await;
    let item = node.item();
    let untended = node.engine.stock.lock_item(&item).await;
    let locked = home.lock_table("orders");
    let shop = node.buyer_client();
    let waits = tokio::spawn(async move { shop.buy("anna", "k", 2).await });
    until("the request waits, or it was answered", async || {
        node.parked() == 1 || waits.is_finished()
    })
    .await;
    // Without the lock, the node moves the other slot's unit to the request's slot.
    drop(untended);
    until("the request has its ticket, or it was answered", async || {
        has_left_the_queues(&node).await || waits.is_finished()
    })
    .await;
    // A request also leaves the queues when it is answered. The answer may come during the check of
    // the queues. So `is_finished` is checked after the queues: a request that is not finished then
    // has left the queues without an answer.
    let has_left = has_left_the_queues(&node).await && !waits.is_finished();
    locked.release();
    let outcome = waits.await.expect("the task did not panic");
    node.stop().await;
    (has_left, outcome)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_a_ticket_does_not_wait_behind_other_requests() {
    for n in 0.. {
        let (has_left, outcome) = bought_after_a_wait().await;
        if has_left && matches!(outcome, PurchaseOutcome::Created(_)) {
            break;
        }
        assert!(n < TRIES, "the answer is {outcome:?}; the request left the queues: {has_left}");
    }
}
