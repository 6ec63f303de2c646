//! Tests an edge in front of several nodes. One of the nodes stops, crashes or serves no buyers.

use std::time::Duration;

use super::{CountingProxy, edge_before, until};
use crate::app::TestApp;
use crate::nodes::number;
use crate::nodes::servers::{ServerCluster, start};
use crate::watch::Stopwatch;

async fn wait_until_fresh(edge: &TestApp) {
    until("the edge has a fresh copy", async || {
        let ready = edge.get("/readyz").await;
        ready.status == 200 && ready.json()["warnings"].is_null()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_writer_of_the_feed_crashes_another_node_writes_within_two_seconds() {
    let deployment = ServerCluster::start();
    let (writer, runtime) = deployment.node_in_runtime("api,settle,control").await;
    writer.open_sale("spring", 1.into(), 1).await;
    let node = deployment.node("api,settle,control").await;
    let proxy = CountingProxy::start(node.address).await;
    let edge = edge_before(proxy.address, &deployment.slots, &[]).await;
    wait_until_fresh(&edge).await;
    assert_eq!(edge.buy("anna", "k", "spring", "phone", 1).await.verdict(), "201");
    until("the edge itself refuses the purchase", async || {
        let before = proxy.purchases();
        edge.buy("bert", "k", "spring", "phone", 1).await.verdict() == "409 sold_out"
            && proxy.purchases() == before
    })
    .await;
    runtime.shutdown_background();
    let (began, before, mut sent) = (Stopwatch::start(), proxy.purchases(), 0);
    while began.elapsed() < Duration::from_secs(7) {
        let reply = edge.buy(&format!("buyer{sent}"), "k", "spring", "phone", 1).await;
        assert!(matches!(reply.status, 409 | 503), "{}", reply.text());
        sent += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let reached = proxy.purchases() - before;
    assert!(
        reached * 3 < sent,
        "{reached} of {sent} purchases reached a node; the edge must refuse most of them"
    );
    assert_eq!(edge.buy("anna", "k", "spring", "phone", 1).await.verdict(), "200");
    edge.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_prefers_nodes_that_are_ready_and_sends_nothing_to_nodes_without_the_role_api() {
    let deployment = ServerCluster::start();
    let settler = deployment.node("settle,control").await;
    // For five seconds, the stopping node is not ready but still serves.
    let notice = ("DOORBUSTER_LIMITS__STOP_NOTICE_SECS", "5".to_owned());
    let mut leaving = start([deployment.settings("api"), vec![notice]].concat()).await;
    let node = deployment.node("api").await;
    let [no_api, before_leaving, proxy] =
        [settler.address, leaving.address, node.address].map(CountingProxy::start);
    let (no_api, before_leaving, proxy) = (no_api.await, before_leaving.await, proxy.await);
    let upstreams = [&no_api, &before_leaving, &proxy].map(|proxy| proxy.address.to_string());
    let upstreams = format!("http://{}", upstreams.join(",http://"));
    let edge = start(vec![
        ("DOORBUSTER_ROLES", "edge".to_owned()),
        ("DOORBUSTER_SLOTS__URLS", deployment.slots.clone()),
        ("DOORBUSTER_EDGE__UPSTREAMS", upstreams),
    ])
    .await;
    let ready = async || number(&edge, "doorbuster_edge_upstreams_up ").await;
    until("the edge knows the nodes", async || ready().await == 2).await;
    let read_orders = async || {
        let before = [&no_api, &before_leaving, &proxy].map(CountingProxy::passed_on);
        for n in 0..12 {
            let reply = edge.buyer(&format!("buyer{n}"), "GET", "/v1/orders").await;
            assert_eq!(reply.verdict(), "200");
        }
        let after = [&no_api, &before_leaving, &proxy].map(CountingProxy::passed_on);
        [0, 1, 2].map(|n| after[n] - before[n])
    };
    let [none, half, other] = read_orders().await;
    assert!(none == 0 && half > 0 && other > 0, "{none} {half} {other}");
    let stopping = leaving.ask_to_stop();
    let began = Stopwatch::start();
    until("the edge knows that the node stops", async || ready().await == 1).await;
    assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
    assert_eq!(read_orders().await[..2], [0, 0]);
    stopping.await.expect("the server did not panic").expect("the node stops");
    edge.stop().await;
    node.stop().await;
    settler.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_wait_for_a_lock_ask_redis_a_few_times_a_second() {
    let deployment = ServerCluster::start();
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(deployment.node("api,settle,control").await);
    }
    let (began, before) = (Stopwatch::start(), deployment.redis.script_calls());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let a_second =
        (deployment.redis.script_calls() - before) as f64 / began.elapsed().as_secs_f64();
    assert!(a_second < 60.0, "{a_second} scripts a second");
    for node in nodes {
        node.stop().await;
    }
}
