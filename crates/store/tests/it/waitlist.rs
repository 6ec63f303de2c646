//! Tests waitlists with several nodes: publication to another node, the maximum length of a
//! waitlist, and the audit's findings about damaged waitlists.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{LocalBoxFuture, join_all};

use doorbuster_core::event::Attribution;
use doorbuster_core::limits::WAITLIST_ENTRIES_MAX;
use doorbuster_core::order::EndReason;
use doorbuster_core::waitlist::JoinOutcome;
use doorbuster_core::{BuyerId, ItemId, Order, RequestKey, WaitlistEntry};
use doorbuster_store::conformance::Fixture;
use doorbuster_store::{OrderQuery, StoreError, StoreResult};

use crate::cluster;
use crate::fixture::{Dir, open, open_postgres};
use crate::nodes::{two, wait};

const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait for each part of the work while sessions are killed.
const AGAIN_WITHIN: Duration = Duration::from_secs(20);
const KILLS: usize = 15;
/// After this time, no more sessions are killed, even if a failed test does not stop the killing.
const KILLS_WITHIN: Duration = Duration::from_secs(300);
/// The number of units that are returned. At first, `BUYERS` units are held, and `BUYERS` other
/// buyers join the waitlist.
const UNITS: u64 = 20;
const BUYERS: u64 = 30;

async fn join(fixture: &Fixture, item: ItemId, who: &str) -> JoinOutcome {
    let (buyer, key) = (BuyerId::new(who).expect("a name"), RequestKey::new("k").expect("a key"));
    fixture.store.join_waitlist(item, buyer, key).await.expect("writes")
}

async fn join_new(fixture: &Fixture, item: ItemId, who: &str) -> WaitlistEntry {
    let JoinOutcome::Done(entry) = join(fixture, item, who).await else {
        panic!("{who} must get an entry")
    };
    entry
}

async fn cancel(fixture: &Fixture, order: &Order) {
    fixture
        .store
        .end_order(order.id, EndReason::Cancel, Attribution::BUYER.clone())
        .await
        .expect("writes");
}

#[tokio::test]
async fn waitlist_changes_reach_another_node() {
    let (a, b, _) = two().await;
    let grant = a.slot(1, 1, 1).await;
    let item = grant.slot.item;
    let held = a.reserve(&grant, 1, "holder", 1).await;
    let entry = join_new(&a, item, "anna").await;
    let waits = |all: &[doorbuster_store::Committed]| {
        all.iter().flat_map(|c| &c.counts).any(|c| c.waiting == 1)
    };
    wait(&b, TIMEOUT, waits).await;
    let JoinOutcome::Already(there) = join(&b, item, "anna").await else {
        panic!("anna's entry must be found")
    };
    assert_eq!(there, entry);
    cancel(&b, &held).await;
    let served = b.store.serve_waitlist(item).await.expect("writes").orders;
    let all = wait(&a, TIMEOUT, |all| all.iter().any(|c| c.orders.contains(&served[0]))).await;
    let at = all.iter().position(|c| c.orders.contains(&served[0])).expect("waited for");
    assert!(
        all[at..].iter().any(|c| c.counts.iter().any(|c| c.waiting == 0 && c.held == 1)),
        "{all:?}"
    );
    assert_eq!(
        a.store.serve_waitlist(item).await.expect("writes"),
        doorbuster_store::WaitlistServed::default()
    );
    a.check_invariants().await;
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}

/// Repeats the call until the store is available. A repeated call finds the effect of the earlier
/// call.
async fn retry<T>(call: impl AsyncFn() -> StoreResult<T>) -> T {
    let since = Instant::now();
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(StoreError::Unavailable { .. }) if since.elapsed() < AGAIN_WITHIN => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn kill_sessions(database: &str, stop: &AtomicBool) -> usize {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM (
                   SELECT pid FROM pg_stat_activity WHERE datname = current_database()
                   AND pid <> pg_backend_pid()
                          AND state <> 'idle' ORDER BY random() LIMIT 1) s";
    let (mut kills, until) = (0, Instant::now() + KILLS_WITHIN);
    while !stop.load(Ordering::SeqCst) && kills < KILLS && Instant::now() < until {
        let killed = cluster::shared().psql(database, sql).expect("psql runs");
        kills += killed.trim().parse::<usize>().expect("a count");
        std::thread::sleep(Duration::from_millis(15));
    }
    kills
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn two_nodes_with_killed_sessions_serve_each_entry_once_in_order() {
    let (a, b, database) = two().await;
    let grant = a.slot(BUYERS, BUYERS, 1).await;
    let item = grant.slot.item;
    let mut held = Vec::new();
    for n in 1..=BUYERS {
        held.push(a.reserve(&grant, n, &format!("holder-{n}"), 1).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let killer = tokio::task::spawn_blocking({
        let stop = Arc::clone(&stop);
        move || kill_sessions(&database, &stop)
    });
    let joined_count = AtomicUsize::new(0);
    let joined_count = &joined_count;
    let mut all: Vec<LocalBoxFuture<'_, ()>> = Vec::new();
    for n in 0..BUYERS {
        let store = if n % 2 == 0 { a.store.clone() } else { b.store.clone() };
        all.push(Box::pin(async move {
            let (who, key) = (BuyerId::new(&format!("b{n}")), RequestKey::new("k"));
            let (who, key) = (who.expect("a name"), key.expect("a key"));
            let joined =
                retry(async || store.join_waitlist(item, who.clone(), key.clone()).await).await;
            assert!(
                matches!(
                    joined,
                    JoinOutcome::Done(_) | JoinOutcome::Already(_) | JoinOutcome::Order(_)
                ),
                "{joined:?}"
            );
            joined_count.fetch_add(1, Ordering::SeqCst);
        }));
    }
    for (n, order) in held.into_iter().enumerate().take(UNITS as usize) {
        let store = if n % 2 == 0 { a.store.clone() } else { b.store.clone() };
        all.push(Box::pin(async move {
            // Waits for a buyer to join: only then is the returned unit kept for the waitlist.
            while joined_count.load(Ordering::SeqCst) <= n {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let by = Attribution::BUYER.clone();
            retry(async || store.end_order(order.id, EndReason::Cancel, by.clone()).await).await;
        }));
    }
    for fixture in [&a, &b] {
        let store = fixture.store.clone();
        all.push(Box::pin(async move {
            let since = Instant::now();
            let orders =
                OrderQuery { items: Some(vec![item]), limit: 100, ..OrderQuery::default() };
            while retry(async || store.orders(orders.clone()).await).await.rows.len()
                < (BUYERS + UNITS) as usize
            {
                retry(async || store.serve_waitlist(item).await).await;
                assert!(since.elapsed() < AGAIN_WITHIN, "the waiting buyers are not served");
            }
        }));
    }
    join_all(all).await;
    stop.store(true, Ordering::SeqCst);
    assert!(killer.await.expect("no panic") > 0, "the test must kill sessions");
    let orders = OrderQuery { items: Some(vec![item]), limit: 100, ..OrderQuery::default() };
    let made = retry(async || a.store.orders(orders.clone()).await).await.rows;
    let served: BTreeSet<u64> =
        made.iter().filter(|o| o.grant != grant.id).map(|o| o.n.0).collect();
    assert_eq!(served, (1..=UNITS).collect(), "the first entries must be served");
    let counts = retry(async || a.store.counts(Some(vec![item])).await).await[0];
    assert_eq!(
        (counts.waiting, counts.kept, counts.pool, counts.held),
        (BUYERS - UNITS, 0, 0, BUYERS)
    );
    let known = |all: &[doorbuster_store::Committed]| {
        let ids: BTreeSet<_> = all.iter().flat_map(|c| &c.orders).map(|order| order.id).collect();
        made.iter().all(|order| ids.contains(&order.id))
    };
    wait(&b, AGAIN_WITHIN, known).await;
    a.check_invariants().await;
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}

/// Each entry has a statement that damages the waitlist, a statement that repairs the waitlist, and
/// a text that an audit finding must contain.
const DAMAGES: [(&str, &str, &str); 5] = [
    (
        "UPDATE item SET waiting = 2",
        "UPDATE item SET waiting = 1",
        "the item counts 2 waiting, but 1 entries wait",
    ),
    (
        "UPDATE waitlist SET state = 'left' WHERE state = 'waiting'",
        "UPDATE waitlist SET state = 'waiting' WHERE state = 'left' AND ended_at IS NULL",
        "has state left, order none and refusal none",
    ),
    (
        "UPDATE waitlist SET state = 'passed_over' WHERE state = 'served'",
        "UPDATE waitlist SET state = 'served' WHERE state = 'passed_over'",
        "is from a waitlist, but no entry was served with it",
    ),
    (
        "UPDATE waitlist SET state = 'served' WHERE state = 'left'",
        "UPDATE waitlist SET state = 'left' WHERE n = 2",
        "has state served, order none",
    ),
    (
        "UPDATE resolution SET n = 77 WHERE n = 2",
        "UPDATE resolution SET n = 2 WHERE n = 77",
        "has state left, order none and refusal none",
    ),
];

/// Tests that the store's check finds each of [`DAMAGES`] in a waitlist with three entries. The
/// first became an order, the second ended because its buyer left, and the third waits. Then tests
/// that a full waitlist accepts no further buyer.
async fn each_is_found(fixture: &Fixture, run: impl Fn(&str)) {
    let grant = fixture.slot(3, 3, 1).await;
    let item = grant.slot.item;
    let held = fixture.reserve(&grant, 1, "holder", 1).await;
    fixture.reserve(&grant, 2, "other", 1).await;
    fixture.reserve(&grant, 3, "third", 1).await;
    join_new(fixture, item, "anna").await;
    let bert = join_new(fixture, item, "bert").await;
    join_new(fixture, item, "cleo").await;
    fixture.store.leave_waitlist(bert.id).await.expect("writes");
    cancel(fixture, &held).await;
    fixture.store.serve_waitlist(item).await.expect("writes");
    fixture.check_invariants().await;
    for (damage, repair, words) in DAMAGES {
        run(damage);
        let found = fixture.store.check().await.expect("reads").findings;
        assert!(found.iter().any(|f| f.detail.contains(words)), "{damage}: {found:?}");
        run(repair);
        fixture.check_invariants().await;
    }
    run(&format!("UPDATE item SET waiting = {WAITLIST_ENTRIES_MAX}"));
    assert_eq!(join(fixture, item, "dora").await, JoinOutcome::Full);
    run("UPDATE item SET waiting = 1");
    assert!(matches!(join(fixture, item, "dora").await, JoinOutcome::Done(_)));
    fixture.check_invariants().await;
    fixture.store.close().await;
}

#[tokio::test]
async fn an_inconsistent_waitlist_is_found() {
    let dir = Dir::new();
    let fixture = open(dir.path());
    let shell = dir.shell();
    each_is_found(&fixture, |sql| assert!(shell.execute(sql, []).expect("a change") > 0, "{sql}"))
        .await;
}

#[tokio::test]
async fn an_inconsistent_waitlist_in_postgresql_is_found() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let fixture = open_postgres(&cluster.url(&database), 1).await;
    each_is_found(&fixture, |sql| drop(cluster.psql(&database, sql).expect("a change"))).await;
}
