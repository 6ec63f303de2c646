//! Tests challenges in PostgreSQL. Two answers of one buyer must be processed one after the other,
//! even on different nodes.
use std::time::{Duration, Instant};

use doorbuster_store::{AnswerSpend, SpendOutcome};

use crate::cluster;
use crate::events::{run, session};
use crate::fixture::open_postgres;

/// The longest wait. It is long, because the machine may be slow.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Counts the sessions that wait for a row that another session has locked.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                       AND wait_event_type = 'Lock'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_answer_waits_for_uncommitted_wrong_answers() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let fixture = open_postgres(&cluster.url(&database), 1).await;
    let (by, until) = ([7; 16], fixture.store.now().plus(120_000));
    let (node, watch) = (session(&database).await, session(&database).await);
    // A transaction of another node records wrong answers up to the limit. The transaction stays
    // open until the test commits it later.
    run(&node, "BEGIN").await;
    let wrong = format!(
        "INSERT INTO miss (by, n, until) VALUES (decode(repeat('07', 16), 'hex'), 10, {})",
        until.0
    );
    run(&node, &wrong).await;
    let ends = fixture.store.now().plus(120_000);
    let right = AnswerSpend { id: [1; 16], until: ends, by, is_correct: true, window_ms: 120_000 };
    let store = fixture.store.clone();
    let answered = tokio::spawn(async move { store.spend_answer(right).await.expect("writes") });
    let since = Instant::now();
    loop {
        let waiting: i64 = watch.query_one(WAITING, &[]).await.expect("a query").get(0);
        if waiting > 0 {
            break;
        }
        assert!(!answered.is_finished(), "the answer did not wait");
        assert!(since.elapsed() < TIMEOUT, "the answer did not begin to wait in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    run(&node, "COMMIT").await;
    assert_eq!(answered.await.expect("no panic"), SpendOutcome::Now { misses: 10, until });
    fixture.store.close().await;
}
