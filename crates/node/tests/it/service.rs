//! Tests the endpoints for machines: health, readiness, metrics, and the API document.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::app::{TIMEOUT, TestApp};
use crate::watch::Stopwatch;

#[tokio::test]
async fn health_and_readiness_are_reported() {
    let app = TestApp::start().await;
    for path in ["/healthz", "/readyz"] {
        let reply = app.get(path).await;
        assert_eq!(
            (reply.verdict().as_str(), reply.text().as_str()),
            ("200", r#"{"status":"ok"}"#)
        );
    }
}

#[tokio::test]
async fn a_stopping_server_reports_that_it_is_not_ready_and_still_serves() {
    const NOTICE: Duration = Duration::from_secs(8);
    let mut app = TestApp::with(&[("DOORBUSTER_LIMITS__STOP_NOTICE_SECS", "8")]).await;
    app.open_sale("spring", 1.into(), 1).await;
    assert_eq!(app.get("/readyz").await.verdict(), "200");
    let asked = Instant::now();
    let ended = app.ask_to_stop();
    let reply = loop {
        let reply = app.get("/readyz").await;
        if reply.status != 200 {
            break reply;
        }
        assert!(asked.elapsed() < NOTICE, "the server must report that it is not ready");
    };
    assert_eq!(
        (reply.verdict().as_str(), &reply.json()["reasons"]),
        ("503 unavailable", &json!(["stopping"]))
    );
    assert!(reply.header("retry-after").is_some());
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(app.buy("anna", "k", "spring", "phone", 1).await.verdict(), "201");
    assert_eq!(app.get("/healthz").await.verdict(), "200");
    ended.await.expect("the server did not panic").expect("the server stops without an error");
    assert!(asked.elapsed() >= NOTICE, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn metrics_count_and_every_name_is_in_the_operating_guide() {
    let app = TestApp::start().await;
    app.open_sale("spring", 1.into(), 1).await;
    for buyer in ["anna", "bert"] {
        app.buy(buyer, "k", "spring", "phone", 1).await;
    }
    app.call("POST", "/v1/orders", &[], b"").await;
    app.get("/nothing").await;
    let lines = [
        "doorbuster_purchases_total{answer=\"reserved\"} 1",
        "doorbuster_purchases_total{answer=\"sold_out\"} 1",
        "doorbuster_http_requests_total{route=\"purchase\",status=\"201\"} 1",
        "doorbuster_http_requests_total{route=\"purchase\",status=\"409\"} 1",
        "doorbuster_http_requests_total{route=\"purchase\",status=\"415\"} 1",
        "doorbuster_http_requests_total{route=\"create_sale\",status=\"201\"} 1",
        "doorbuster_http_requests_total{route=\"unmatched\",status=\"404\"} 1",
        "doorbuster_purchase_duration_seconds_count 2",
        "doorbuster_item_units{sale=\"spring\",item=\"phone\",place=\"held\"} 1",
        "doorbuster_tickets_settled_total 1",
        "doorbuster_settle_queue_tickets 0",
        "doorbuster_repairs_total 0",
        "doorbuster_http_connections 1",
    ];
    let timer = Stopwatch::start();
    // A connection that just closed still counts until the server notices the close.
    let page = loop {
        let reply = app.get("/metrics").await;
        assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let page = reply.text();
        let Some(missing) = lines.iter().find(|line| !page.lines().any(|found| found == **line))
        else {
            break page;
        };
        assert!(timer.elapsed() < TIMEOUT, "{missing}\n{page}");
    };
    let names: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let guide =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md"))
            .expect("the guide");
    let listed: BTreeSet<&str> = guide
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| ["doorbuster_", "process_"].iter().any(|prefix| name.starts_with(prefix)))
        .collect();
    let listed: BTreeSet<String> = listed.into_iter().map(str::to_owned).collect();
    let named: BTreeSet<String> = names.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(named, listed, "docs/operating.md and /metrics must have the same names");
}

#[tokio::test]
async fn the_api_document_is_served() {
    let app = TestApp::start().await;
    let reply = app.get("/openapi.json").await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let document = reply.json();
    assert!(document["openapi"].as_str().expect("a version").starts_with("3.1"));
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("methods").keys() {
            documented.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let served: BTreeSet<String> = doorbuster_api::endpoints::all()
        .map(|endpoint| format!("{} {}", endpoint.method.as_str(), endpoint.path))
        .collect();
    assert_eq!(documented, served);
    let docs = app.get("/docs").await.text();
    assert_eq!(docs.matches("<tr id=").count(), doorbuster_api::problem::Code::ALL.len());
    for code in doorbuster_api::problem::Code::ALL {
        let anchor = format!("<tr id=\"{}\">", code.as_str());
        assert_eq!(
            docs.matches(&anchor).count(),
            1,
            "a problem's type must point to exactly one row: {anchor}"
        );
    }
}

#[tokio::test]
async fn every_setting_is_in_the_operating_guide() {
    let guide =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md"))
            .expect("the guide");
    for setting in doorbuster_config::SETTINGS {
        let row = format!("| `{}` | `{}` |", setting.path, setting.env_name());
        assert!(guide.contains(&row), "{row}");
    }
}
