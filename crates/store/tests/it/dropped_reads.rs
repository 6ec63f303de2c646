//! Tests reads of PostgreSQL whose callers stop waiting before the answer arrives.
use std::time::{Duration, Instant};

use doorbuster_store::limits::PG_READERS;

use crate::cluster;
use crate::fixture::open_postgres;

const TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_does_not_wait_for_the_answers_to_dropped_reads() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let fixture = open_postgres(&cluster.url(&database), 1).await;
    let psql = |sql: &str| cluster.psql(&database, sql).expect("a query").trim().to_owned();
    let wait_for = |what: &str, sql: &str, count: usize| {
        let timer = Instant::now();
        while psql(sql) != count.to_string() {
            assert!(timer.elapsed() < TIMEOUT, "timed out; expected: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let of = database.clone();
    let lock = std::thread::spawn(move || {
        cluster.psql(&of, "BEGIN; LOCK TABLE block IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)")
    });
    let locks = "FROM pg_locks WHERE relation = 'block'::regclass AND mode = 'AccessExclusiveLock'";
    wait_for("the table is locked", &format!("SELECT count(*) {locks} AND granted"), 1);
    let waiting =
        "SELECT count(*) FROM pg_locks WHERE relation = 'block'::regclass AND NOT granted";
    for n in 1..PG_READERS {
        let store = fixture.store.clone();
        let read = tokio::spawn(async move { store.blocks().await });
        wait_for("each read waits in its own session", waiting, n);
        read.abort();
        assert!(read.await.is_err(), "the read must be dropped while it waits for the table");
    }
    let other = tokio::time::timeout(TIMEOUT, fixture.store.sales()).await;
    assert!(matches!(other, Ok(Ok(_))), "{other:?}");
    wait_for("the table is still locked", &format!("SELECT count(*) {locks} AND granted"), 1);
    psql(&format!("SELECT pg_terminate_backend(pid) {locks}"));
    lock.join().expect("no panic").expect_err("the session that locks the table was ended");
    // The sessions return to the pool, so all of them can be used at once.
    let reads = (0..PG_READERS).map(|_| fixture.store.blocks());
    for read in futures_util::future::join_all(reads).await {
        assert_eq!(read.expect("reads"), []);
    }
    fixture.store.close().await;
}
