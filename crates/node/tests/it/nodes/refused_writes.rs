//! Tests a Redis server that answers reads and refuses writes, like a server without memory or
//! without its replicas.
use std::sync::atomic::{AtomicU32, Ordering};

use doorbuster_config::Roles;
use doorbuster_core::Spread;
use doorbuster_core::event::Attribution;
use doorbuster_engine::purchase::PurchaseOutcome;

use super::fixture::{Deployment, until};
use super::redis::Redis;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_server_that_refuses_writes_does_not_stop_the_slots_of_other_servers() {
    let home = Deployment::with_two_redis_servers();
    let node = home.node(Roles::ALL).await;
    let spread = Spread { partitions: 2, initial: 4, threshold: 2, refill: 3, ..Spread::default() };
    node.open_sale(60, 1, spread).await;
    let PurchaseOutcome::Created(order) = node.buy("anna", "k", 1).await else {
        panic!("the sale has units")
    };
    let has_order = |redis: &&Redis| redis.keys(":requests") > 0;
    let full = home.redis_servers().iter().find(has_order).expect("a slot remembers the request");
    full.refuse_writes(true);
    // The order's unit cannot return to its slot until this slot accepts writes again.
    let orders = node.engine.orders.clone();
    let cancel = async move { orders.cancel(order.id, Attribution::BUYER.clone()).await };
    node.run(cancel).await.expect("the store is available");
    let (tried, created) = (AtomicU32::new(0), AtomicU32::new(0));
    until("the other slot gets further units of the pool", async || {
        let n = tried.fetch_add(1, Ordering::Relaxed);
        if let PurchaseOutcome::Created(_) = node.buy(&format!("buyer-{n}"), "k", 1).await {
            created.fetch_add(1, Ordering::Relaxed);
        }
        created.load(Ordering::Relaxed) > 20
    })
    .await;
    full.refuse_writes(false);
    until("all units are sold", async || {
        let n = tried.fetch_add(1, Ordering::Relaxed);
        node.buy(&format!("buyer-{n}"), "k", 1).await;
        node.counts().await.held == 60
    })
    .await;
    assert!(node.audit().await.findings.is_empty());
    node.stop().await;
}
