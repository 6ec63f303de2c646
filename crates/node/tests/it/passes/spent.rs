//! Tests that all nodes together accept a challenge once, and an access code as often as allowed.
//! If a rate limit refuses a pass request, the request uses up neither its challenge nor its access
//! code.

use std::time::Duration;

use serde_json::{Value, json};

use super::CROWD;
use crate::app::{TIMEOUT, TestApp, bearer};
use crate::nodes::redis::Redis;
use crate::postgres::Cluster;
use crate::several_servers::address;
use crate::watch::Stopwatch;

/// Removes the default limits, so that only the test's own limits apply to the crowd.
const NO_LIMITS: &str = r#"{"buyer": null, "ip": null, "interface": null}"#;

fn unlimited(mut door: Value) -> Value {
    door["limits"] = serde_json::from_str(NO_LIMITS).expect("the text is JSON");
    door
}

/// Returns a challenge and its solution, as members of the body of a pass request.
async fn solved(app: &TestApp, buyer: &str) -> Value {
    let bearer = bearer(buyer);
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let reply = app.call("POST", "/v1/sales/spring/challenges", &headers, b"{}").await;
    assert_eq!(reply.verdict(), "201", "{}", reply.text());
    let issued = reply.json();
    let work =
        doorbuster_challenge::solve_work(&issued["altcha"]).expect("a device can do the work");
    json!({"item": "phone", "challenge": issued["challenge"], "answer": {"altcha": work}})
}

/// Starts two nodes that both know an open sale with this front door.
async fn two_nodes(settings: &[(&str, &str)], door: Value) -> [TestApp; 2] {
    let nodes = [TestApp::with(settings).await, TestApp::with(settings).await];
    nodes[0].open_door("spring", door).await;
    let timer = Stopwatch::start();
    while nodes[1].get("/v1/sales/spring/status").await.json()["phase"] != "open" {
        assert!(
            timer.elapsed() < TIMEOUT,
            "timed out; expected: the second node knows of the sale"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    nodes
}

/// Requests a pass for each buyer of the crowd: half of them at one node, and half at the other
/// node. Returns the number of issued passes. All other verdicts must be `refused`.
async fn let_in(
    nodes: &[TestApp; 2],
    buyer: impl Fn(usize) -> String,
    body: &Value,
    refused: &str,
) -> usize {
    let asking = (0..CROWD).map(|n| {
        let (token, body) = (bearer(&buyer(n)), body.clone());
        async move { nodes[n % 2].ask_pass(&token, "spring", body).await.verdict() }
    });
    let verdicts = futures_util::future::join_all(asking).await;
    assert!(verdicts.iter().all(|verdict| verdict == "201" || verdict == refused), "{verdicts:?}");
    verdicts.iter().filter(|verdict| *verdict == "201").count()
}

async fn once_at_two_nodes(settings: &[(&str, &str)]) {
    let nodes = two_nodes(settings, unlimited(json!({"challenge": "pow"}))).await;
    for round in 0..4 {
        // A challenge that one node issued is also valid at the other node.
        let body = solved(&nodes[round % 2], "anna").await;
        assert_eq!(let_in(&nodes, |_| "anna".to_owned(), &body, "403 challenge_failed").await, 1);
    }
    nodes[0].patch_door("spring", json!({"challenge": "off", "access_codes": "required"})).await;
    let timer = Stopwatch::start();
    let none = json!({"item": "phone"});
    for node in &nodes {
        while node.ask_pass(&bearer("zoe"), "spring", none.clone()).await.verdict()
            != "403 not_eligible"
        {
            assert!(
                timer.elapsed() < TIMEOUT,
                "timed out; expected: both nodes know of the new front door"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    for uses in [1, 3] {
        let code = &nodes[0].codes("spring", 1, uses).await[0];
        let body = json!({"item": "phone", "access_code": code});
        let buyer = |n| format!("b{uses}-{n}");
        assert_eq!(let_in(&nodes, buyer, &body, "403 not_eligible").await, uses as usize);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_and_a_code_are_spent_once_at_two_nodes_with_postgresql() {
    let home = Cluster::start(&[]);
    let store = address(&home, &home.database());
    once_at_two_nodes(&[("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", &store)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_and_a_code_are_spent_once_at_two_nodes_with_redis() {
    let (home, (_redis, slots)) = (Cluster::start(&[]), Redis::start_on_port());
    let store = address(&home, &home.database());
    let settings = [
        ("DOORBUSTER_SHAPE", "cluster"),
        ("DOORBUSTER_STORE__URL", &store),
        ("DOORBUSTER_SLOTS__URLS", &slots),
    ];
    once_at_two_nodes(&settings).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_limited_pass_request_spends_neither_challenge_nor_code() {
    let app = TestApp::start().await;
    let limits = json!({"buyer": {"burst": 2, "per_minute": 1}, "ip": null, "interface": null});
    app.open_door(
        "spring",
        json!({"challenge": "pow", "access_codes": "required", "limits": limits}),
    )
    .await;
    let code = &app.codes("spring", 1, 1).await[0];
    let mut body = solved(&app, "anna").await;
    body["access_code"] = json!(code);
    let anna = bearer("anna");
    let mut asked = 0;
    while app.ask_pass(&anna, "spring", json!({"item": "phone"})).await.verdict()
        == "403 not_eligible"
    {
        asked += 1;
        assert!(asked < 5, "the requests did not reach the limit");
    }
    for _ in 0..3 {
        assert_eq!(app.ask_pass(&anna, "spring", body.clone()).await.verdict(), "429 rate_limited");
    }
    let counts = app.admin("GET", "/v1/admin/sales/spring/access-codes", None).await.json();
    assert_eq!(counts, json!({"codes": 1, "uses": 1, "spent": 0}));
    app.patch_door("spring", unlimited(json!({}))).await;
    assert_eq!(app.ask_pass(&anna, "spring", body.clone()).await.verdict(), "201");
    assert_eq!(
        app.ask_pass(&anna, "spring", body).await.verdict(),
        "403 challenge_failed",
        "a spent challenge must be refused"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_stored_data_does_not_reveal_a_code() {
    let app = TestApp::start().await;
    app.open_door("spring", unlimited(json!({"access_codes": "required"}))).await;
    let codes = app.codes("spring", 3, 1).await;
    let body = json!({"item": "phone", "access_code": codes[0]});
    assert_eq!(app.ask_pass(&bearer("anna"), "spring", body).await.verdict(), "201");
    let dir = app.stop().await;
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(&dir).expect("the server's directory").flatten() {
        kept.extend(std::fs::read(entry.path()).expect("a file"));
    }
    let has = |word: &str| {
        kept.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
    };
    assert!(
        has("spring") && has("phone"),
        "the test must find stored data in the directory that it searches"
    );
    for code in &codes {
        for word in [code.clone(), code.replace('-', "")] {
            assert!(!has(&word), "the stored data contains {word} in readable form");
        }
    }
    std::fs::remove_dir_all(dir).expect("no server uses the database");
}
