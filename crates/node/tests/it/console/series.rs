//! Tests the statistics of a sale, which have a point for each second.

use std::time::Duration;

use doorbuster_api::value::Time;
use serde_json::{Value, json};

use crate::app::{TestApp, sale};
use crate::passes::{now_ms, time};

#[tokio::test]
async fn a_sales_numbers_by_second_add_up_to_its_statistics() {
    let app = TestApp::start().await;
    app.open_sale("spring", 3.into(), 1).await;
    for buyer in 0..8 {
        app.buy(&format!("buyer-{buyer}"), "k", "spring", "phone", 1).await;
    }
    let path = "/v1/admin/sales/spring/series";
    let sum = |series: &Value, member: &str| -> u64 {
        let points = series["points"].as_array().expect("points");
        points.iter().map(|point| point[member].as_u64().expect("a number")).sum()
    };
    app.until(path, "the numbers are recorded", |series| sum(series, "requests") == 8).await;
    let seconds = app.admin("GET", path, None).await.json();
    let seconds = seconds["points"].as_array().expect("points");
    let most_in_a_second = seconds.iter().filter_map(|point| point["requests"].as_u64()).max();
    for step in [1, 10, 60] {
        let series = app.admin("GET", &format!("{path}?step={step}"), None).await.json();
        assert_eq!(series["step_secs"], step);
        assert_eq!((sum(&series, "requests"), sum(&series, "reserved")), (8, 3));
        let points = series["points"].as_array().expect("points");
        let refused: u64 =
            points.iter().filter_map(|point| point["refused"]["sold_out"].as_u64()).sum();
        assert_eq!(refused, 5);
        let last = points.last().expect("a point");
        assert_eq!(last["items"], json!([{"item": "phone", "free": 0, "held": 3, "paid": 0}]));
        let busy = points.iter().find(|point| point["requests"] != 0).expect("a busy second");
        assert!(busy["p99_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{busy}");
        let busiest = points.iter().filter_map(|point| point["busiest_second"].as_u64()).max();
        assert_eq!(busiest, most_in_a_second, "step {step}");
    }
    // Two adjacent windows must together have each point exactly once.
    let whole = app.admin("GET", path, None).await.json();
    let points = whole["points"].as_array().expect("points");
    let at = |point: &Value| point["at"].as_str().expect("a time").to_owned();
    let busy = points.iter().find(|point| point["requests"] != 0).expect("a busy second");
    let (from, middle, to) = (whole["from"].as_str().expect("a time"), at(busy), &whole["to"]);
    let to = to.as_str().expect("a time");
    let mut requests = 0;
    for (from, to) in [(from, middle.as_str()), (&middle, to)] {
        let window = app.admin("GET", &format!("{path}?from={from}&to={to}"), None).await.json();
        assert_eq!((&window["from"], &window["to"]), (&json!(from), &json!(to)));
        requests += sum(&window, "requests");
    }
    assert_eq!(requests, 8);
    let backwards = "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z";
    for wrong in ["step=2", "from=yesterday", backwards, "from=2100-01-01T00:00:00Z"] {
        let reply = app.admin("GET", &format!("{path}?{wrong}"), None).await;
        assert_eq!(reply.verdict(), "422 invalid_request", "{wrong}");
    }
    let long = format!("{path}?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z");
    assert_eq!(app.admin("GET", &long, None).await.verdict(), "422 invalid_request");
    // An answer has at most 3,600 steps of one second. An hour that begins in the middle of a
    // second overlaps 3,601 steps, so the answer leaves out the first of them.
    for (from, to, expected) in [
        ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z", json!("2026-01-01T00:00:00.000Z")),
        ("2026-01-01T00:00:00.500Z", "2026-01-01T01:00:00.500Z", json!("2026-01-01T00:00:01.000Z")),
        ("2026-01-01T00:00:00Z", "2026-01-01T01:00:01Z", Value::Null),
    ] {
        let reply = app.admin("GET", &format!("{path}?from={from}&to={to}"), None).await;
        assert_eq!(reply.json()["from"], expected, "{from} {}", reply.text());
    }
    let none = app.admin("GET", "/v1/admin/sales/none/series", None).await;
    assert_eq!(none.verdict(), "404 not_found");
}

#[tokio::test]
async fn a_series_that_begins_at_or_just_after_the_present_step_is_empty() {
    let app = TestApp::start().await;
    app.open_sale("spring", 3.into(), 1).await;
    let path = "/v1/admin/sales/spring/series?step=60";
    let present = app.admin("GET", path, None).await.json();
    let end = Time::parse(present["to"].as_str().expect("a time")).expect("a time").millis();
    for from in [end, end + 60_000] {
        let from = Time::from_millis(from).to_string();
        let reply = app.admin("GET", &format!("{path}&from={from}"), None).await;
        assert_eq!(reply.verdict(), "200", "{from} {}", reply.text());
        assert_eq!(reply.json()["points"], json!([]), "{from}");
    }
    for at in [end, end + 500] {
        let at = Time::from_millis(at).to_string();
        let reply = app.admin("GET", &format!("{path}&from={at}&to={at}"), None).await.json();
        assert_eq!((&reply["points"], &reply["from"]), (&json!([]), &reply["to"]), "{at}");
    }
}

#[tokio::test]
async fn the_requests_of_a_sales_first_second_are_not_before_its_opening() {
    let app = TestApp::start().await;
    let starts_at = (now_ms() / 1_000 + 3) * 1_000;
    let mut body = sale("spring", 3.into(), 1);
    body["starts_at"] = json!(time(starts_at));
    assert_eq!(app.admin("POST", "/v1/admin/sales", Some(body)).await.verdict(), "201");
    app.step("spring", "schedule").await;
    app.until("/v1/admin/sales/spring", "the sale opens", |sale| sale["phase"] == "open").await;
    // Just after the opening, the node may still count requests for the previous second. So the
    // buyer waits.
    while now_ms() < starts_at + 150 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(app.buy("ann", "k", "spring", "phone", 1).await.verdict(), "201");
    let path = "/v1/admin/sales/spring/series";
    let is_recorded = |series: &Value| {
        series["points"].as_array().expect("points").iter().any(|point| point["requests"] == 1)
    };
    let series = app.until(path, "the purchase is recorded", is_recorded).await;
    for point in series["points"].as_array().expect("points") {
        let at = Time::parse(point["at"].as_str().expect("a time")).expect("a time").millis();
        let is_busy = point["requests"] != 0 || point["reserved"] != 0;
        assert!(!is_busy || at >= starts_at, "{series}");
    }
}

#[tokio::test]
async fn an_item_with_unlimited_stock_has_no_number_of_free_units() {
    let app = TestApp::start().await;
    app.open_sale("spring", "unlimited".into(), 1).await;
    app.buy("ann", "k", "spring", "phone", 1).await;
    let units = json!([{"item": "phone", "free": null, "held": 1, "paid": 0}]);
    let path = "/v1/admin/sales/spring/series";
    app.until(path, "the numbers are recorded", |series| {
        series["points"].as_array().expect("points").iter().any(|point| point["items"] == units)
    })
    .await;
}

#[tokio::test]
async fn an_order_of_a_queued_purchase_is_counted_once() {
    let app = TestApp::start().await;
    app.open_sale("spring", 3.into(), 1).await;
    let body = r#"{"sale":"spring","item":"phone","units":1}"#;
    for _ in 0..2 {
        app.buy_with("ann", "k", &[("Prefer", "respond-async")], body).await;
    }
    let path = "/v1/admin/sales/spring/series";
    let counts = |series: &Value| {
        let points = series["points"].as_array().expect("points");
        let sum = |member: &str| -> u64 {
            points.iter().filter_map(|point| point[member].as_u64()).sum()
        };
        ["requests", "reserved"].map(sum)
    };
    app.until(path, "the numbers are recorded", |series| counts(series) == [2, 1]).await;
}

#[tokio::test]
async fn the_numbers_of_the_second_in_which_a_server_stops_are_recorded() {
    let app = TestApp::start().await;
    app.open_sale("spring", 3.into(), 1).await;
    for buyer in 0..8 {
        app.buy(&format!("buyer-{buyer}"), "k", "spring", "phone", 1).await;
    }
    let app = TestApp::try_start(app.stop().await, &[], false).await.expect("the server starts");
    let series = app.admin("GET", "/v1/admin/sales/spring/series", None).await.json();
    let points = series["points"].as_array().expect("points");
    let requests: u64 = points.iter().filter_map(|point| point["requests"].as_u64()).sum();
    assert_eq!(requests, 8, "{series}");
}
