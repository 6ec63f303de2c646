//! Servers that share a truth, as their clients see them: what one wrote the others show at once.
use std::time::{Duration, Instant};

use serde_json::json;

use crate::app::TestApp;
use crate::postgres::Cluster;

/// A server of shape `postgres` on this database.
async fn server(home: &Cluster, database: &str, roles: &str) -> TestApp {
    // `host=… user=… dbname=…`, as an address.
    let words = home.url(database);
    let word = |name: &str| words.split(' ').find_map(|w| w.strip_prefix(name)).expect("the rig names it").to_owned();
    let url = format!("postgres://{}@{}/{database}", word("user="), word("host=").replace('/', "%2F"));
    let settings =
        [("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", url.as_str()), ("DOORBUSTER_ROLES", roles)];
    TestApp::with(&settings).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_server_wrote_the_others_show_at_once() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let all = "api,settle,control";
    let (first, second) = (server(&home, &database, all).await, server(&home, &database, all).await);
    let control = server(&home, &database, "control").await;
    for n in 0..5 {
        let (id, key) = (format!("sale{n}"), format!("k{n}"));
        first.make_sale(&id, 20.into(), 10).await;
        second.step(&id, "open").await;
        // The first has heard of the opening, or hears of it now.
        let begun = Instant::now();
        let bought = loop {
            let told = first.buy("anna", &key, &id, "phone", 3).await;
            if told.verdict() == "201" || begun.elapsed() > Duration::from_secs(1) {
                break told;
            }
        };
        assert_eq!(bought.verdict(), "201", "{}", bought.text());
        let order = bought.json()["id"].as_str().expect("an id").to_owned();
        let seen = second.buyer("anna", "GET", &format!("/v1/orders/{order}")).await;
        assert_eq!((seen.verdict().as_str(), seen.json()["state"].as_str()), ("200", Some("reserved")));
        assert_eq!(second.buy("anna", &key, &id, "phone", 3).await.verdict(), "200", "a replay at another server");
        let stock = second.admin("GET", &format!("/v1/admin/sales/{id}/stock"), None).await.json();
        assert_eq!(stock["items"][0]["held"], 3);
    }
    let made = first.admin("POST", "/v1/admin/keys", Some(json!({"name": "night", "role": "viewer"}))).await.json();
    let bearer = format!("Bearer {}", made["key"].as_str().expect("a key"));
    let list = async || second.call("GET", "/v1/admin/sales", &[("Authorization", &bearer)], b"").await.verdict();
    assert_eq!(list().await, "200", "a key made at another server");
    let path = format!("/v1/admin/keys/{}", made["id"].as_str().expect("an id"));
    assert_eq!(first.admin("DELETE", &path, None).await.verdict(), "204");
    let begun = Instant::now();
    while list().await != "401 unauthenticated" {
        assert!(begun.elapsed() < Duration::from_secs(3), "a key deleted at another server");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(control.get("/healthz").await.verdict(), "200");
    assert_eq!(control.get("/readyz").await.verdict(), "200");
    assert_eq!(control.get("/v1/sales").await.verdict(), "404 not_found");
    assert_eq!(control.buy("anna", "k", "sale0", "phone", 1).await.verdict(), "404 not_found");
    let page = control.get("/metrics").await.text();
    assert!(page.contains("doorbuster_nodes 3"), "{page}");
    for server in [first, second, control] {
        server.stop().await;
    }
}
