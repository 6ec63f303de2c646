//! Tests that exactly one node sends messages to a subscription, and that another node takes over
//! when this node stops.

use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::restart::until_subscriptions;
use super::{PushService, SETTINGS, WATCH, subscribe};
use crate::app::TestApp;
use crate::nodes::number;
use crate::postgres::Cluster;
use crate::several_servers::address;

const SUBSCRIPTIONS: &str = "doorbuster_push_subscriptions";

async fn node(url: String) -> TestApp {
    let store = [("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", url.as_str())];
    TestApp::with(&[&SETTINGS[..], &store].concat()).await
}

/// Starts a node that a test can stop abruptly, as if its process were killed.
async fn mortal_node(url: String) -> (TestApp, Runtime) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("threads");
    let app = runtime.spawn(node(url)).await.expect("the task did not panic");
    (app, runtime)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_sends_the_messages_of_a_node_that_died() {
    let home = tokio::task::block_in_place(|| Cluster::start(&[]));
    let url = address(&home, &home.database());
    let service = PushService::start(201).await;
    let (first, runtime) = mortal_node(url.clone()).await;
    let second = node(url).await;
    first.open_sale("spring", 20.into(), 2).await;
    assert_eq!(subscribe(&first, "anna", &service.url()).await.status, 204);
    runtime.shutdown_background();
    // At first, no node sends messages to `anna`, because the first node has stopped. The second
    // node takes over, and then sends the message about the next event.
    assert_eq!(number(&second, SUBSCRIPTIONS).await, 0);
    let order = second.buy_retrying("anna", "a", "spring").await.json();
    let path =
        |order: &serde_json::Value| format!("/order/{}", order["id"].as_str().expect("an id"));
    assert_eq!(service.until(1).await[0].message()["url"], path(&order));
    assert_eq!(number(&second, SUBSCRIPTIONS).await, 1);
    let next = second.buy_retrying("anna", "b", "spring").await.json();
    assert_eq!(service.until(2).await[1].message()["url"], path(&next));
    drop(first);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_sends_a_message_and_every_node_learns_that_a_subscription_ended() {
    let home = tokio::task::block_in_place(|| Cluster::start(&[]));
    let url = address(&home, &home.database());
    let service = PushService::start(201).await;
    let (first, second) = (node(url.clone()).await, node(url).await);
    first.open_sale("spring", 20.into(), 3).await;
    for buyer in ["anna", "bert"] {
        assert_eq!(subscribe(&first, buyer, &service.url_of(buyer)).await.status, 204);
        assert_eq!(subscribe(&second, buyer, &service.url_of(buyer)).await.status, 204);
    }
    assert_eq!([number(&first, SUBSCRIPTIONS).await, number(&second, SUBSCRIPTIONS).await], [2, 0]);
    assert_eq!(second.buy_retrying("anna", "a", "spring").await.status / 100, 2);
    service.until(1).await;
    tokio::time::sleep(WATCH).await;
    assert_eq!(service.got().len(), 1, "the second node must send no message");

    assert_eq!(second.buyer("bert", "DELETE", "/v1/push-subscriptions").await.status, 204);
    until_subscriptions(&first, 1).await;
    let erasures = "/v1/admin/erasures";
    let dry = second.admin("POST", erasures, Some(json!({"buyer": "anna", "dry_run": true}))).await;
    assert_eq!(dry.json()["other"], 1, "{}", dry.text());
    let erased = second.admin("POST", erasures, Some(json!({"buyer": "anna"}))).await;
    assert_eq!(erased.json()["other"], 1, "{}", erased.text());
    until_subscriptions(&first, 0).await;
    for buyer in ["anna", "bert"] {
        assert_eq!(first.buy_retrying(buyer, "c", "spring").await.status / 100, 2);
    }
    tokio::time::sleep(WATCH).await;
    assert_eq!(service.got().len(), 1);
    first.stop().await;
    second.stop().await;
}
