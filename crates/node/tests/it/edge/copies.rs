//! Tests an edge that verifies purchase passes, and an edge that reads from a replica of Redis.

use serde_json::json;

use super::{ONE_PHONE, Tier, edge_before, until};
use crate::app::{TestApp, bearer, sale};
use crate::nodes::redis::Redis;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_checks_passes() {
    let tier = Tier::start(&[]).await;
    let mut sale = sale("spring", 2.into(), 1);
    sale["front_door"] = json!({"pass": "required"});
    let made = tier.node.admin("POST", "/v1/admin/sales", Some(sale)).await;
    assert_eq!(made.verdict(), "201", "{}", made.text());
    tier.node.step("spring", "open").await;
    tier.wait_for_state("on_sale").await;
    let before = tier.proxy.purchases();
    let buy = async |more: &[(&str, &str)]| {
        tier.edge.buy_with("anna", "k", more, ONE_PHONE).await.verdict()
    };
    assert_eq!(buy(&[]).await, "403 pass_required");
    assert_eq!(buy(&[("Purchase-Pass", "nonsense")]).await, "403 pass_invalid");
    assert_eq!(tier.proxy.purchases(), before, "the edge itself must refuse the purchases");
    let anna = bearer("anna");
    let headers = [("Authorization", anna.as_str()), ("Content-Type", "application/json")];
    let path = "/v1/sales/spring/passes";
    let pass = tier.edge.call("POST", path, &headers, br#"{"item":"phone"}"#).await;
    assert_eq!(pass.verdict(), "201", "{}", pass.text());
    let pass = pass.json()["pass"].as_str().expect("a pass").to_owned();
    assert_eq!(buy(&[("Purchase-Pass", &pass)]).await, "201");
    assert_eq!(tier.proxy.purchases() - before, 1);
    tier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_may_read_from_a_replica_only() {
    let tier = Tier::start(&[]).await;
    let (replica, address) = Redis::start_on_port();
    let port = tier.slots.rsplit(':').next().expect("a port");
    replica.ask(&["REPLICAOF", "127.0.0.1", port]);
    let edge = edge_before(tier.proxy.address, &address, &[]).await;
    tier.node.open_sale("spring", 1.into(), 1).await;
    let refuses = async |edge: &TestApp| {
        let before = tier.proxy.purchases();
        edge.buy("bert", "k", "spring", "phone", 1).await.verdict() == "409 sold_out"
            && tier.proxy.purchases() == before
    };
    assert_eq!(tier.node.buy("anna", "k", "spring", "phone", 1).await.verdict(), "201");
    until("the edge itself refuses the purchase", async || refuses(&edge).await).await;
    assert_eq!(edge.buy("anna", "k", "spring", "phone", 1).await.verdict(), "200");
    edge.stop().await;
    tier.stop().await;
}
