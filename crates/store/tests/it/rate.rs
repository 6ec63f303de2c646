//! Measures settling and expiry in SQLite and in PostgreSQL: orders per second, and the time of a
//! batch. Run these tests by hand, in a release build.
use std::sync::Arc;
use std::time::{Duration, Instant};

use doorbuster_core::limits::SETTLE_BATCH_MAX;
use doorbuster_core::{Grant, Ticket, Verdict};
use doorbuster_store::conformance::{Fixture, HOLD_MS};

use crate::cluster::Cluster;
use crate::fixture::{Dir, open, open_postgres};

const BATCHES: usize = 60;

fn batch(fixture: &Fixture, grant: &Grant, at: usize) -> Vec<Arc<Ticket>> {
    let first = at * SETTLE_BATCH_MAX + 1;
    let ticket = |n: usize| {
        fixture.ticket(grant, n as u64, &format!("buyer-{}-{n:06}", grant.slot.index), "k", 1)
    };
    (first..first + SETTLE_BATCH_MAX).map(ticket).collect()
}

/// Settles tickets with one task for each grant. Returns the orders per second and the time of the
/// slowest batch.
async fn settle(fixture: &Fixture, grants: &[Grant]) -> (f64, Duration) {
    let mut settlers = tokio::task::JoinSet::new();
    let began = Instant::now();
    for grant in grants {
        let batches: Vec<_> = (0..BATCHES).map(|at| batch(fixture, grant, at)).collect();
        let store = fixture.store.clone();
        settlers.spawn(async move {
            let mut slowest = Duration::ZERO;
            for tickets in batches {
                let began = Instant::now();
                let resolved = store.settle(tickets).await.expect("settles");
                assert!(resolved.iter().all(|r| r.verdict == Verdict::Reserved));
                slowest = slowest.max(began.elapsed());
            }
            slowest
        });
    }
    let slowest = settlers.join_all().await.into_iter().max().unwrap_or_default();
    let orders = grants.len() * BATCHES * SETTLE_BATCH_MAX;
    (orders as f64 / began.elapsed().as_secs_f64(), slowest)
}

async fn measure(open: impl AsyncFn() -> Fixture) {
    for slots in [1_u32, 2, 4] {
        let fixture = open().await;
        let item = fixture.item(doorbuster_core::Stock::Counted(1_000_000), 1).await;
        let mut grants = Vec::new();
        for index in 0..slots {
            grants.push(fixture.open(doorbuster_core::SlotKey { item, index }, 100_000).await);
        }
        let (rate, slowest) = settle(&fixture, &grants).await;
        let began = Instant::now();
        fixture.check_invariants().await;
        println!(
            "{slots} slots: {rate:.0} orders/s, slowest batch {slowest:?}, check {:?}",
            began.elapsed()
        );
        fixture.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn orders_settled_a_second() {
    let cluster = Cluster::start(&["-c", "shared_buffers=256MB", "-c", "max_wal_size=4GB"]);
    measure(async || open_postgres(&cluster.url(&cluster.database()), 1).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn orders_settled_a_second_in_sqlite() {
    let dir = Dir::new();
    let dirs = std::cell::Cell::new(0);
    measure(async || {
        dirs.set(dirs.get() + 1);
        open(&dir.path().join(dirs.get().to_string()))
    })
    .await;
}

/// The number of holds that are due at the same time. Each measurement uses one entry of `AT_ONCE`
/// as the largest number of holds that a transaction expires.
const HOLDS: usize = 50_000;
const AT_ONCE: [usize; 5] = [100, 250, 500, 1_000, 2_000];

async fn expire(fixture: &Fixture, at_once: usize) {
    let grant = fixture.slot(HOLDS as u64, HOLDS as u64, 1).await;
    for at in 0..HOLDS / SETTLE_BATCH_MAX {
        fixture.store.settle(batch(fixture, &grant, at)).await.expect("settles");
    }
    fixture.clock.advance(HOLD_MS * 2);
    let (began, mut ended, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    loop {
        let start = Instant::now();
        let expired = fixture.store.expire_due(at_once).await.expect("expires").len();
        if expired == 0 {
            break;
        }
        ended += expired;
        slowest = slowest.max(start.elapsed());
    }
    let each = began.elapsed().as_secs_f64() * 1e6 / ended as f64;
    println!(
        "{at_once} at once: {each:.1} us for each of {ended}, slowest transaction {slowest:?}"
    );
    fixture.check_invariants().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn orders_expired_a_second() {
    let cluster = Cluster::start(&["-c", "shared_buffers=128MB", "-c", "max_wal_size=4GB"]);
    for at_once in AT_ONCE {
        let fixture = open_postgres(&cluster.url(&cluster.database()), 1).await;
        expire(&fixture, at_once).await;
        fixture.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn orders_expired_a_second_in_sqlite() {
    for at_once in AT_ONCE {
        let dir = Dir::new();
        expire(&open(dir.path()), at_once).await;
    }
}
