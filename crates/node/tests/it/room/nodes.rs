//! Tests a waiting room with several nodes that share a store.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::auto::{CrowdWithPasses, ask, open_sale, order, pass};
use super::{announce, announce_with, draw, drawn, enter, is, look, reported, until};
use crate::app::{TIMEOUT, TestApp};
use crate::events::{next, socket};
use crate::postgres::Cluster;

async fn node(home: &Cluster, database: &str) -> TestApp {
    let url = crate::several_servers::address(home, database);
    TestApp::with(&[("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", url.as_str())])
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_share_a_room() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let nodes = [node(&home, &database).await, node(&home, &database).await];
    announce(&nodes[0], 3.into(), 1).await;
    let buyers: Vec<String> = (0..8).map(|n| format!("b{n}")).collect();
    for (n, buyer) in buyers.iter().enumerate() {
        let (here, there) = (&nodes[n % 2], &nodes[(n + 1) % 2]);
        let place = enter(here, buyer).await;
        assert_eq!(place.verdict(), "201", "{}", place.text());
        assert_eq!(
            enter(there, buyer).await.json(),
            place.json(),
            "the position must be the same at the other node"
        );
    }
    assert_eq!(draw(&nodes[0]).await["commitment"], draw(&nodes[1]).await["commitment"]);
    nodes[1].step("spring", "open").await;
    let begun = Instant::now();
    let seed = loop {
        // For up to a second, this node or a cache may still show the draw as it was before the
        // opening, without the seed.
        match draw(&nodes[0]).await["seed"].as_str() {
            Some(seed) => break seed.to_owned(),
            None => assert!(
                begun.elapsed() < TIMEOUT,
                "timed out; expected: the first node knows of the opening"
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let order = drawn(&seed, &buyers);
    for node in &nodes {
        for (at, buyer) in order.iter().enumerate() {
            let state = match at {
                0..3 => "admitted",
                3..6 => "waiting",
                _ => "gone",
            };
            let place =
                until(node, buyer, "the buyer gets an event", |place| place["state"] == state)
                    .await;
            assert_eq!(
                place["position"],
                if at < 3 { Value::Null } else { json!(at - 2) },
                "{buyer}: {place}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_who_left_at_one_node_enters_again_at_another() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let [first, second] = [node(&home, &database).await, node(&home, &database).await];
    announce(&first, 3.into(), 1).await;
    let at = async |node: &TestApp, method: &str| {
        node.buyer("anna", method, "/v1/sales/spring/waiting-room").await.verdict()
    };
    assert_eq!(enter(&first, "anna").await.verdict(), "201");
    assert_eq!(at(&second, "GET").await, "200");
    assert_eq!(at(&first, "DELETE").await, "204");
    assert_eq!(at(&first, "GET").await, "404 not_found");
    assert_eq!(enter(&second, "anna").await.verdict(), "201");
    assert_eq!(at(&first, "GET").await, "200");
    // If the buyer leaves at one node, the buyer's admission also ends at the other node.
    first.step("spring", "open").await;
    until(&first, "anna", "the buyer is admitted", is("admitted")).await;
    assert_eq!(ask(&first, "anna").await.verdict(), "201");
    assert_eq!(at(&second, "DELETE").await, "204");
    let begun = Instant::now();
    while ask(&first, "anna").await.verdict() != "403 waiting_room" {
        assert!(begun.elapsed() < TIMEOUT, "timed out; expected: the buyer gets no more passes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn wait_until_open(app: &TestApp) {
    let is_open = |status: &Value| status["phase"] == "open";
    app.until("/v1/sales/spring/status", "the node knows that the sale is open", is_open).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_from_another_node_extends_the_turn() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let [first, second] = [node(&home, &database).await, node(&home, &database).await];
    announce_with(&first, 1.into(), 1, &json!({"challenge": "pow"})).await;
    let buyers = ["anna", "bert", "carl"];
    for buyer in buyers {
        assert_eq!(enter(&first, buyer).await.verdict(), "201");
    }
    first.step("spring", "open").await;
    wait_until_open(&first).await;
    wait_until_open(&second).await;
    let seed = draw(&first).await["seed"].as_str().expect("the seed is published").to_owned();
    let buyer = drawn(&seed, &buyers.map(str::to_owned)).swap_remove(0);
    let before = until(&first, &buyer, "the buyer is admitted", is("admitted")).await;
    let issued = second.buyer(&buyer, "POST", "/v1/sales/spring/challenges").await;
    assert_eq!(issued.verdict(), "201", "{}", issued.text());
    let end = |place: &Value| place["admitted_until"].as_str().map(str::to_owned);
    for node in [&first, &second] {
        let after = look(node, &buyer).await;
        assert!(end(&after) > end(&before), "the turn was not extended: {before}, {after}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_is_issued_even_if_the_search_for_a_turn_fails() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let app = node(&home, &database).await;
    announce_with(&app, 1.into(), 1, &json!({"challenge": "pow"})).await;
    app.step("spring", "open").await;
    wait_until_open(&app).await;
    let away = "ALTER TABLE waiting_room_visitor RENAME TO away";
    home.psql(&database, away).expect("the table exists");
    let issued = app.buyer("anna", "POST", "/v1/sales/spring/challenges").await;
    assert_eq!(issued.verdict(), "201", "{}", issued.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_whom_an_operator_admits_at_one_node_gets_a_pass_at_another() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let nodes = [node(&home, &database).await, node(&home, &database).await];
    announce(&nodes[0], 1.into(), 1).await;
    nodes[0].step("spring", "open").await;
    assert_eq!(enter(&nodes[0], "first").await.verdict(), "201");
    until(&nodes[0], "first", "the buyer is admitted", is("admitted")).await;
    let buyers: Vec<String> = (0..8).map(|n| format!("b{n}")).collect();
    for buyer in &buyers {
        assert_eq!(enter(&nodes[0], buyer).await.verdict(), "201");
    }
    for node in &nodes {
        wait_until_open(node).await;
        for buyer in &buyers {
            let waits = |place: &Value| place["state"] == "waiting" || place["state"] == "gone";
            until(node, buyer, "the node knows that the buyer waits", waits).await;
        }
    }
    // One of the two nodes is the leader. The test admits buyers at the two nodes in turn, and the
    // other node must learn of each admission.
    for (n, buyer) in buyers.iter().enumerate() {
        let (here, there) = (&nodes[n % 2], &nodes[(n + 1) % 2]);
        let path = "/v1/admin/sales/spring/waiting-room/admissions";
        let one = json!({"visitors": 1, "reason": "a test"});
        let done = here.admin("POST", path, Some(one)).await;
        assert_eq!(done.json()["admitted"], 1, "{}", done.text());
        assert_eq!(ask(there, buyer).await.verdict(), "201", "{buyer}");
    }
}

/// Keeps the waiting room open for `ms` milliseconds, as a node does when it detects a crowd.
fn hold(home: &Cluster, database: &str, ms: i64) {
    let until = format!("(extract(epoch FROM now()) * 1000)::bigint + {ms}");
    let held = format!("UPDATE waiting_room SET open_until = {until} RETURNING 'held'");
    assert_eq!(
        home.psql(database, &held).expect("a table").trim(),
        "held",
        "the database must have the room"
    );
}

/// Sends purchases with new keys until the verdict is `wanted`. Every earlier verdict must be
/// `before`.
async fn press_until(app: &TestApp, (buyer, pass): (&str, &str), before: &str, wanted: &str) {
    let (begun, mut tries) = (Instant::now(), 0);
    loop {
        tries += 1;
        let verdict = order(app, buyer, &format!("{wanted}{tries}").replace(' ', "-"), pass).await;
        if verdict == wanted {
            break;
        }
        assert!(
            verdict == before && begun.elapsed() < TIMEOUT,
            "attempt {tries} got {verdict}, but only {before} or {wanted} is right"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_issued_before_the_room_opened_automatically_sends_its_buyer_to_the_room() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let app = node(&home, &database).await;
    open_sale(&app, 1_000).await;
    let (anna, bert) = (pass(&app, "anna").await, pass(&app, "bert").await);
    assert_eq!(
        order(&app, "anna", "k", &anna).await,
        "201",
        "a purchase must succeed while the room is not open"
    );
    assert_eq!(enter(&app, "dora").await.verdict(), "201");
    hold(&home, &database, 60_000);
    press_until(&app, ("bert", &bert), "201", "403 waiting_room").await;
    assert_eq!(order(&app, "anna", "k", &anna).await, "200", "the earlier order must stay");
    assert_eq!(ask(&app, "bert").await.verdict(), "403 waiting_room");
    enter(&app, "bert").await;
    until(&app, "bert", "the buyer is admitted", is("admitted")).await;
    let called = pass(&app, "bert").await;
    assert_eq!(order(&app, "bert", "called", &called).await, "201");
    assert_eq!(
        order(&app, "bert", "again", &bert).await,
        "403 waiting_room",
        "a pass from before the opening of the room must still be refused"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_opened_automatically_closes_again_and_earlier_passes_are_valid_again() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let app = node(&home, &database).await;
    open_sale(&app, 1_000).await;
    let before = pass(&app, "anna").await;
    assert_eq!(enter(&app, "dora").await.verdict(), "201");
    until(&app, "dora", "the buyer is admitted, and the queue is empty", is("admitted")).await;
    hold(&home, &database, 60_000);
    press_until(&app, ("anna", &before), "201", "403 waiting_room").await;
    hold(&home, &database, -1_000);
    press_until(&app, ("anna", &before), "403 waiting_room", "201").await;
    assert_eq!(
        ask(&app, "carl").await.verdict(),
        "201",
        "a buyer must not have to wait in an empty room"
    );
    assert_eq!(order(&app, "anna", "again", &before).await, "201", "the room must stay closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_whose_buyers_still_wait_is_open_after_an_interruption() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let app = node(&home, &database).await;
    open_sale(&app, 1).await;
    let first = pass(&app, "first").await;
    assert_eq!(order(&app, "first", "k", &first).await, "201");
    assert_eq!(enter(&app, "anna").await.verdict(), "201");
    // The test changes the database as if the room's open time had ended while no node was running.
    let dir = app.stop().await;
    let ended = "UPDATE waiting_room SET open_until =
         (SELECT max(entered_at) FROM waiting_room_visitor) RETURNING 'ended'";
    assert_eq!(home.psql(&database, ended).expect("a table").trim(), "ended");
    let url = crate::several_servers::address(&home, &database);
    let settings = [("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", url.as_str())];
    let app = TestApp::try_start(dir, &settings, false).await.expect("the server starts again");
    let begun = Instant::now();
    while ask(&app, "late").await.verdict() != "403 waiting_room" {
        assert!(begun.elapsed() < TIMEOUT, "timed out; expected: the room is open again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_all_buyers_have_left_closes_although_no_unit_is_free() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let app = node(&home, &database).await;
    open_sale(&app, 1).await;
    let first = pass(&app, "first").await;
    assert_eq!(order(&app, "first", "k", &first).await, "201");
    assert_eq!(enter(&app, "anna").await.verdict(), "201");
    let ask_until = async |expected: &str| {
        let begun = Instant::now();
        while ask(&app, "late").await.verdict() != expected {
            assert!(begun.elapsed() < TIMEOUT, "timed out; expected: {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    hold(&home, &database, 60_000);
    ask_until("403 waiting_room").await;
    let left = app.buyer("anna", "DELETE", "/v1/sales/spring/waiting-room").await;
    assert_eq!(left.verdict(), "204");
    // The room's open time ends so soon that the server would extend this time if anybody still
    // waited.
    hold(&home, &database, 3_000);
    ask_until("201").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_reports_a_position_that_was_taken_at_another_node() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let (first, second) = (node(&home, &database).await, node(&home, &database).await);
    announce(&first, 2.into(), 1).await;
    let place = enter(&first, "anna").await.json();
    // The second node may not know the sale yet. It must read the sale when it gets this
    // subscription.
    let mut anna = socket(&second, "anna", "?sale=spring").await;
    assert_eq!(next(&mut anna).await["type"], "status");
    let event = next(&mut anna).await;
    assert_eq!(
        (&event["type"], &event["sale"]),
        (&json!("waiting_room"), &json!("spring")),
        "{event}"
    );
    assert_eq!((&event["place"], &event["state"]), (&place["place"], &json!("before")));
    // Bert opens a stream without a sale at the second node, and then enters the room at the first
    // node.
    let mut bert = socket(&second, "bert", "").await;
    assert_eq!(enter(&first, "bert").await.verdict(), "201");
    first.step("spring", "open").await;
    for (buyer, events) in [("anna", &mut anna), ("bert", &mut bert)] {
        let admitted = until(&first, buyer, "the buyer is admitted", is("admitted")).await;
        reported(events, &admitted).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_manages_its_share_of_the_waiting_buyers() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let app = node(&home, &database).await;
    let crowd = CrowdWithPasses::with_passes(&app, 1_000_000).await;
    let verdicts = crowd.try_to_buy(&app, "k").await;
    assert!(
        verdicts.iter().all(|one| one == "201"),
        "so few buyers must not open the room: {verdicts:?}"
    );
    // The other 999 nodes exist only as rows in the store. With a thousand nodes, this node admits
    // only two buyers per second. When this node renews its lease, a trigger renews the other
    // leases too.
    home.psql(
        &database,
        "INSERT INTO node SELECT n, (SELECT max(until) FROM node)
         FROM generate_series(60001, 60999) n;
         CREATE FUNCTION renew_all() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             UPDATE node SET until = NEW.until WHERE node <> NEW.node; RETURN NULL; END $$;
         CREATE TRIGGER renew_all AFTER UPDATE ON node FOR EACH ROW
             WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION renew_all()",
    )
    .expect("a table and a trigger");
    let begun = Instant::now();
    while !app.get("/metrics").await.text().lines().any(|line| line == "doorbuster_nodes 1000") {
        assert!(
            begun.elapsed() < TIMEOUT,
            "timed out; expected: the node knows of the other nodes"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    crowd.press_until_the_room_is_open(&app).await;
}
