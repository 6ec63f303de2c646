//! Tests a failover after a commit whose answer was lost.
use doorbuster_store::KnownHistories;

use super::{Pair, open, open_sale};
use crate::faults::{AGAIN_WITHIN, batches, settle};

/// If the answer to a COMMIT is lost, the tickets are settled again. The second answer confirms the
/// orders, so the node that gave this answer must report the orders as lost.
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
