//! Tests the event streams of an edge. A node sends the events about all orders and positions to
//! the edge over one connection, the relay.

use futures_util::StreamExt;
use serde_json::{Value, json};

use super::{CountingProxy, Tier, until};
use crate::app::{TIMEOUT, TestApp, bearer, sale};
use crate::events::{Socket, next, open, socket};
use crate::http::request;
use crate::nodes::number;
use crate::nodes::servers::{ServerCluster, start};

async fn wait_for_relay(edge: &TestApp) {
    let is_up = async || number(edge, "doorbuster_edge_relay_up ").await == 1;
    until("the edge has a relay", is_up).await;
}

async fn open_tier() -> Tier {
    let tier = Tier::start(&[]).await;
    tier.node.open_sale("spring", 5.into(), 5).await;
    tier.wait_for_state("on_sale").await;
    wait_for_relay(&tier.edge).await;
    tier
}

async fn event(socket: &mut Socket, is_wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let event = next(socket).await;
        if is_wanted(&event) {
            return event;
        }
    }
}

fn is_order(event: &Value) -> bool {
    event["type"] == "order"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_makes_statuses_and_a_node_sends_own_events() {
    let tier = open_tier().await;
    let before = tier.proxy.passed_on();
    let mut anna = socket(&tier.edge, "anna", "?sale=spring").await;
    let mut bert = socket(&tier.edge, "bert", "?sale=spring").await;
    let mut connection = tier.edge.connect().await;
    let token = bearer("anna");
    connection.send(&request("GET", "/v1/events", &[("Authorization", &token)], b"")).await;
    let head = connection.head().await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    for socket in [&mut anna, &mut bert] {
        assert_eq!(next(socket).await["status"]["items"][0]["remaining"], 5);
    }
    assert_eq!(tier.proxy.passed_on(), before, "the edge must serve the streams itself");

    let bought = tier.node.buy("anna", "k", "spring", "phone", 2).await;
    assert_eq!(bought.verdict(), "201");
    let order = event(&mut anna, is_order).await["order"].clone();
    assert_eq!((&order["id"], &order["state"]), (&bought.json()["id"], &json!("reserved")));
    let is_counted = |event: &Value| event["status"]["items"][0]["remaining"] == 3;
    event(&mut bert, |event| {
        assert!(!is_order(event), "another buyer got Anna's order: {event}");
        is_counted(event)
    })
    .await;
    let mut text = String::new();
    while !text.contains("\"type\":\"order\"") {
        text += &String::from_utf8(connection.chunk().await.expect("an event")).expect("UTF-8");
    }
    assert!(text.contains(bought.json()["id"].as_str().expect("an id")), "{text}");
    assert_eq!(
        number(&tier.node, "doorbuster_events_websockets ").await,
        1,
        "only the relay must be connected to the node"
    );
    assert_eq!(number(&tier.edge, "doorbuster_events_websockets ").await, 2);
    tier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_outlive_the_node_that_sends_their_events() {
    let deployment = ServerCluster::start();
    let (lost, runtime) = deployment.node_in_runtime("api").await;
    let settings = |upstreams: String| {
        vec![
            ("DOORBUSTER_ROLES", "edge".to_owned()),
            ("DOORBUSTER_SLOTS__URLS", deployment.slots.clone()),
            ("DOORBUSTER_EDGE__UPSTREAMS", upstreams),
        ]
    };
    let node = deployment.node("api,settle,control").await;
    node.open_sale("spring", 5.into(), 5).await;
    // At first, the edge gets no answers from the second node, so its relay connects to the first
    // node.
    let proxy = CountingProxy::start(node.address).await;
    proxy.break_answers(true);
    let upstreams = format!("http://{},http://{}", lost.address, proxy.address);
    let edge = start(settings(upstreams)).await;
    until("the edge shows the sale", async || {
        let ready = edge.get("/readyz").await;
        ready.status == 200
            && ready.json()["warnings"].is_null()
            && edge.get("/v1/sales/spring/status").await.status == 200
    })
    .await;
    wait_for_relay(&edge).await;
    proxy.break_answers(false);
    let ready = async || number(&edge, "doorbuster_edge_upstreams_up ").await;
    until("the edge knows both nodes", async || ready().await == 2).await;
    let mut anna = socket(&edge, "anna", "?sale=spring").await;
    assert_eq!(
        number(&lost, "doorbuster_events_websockets ").await,
        1,
        "the relay must be at the node that is then lost"
    );
    runtime.shutdown_background();
    let is_at_node = async || number(&node, "doorbuster_events_websockets ").await == 1;
    until("the relay is at the other node", is_at_node).await;
    wait_for_relay(&edge).await;
    assert_eq!(node.buy("anna", "k", "spring", "phone", 1).await.verdict(), "201");
    assert_eq!(event(&mut anna, is_order).await["order"]["state"], "reserved");
    edge.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_gets_hello_again_when_its_events_may_be_missing() {
    let tier = open_tier().await;
    let mut anna = socket(&tier.edge, "anna", "").await;
    // The proxy cuts the relay's connection when the node answers the relay's next ping.
    tier.proxy.break_answers(true);
    let is_down = async || number(&tier.edge, "doorbuster_edge_relay_up ").await == 0;
    until("the relay is lost", is_down).await;
    tier.proxy.break_answers(false);
    assert_eq!(event(&mut anna, |_| true).await["type"], "hello");
    assert_eq!(tier.node.buy("anna", "k", "spring", "phone", 1).await.verdict(), "201");
    assert_eq!(event(&mut anna, |_| true).await["type"], "order");
    tier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_relay_follows_every_buyer() {
    let tier = Tier::start(&[]).await;
    wait_for_relay(&tier.edge).await;
    let mut buyers = Vec::new();
    // The edge and the node handle 256 messages at a time, so 600 buyers need several batches.
    for number in 0..600 {
        buyers.push(socket(&tier.edge, &format!("buyer{number}"), "").await);
    }
    tier.proxy.break_answers(true);
    let is_down = async || number(&tier.edge, "doorbuster_edge_relay_up ").await == 0;
    until("the relay is lost", is_down).await;
    tier.proxy.break_answers(false);
    let all = async {
        for buyer in &mut buyers {
            assert_eq!(event(buyer, |_| true).await["type"], "hello");
        }
    };
    tokio::time::timeout(TIMEOUT, all).await.expect("every buyer gets a second hello event");
    tier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_an_edge_has_the_positions_in_waiting_rooms() {
    let tier = Tier::start(&[]).await;
    let mut sale = sale("spring", 5.into(), 1);
    sale["front_door"] = json!({"waiting_room": "always", "limits": {"buyer": null, "ip": null}});
    sale["starts_at"] = json!("2100-01-01T00:00:00.000Z");
    let made = tier.node.admin("POST", "/v1/admin/sales", Some(sale)).await;
    assert_eq!(made.verdict(), "201", "{}", made.text());
    tier.node.step("spring", "schedule").await;
    until("the edge shows the sale", async || {
        tier.edge.get("/v1/sales/spring/status").await.status == 200
    })
    .await;
    wait_for_relay(&tier.edge).await;
    let entered = tier.edge.buyer("anna", "POST", "/v1/sales/spring/waiting-room").await;
    assert_eq!(entered.status, 201, "{}", entered.text());
    let before = tier.proxy.passed_on();
    let mut anna = socket(&tier.edge, "anna", "?sale=spring").await;
    let is_position = |event: &Value| event["type"] == "waiting_room";
    assert_eq!(event(&mut anna, is_position).await["state"], "before");
    tier.node.step("spring", "open").await;
    event(&mut anna, |event| is_position(event) && event["state"] == "admitted").await;
    assert_eq!(tier.proxy.passed_on(), before);
    tier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_ends_the_streams_of_an_edge() {
    let tier = open_tier().await;
    let mut anna = socket(&tier.edge, "anna", "").await;
    let mut bert = socket(&tier.edge, "bert", "").await;
    let block = json!({"kind": "buyer", "value": "anna"});
    assert_eq!(tier.node.admin("POST", "/v1/admin/blocks", Some(block)).await.verdict(), "201");
    let ended = async {
        while let Some(Ok(message)) = anna.next().await {
            if message.is_close() {
                return;
            }
        }
    };
    tokio::time::timeout(TIMEOUT, ended).await.expect("the stream ends");
    assert_eq!(tier.node.buy("bert", "k", "spring", "phone", 1).await.verdict(), "201");
    assert_eq!(event(&mut bert, is_order).await["order"]["state"], "reserved");
    tier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_without_a_relay_passes_streams_on() {
    let tier = open_tier().await;
    // The edge's copy does not have this sale, so the edge must pass the request on.
    let before = tier.proxy.passed_on();
    let unknown = open(&tier.edge, "?sale=autumn", &[("authorization", &bearer("anna"))]).await;
    assert!(unknown.is_err());
    assert_eq!(tier.proxy.passed_on() - before, 1);
    // The node must refuse this relay, because the relay does not prove that it belongs to an edge
    // of this deployment.
    let forged = open(&tier.node, "", &[("doorbuster-relay", "0123")]).await;
    assert!(forged.is_err());
    tier.stop().await;
}
