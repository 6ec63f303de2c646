//! Tests two nodes that share a store. One node delivers to an endpoint. After this node has
//! stopped, the other node continues.

use std::collections::HashSet;

use serde_json::json;

use super::receiver::{ReceivedRequest, Receiver};
use super::{add, buy};
use crate::app::TestApp;
use crate::postgres::Cluster;
use crate::several_servers::address;

async fn node(home: &Cluster, database: &str) -> TestApp {
    let url = address(home, database);
    let settings = [
        ("DOORBUSTER_SHAPE", "postgres"),
        ("DOORBUSTER_STORE__URL", url.as_str()),
        ("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true"),
    ];
    TestApp::with(&settings).await
}

fn accepted(received: &[ReceivedRequest]) -> HashSet<String> {
    received
        .iter()
        .filter(|one| one.accepted && one.event_type() == "order.reserved")
        .map(ReceivedRequest::order)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_delivers_to_an_endpoint_and_the_other_takes_over() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let (mut first, second) = (node(&home, &database).await, node(&home, &database).await);
    first.open_sale("spring", 500.into(), 1).await;
    second
        .until("/v1/admin/sales/spring", "the endpoint is known", |sale| sale["phase"] == "open")
        .await;
    let shop = Receiver::start().await;
    let (_, secret) = add(&first, &shop.url(), json!(["*"])).await;
    let mut orders = HashSet::new();
    for n in 0..20 {
        orders.insert(buy(if n % 2 == 0 { &first } else { &second }, n).await);
    }
    let received = shop
        .until(60, "the endpoint gets the orders of both nodes", |received| {
            accepted(received) == orders
        })
        .await;
    received.iter().for_each(|one| one.verify(&secret));
    assert_eq!(received.len(), orders.len(), "without a failure, each event must arrive once");
    let ended = first.ask_to_stop();
    for n in 20..40 {
        orders.insert(buy(&second, n).await);
    }
    ended.await.expect("the server did not panic").expect("the server stops without an error");
    shop.until(60, "orders arrive after one node has stopped", |received| {
        accepted(received) == orders
    })
    .await;
    second.stop().await;
}
