//! Tests with several nodes: a buyer's refusals, the end of a session, the limit on wrong keys, and
//! late statistics.

use serde_json::{Value, json};

use crate::app::{ADMIN_KEY, TestApp};
use crate::postgres::Cluster;
use crate::several_servers::address;

use super::fixture::until;

async fn node(home: &Cluster, database: &str) -> TestApp {
    let url = address(home, database);
    let settings = [("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", url.as_str())];
    TestApp::with(&settings).await
}

/// Returns the nodes that refused the buyer, newest refusal first, and whether the list is
/// complete.
async fn refusals(app: &TestApp, buyer: &str) -> (Vec<String>, bool) {
    let path = format!("/v1/admin/sales/spring/buyers/{buyer}");
    let story = app.admin("GET", &path, None).await.json();
    let rows =
        story["refusals"].as_array().unwrap_or_else(|| panic!("the answer has no list: {story}"));
    let node = |row: &Value| row["node"].as_str().expect("a node").to_owned();
    (rows.iter().map(node).collect(), story["refusals_complete"] == true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyers_refusals_come_from_all_nodes_except_those_of_a_node_that_ended() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let (first, second) = (node(&home, &database).await, node(&home, &database).await);
    first.open_sale("spring", 1.into(), 1).await;
    let open = |list: &Value| list["phase"] == "open";
    second.until("/v1/admin/sales/spring", "the sale is open", open).await;
    let bought = first.buy_retrying("ann", "k", "spring").await;
    assert_eq!(bought.status, 201, "{}", bought.text());
    let sold_out = async |app: &TestApp, key: &str| {
        let reply = app.buy_retrying("bob", key, "spring").await;
        assert_eq!(reply.verdict(), "409 sold_out", "{}", reply.text());
    };
    sold_out(&first, "k1").await;
    sold_out(&second, "k2").await;
    let (nodes, complete) = refusals(&first, "bob").await;
    assert_eq!(nodes.len(), 2, "each node must have one refusal");
    assert_ne!(nodes[0], nodes[1]);
    assert!(
        complete,
        "the list must be complete, because both nodes have run since the sale was created"
    );
    assert_eq!(
        refusals(&second, "bob").await,
        (nodes.clone(), true),
        "each node must return the same list"
    );
    assert_eq!(refusals(&second, "eve").await, (Vec::new(), true));
    second.stop().await;
    let (alone, complete) = refusals(&first, "bob").await;
    assert_eq!(
        (alone.len(), complete),
        (1, false),
        "the list must not be complete after the other node has stopped"
    );
    assert!(nodes.contains(&alone[0]), "{alone:?} is not one of {nodes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_that_ended_while_no_node_led_is_added_up_from_its_seconds() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let first = node(&home, &database).await;
    first.open_sale("spring", 2.into(), 1).await;
    for buyer in ["ann", "bob", "eve"] {
        first.buy(buyer, "k", "spring", "phone", 1).await;
    }
    let series = "/v1/admin/sales/spring/series";
    let requests = |series: &Value| -> u64 {
        let points = series["points"].as_array().expect("points");
        points.iter().filter_map(|point| point["requests"].as_u64()).sum()
    };
    first.until(series, "the seconds are recorded", |series| requests(series) == 3).await;
    first.stop().await;
    // After this change, the rows look as if no node had run for an hour after the purchases.
    let away = "DELETE FROM sale_point WHERE step_secs = 60;
                UPDATE sale_point SET at = at - 3600000 RETURNING 'moved'";
    assert!(home.psql(&database, away).expect("a table").contains("moved"));
    let second = node(&home, &database).await;
    let from = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(90);
    let path = format!("{series}?step=60&from={}", from.strftime("%Y-%m-%dT%H:%M:%SZ"));
    second.until(&path, "the minutes are added up", |series| requests(series) == 3).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_on_every_node_when_its_key_is_deleted() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let (first, second) = (node(&home, &database).await, node(&home, &database).await);
    let body = json!({"name": "night shift", "role": "viewer"});
    let made = first.admin("POST", "/v1/admin/keys", Some(body)).await.json();
    let sign_in = json!({ "key": made["key"] }).to_string();
    let headers = [("content-type", "application/json")];
    let signed_in = second.call("POST", "/v1/admin/session", &headers, sign_in.as_bytes()).await;
    assert_eq!(signed_in.verdict(), "204", "{}", signed_in.text());
    let cookie = signed_in.header("set-cookie").expect("a cookie");
    let cookie = [("cookie", cookie.split(';').next().expect("a pair"))];
    let session = async || second.call("GET", "/v1/admin/session", &cookie, b"").await.verdict();
    assert_eq!(session().await, "200");
    let path = format!("/v1/admin/keys/{}", made["id"].as_str().expect("an id"));
    assert_eq!(first.admin("DELETE", &path, None).await.verdict(), "204");
    assert_eq!(session().await, "401 unauthenticated");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_works_at_once_at_a_node_that_has_just_refused_a_wrong_key() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let (first, second) = (node(&home, &database).await, node(&home, &database).await);
    let session = async |key: &str| {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str())];
        second.call("GET", "/v1/admin/session", &headers, b"").await.verdict()
    };
    for _ in 0..20 {
        let body = json!({"name": "night shift", "role": "viewer"});
        let (made, refused) =
            tokio::join!(first.admin("POST", "/v1/admin/keys", Some(body)), session("dbk_guess"));
        assert_eq!(refused, "401 unauthenticated");
        assert_eq!(session(made.json()["key"].as_str().expect("a key")).await, "200");
    }
    first.stop().await;
    second.stop().await;
}

/// If the current minute ends soon, waits for the next minute. The server counts wrong keys
/// separately for each minute, so the guesses of a test must not start late in a minute.
async fn wait_for_early_minute() {
    while jiff::Timestamp::now().as_second().rem_euclid(60) > 45 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_keys_are_counted_over_all_nodes() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let (first, second) = (node(&home, &database).await, node(&home, &database).await);
    let body = json!({"key": "dbk_guess"}).to_string();
    let headers = [("content-type", "application/json")];
    let guess = async |app: &TestApp| {
        app.call("POST", "/v1/admin/session", &headers, body.as_bytes()).await.verdict()
    };
    wait_for_early_minute().await;
    let mut verdicts = Vec::new();
    for _ in 0..6 {
        verdicts.push(guess(&first).await);
        verdicts.push(guess(&second).await);
    }
    assert_eq!(verdicts[..10], ["401 unauthenticated"; 10]);
    assert_eq!(verdicts[10..], ["429 rate_limited"; 2]);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_over_the_limit_is_not_counted_as_wrong() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let (first, second) = (node(&home, &database).await, node(&home, &database).await);
    let sign_in = async |app: &TestApp, key: &str| {
        let body = json!({ "key": key }).to_string();
        let headers = [("content-type", "application/json")];
        app.call("POST", "/v1/admin/session", &headers, body.as_bytes()).await.verdict()
    };
    wait_for_early_minute().await;
    for _ in 0..10 {
        assert_eq!(sign_in(&first, "dbk_guess").await, "401 unauthenticated");
    }
    for _ in 0..10 {
        assert_eq!(sign_in(&second, ADMIN_KEY).await, "429 rate_limited");
    }
    let wrong = home.psql(&database, "SELECT wrong FROM wrong_key").expect("a table");
    assert_eq!(wrong.trim(), "10", "the store must not count the keys over the limit");
    // The test lowers the stored count to nine, as if one of the ten keys had been right.
    home.psql(&database, "UPDATE wrong_key SET wrong = wrong - 1").expect("a table");
    // The second node still refuses the address from memory for at most one second.
    until("the key is accepted", async || sign_in(&second, ADMIN_KEY).await == "204").await;
    first.stop().await;
    second.stop().await;
}
