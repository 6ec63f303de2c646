//! Tests an edge while reads of the database are slow.

use std::time::Duration;

use doorbuster_core::limits::FEED_AGE_MAX_MS;
use serde_json::json;

use super::{Tier, until};
use crate::watch::Stopwatch;

/// How long the reads stay slow after the age at which an edge's copy is too old.
const AFTER_FEED_AGE_MS: u64 = 1_500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_stays_fresh_while_no_node_can_read_the_blocks() {
    let tier = Tier::start(&[]).await;
    tier.node.open_sale("spring", 1.into(), 1).await;
    assert_eq!(tier.buy("anna", "k").await, "201");
    tier.wait_for_state("held_out").await;
    let psql = |sql: &str| tier.home.psql(&tier.database, sql).expect("a query").trim().to_owned();
    let (home, database) = (tier.home.clone(), tier.database.clone());
    let lock = std::thread::spawn(move || {
        let sql = "BEGIN; LOCK TABLE block IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)";
        home.psql(&database, sql)
    });
    let locks = "FROM pg_locks WHERE relation = 'block'::regclass AND mode =";
    let reads = format!("SELECT count(*) {locks} 'AccessShareLock' AND NOT granted");
    // Two parts of the node read the blocks: the front door, and the writer of the feed.
    until("both reads wait for the table", async || psql(&reads) == "2").await;
    let slow_for = Duration::from_millis(FEED_AGE_MAX_MS.unsigned_abs() + AFTER_FEED_AGE_MS);
    let began = Stopwatch::start();
    while began.elapsed() < slow_for {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until("the edge refuses a purchase by itself", async || {
        let ready = tier.edge.get("/readyz").await.text();
        let before = tier.proxy.purchases();
        tier.buy("bert", "k").await == "409 sold_out"
            && tier.proxy.purchases() == before
            && !ready.contains("feed_stale")
    })
    .await;
    let locked = format!("{locks} 'AccessExclusiveLock' AND granted");
    assert_eq!(psql(&format!("SELECT count(*) {locked}")), "1", "the reads must still wait");
    psql(&format!("SELECT pg_terminate_backend(pid) {locked}"));
    lock.join().expect("no panic").expect_err("the session that locks the table was ended");
    let block = json!({"kind": "buyer", "value": "robot"});
    assert_eq!(tier.node.admin("POST", "/v1/admin/blocks", Some(block)).await.verdict(), "201");
    until("the edge knows of the block", async || {
        let before = tier.proxy.purchases();
        tier.buy("robot", "k").await == "403 forbidden" && tier.proxy.purchases() == before
    })
    .await;
    tier.stop().await;
}
