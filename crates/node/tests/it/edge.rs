//! Tests an edge in front of a node: the edge's own answers, the requests that it passes on, and
//! its behaviour with an old copy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::app::{TIMEOUT, TestApp, WAIT_FOR_ORDER, bearer};
use crate::http::request;
use crate::nodes::redis::Redis;
use crate::postgres::Cluster;
use crate::several_servers::address;
use crate::watch::Stopwatch;
use counting_proxy::CountingProxy;

mod copies;
mod counting_proxy;
mod nodes;
mod settings;
mod slow_reads;
mod streams;

const ONE_PHONE: &str = r#"{"sale":"spring","item":"phone","units":1}"#;

/// An edge, a proxy that counts its requests, and a node. The edge's requests reach the node
/// through the proxy.
struct Tier {
    node: TestApp,
    proxy: CountingProxy,
    edge: TestApp,
    redis: Redis,
    slots: String,
    home: Arc<Cluster>,
    database: String,
}

async fn edge_before(upstream: SocketAddr, slots: &str, more: &[(&str, &str)]) -> TestApp {
    let upstream = format!("http://{upstream}");
    let settings = [
        ("DOORBUSTER_SHAPE", "cluster"),
        ("DOORBUSTER_ROLES", "edge"),
        ("DOORBUSTER_SLOTS__URLS", slots),
        ("DOORBUSTER_EDGE__UPSTREAMS", &upstream),
    ];
    TestApp::with(&[&settings, more].concat()).await
}

impl Tier {
    async fn start(more: &[(&str, &str)]) -> Self {
        Self::start_with(&[], more).await
    }

    /// Starts the node and the edge with these further settings.
    async fn start_with(of_node: &[(&str, &str)], of_edge: &[(&str, &str)]) -> Self {
        let (home, (redis, slots)) = (Arc::new(Cluster::start(&[])), Redis::start_on_port());
        let database = home.database();
        let store = address(&home, &database);
        let settings = [
            ("DOORBUSTER_SHAPE", "cluster"),
            ("DOORBUSTER_STORE__URL", store.as_str()),
            ("DOORBUSTER_SLOTS__URLS", &slots),
            ("DOORBUSTER_TRUSTED_PROXIES", "127.0.0.0/8"),
        ];
        let node = TestApp::with(&[&settings[..], of_node].concat()).await;
        let proxy = CountingProxy::start(node.address).await;
        let edge = edge_before(proxy.address, &slots, of_edge).await;
        let tier = Self { node, proxy, edge, redis, slots, home, database };
        tier.wait_until_fresh().await;
        tier
    }

    /// Waits until the edge has a fresh copy. Only then does the edge refuse requests itself.
    async fn wait_until_fresh(&self) {
        until("the edge has a fresh copy", async || {
            let ready = self.edge.get("/readyz").await;
            ready.status == 200 && ready.json()["warnings"].is_null()
        })
        .await;
    }

    async fn wait_for_state(&self, state: &str) {
        until(state, async || {
            let status = self.edge.get("/v1/sales/spring/status").await;
            status.status == 200 && status.json()["items"][0]["state"] == state
        })
        .await;
    }

    async fn buy(&self, buyer: &str, key: &str) -> String {
        self.edge.buy(buyer, key, "spring", "phone", 1).await.verdict()
    }

    async fn generations(&self) -> u64 {
        let page = self.edge.get("/metrics").await.text();
        let name = "doorbuster_edge_feed_generations_total ";
        let number = page.lines().find_map(|line| line.strip_prefix(name));
        number.and_then(|number| number.parse().ok()).expect("the metric exists")
    }

    async fn stop(self) {
        self.edge.stop().await;
        self.node.stop().await;
    }
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let timer = Stopwatch::start();
    while !holds().await {
        assert!(timer.elapsed() < TIMEOUT, "timed out; expected: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_serves_the_sale_and_passes_purchases_on() {
    let tier = Tier::start(&[]).await;
    tier.node.open_sale("spring", 3.into(), 2).await;
    tier.wait_for_state("on_sale").await;
    let before = tier.proxy.passed_on();
    for path in ["/", "/sale/spring", "/v1/sales", "/v1/sales/spring", "/v1/sales/spring/status"] {
        let (here, there) = (tier.edge.get(path).await, tier.node.get(path).await);
        assert_eq!((here.status, there.status), (200, 200), "{path}");
        if path != "/v1/sales" && !path.ends_with("/status") {
            assert_eq!(here.text(), there.text(), "{path}");
        }
    }
    assert_eq!(
        tier.edge.get("/order/nonsense").await.status,
        404,
        "the edge must pass the request on to a node"
    );
    assert_eq!(tier.proxy.passed_on() - before, 1);

    let bought = tier.edge.buy("anna", "k", "spring", "phone", 1).await;
    assert_eq!(bought.verdict(), "201", "{}", bought.text());
    assert!(bought.header("date").is_some() && bought.header("location").is_some());
    let order = bought.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(tier.buy("anna", "k").await, "200", "a replay");
    let seen = tier.edge.buyer("anna", "GET", &format!("/v1/orders/{order}")).await;
    assert_eq!(seen.json()["state"], "reserved");
    let unknown = tier.edge.buy("anna", "k2", "autumn", "phone", 1).await;
    assert_eq!(unknown.verdict(), "404 not_found");
    let admin = tier.edge.admin("GET", "/v1/admin/sales/spring/stock", None).await;
    assert_eq!(admin.json()["items"][0]["held"], 1, "the edge must pass operators' requests on");
    tier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_last_unit_almost_no_refused_request_reaches_a_node() {
    let tier = Tier::start(&[]).await;
    tier.node.open_sale("spring", 2.into(), 1).await;
    assert_eq!(tier.buy("anna", "k").await, "201");
    assert_eq!(tier.node.buy("bert", "k", "spring", "phone", 1).await.verdict(), "201");
    tier.wait_for_state("held_out").await;
    let before = tier.proxy.purchases();
    let mut connection = tier.edge.connect().await;
    let (mut refused, began) = (0, Stopwatch::start());
    for number in 0..2_000 {
        let (buyer, key) = (bearer(&format!("buyer{number}")), format!("k{number}"));
        let headers = [
            ("Authorization", buyer.as_str()),
            ("Idempotency-Key", &key),
            ("Content-Type", "application/json"),
        ];
        connection.send(&request("POST", "/v1/orders", &headers, ONE_PHONE.as_bytes())).await;
        let reply = connection.reply(false).await.expect("an answer");
        refused += usize::from(reply.verdict() == "409 sold_out");
    }
    let reached = tier.proxy.purchases() - before;
    assert_eq!(refused, 2_000, "in {:?}", began.elapsed());
    assert!(
        reached < 40,
        "{reached} of 2000 requests reached the node; the edge must refuse most of them"
    );
    // Both buyers repeat an earlier request, so they must get their orders and not the answer "sold
    // out".
    assert_eq!(tier.buy("anna", "k").await, "200");
    assert_eq!(tier.buy("bert", "k").await, "200");
    assert_eq!(tier.buy("bert", "other").await, "409 sold_out");
    let page = tier.edge.get("/metrics").await.text();
    assert!(page.contains("\ndoorbuster_edge_refused_total 200"), "{page}");
    // The node's number has two parts: the refusals that the edge reports, and the refusals by the
    // node itself.
    let path = "/v1/admin/sales/spring/stats";
    let sold_out = |stats: &Value| stats["refusals"]["sold_out"].as_u64().unwrap_or(0);
    tier.node.until(path, "the report arrives", |stats| sold_out(stats) >= 2_001).await;
    tier.edge.stop().await;
    let stats = tier.node.admin("GET", path, None).await.json();
    assert_eq!(sold_out(&stats), 2_001, "each refusal must count once: {stats}");
    tier.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_refuses_by_phase_token_blocks_and_limits() {
    let tier = Tier::start(&[]).await;
    tier.node.make_sale("spring", 5.into(), 1).await;
    tier.node.step("spring", "open").await;
    tier.wait_for_state("on_sale").await;
    tier.node.step("spring", "pause").await;
    tier.wait_for_state("paused").await;
    until("the edge itself refuses purchases in the paused sale", async || {
        let before = tier.proxy.purchases();
        assert_eq!(tier.buy("anna", "k").await, "409 paused");
        tier.proxy.purchases() == before
    })
    .await;
    let headers = [("Authorization", "Bearer x"), ("Content-Type", "application/json")];
    let headers = [&headers[..], &[("Idempotency-Key", "k")]].concat();
    until("the edge itself refuses the invalid token", async || {
        let before = tier.proxy.purchases();
        let bad = tier.edge.call("POST", "/v1/orders", &headers, ONE_PHONE.as_bytes()).await;
        assert_eq!(bad.verdict(), "401 unauthenticated");
        tier.proxy.purchases() == before
    })
    .await;
    tier.node.step("spring", "resume").await;
    tier.wait_for_state("on_sale").await;
    let block = json!({"kind": "buyer", "value": "robot"});
    assert_eq!(tier.node.admin("POST", "/v1/admin/blocks", Some(block)).await.verdict(), "201");
    assert_eq!(tier.buy("robot", "k").await, "403 forbidden");
    until("the edge knows of the block", async || {
        let before = tier.proxy.purchases();
        assert_eq!(tier.buy("robot", "k").await, "403 forbidden");
        tier.proxy.purchases() == before
    })
    .await;
    let limits = json!({"front_door": {"limits": {"buyer": {"burst": 2, "per_minute": 1}}}});
    let changed = tier.node.admin("PATCH", "/v1/admin/sales/spring", Some(limits)).await;
    assert_eq!(changed.verdict(), "200", "{}", changed.text());
    let version =
        async |app: &TestApp| app.get("/v1/sales/spring/status").await.json()["version"].clone();
    let newest = version(&tier.node).await;
    until("the edge knows the limits", async || version(&tier.edge).await == newest).await;
    // The edge answers "sold out" itself, so it also counts these requests against the limits.
    for number in 0..5 {
        let bought = tier.node.buy(&format!("early{number}"), "k", "spring", "phone", 1).await;
        assert_eq!(bought.verdict(), "201", "{}", bought.text());
    }
    tier.wait_for_state("held_out").await;
    let (before, mut limited) = (tier.proxy.purchases(), 0);
    for number in 0..10 {
        limited += usize::from(tier.buy("carl", &format!("k{number}")).await.starts_with("429"));
    }
    let reached = tier.proxy.purchases() - before;
    assert!(limited >= 7 && reached < 3, "limited: {limited}, at the node: {reached}");
    tier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_with_an_old_copy_refuses_nobody_and_recovers_when_redis_forgets() {
    let tier = Tier::start(&[]).await;
    tier.node.open_sale("spring", 1.into(), 1).await;
    assert_eq!(tier.buy("anna", "k").await, "201");
    tier.wait_for_state("held_out").await;
    // Redis stops answering, so the edge's copy becomes old.
    tier.redis.ask(&["CLIENT", "PAUSE", "6000", "ALL"]);
    until("the edge's copy is old", async || {
        tier.edge.get("/readyz").await.json()["warnings"] == json!(["feed_stale"])
    })
    .await;
    let before = tier.proxy.purchases();
    for number in 0..20 {
        let buyer = format!("buyer{number}");
        let reply = tier.edge.buy_with(&buyer, "k", &[WAIT_FOR_ORDER], ONE_PHONE).await;
        assert!(matches!(reply.status, 409 | 503), "{}", reply.text());
    }
    assert_eq!(tier.proxy.purchases() - before, 20, "the edge must pass every request on");
    assert_eq!(tier.edge.get("/v1/sales/spring").await.status, 200, "passed on");
    tier.wait_until_fresh().await;
    // The test deletes all data in Redis, and the node then writes the feed again.
    let before = tier.generations().await;
    tier.redis.flush();
    until("the edge reads the new feed from its beginning", async || {
        tier.generations().await > before
    })
    .await;
    tier.wait_until_fresh().await;
    let again = edge_before(tier.proxy.address, &tier.slots, &[]).await;
    until("another edge reads the feed", async || {
        let ready = again.get("/readyz").await;
        ready.status == 200 && ready.json()["warnings"].is_null()
    })
    .await;
    let before = tier.proxy.purchases();
    assert_eq!(again.buy("bert", "k", "spring", "phone", 1).await.verdict(), "409 sold_out");
    assert_eq!(tier.proxy.purchases(), before);
    assert_eq!(again.buy("anna", "k", "spring", "phone", 1).await.verdict(), "200");
    again.stop().await;
    tier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_an_edge_among_the_nodes() {
    let tier = Tier::start(&[]).await;
    let found = tier
        .node
        .until("/v1/admin/nodes", "the edge is listed", |list| {
            let nodes = list["nodes"].as_array().expect("a list");
            nodes.iter().any(|node| node["roles"] == json!(["edge"]))
        })
        .await;
    let nodes = found["nodes"].as_array().expect("a list");
    assert_eq!(nodes.len(), 2, "{found}");
    // Only nodes with a lease are listed. A node reports long before its lease ends, so its last
    // report is recent.
    for node in nodes {
        assert!(node["lag_ms"].as_u64().is_some_and(|lag| lag < 10_000), "{node}");
    }
    tier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_learns_the_buyers_address_from_an_edge_that_it_trusts() {
    let tier = Tier::start(&[("DOORBUSTER_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    tier.node.open_sale("spring", 5.into(), 5).await;
    let body = json!({"kind": "ip", "value": "192.0.2.0/24"});
    assert_eq!(tier.node.admin("POST", "/v1/admin/blocks", Some(body)).await.verdict(), "201");
    let by = async |address: &str, path: &str| {
        let bearer = bearer("anna");
        let headers = [("Authorization", bearer.as_str()), ("X-Forwarded-For", address)];
        let headers = [&headers[..], &[("Content-Type", "application/json")]].concat();
        tier.edge.call("POST", path, &headers, br#"{"item":"phone"}"#).await.verdict()
    };
    let path = "/v1/sales/spring/passes";
    assert_eq!(
        by("192.0.2.9", path).await,
        "403 forbidden",
        "the node must see the client's address"
    );
    assert_ne!(by("198.51.100.1", path).await, "403 forbidden");
    tier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_refuses_a_request_that_another_edge_passed_on() {
    let tier = Tier::start(&[]).await;
    tier.node.open_sale("spring", 5.into(), 5).await;
    tier.wait_for_state("on_sale").await;
    let second = edge_before(tier.edge.address, &tier.slots, &[]).await;
    let before = tier.proxy.passed_on();
    assert_eq!(second.buy("anna", "k", "spring", "phone", 1).await.verdict(), "503 unavailable");
    let anna = bearer("anna");
    let headers = [("Authorization", anna.as_str()), ("X-Request-Id", "night-7")];
    let refused = second.call("GET", "/v1/orders", &headers, b"").await;
    assert_eq!(refused.verdict(), "503 unavailable");
    assert_eq!(refused.header("x-request-id"), Some("night-7"));
    assert_eq!(refused.header("cache-control"), Some("no-store"));
    assert_eq!(tier.proxy.passed_on(), before);
    second.stop().await;
    tier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_node_an_edge_answers_503_and_sends_no_purchase_twice() {
    let tier = Tier::start(&[]).await;
    tier.node.open_sale("spring", 5.into(), 5).await;
    tier.wait_for_state("on_sale").await;
    tier.proxy.break_answers(true);
    let before = tier.proxy.purchases();
    assert_eq!(tier.buy("anna", "k").await, "503 unavailable");
    assert_eq!(tier.proxy.purchases() - before, 1, "the purchase must be sent only once");
    until("the edge is not ready", async || tier.edge.get("/readyz").await.status == 503).await;
    tier.proxy.break_answers(false);
    until("the edge is ready", async || tier.edge.get("/readyz").await.status == 200).await;
    let again = tier.buy("anna", "k").await;
    assert!(matches!(again.as_str(), "200" | "201"), "{again}");
    tier.stop().await;
}
