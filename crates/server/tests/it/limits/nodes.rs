//! Limits that nodes hold together, with a private Redis and without it, and blocks that one node was told of.

use std::time::Duration;

use serde_json::{Value, json};

use super::{open, press, said, set};
use crate::app::{PATIENCE, TestApp};
use crate::nodes::redis::Redis;
use crate::postgres::Cluster;
use crate::several::address;
use crate::watch::Watch;

/// A node of shape `cluster`.
async fn node(home: &Cluster, database: &str, slots: &str) -> TestApp {
    let store = address(home, database);
    TestApp::with(&[
        ("DOORBUSTER_SHAPE", "cluster"),
        ("DOORBUSTER_STORE__URL", &store),
        ("DOORBUSTER_SLOTS__URLS", slots),
    ])
    .await
}

/// Two nodes that both know of an open sale with these limits, in which nothing is left.
async fn two_nodes(home: &Cluster, slots: &str, limits: Value) -> (TestApp, TestApp) {
    let database = home.database();
    let (first, second) = (node(home, &database, slots).await, node(home, &database, slots).await);
    open(&first, "spring", 1, limits).await;
    assert_eq!(first.buy("winner", "k", "spring", "phone", 1).await.verdict(), "201");
    let begun = Watch::start();
    while second.buy("winner", "k", "spring", "phone", 1).await.status != 200 {
        assert!(begun.elapsed() < PATIENCE, "the second knows of the sale");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (first, second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_a_cluster_hold_a_limit_together() {
    let (home, (_redis, slots)) = (Cluster::start(&[]), Redis::start_on_port());
    let limits = json!({"buyer": {"burst": 15, "per_minute": 1}, "ip": null, "interface": null});
    let (first, second) = two_nodes(&home, &slots, limits).await;
    // One after another, at both nodes in turn: each hears of the other's before the next comes.
    let mut let_in = 0;
    for n in 0..30 {
        let app = [&first, &second][n % 2];
        let_in += u32::from(app.buy("anna", &format!("k{n}"), "spring", "phone", 1).await.status != 429);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!((15..=16).contains(&let_in), "{let_in}");
    // At once at both of them, as many as two nodes that share nothing would let in: what came during a round trip, and a sixteenth at each, may be too many.
    let patch = json!({"buyer": {"burst": 1_000, "per_minute": 1}, "ip": null, "interface": null});
    set(&first, "spring", patch).await;
    for app in [&first, &second] {
        let begun = Watch::start();
        while said(&app.buy("carl", "k", "spring", "phone", 1).await, "ratelimit-policy", "buyer", "q") != Some(1_000) {
            assert!(begun.elapsed() < PATIENCE, "both know of the new limit");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let (let_in, _) = press(&[&first, &second], 40, |_| "bert".into()).await;
    assert!((1_000..=1_500).contains(&let_in), "{let_in}");
    let (let_in, too_many) = press(&[&first, &second], 2, |_| "bert".into()).await;
    assert_eq!(let_in, 0);
    assert_eq!(too_many.expect("all of them").json()["scope"], "buyer");
    for app in [first, second] {
        let metrics = app.get("/metrics").await.text();
        let value = |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        let calls = value("doorbuster_limits_shared_total{outcome=\"told\"}").expect("it is there");
        assert!((1..1_000).contains(&calls), "{calls} round trips for 2,560 requests");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_redis_a_node_holds_to_its_share_and_comes_back() {
    let (home, (redis, slots)) = (Cluster::start(&[]), Redis::start_on_port());
    let limits = json!({"buyer": {"burst": 12, "per_minute": 1}, "ip": null, "interface": null});
    let (first, second) = two_nodes(&home, &slots, limits).await;
    // By whole lines: what a metric is for stands on the page as well, in words that begin like its values.
    let says = async |app: &TestApp, line: &str| app.get("/metrics").await.text().lines().any(|said| said == line);
    let begun = Watch::start();
    while !says(&first, "doorbuster_nodes 2").await {
        assert!(begun.elapsed() < PATIENCE, "the first node knows of the second");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    redis.refuse_writes(true);
    let away = async |app: &TestApp, expected: &str| {
        let begun = Watch::start();
        let mut n = 0;
        let line = format!("doorbuster_limits_away {expected}");
        while !says(app, &line).await {
            assert!(begun.elapsed() < PATIENCE, "{line}");
            // Somebody has to come for it to be noticed.
            app.buy(&format!("probe{n}"), "k", "spring", "phone", 1).await;
            n += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    away(&first, "1").await;
    let count = async |app: &TestApp, buyer: &str| {
        let mut let_in = 0;
        for n in 0..20 {
            let verdict = app.buy(buyer, &format!("k{n}"), "spring", "phone", 1).await.verdict();
            assert!(verdict == "409 sold_out" || verdict == "429 rate_limited", "{buyer}: {verdict}");
            let_in += u32::from(verdict == "409 sold_out");
        }
        let_in
    };
    assert_eq!(count(&first, "anna").await, 6, "half of it");
    redis.refuse_writes(false);
    away(&first, "0").await;
    assert_eq!(count(&first, "bert").await, 12);
    // Killed for good: nobody waits for it, and the limit holds here.
    drop(redis);
    away(&first, "1").await;
    let begun = Watch::start();
    assert_eq!(count(&first, "carl").await, 6);
    assert!(begun.elapsed() < Duration::from_secs(5), "no request waits for what is away");
    for app in [first, second] {
        drop(app);
    }
}

#[tokio::test]
async fn other_nodes_turn_away_whom_one_was_told_of_within_a_second() {
    let home = Cluster::start(&[]);
    let (database, settings) = (home.database(), ("DOORBUSTER_SHAPE", "postgres"));
    let url = address(&home, &database);
    let nodes = [settings, ("DOORBUSTER_STORE__URL", url.as_str())];
    let (first, second) = (TestApp::with(&nodes).await, TestApp::with(&nodes).await);
    first.open_sale("spring", 1.into(), 1).await;
    assert_eq!(first.buy("winner", "k", "spring", "phone", 1).await.verdict(), "201");
    let at_second = async || second.buy("robot", "k", "spring", "phone", 1).await.verdict();
    // When it was last asked in vain.
    let until = async |expected: &str| {
        let (begun, mut in_vain) = (Watch::start(), Duration::ZERO);
        loop {
            let asked = begun.elapsed();
            if at_second().await == expected {
                break in_vain;
            }
            in_vain = asked;
            assert!(asked < PATIENCE, "{expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until("409 sold_out").await;
    let body = json!({"kind": "buyer", "value": "robot"});
    let told = first.admin("POST", "/v1/admin/blocks", Some(body)).await;
    assert_eq!(told.verdict(), "201");
    assert!(until("403 forbidden").await < Duration::from_secs(1));
    let path = format!("/v1/admin/blocks/{}", told.json()["id"].as_str().expect("an id"));
    assert_eq!(first.admin("DELETE", &path, None).await.verdict(), "204");
    assert!(until("409 sold_out").await < Duration::from_secs(1));
    for app in [first, second] {
        app.stop().await;
    }
}
