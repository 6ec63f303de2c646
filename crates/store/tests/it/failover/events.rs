//! Tests the positions of events after a failover that lost events.
use std::time::Duration;

use doorbuster_store::{KnownHistories, Store};

use super::{Pair, batches, open, open_sale, settle_all};
use crate::unreadable::endpoint;

async fn place(store: &Store) {
    while store.sequence_events(100).await.expect("writes") > 0 {}
}

async fn last_position(store: &Store) -> i64 {
    let events = store.events_after(0, 1_000).await.expect("reads");
    events.last().expect("events").as_ref().expect("readable").position
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_reader_that_read_a_lost_event_misses_no_event_after_the_failover() {
    let pair = Pair::start().await;
    let fixture = open(&pair.url(), 1, KnownHistories::default()).await.expect("opens");
    let grant = open_sale(&fixture).await;
    let all = batches(&fixture, &grant, 3, 10);
    settle_all(&fixture, &all[..1]).await;
    fixture.store.insert_endpoint(endpoint(), 1).await.expect("writes").expect("a free id");
    tokio::task::block_in_place(|| {
        pair.wait_for_standby();
        pair.cut_replication();
    });
    settle_all(&fixture, &all[1..2]).await;
    place(&fixture.store).await;
    let read = last_position(&fixture.store).await;
    tokio::task::block_in_place(|| {
        pair.primary.crash();
        pair.promote_standby();
    });
    let new = settle_all(&fixture, &all[2..]).await;
    assert_eq!(new.len(), 10);
    place(&fixture.store).await;
    let after = fixture.store.events_after(read, 1_000).await.expect("reads");
    let orders: Vec<_> = after.into_iter().map(|read| read.expect("readable").event).collect();
    assert_eq!(orders.len(), 10, "each new order must have an event after {read}: {orders:#?}");
    let waiting = fixture.store.endpoint_statuses().await.expect("reads")[0].waiting;
    assert_eq!(waiting, 10, "skipped positions must not count as waiting events");
    tokio::time::timeout(Duration::from_secs(30), fixture.store.close()).await.expect("closes");
}
