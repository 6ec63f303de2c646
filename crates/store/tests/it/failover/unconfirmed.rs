//! Tests commits whose outcome is unknown to the node.
use std::time::{Duration, Instant};

use doorbuster_store::KnownHistories;

use super::{Pair, STANDBY, open, open_sale, wait_until};
use crate::faults::{AGAIN_WITHIN, batches, settle};

/// If the answer to a COMMIT is lost, another node may settle the same tickets again, and confirm
/// the orders that already exist. If a failover then loses these orders, that other node must
/// report them.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn orders_that_were_confirmed_by_a_second_answer_are_named() {
    let pair = Pair::start().await;
    let first = open(&pair.url(), 1, KnownHistories::default()).await.expect("opens");
    let second = open(&pair.url(), 2, KnownHistories::default()).await.expect("opens");
    let grant = open_sale(&first).await;
    tokio::task::block_in_place(|| {
        pair.wait_for_standby();
        pair.cut_replication();
    });
    let batch = batches(&first, &grant, 1, 10).concat();
    let ids = settle(&first.store, &batch).await;
    first.store.close().await;
    assert_eq!(settle(&second.store, &batch).await, ids);
    tokio::task::block_in_place(|| {
        pair.primary.crash();
        pair.promote_standby();
    });
    let mut changes = second.store.history_changes().expect("a database");
    let seen = changes.wait_for(|fence| *fence == 2);
    let is_seen = tokio::time::timeout(AGAIN_WITHIN, seen).await.is_ok();
    assert!(is_seen, "the node must notice the failover");
    let reaction = second.store.react_to_history().await.expect("reacts");
    let found = reaction.lost.expect("the new primary lacks orders");
    assert_eq!((found.acknowledged, found.lost), (10, 10));
    second.store.close().await;
}

/// While a commit waits for the standby, an operator may cancel the wait. PostgreSQL then makes the
/// commit visible. The node must not show the order before the standby has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_commit_whose_wait_was_cancelled_is_not_shown_before_the_standby_has_it() {
    let pair = Pair::start().await;
    tokio::task::block_in_place(|| pair.make_synchronous());
    let fixture = open(&pair.url(), 1, KnownHistories::default()).await.expect("opens");
    let grant = open_sale(&fixture).await;
    tokio::task::block_in_place(|| pair.standby.stop());
    fixture.commits.forget();
    let ticket = fixture.ticket(&grant, 1, "buyer", "k", 1);
    let (buyer, key) = (ticket.buyer.clone(), ticket.key.clone());
    let order = || fixture.store.order_of(buyer.clone(), key.clone());
    let settling = tokio::spawn({
        let store = fixture.store.clone();
        async move { settle(&store, &[ticket]).await }
    });
    tokio::task::block_in_place(|| {
        let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
                      WHERE wait_event = 'SyncRep'";
        wait_until("a waiting commit is cancelled", || {
            pair.primary.psql(&pair.database, cancel).expect("reads").trim() != "0"
        });
        let orders = "SELECT count(*) FROM orders";
        wait_until("the commit is visible", || {
            pair.primary.psql(&pair.database, orders).expect("reads").trim() == "1"
        });
    });
    let (begun, mut reason) = (Instant::now(), String::new());
    while !reason.contains(STANDBY) && begun.elapsed() < AGAIN_WITHIN {
        reason = fixture.store.health().await.err().map_or_else(String::new, |e| e.to_string());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(reason.contains(&format!("not connected: {STANDBY} (synchronous")), "{reason}");
    let answer = tokio::time::timeout(Duration::from_secs(3), order()).await;
    assert!(
        !matches!(answer, Ok(Ok(_))),
        "the standby lacks the order, so the read must not succeed: {answer:?}"
    );
    let shown = fixture.commits.take();
    assert!(
        shown.iter().all(|one| one.orders.is_empty() && one.verdicts.is_empty()),
        "the standby lacks the order, so the node must not publish it: {shown:?}"
    );
    assert!(!settling.is_finished());
    tokio::task::block_in_place(|| pair.standby.restart());
    assert_eq!(settling.await.expect("settles").len(), 1);
    let answer = order().await.expect("reads");
    assert!(answer.is_some(), "the node must show the order now");
    fixture.store.close().await;
}
