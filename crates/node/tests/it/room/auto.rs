//! Tests a waiting room that opens automatically. Most tests set such a low rate of admissions that
//! even a few concurrent requests open the room.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{announce, buy, enter, is, until};
use crate::app::{TIMEOUT, TestApp, WAIT_FOR_ORDER, bearer, sale};
use crate::http::{Reply, request};
use crate::watch::Stopwatch;

/// The lowest rate that the setting allows: one admission every 250 ms.
const SLOW_ADMISSIONS: (&str, &str) = ("DOORBUSTER_WAITING_ROOM__PER_SEC", "4");
/// The interval between two admission rounds, in milliseconds.
const LOOK_MS: u128 = 250;
/// The number of buyers who buy at the same time. With the default settings, the server does not
/// treat so few buyers as a crowd.
const CROWD: usize = 200;
const CONNECTIONS: usize = 8;
/// The server detects a crowd within this time.
const NOTICED_WITHIN: Duration = Duration::from_secs(3);

/// Opens a sale with a waiting room that opens automatically. Every purchase requires a pass.
pub(super) async fn open_sale(app: &TestApp, stock: u64) {
    let mut sale = sale("spring", stock.into(), 1_000);
    let limits = json!({"buyer": null, "ip": null});
    sale["front_door"] = json!({"waiting_room": "auto", "pass": "required", "limits": limits});
    assert_eq!(app.admin("POST", "/v1/admin/sales", Some(sale)).await.verdict(), "201");
    app.step("spring", "open").await;
}

pub(super) async fn ask(app: &TestApp, buyer: &str) -> Reply {
    let bearer = bearer(buyer);
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    app.call("POST", "/v1/sales/spring/passes", &headers, br#"{"item":"phone"}"#).await
}

pub(super) async fn pass(app: &TestApp, buyer: &str) -> String {
    let reply = ask(app, buyer).await;
    assert_eq!(reply.verdict(), "201", "{}", reply.text());
    reply.json()["pass"].as_str().expect("a pass").to_owned()
}

/// Buys one unit. Returns the verdict.
pub(super) async fn order(app: &TestApp, buyer: &str, key: &str, pass: &str) -> String {
    let wanted = json!({"sale": "spring", "item": "phone", "units": 1}).to_string();
    app.buy_with(buyer, key, &[("Purchase-Pass", pass), WAIT_FOR_ORDER], &wanted).await.verdict()
}

/// Buyers, each with a pass that was issued before the room opened.
pub(super) struct CrowdWithPasses(Vec<(String, String)>);

impl CrowdWithPasses {
    pub(super) async fn with_passes(app: &TestApp, stock: u64) -> Self {
        open_sale(app, stock).await;
        let mut crowd = Vec::with_capacity(CROWD);
        for n in 0..CROWD {
            let buyer = format!("b{n}");
            let pass = pass(app, &buyer).await;
            crowd.push((buyer, pass));
        }
        Self(crowd)
    }

    /// Sends one purchase with this key for each buyer, on several connections. Returns the
    /// verdicts.
    pub(super) async fn try_to_buy(&self, app: &TestApp, key: &str) -> Vec<String> {
        let parts = self.0.chunks(CROWD.div_ceil(CONNECTIONS));
        join_all(parts.map(|part| press_in_turn(app, part, key))).await.concat()
    }

    /// Repeats the purchases until the server sends a buyer to the waiting room. Every purchase
    /// must give an order or lead to the waiting room.
    pub(super) async fn press_until_the_room_is_open(&self, app: &TestApp) {
        let timer = Stopwatch::start();
        for wave in 0.. {
            let verdicts = self.try_to_buy(app, &format!("wave{wave}")).await;
            let is_right = |one: &String| matches!(one.as_str(), "201" | "403 waiting_room");
            assert!(verdicts.iter().all(is_right), "{verdicts:?}");
            if verdicts.iter().any(|one| one != "201") {
                break;
            }
            assert!(
                timer.elapsed() < TIMEOUT,
                "no buyer of {wave} waves was sent to the waiting room"
            );
        }
    }
}

/// Sends the purchases of these buyers one after another on one connection. Returns the verdicts.
async fn press_in_turn(app: &TestApp, buyers: &[(String, String)], key: &str) -> Vec<String> {
    let wanted = json!({"sale": "spring", "item": "phone", "units": 1}).to_string();
    let (mut connection, mut verdicts) = (app.connect().await, Vec::new());
    for (buyer, pass) in buyers {
        let bearer = bearer(buyer);
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
            ("Idempotency-Key", key),
            ("Purchase-Pass", pass.as_str()),
            WAIT_FOR_ORDER,
        ];
        connection.send(&request("POST", "/v1/orders", &headers, wanted.as_bytes())).await;
        verdicts.push(connection.reply(false).await.expect("an answer").verdict());
    }
    verdicts
}

/// Requests passes for these buyers, one after another. Returns the verdicts.
async fn ask_in_turn(app: &TestApp, buyers: &[String]) -> Vec<String> {
    let mut verdicts = Vec::new();
    for buyer in buyers {
        verdicts.push(ask(app, buyer).await.verdict());
    }
    verdicts
}

/// Restarts the server with the lowest rate of admissions. The new server does not count requests
/// from before the restart.
async fn let_few_in(app: TestApp) -> TestApp {
    TestApp::try_start(app.stop().await, &[SLOW_ADMISSIONS], false)
        .await
        .expect("the server starts again")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_the_button_opens_the_room() {
    let app = TestApp::start().await;
    let crowd = CrowdWithPasses::with_passes(&app, 1_000_000).await;
    let app = let_few_in(app).await;
    crowd.press_until_the_room_is_open(&app).await;
    assert_eq!(
        buy(&app, "b0").await.verdict(),
        "403 waiting_room",
        "the room must send the buyer to the queue"
    );
    assert_eq!(enter(&app, "b0").await.verdict(), "201");
    until(&app, "b0", "the buyer is admitted", is("admitted")).await;
    assert_eq!(buy(&app, "b0").await.verdict(), "201");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_the_button_of_a_sold_out_sale_is_answered_sold_out() {
    let app = TestApp::start().await;
    let crowd = CrowdWithPasses::with_passes(&app, 1).await;
    let app = let_few_in(app).await;
    let first = pass(&app, "first").await;
    assert_eq!(order(&app, "first", "k", &first).await, "201");
    let timer = Stopwatch::start();
    for wave in 0.. {
        let verdicts = crowd.try_to_buy(&app, &format!("wave{wave}")).await;
        assert!(verdicts.iter().all(|one| one == "409 sold_out"), "{verdicts:?}");
        if timer.elapsed() > NOTICED_WITHIN {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_requests_passes_opens_the_room_and_is_sent_to_it() {
    let app = TestApp::with(&[SLOW_ADMISSIONS]).await;
    open_sale(&app, 1_000_000).await;
    let buyers: Vec<String> = (0..CROWD).map(|n| format!("b{n}")).collect();
    let timer = Stopwatch::start();
    let refused = loop {
        let parts = buyers.chunks(CROWD.div_ceil(CONNECTIONS));
        let verdicts = join_all(parts.map(|part| ask_in_turn(&app, part))).await.concat();
        let is_right = |one: &String| matches!(one.as_str(), "201" | "403 waiting_room");
        assert!(verdicts.iter().all(is_right), "{verdicts:?}");
        if let Some(at) = verdicts.iter().position(|one| one != "201") {
            break &buyers[at];
        }
        assert!(timer.elapsed() < TIMEOUT, "not all buyers got a pass in time");
    };
    assert_eq!(enter(&app, refused).await.verdict(), "201");
    until(&app, refused, "the buyer is admitted", is("admitted")).await;
    assert_eq!(buy(&app, refused).await.verdict(), "201");
}

async fn admitted(app: &TestApp) -> u128 {
    let metrics = app.get("/metrics").await.text();
    let name = "doorbuster_waiting_room_admitted_total{sale=\"spring\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |count| count.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configured_rate_limits_admissions_per_second() {
    const LINE: u128 = 12;
    let app = TestApp::with(&[SLOW_ADMISSIONS]).await;
    announce(&app, 1_000.into(), 1).await;
    for n in 0..LINE {
        assert_eq!(enter(&app, &format!("b{n}")).await.verdict(), "201");
    }
    let timer = Instant::now();
    app.step("spring", "open").await;
    loop {
        let admitted = admitted(&app).await;
        // Each round admits one buyer, and the first round may start as soon as the sale opens.
        let most = timer.elapsed().as_millis() / LOOK_MS + 2;
        assert!(
            admitted <= most,
            "too many buyers: {admitted} were admitted in {:?}",
            timer.elapsed()
        );
        if admitted == LINE {
            break;
        }
        assert!(timer.elapsed() < TIMEOUT, "timed out; {admitted} of {LINE} buyers were admitted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_automatic_room_lets_a_few_buyers_through() {
    let app = TestApp::start().await;
    let mut sale = sale("spring", 5.into(), 1);
    sale["front_door"] = json!({"waiting_room": "auto"});
    assert_eq!(app.admin("POST", "/v1/admin/sales", Some(sale)).await.verdict(), "201");
    app.step("spring", "open").await;
    assert_eq!(
        buy(&app, "anna").await.verdict(),
        "201",
        "the buyer must get an order, because the queue is empty"
    );
    assert_eq!(enter(&app, "bert").await.verdict(), "201");
    until(&app, "bert", "the buyer is admitted", is("admitted")).await;
    assert_eq!(buy(&app, "bert").await.verdict(), "201");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_in_which_a_buyer_waits_stays_open_when_it_becomes_automatic() {
    let app = TestApp::start().await;
    announce(&app, 1.into(), 1).await;
    app.step("spring", "open").await;
    assert_eq!(enter(&app, "anna").await.verdict(), "201");
    until(&app, "anna", "the buyer is admitted", is("admitted")).await;
    assert_eq!(buy(&app, "anna").await.verdict(), "201");
    assert_eq!(enter(&app, "ben").await.verdict(), "201");
    until(&app, "ben", "no unit is left for the buyer", is("gone")).await;
    let patch = json!({"front_door": {"waiting_room": "auto"}});
    assert_eq!(app.admin("PATCH", "/v1/admin/sales/spring", Some(patch)).await.verdict(), "200");
    let is_auto = |status: &Value| status["front_door"]["waiting_room"] == "auto";
    app.until("/v1/sales/spring/status", "the status shows the new mode", is_auto).await;
    // In this time, the server checks the room several times.
    let timer = Stopwatch::start();
    while timer.elapsed() < NOTICED_WITHIN {
        let newcomer = ask(&app, "carl").await.verdict();
        assert_eq!(newcomer, "403 waiting_room", "Carl must wait behind Ben");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
