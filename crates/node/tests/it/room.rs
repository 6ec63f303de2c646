//! Tests the waiting room as buyers see it: positions, a draw that anyone can repeat, and
//! admissions.

mod auto;
mod crowd;
mod item_rooms;
mod items;
mod leave;
mod memory;
mod nodes;
mod pace;

use std::time::{Duration, Instant};

use aws_lc_rs::{digest, hmac};
use serde_json::{Value, json};

use crate::app::{TIMEOUT, TestApp, sale};
use crate::events::{Socket, next, socket};
use crate::http::Reply;

async fn announce(app: &TestApp, stock: Value, limit: u32) {
    announce_with(app, stock, limit, &json!({})).await;
}

/// Creates and schedules a sale with a waiting room. `more` has additional settings of the front
/// door.
async fn announce_with(app: &TestApp, stock: Value, limit: u32, more: &Value) {
    let mut sale = sale("spring", stock, limit);
    sale["front_door"] = json!({"waiting_room": "always", "limits": {"buyer": null, "ip": null}});
    for (name, value) in more.as_object().expect("an object") {
        sale["front_door"][name] = value.clone();
    }
    sale["starts_at"] = json!("2100-01-01T00:00:00.000Z");
    let made = app.admin("POST", "/v1/admin/sales", Some(sale)).await;
    assert_eq!(made.verdict(), "201", "{}", made.text());
    app.step("spring", "schedule").await;
}

async fn enter(app: &TestApp, buyer: &str) -> Reply {
    app.buyer(buyer, "POST", "/v1/sales/spring/waiting-room").await
}

async fn look(app: &TestApp, buyer: &str) -> Value {
    app.buyer(buyer, "GET", "/v1/sales/spring/waiting-room").await.json()
}

async fn until(app: &TestApp, buyer: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let place = look(app, buyer).await;
        if holds(&place) {
            return place;
        }
        assert!(begun.elapsed() < TIMEOUT, "timed out; expected for {buyer}: {what}; {place}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is(state: &'static str) -> impl Fn(&Value) -> bool {
    move |place| place["state"] == state
}

async fn draw(app: &TestApp) -> Value {
    let reply = app.get("/v1/sales/spring/draw").await;
    assert_eq!(reply.verdict(), "200", "{}", reply.text());
    assert_eq!(reply.header("cache-control"), Some("public, max-age=1"));
    reply.json()
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

/// Computes the sequence of buyers in a draw from the documented rules alone.
fn drawn(seed: &str, buyers: &[String]) -> Vec<String> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &unhex(seed));
    let mut lots: Vec<(Vec<u8>, String)> = buyers
        .iter()
        .map(|buyer| (hmac::sign(&key, buyer.as_bytes()).as_ref().to_vec(), buyer.clone()))
        .collect();
    lots.sort();
    lots.into_iter().map(|(_, buyer)| buyer).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn early_buyers_are_admitted_in_a_reproducible_order() {
    let app = TestApp::start().await;
    announce(&app, 4.into(), 1).await;
    let before = draw(&app).await;
    assert_eq!((&before["seed"], &before["algorithm"]), (&Value::Null, &json!("hmac-sha256")));
    let buyers: Vec<String> = (0..12).map(|n| format!("b{n}")).collect();
    for buyer in &buyers {
        let first = enter(&app, buyer).await;
        assert_eq!(first.verdict(), "201", "{}", first.text());
        let place = first.json();
        assert_eq!((&place["state"], &place["position"]), (&json!("before"), &Value::Null));
        assert_eq!(
            (&place["estimate_secs"], &place["admitted_until"]),
            (&Value::Null, &Value::Null)
        );
        let again = enter(&app, buyer).await;
        assert_eq!(
            (again.verdict().as_str(), again.json()),
            ("200", place.clone()),
            "a buyer who enters again must keep the position"
        );
        assert_eq!(look(&app, buyer).await, place);
    }
    assert_eq!(
        app.buyer("nobody", "GET", "/v1/sales/spring/waiting-room").await.verdict(),
        "404 not_found"
    );
    assert_eq!(draw(&app).await["commitment"], before["commitment"]);
    app.step("spring", "open").await;
    let after = draw(&app).await;
    assert_eq!((&after["commitment"], &after["participants"]), (&before["commitment"], &json!(12)));
    let seed = after["seed"].as_str().expect("the seed is published");
    let hash: String = digest::digest(&digest::SHA256, &unhex(seed))
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(after["commitment"], format!("sha256:{hash}"));
    let late = enter(&app, "late").await;
    assert_eq!(late.verdict(), "201");
    // There are four units, so the first four buyers are admitted. The next four buyers wait,
    // because an admitted buyer may leave without a purchase. For the other buyers, no unit can be
    // left.
    for (at, buyer) in drawn(seed, &buyers).iter().chain(["late".to_owned()].iter()).enumerate() {
        let state = match at {
            0..4 => "admitted",
            4..8 => "waiting",
            _ => "gone",
        };
        let place =
            until(&app, buyer, "the buyer has the expected state", |place| place["state"] == state)
                .await;
        let position = if at < 4 { Value::Null } else { json!(at - 3) };
        assert_eq!(place["position"], position, "{buyer}: {place}");
        assert_eq!(place["admitted_until"].is_string(), at < 4);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_survives_the_restart_of_its_node() {
    let app = TestApp::start().await;
    announce(&app, 1.into(), 1).await;
    let buyers = ["anna", "bert", "carl"];
    let mut tokens = Vec::new();
    for buyer in buyers {
        tokens.push(enter(&app, buyer).await.json()["place"].clone());
    }
    let commitment = draw(&app).await["commitment"].clone();
    let dir = app.stop().await;
    let app = TestApp::try_start(dir, &[], false).await.expect("the server starts again");
    assert_eq!(draw(&app).await["commitment"], commitment);
    for (buyer, token) in buyers.iter().zip(&tokens) {
        let place = look(&app, buyer).await;
        assert_eq!((&place["state"], &place["place"]), (&json!("before"), token));
    }
    app.step("spring", "open").await;
    let seed = draw(&app).await["seed"].as_str().expect("the seed is published").to_owned();
    let order = drawn(&seed, &buyers.map(String::from));
    until(&app, &order[0], "the buyer is admitted", is("admitted")).await;
    let waits = until(&app, &order[1], "waits", |place| place["position"] == 1).await;
    let dir = app.stop().await;
    let app = TestApp::try_start(dir, &[], false).await.expect("the server starts again");
    assert_eq!(look(&app, &order[1]).await, waits);
    assert_eq!(look(&app, &order[0]).await["state"], "admitted");
    assert_eq!(enter(&app, &order[2]).await.verdict(), "200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_with_64_concurrent_requests_has_one_position() {
    let app = TestApp::start().await;
    announce(&app, 1.into(), 1).await;
    let answers = futures_util::future::join_all((0..64).map(|_| enter(&app, "anna"))).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 201)));
    assert_eq!(made, 1);
    assert!(answers.iter().all(|answer| answer.json()["place"] == answers[0].json()["place"]));
    assert_eq!(draw(&app).await["participants"], 1);
    assert_ne!(
        enter(&app, "bert").await.json()["place"],
        answers[0].json()["place"],
        "another buyer must have another position"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_without_a_waiting_room_has_no_positions() {
    let app = TestApp::start().await;
    app.open_sale("spring", 1.into(), 1).await;
    for (method, path) in [("POST", "waiting-room"), ("GET", "waiting-room"), ("GET", "draw")] {
        let reply = app.buyer("anna", method, &format!("/v1/sales/spring/{path}")).await;
        assert_eq!(reply.verdict(), "404 not_found", "{method} {path}");
    }
    assert_eq!(
        app.call("POST", "/v1/sales/spring/waiting-room", &[], b"").await.verdict(),
        "401 unauthenticated"
    );
    let patch = json!({"front_door": {"waiting_room": "always"}});
    assert_eq!(app.admin("PATCH", "/v1/admin/sales/spring", Some(patch)).await.verdict(), "200");
    assert_eq!(enter(&app, "anna").await.verdict(), "201", "a waiting room must exist now");
    until(&app, "anna", "the buyer is admitted", is("admitted")).await;
    app.step("spring", "close").await;
    assert_eq!(enter(&app, "bert").await.verdict(), "409 ended");
    let over = look(&app, "anna").await;
    assert_eq!((&over["state"], &over["position"]), (&json!("gone"), &Value::Null));
}

/// Reads events until one of them reports this position.
async fn reported(events: &mut Socket, place: &Value) {
    loop {
        let mut event = next(events).await;
        let members = event.as_object_mut().expect("an object");
        if members.remove("type") == Some(json!("waiting_room")) {
            assert_eq!(members.remove("sale"), Some(json!("spring")));
            if event == *place {
                return;
            }
        }
    }
}

/// Returns how many times the server has read a position from the store.
async fn polls(app: &TestApp) -> u64 {
    let metrics = app.get("/metrics").await.text();
    let line =
        metrics.lines().find_map(|line| line.strip_prefix("doorbuster_waiting_room_polls_total "));
    line.and_then(|count| count.parse::<u64>().ok()).expect("the metric exists")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_read_positions_no_more_often_than_pages_may() {
    let app = TestApp::start().await;
    let limits = json!({"buyer": {"burst": 2, "per_minute": 1}});
    for (id, room) in [("spring", "always"), ("autumn", "auto")] {
        let mut body = sale(id, 1.into(), 1);
        body["front_door"] = json!({"waiting_room": room, "limits": limits});
        assert_eq!(app.admin("POST", "/v1/admin/sales", Some(body)).await.verdict(), "201");
        app.step(id, "open").await;
    }
    // If the server reads the store for a stream, it does so before it sends the first event.
    let listen = async |buyer: &str, query: &str| {
        let mut events = socket(&app, buyer, query).await;
        assert_eq!(next(&mut events).await["type"], "status");
        events
    };
    let before = polls(&app).await;
    for _ in 0..6 {
        listen("anna", "?sale=autumn").await;
    }
    assert_eq!(polls(&app).await, before, "no position may be read while the room is closed");
    for _ in 0..6 {
        listen("anna", "?sale=spring").await;
    }
    assert_eq!(polls(&app).await, before + 2, "the limit must allow two reads by streams");
    let page = app.buyer("anna", "GET", "/v1/sales/spring/waiting-room").await;
    assert_eq!(page.verdict(), "429 rate_limited", "pages and streams must share the limit");
    // After a buyer has used up the limit, new streams of the buyer get the position from the
    // node's memory, without a read of the store.
    assert_eq!(enter(&app, "bert").await.verdict(), "201");
    let mut events = listen("bert", "?sale=spring").await;
    while next(&mut events).await["state"] != "admitted" {}
    for _ in 0..3 {
        let mut again = listen("bert", "?sale=spring").await;
        assert_eq!(next(&mut again).await["state"], "admitted");
    }
    assert_eq!(polls(&app).await, before + 2);
}

async fn buy(app: &TestApp, buyer: &str) -> Reply {
    buy_item(app, buyer, "phone").await
}

/// Gets a pass, and buys one unit of the item. If the server refuses the pass, returns this
/// refusal. The request key is the item's id.
async fn buy_item(app: &TestApp, buyer: &str, item: &str) -> Reply {
    let bearer = crate::app::bearer(buyer);
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let wanted = json!({"item": item}).to_string();
    let pass = app.call("POST", "/v1/sales/spring/passes", &headers, wanted.as_bytes()).await;
    if pass.status != 201 {
        return pass;
    }
    let pass = pass.json()["pass"].as_str().expect("a pass").to_owned();
    let body = json!({"sale": "spring", "item": item, "units": 1}).to_string();
    app.buy_with(buyer, item, &[("Purchase-Pass", &pass)], &body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admitted_buyer_gets_a_pass_and_waiting_ends_when_stock_is_gone() {
    let app = TestApp::start().await;
    announce(&app, 2.into(), 1).await;
    app.step("spring", "open").await;
    for buyer in ["a", "b", "c", "d"] {
        assert_eq!(enter(&app, buyer).await.verdict(), "201");
    }
    for buyer in ["a", "b"] {
        until(&app, buyer, "the buyer is admitted", is("admitted")).await;
    }
    until(&app, "d", "waits", |place| place["state"] == "waiting" && place["position"] == 2).await;
    for buyer in ["c", "stranger"] {
        assert_eq!(buy(&app, buyer).await.verdict(), "403 waiting_room");
    }
    let mut waits = socket(&app, "c", "?sale=spring").await;
    let order = buy(&app, "a").await;
    assert_eq!(order.verdict(), "201", "{}", order.text());
    assert_eq!(buy(&app, "b").await.verdict(), "201");
    let gone = until(&app, "c", "no unit is left for the buyer", is("gone")).await;
    assert_eq!(gone["position"], 1);
    until(&app, "d", "no unit is left for the buyer", is("gone")).await;
    reported(&mut waits, &gone).await;
    let id = order.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(app.buyer("a", "POST", &format!("/v1/orders/{id}/cancel")).await.verdict(), "200");
    let admitted = until(&app, "c", "the buyer is admitted", is("admitted")).await;
    assert_eq!(look(&app, "d").await["position"], 1, "the buyer must be first in the queue");
    reported(&mut waits, &admitted).await;
    assert_eq!(buy(&app, "c").await.verdict(), "201");
    until(&app, "d", "no unit is left for the buyer", is("gone")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_who_misses_the_admission_loses_it_to_the_next() {
    let app = TestApp::with(&[("DOORBUSTER_PASS__TTL_SECS", "5")]).await;
    announce(&app, 1.into(), 1).await;
    app.step("spring", "open").await;
    for buyer in ["a", "b"] {
        enter(&app, buyer).await;
    }
    until(&app, "a", "the buyer is admitted", is("admitted")).await;
    let begun = Instant::now();
    while look(&app, "b").await["state"] != "admitted" {
        assert!(begun.elapsed() < TIMEOUT, "the next buyer was not admitted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        app.buyer("a", "GET", "/v1/sales/spring/waiting-room").await.verdict(),
        "404 not_found"
    );
    assert_eq!(enter(&app, "a").await.verdict(), "201", "the buyer must get a new position");
    until(&app, "a", "waits", |place| place["state"] == "waiting" && place["position"] == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_the_participants_once_the_draw_is_made() {
    let app = TestApp::start().await;
    announce(&app, 1.into(), 1).await;
    let buyers = ["anna", "-bert", "carl"].map(String::from);
    for buyer in &buyers {
        assert_eq!(enter(&app, buyer).await.verdict(), "201");
    }
    let path = "/v1/admin/sales/spring/draw.csv";
    assert_eq!(app.admin("GET", path, None).await.verdict(), "409 wrong_state");
    app.step("spring", "open").await;
    enter(&app, "late").await;
    let seed = draw(&app).await["seed"].as_str().expect("the seed is published").to_owned();
    let line = |(at, buyer): (usize, &String)| {
        format!("{},{}\r\n", at + 1, buyer.replace("-bert", "'-bert"))
    };
    let lines: String = drawn(&seed, &buyers).iter().enumerate().map(line).collect();
    assert_eq!(app.admin("GET", path, None).await.text(), format!("rank,buyer\r\n{lines}"));
    assert_eq!(app.buyer("anna", "GET", path).await.verdict(), "401 unauthenticated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draw_can_be_checked_after_the_room_was_turned_off() {
    let app = TestApp::start().await;
    app.make_sale("other", 1.into(), 1).await;
    announce(&app, 1.into(), 1).await;
    assert_eq!(enter(&app, "anna").await.verdict(), "201");
    app.step("spring", "open").await;
    let before = draw(&app).await;
    assert!(before["seed"].is_string(), "{before}");
    let csv = "/v1/admin/sales/spring/draw.csv";
    let list = app.admin("GET", csv, None).await.text();
    let off = json!({"front_door": {"waiting_room": "off"}});
    assert_eq!(app.admin("PATCH", "/v1/admin/sales/spring", Some(off)).await.verdict(), "200");
    assert_eq!(enter(&app, "bert").await.verdict(), "404 not_found");
    assert_eq!(draw(&app).await, before);
    assert_eq!(app.admin("GET", csv, None).await.text(), list);
    app.step("spring", "close").await;
    // The new server does not have the draw in memory yet.
    let dir = app.stop().await;
    let app = TestApp::try_start(dir, &[], false).await.expect("the server starts again");
    assert_eq!(draw(&app).await, before);
    app.step("other", "open").await;
    for _ in 0..3 {
        assert_eq!(
            app.get("/v1/sales/other/draw").await.verdict(),
            "404 not_found",
            "a sale without a waiting room must have no draw"
        );
    }
}
