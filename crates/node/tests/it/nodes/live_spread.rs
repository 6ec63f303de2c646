//! Tests partitions that change while several nodes sell. No unit is oversold, the units add up at
//! every check, and the last unit is sold.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use doorbuster_config::Roles;
use doorbuster_core::{CloseCause, PartitionChoice, Phase, Spread};
use doorbuster_engine::purchase::{PurchaseOutcome, Refusal};
use doorbuster_engine::scheduler::Work;
use doorbuster_store::SpreadOutcome;
use serde_json::json;

use super::fixture::{Deployment, TestNode, until};
use super::wait_bounds::{hang, server_process, signal};
use super::{TIMEOUT, is_sold, sell_out, sell_out_from};
use crate::watch::Stopwatch;

const STOCK: u64 = 1_200;
/// The number of buyers whose tickets wait in one slot.
const CROWD: u32 = 1_500;
/// Within this time after a change of the spread, exactly the new spread's slots must be open.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(10);
/// All slots that leave the spread must be closed within this time, even if the slots' server
/// hangs. The time includes the eight seconds after which a drain is overdue.
const LEFT_WITHIN: Duration = Duration::from_secs(20);
/// One run of the retirement job must end within this time, even if no slot answers.
const RUN_WITHIN: Duration = Duration::from_secs(5);

fn over(partitions: u32) -> Spread {
    Spread { partitions, ..Spread::default() }
}

fn portions(partitions: u32, choose: PartitionChoice) -> Spread {
    Spread { choose, initial: 20, threshold: 5, refill: 10, ..over(partitions) }
}

/// Sets the spread at one node and waits until exactly the slots of the spread are open.
async fn respread(node: &TestNode, spread: Spread) {
    let (engine, item) = (node.engine.clone(), node.item());
    let set = node.run(async move { engine.sales.set_spread(&item, spread, None).await }).await;
    let set = set.expect("the store is available");
    assert!(matches!(set, SpreadOutcome::Done(_)), "{set:?}");
    let began = Stopwatch::start();
    loop {
        let grants = node.engine.node.store().open_grants().await.expect("the store is available");
        let mut open: Vec<u32> = grants.iter().map(|grant| grant.slot.index).collect();
        open.sort_unstable();
        if open == (0..spread.partitions).collect::<Vec<_>>() {
            return;
        }
        assert!(
            began.elapsed() < FOLLOWED_WITHIN,
            "the open slots {open:?} do not follow {spread:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Checks repeatedly that the units add up, until the test sets `stop`. Returns the number of
/// checks.
async fn add_up(node: &TestNode, stop: Arc<AtomicBool>) -> u64 {
    let mut checks = 0;
    while !stop.load(Ordering::Acquire) {
        let counts = node.counts().await;
        assert_eq!(counts.pool + counts.in_slots + counts.held + counts.paid, STOCK, "{counts:?}");
        checks += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    checks
}

/// Sells all units at two nodes while each node in turn changes the spread.
async fn sells_out_while_partitions_change(all_lead: bool) {
    let mut home = Deployment::cluster();
    home.all_lead = all_lead;
    // Only if `all_lead` is true does the second node settle tickets.
    let roles = if all_lead { Roles::ALL } else { Roles { settle: false, ..Roles::ALL } };
    let (first, second) = (home.node(Roles::ALL).await, home.node(roles).await);
    first.open_sale(STOCK, 10, over(1)).await;
    second.wait_for_phase(Phase::Open).await;
    let stop = Arc::new(AtomicBool::new(false));
    let changes = AtomicU64::new(0);
    let changing = async {
        let spreads = [
            over(8),
            over(2),
            portions(6, PartitionChoice::Random),
            portions(3, PartitionChoice::RoundRobin),
            over(16),
            over(1),
        ];
        for (n, spread) in spreads.into_iter().cycle().enumerate() {
            if stop.load(Ordering::Acquire) {
                break;
            }
            respread([&first, &second][n % 2], spread).await;
            changes.fetch_add(1, Ordering::AcqRel);
        }
    };
    let selling = async {
        let early = sell_out(&[&first, &second], STOCK * 3 / 4, TIMEOUT).await;
        // The rest of the units must be sold after at least three changes. On a slow machine, the
        // changes take longer than the first sales, so the test waits for three changes.
        while changes.load(Ordering::Acquire) < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let late = sell_out_from(&[&first, &second], STOCK - early).await;
        stop.store(true, Ordering::Release);
        early + late
    };
    let (sold, (), checks) = tokio::join!(selling, changing, add_up(&first, stop.clone()));
    assert!(checks > 10, "too few checks of the units: {checks}");
    is_sold(&first, STOCK, sold).await;
    assert_eq!(first.audit().await.repairs, 0, "a slot must not be lost");
    first.stop().await;
    second.stop().await;
}

/// A node answers "sold out" if a move of units between slots takes longer than a request may be
/// parked. So few other tests run at the same time as these.
mod windows {
    use super::sells_out_while_partitions_change;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn partitions_change_several_times_while_two_nodes_sell_the_whole_stock() {
        sells_out_while_partitions_change(false).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_leaders_follow_each_change_of_the_partitions() {
        sells_out_while_partitions_change(true).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_finishes_a_narrowing_whose_leader_was_killed() {
    let home = Deployment::cluster();
    let (first, second) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    first.open_sale(120, 10, over(8)).await;
    second.wait_for_phase(Phase::Open).await;
    let (engine, item) = (first.engine.clone(), first.item());
    let set = first.run(async move { engine.sales.set_spread(&item, over(2), None).await }).await;
    assert!(matches!(set, Ok(SpreadOutcome::Done(_))), "{set:?}");
    first.crash();
    let began = Stopwatch::start();
    while second.engine.node.store().open_grants().await.expect("the store is available").len() > 2
    {
        assert!(
            began.elapsed() < super::AFTER_LEASE,
            "the next leader did not drain the slots in time"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let sold = sell_out(&[&second], 120, TIMEOUT).await;
    is_sold(&second, 120, sold).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_settles_the_tickets_of_a_slot_that_left_the_spread() {
    let home = Deployment::cluster();
    let first = home.node(Roles { settle: false, ..Roles::ALL }).await;
    first.open_sale(8, 1, Spread { choose: PartitionChoice::RoundRobin, ..over(2) }).await;
    until("the units are available", async || {
        first.engine.stock.available_units(&first.item()).await == 8
    })
    .await;
    let mut buying = tokio::task::JoinSet::new();
    for n in 0..4 {
        let client = first.buyer_client();
        buying.spawn(async move { client.buy(&format!("b{n}"), "k", 1).await });
    }
    until("the tickets are queued", async || first.queued().await == 4).await;
    assert_eq!(home.redis().keys(":requests"), 2, "both slots must have tickets");
    let store = first.engine.node.store();
    let grants = store.open_grants().await.expect("the store is available");
    let left = grants.iter().find(|grant| grant.slot.index == 1).expect("an open slot").id;
    let (engine, item) = (first.engine.clone(), first.item());
    let set = first.run(async move { engine.sales.set_spread(&item, over(1), None).await }).await;
    assert!(matches!(set, Ok(SpreadOutcome::Done(_))), "{set:?}");
    let closed = store.close_grant(left, CloseCause::Rolled).await;
    assert!(closed.expect("the store is available"), "the drain waits for the tickets");
    drop(buying);
    first.crash();
    let second = home.node(Roles::ALL).await;
    until("the slot's data is deleted", async || home.redis().keys(":requests") == 1).await;
    second.stop().await;
}

/// Every slot that leaves the spread is on the server that hangs, so the drain of each such slot
/// becomes overdue. The node must not wait long for each slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_leave_the_spread_soon_although_their_server_hangs() {
    let home = Deployment::cluster();
    let node = home.node(Roles::ALL).await;
    node.open_sale(12, 1, over(12)).await;
    until("the units are available", async || {
        node.engine.stock.available_units(&node.item()).await == 12
    })
    .await;
    let server = server_process(&home);
    hang(&server).await;
    let (engine, item) = (node.engine.clone(), node.item());
    let set = node.run(async move { engine.sales.set_spread(&item, over(1), None).await }).await;
    assert!(matches!(set, Ok(SpreadOutcome::Done(_))), "{set:?}");
    let began = Stopwatch::start();
    until("only the slot of the spread is open", async || {
        node.engine.node.store().open_grants().await.expect("the store is available").len() == 1
    })
    .await;
    assert!(began.elapsed() < LEFT_WITHIN, "{:?}", began.elapsed());
    // In its next run, the retirement job asks all these slots, which do not answer.
    let runs = || {
        let late = node.engine.node.control().scheduler().delay_secs(Work::Retirement);
        late.is_some_and(|late| late > 0.0)
    };
    until("the job pauses", async || !runs()).await;
    until("the job runs", async || runs()).await;
    let began = Stopwatch::start();
    until("the job pauses again", async || !runs()).await;
    assert!(began.elapsed() < RUN_WITHIN, "{:?}", began.elapsed());
    signal(&server, "-CONT");
    until("the units are sold again", async || {
        let outcome = node.buy("anna", "k", 1).await;
        matches!(outcome, PurchaseOutcome::Created(_) | PurchaseOutcome::Replayed(_))
    })
    .await;
    node.stop().await;
}

/// While the test locks the orders, no ticket can be settled, so the tickets wait in the slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_gets_more_partitions_while_the_tickets_of_one_slot_wait() {
    let home = Deployment::cluster();
    let node = home.node(Roles::ALL).await;
    node.open_sale(10_000, 1, Spread { auto: true, ..over(1) }).await;
    let locked = home.lock_table("orders");
    let mut crowd = tokio::task::JoinSet::new();
    for n in 0..CROWD {
        let client = node.buyer_client();
        crowd.spawn(async move { client.buy(&format!("b{n}"), "k", 1).await });
    }
    until("the item has two partitions", async || node.item().row.spread.partitions == 2).await;
    locked.release();
    for outcome in crowd.join_all().await {
        use PurchaseOutcome::{Created, Queued, Refused};
        let busy = Refused(Refusal::Unavailable);
        assert!(matches!(outcome, Created(_) | Queued { .. }) || outcome == busy, "{outcome:?}");
    }
    until("every ticket is settled", async || node.queued().await == 0).await;
    let audit = node.audit().await;
    assert!(audit.findings.is_empty(), "{audit:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_sale_in_a_cluster_gets_two_partitions_for_each_primary() {
    let home = Deployment::cluster();
    let node = home.node(Roles::ALL).await;
    let first = node.engine.sales.first_spread(1);
    assert_eq!((first.partitions, first.auto), (2, true));
    assert_eq!(
        node.engine.sales.first_spread(100).partitions,
        1,
        "many items must start with one partition each"
    );
    node.stop().await;
    let plain = Deployment::postgres();
    let node = plain.node(Roles::ALL).await;
    assert_eq!(node.engine.sales.first_spread(1), Spread::default());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drafts_do_not_narrow_a_sale_that_opens() {
    let cluster = super::servers::ServerCluster::start();
    let app = cluster.node("api,settle,control").await;
    for n in 0..20 {
        app.make_sale(&format!("draft{n}"), 10.into(), 1).await;
    }
    let slots = async |sale: &str| {
        let path = format!("/v1/admin/sales/{sale}/slots");
        let shown = app.admin("GET", &path, None).await.json();
        shown["slots"].as_array().expect("a list").len()
    };
    app.open_sale("spring", 10.into(), 1).await;
    assert_eq!(slots("spring").await, 2, "one primary");
    for n in 0..11 {
        app.step(&format!("draft{n}"), "open").await;
    }
    app.step("draft11", "open").await;
    let widths = (slots("draft10").await, slots("draft11").await);
    assert_eq!(widths, (2, 1), "with 24 slots, a further sale must open with one partition");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draft_is_scheduled_with_the_partitions_that_are_free_at_its_start() {
    let cluster = super::servers::ServerCluster::start();
    let app = cluster.node("api,settle,control").await;
    let change = async |method: &str, path: &str, body: serde_json::Value| {
        let reply = app.admin(method, &format!("/v1/admin/sales/{path}"), Some(body)).await;
        assert_eq!(reply.verdict(), "200", "{}", reply.text());
    };
    app.make_sale("spring", 24.into(), 1).await;
    change("PUT", "spring/items/phone/spread", json!({"partitions": 24})).await;
    change("PATCH", "spring", json!({"ends_at": "2100-01-01T00:00:00Z"})).await;
    app.step("spring", "open").await;
    app.make_sale("autumn", 10.into(), 1).await;
    change("PATCH", "autumn", json!({"starts_at": "2101-01-01T00:00:00Z"})).await;
    app.step("autumn", "schedule").await;
    let shown = app.admin("GET", "/v1/admin/sales/autumn/slots", None).await.json();
    let slots = shown["slots"].as_array().expect("a list").len();
    assert_eq!(slots, 2, "the sale does not overlap the sale with 24 slots");
    app.stop().await;
}
