//! Tests a node on which more transactions wait for PostgreSQL than the limit allows.
use std::time::{Duration, Instant};

use doorbuster_core::NodeId;
use doorbuster_store::limits::WRITE_QUEUE_MAX;
use tokio::task::JoinSet;

use crate::cluster;
use crate::fixture::open_postgres;

const TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_over_the_bound_is_refused_at_once_but_a_lease_is_renewed() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let fixture = open_postgres(&cluster.url(&database), 1).await;
    let psql = |sql: &str| cluster.psql(&database, sql).expect("a query").trim().to_owned();
    let of = database.clone();
    let lock = std::thread::spawn(move || {
        cluster.psql(&of, "BEGIN; LOCK TABLE sale IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)")
    });
    let locks = "FROM pg_locks WHERE relation = 'sale'::regclass AND mode = 'AccessExclusiveLock'";
    let timer = Instant::now();
    while psql(&format!("SELECT count(*) {locks} AND granted")) != "1" {
        assert!(timer.elapsed() < TIMEOUT, "the table is not locked");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut jobs = JoinSet::new();
    for _ in 0..=WRITE_QUEUE_MAX {
        let store = fixture.store.clone();
        jobs.spawn(async move { store.cancel_drain("spring").await });
    }
    // One transaction is over the limit, so the store refuses it. All others wait for the table.
    let first = jobs.join_next().await.expect("a job").expect("the job did not panic");
    let refused = first.expect_err("no transaction can end before this one").to_string();
    assert!(refused.contains("too many requests are waiting for the store"), "{refused}");
    let renewing = fixture.store.renew_node_lease(NodeId(1), 1_000, "{}");
    let unlocking = async { psql(&format!("SELECT pg_terminate_backend(pid) {locks}")) };
    let (renewed, _) = tokio::join!(renewing, unlocking);
    renewed.expect("the lease is renewed");
    lock.join().expect("no panic").expect_err("the session that locks the table was ended");
    while jobs.join_next().await.is_some() {}
    fixture.store.cancel_drain("spring").await.expect("the places are free again");
    fixture.store.close().await;
}
