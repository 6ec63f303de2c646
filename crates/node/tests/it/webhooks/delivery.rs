//! Tests the delivery of events to endpoints, including endpoints that misbehave.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use doorbuster_core::limits::DELIVERIES_IN_FLIGHT_MAX;
use serde_json::json;

use super::receiver::{CannedReply, ReceivedRequest, Receiver};
use super::{add, buy, cancel, start, start_hasty};
use crate::app::TestApp;

/// Returns the types of the events that the endpoint accepted about one order. The types are in the
/// sequence of arrival, without repeated events.
pub(super) fn event_types(received: &[ReceivedRequest], order: &str) -> Vec<String> {
    let mut seen = HashSet::new();
    let mine =
        received.iter().filter(|one| one.accepted && one.order() == order && seen.insert(one.id()));
    mine.map(ReceivedRequest::event_type).collect()
}

/// Returns how long the oldest undelivered event has waited, in seconds.
async fn lag(app: &TestApp) -> f64 {
    let metrics = app.get("/metrics").await.text();
    let name = r#"doorbuster_outbox_lag_seconds{kind="webhook"} "#;
    let secs = metrics.lines().find_map(|line| line.strip_prefix(name)?.parse().ok());
    secs.unwrap_or_else(|| panic!("{metrics}"))
}

#[tokio::test]
async fn an_endpoint_receives_signed_events_with_the_state_at_their_time() {
    let (app, shop) = (start().await, Receiver::start().await);
    app.make_sale("spring", 5.into(), 1).await;
    let (_, secret) = add(&app, &shop.url(), json!(["*"])).await;
    app.step("spring", "open").await;
    let order = buy(&app, 1).await;
    let reserved = app.admin("GET", "/v1/admin/orders", None).await.json()["orders"][0].clone();
    cancel(&app, 1, &order).await;
    app.step("spring", "close").await;
    let received = shop.until(30, "all events arrive", |received| received.len() >= 4).await;
    received.iter().for_each(|one| one.verify(&secret));
    let of = |what: &str| {
        received
            .iter()
            .find(|one| one.event_type() == what)
            .unwrap_or_else(|| panic!("{what}"))
            .json()
    };
    assert_eq!(of("sale.opened")["data"], json!({"sale": "spring"}));
    assert_eq!(of("sale.closed")["data"], json!({"sale": "spring"}));
    assert_eq!(
        of("order.reserved")["data"]["order"],
        reserved,
        "the event must show the order as it was before the cancellation"
    );
    let cancelled = of("order.cancelled");
    assert_eq!(cancelled["data"]["order"]["state"], "cancelled");
    assert_eq!(cancelled["timestamp"], cancelled["data"]["order"]["ended_at"]);
    assert_eq!(
        received.iter().map(ReceivedRequest::id).collect::<HashSet<_>>().len(),
        4,
        "each event must have its own id"
    );
    assert_eq!(event_types(&received, &order), ["order.reserved", "order.cancelled"]);
    // The server records a delivery a little after the endpoint received the event.
    crate::money::until("the metrics show the deliveries", async || {
        let metrics = app.get("/metrics").await.text();
        let delivered = metrics
            .contains(r#"doorbuster_deliveries_total{kind="webhook",outcome="delivered"} 4"#);
        (delivered && metrics.contains(r#"doorbuster_outbox_waiting_events{kind="webhook"} 0"#))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_receives_only_its_event_types_from_its_creation_on() {
    let (app, shop, all) = (start().await, Receiver::start().await, Receiver::start().await);
    app.open_sale("spring", 5.into(), 1).await;
    let before = buy(&app, 1).await;
    add(&app, &shop.url(), json!(["order.cancelled"])).await;
    add(&app, &all.url(), json!(["*"])).await;
    let after = buy(&app, 2).await;
    cancel(&app, 1, &before).await;
    cancel(&app, 2, &after).await;
    let received = all.until(30, "three events", |received| received.len() == 3).await;
    assert_eq!(
        event_types(&received, &before),
        ["order.cancelled"],
        "events from before the endpoint was added must not be sent"
    );
    let received = shop.until(30, "two events", |received| received.len() == 2).await;
    assert!(received.iter().all(|one| one.event_type() == "order.cancelled"));
}

#[tokio::test]
async fn a_receiver_that_fails_at_first_receives_every_event_in_order() {
    let app = start().await;
    let shop =
        Receiver::with(
            |n, _| if n < 3 { CannedReply::Status(500) } else { CannedReply::Status(204) },
        )
        .await;
    app.open_sale("spring", 9.into(), 1).await;
    let (_, secret) = add(&app, &shop.url(), json!(["*"])).await;
    let orders = [buy(&app, 1).await, buy(&app, 2).await];
    cancel(&app, 1, &orders[0]).await;
    let wanted = ["order.reserved", "order.cancelled"];
    let holds = |received: &[ReceivedRequest]| {
        event_types(received, &orders[0]) == wanted
            && event_types(received, &orders[1]) == wanted[..1]
    };
    let received = shop.until(60, "all events arrive", holds).await;
    received.iter().for_each(|one| one.verify(&secret));
    let mut gaps: HashMap<String, Vec<Instant>> = HashMap::new();
    received.iter().for_each(|one| gaps.entry(one.id()).or_default().push(one.at));
    for tries in gaps.values().filter(|tries| tries.len() > 1) {
        assert!(
            tries[1] - tries[0] >= Duration::from_millis(700),
            "the first pause must be about a second"
        );
    }
    let first: Vec<_> = received.iter().filter(|one| one.order() == orders[0]).collect();
    let cancelled = first
        .iter()
        .position(|one| one.event_type() == "order.cancelled")
        .expect("the event arrived");
    assert!(
        first[..cancelled].iter().any(|one| one.accepted),
        "an event must not overtake an event that was not accepted yet"
    );
}

#[tokio::test]
async fn one_slow_endpoint_does_not_hold_up_another() {
    let (app, slow, quick) = (
        start_hasty().await,
        Receiver::with(|_, _| CannedReply::Hang).await,
        Receiver::start().await,
    );
    app.open_sale("spring", 99.into(), 1).await;
    add(&app, &slow.url(), json!(["*"])).await;
    add(&app, &quick.url(), json!(["*"])).await;
    for n in 0..20 {
        buy(&app, n).await;
    }
    quick.until(5, "twenty events", |received| received.len() == 20).await;
    let hung = slow.until(60, "nine events", |received| received.len() > 8).await;
    assert!(!hung.is_empty());
    let path = "/v1/admin/webhook-endpoints";
    let slow_one = |list: &serde_json::Value| list["endpoints"][0]["failing"].as_u64() > Some(0);
    app.until(path, "the delivery to the hanging endpoint fails in time", slow_one).await;
}

#[tokio::test]
async fn a_hanging_endpoint_gets_a_bounded_number_of_concurrent_deliveries() {
    // The timeout is longer than the test, so that no delivery fails. After a failure, the worker
    // would start another delivery.
    let settings = [
        ("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true"),
        ("DOORBUSTER_WEBHOOKS__TIMEOUT_SECS", "60"),
    ];
    let app = TestApp::with(&settings).await;
    let (slow, quick) = (Receiver::with(|_, _| CannedReply::Hang).await, Receiver::start().await);
    app.open_sale("spring", 99.into(), 1).await;
    add(&app, &slow.url(), json!(["*"])).await;
    add(&app, &quick.url(), json!(["*"])).await;
    for n in 0..20 {
        buy(&app, n).await;
    }
    quick.until(30, "twenty events", |received| received.len() == 20).await;
    slow.until(30, "the endpoint gets the maximum number of deliveries", |received| {
        received.len() >= DELIVERIES_IN_FLIGHT_MAX
    })
    .await;
    // The worker polls twice a second, so without a limit it would send more events during this
    // pause.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let requests = slow.received();
    assert_eq!(requests.len(), DELIVERIES_IN_FLIGHT_MAX);
    let orders: HashSet<_> = requests.iter().map(ReceivedRequest::order).collect();
    assert_eq!(
        orders.len(),
        DELIVERIES_IN_FLIGHT_MAX,
        "each delivery must be about a different order"
    );
}

#[tokio::test]
async fn malformed_answers_cost_little_and_are_not_trusted() {
    let check = async |name: &str, answer: CannedReply, accepted: bool| {
        // `start_hasty` waits only 1 s for an answer, and a pause of the machine could delay an
        // answer for longer. So the cases in which the server must accept the answer have a longer
        // timeout.
        let app = if accepted { start().await } else { start_hasty().await };
        let other = Receiver::start().await;
        let target = other.url();
        let shop = Receiver::with(move |n, _| match (&answer, n) {
            (CannedReply::With(status, _), 0) => {
                CannedReply::With(*status, format!("location: {target}\r\n"))
            }
            (answer, 0) => answer.clone(),
            _ => CannedReply::Status(200),
        })
        .await;
        app.open_sale("spring", 9.into(), 1).await;
        let (id, _) = add(&app, &shop.url(), json!(["order.reserved"])).await;
        buy(&app, 1).await;
        if accepted {
            buy(&app, 2).await;
            shop.until(30, name, |received| received.len() >= 2).await;
            let path = format!("/v1/admin/webhook-endpoints/{id}");
            app.until(&path, name, |one| one["waiting"] == 0 && one["failing"] == 0).await;
            let received = shop.received();
            assert_eq!(received.len(), 2, "{name}: an accepted event must not be sent again");
            assert_ne!(received[0].id(), received[1].id(), "{name}");
            let metrics = app.get("/metrics").await.text();
            let failed = r#"doorbuster_deliveries_total{kind="webhook",outcome="failed"} 0"#;
            assert!(metrics.lines().any(|line| line == failed), "{name}: {metrics}");
        } else {
            let received = shop.until(30, name, |received| received.len() >= 2).await;
            assert_eq!(
                received[0].id(),
                received[1].id(),
                "{name}: the same event must be sent again"
            );
            assert_eq!(
                received[0].text, received[1].text,
                "{name}: the repeated event must have the same bytes"
            );
        }
        assert!(other.received().is_empty(), "{name}: the server must not follow a redirect");
    };
    check("a redirect", CannedReply::With(307, String::new()), false).await;
    check("a permanent redirect", CannedReply::With(301, String::new()), false).await;
    check("a closed connection", CannedReply::Drop, false).await;
    check("no answer", CannedReply::Hang, false).await;
    check("a late answer", CannedReply::Late(Duration::from_millis(500)), true).await;
    check("the answer comes too late", CannedReply::Late(Duration::from_millis(1_500)), false)
        .await;
    check("megabytes", CannedReply::Flood(64 << 20), true).await;
    check("the body does not end", CannedReply::Trickle, true).await;
    check("the status is unusual", CannedReply::Status(204), true).await;
    check("not found", CannedReply::Status(404), false).await;
}

#[tokio::test]
async fn oversized_and_endless_answers_are_cut_off_long_before_the_timeout() {
    let settings = [
        ("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true"),
        ("DOORBUSTER_WEBHOOKS__TIMEOUT_SECS", "60"),
    ];
    let app = TestApp::with(&settings).await;
    let floods = Receiver::with(|_, _| CannedReply::Flood(256 << 20)).await;
    let trickles = Receiver::with(|_, _| CannedReply::Trickle).await;
    app.open_sale("spring", 9.into(), 1).await;
    add(&app, &floods.url(), json!(["order.reserved"])).await;
    add(&app, &trickles.url(), json!(["order.reserved"])).await;
    buy(&app, 1).await;
    let flood = floods.aborted_bodies("the server stops reading").await;
    // The server reads only a few KiB. The rest of the sent bytes is in the buffers of the two
    // sockets.
    assert!(flood.bytes < 16 << 20, "{flood:?}");
    let trickle = trickles.aborted_bodies("the server stops waiting").await;
    assert!(trickle.after < Duration::from_secs(20) && trickle.bytes < 10_000, "{trickle:?}");
}

#[tokio::test]
async fn an_endpoint_that_is_down_receives_every_event_once_it_is_back() {
    let app = start().await;
    let is_up = Arc::new(AtomicBool::new(false));
    let up = is_up.clone();
    let answer = move |_: usize, _: &ReceivedRequest| {
        CannedReply::Status(if up.load(Ordering::SeqCst) { 200 } else { 503 })
    };
    let shop = Receiver::with(answer).await;
    app.open_sale("spring", 99.into(), 1).await;
    let (id, _) = add(&app, &shop.url(), json!(["*"])).await;
    let mut orders = Vec::new();
    for n in 0..40 {
        orders.push(buy(&app, n).await);
    }
    shop.until(30, "eight events", |received| received.len() >= 8).await;
    cancel(&app, 0, &orders[0]).await;
    let path = format!("/v1/admin/webhook-endpoints/{id}");
    let endpoint = app.until(&path, "events wait", |one| one["waiting"].as_u64() > Some(15)).await;
    let failing = endpoint["failing"].as_u64().expect("a number");
    assert!(failing < 20, "too many deliveries are stored as failing: {endpoint}");
    assert!(!endpoint["oldest_waiting_at"].is_null());
    assert!(lag(&app).await > 0.0, "the metric must show how long the oldest event has waited");
    let before = shop.received().len();
    assert!(before < 30, "the server must try one event at a time, but sent {before} requests");
    let metrics = app.get("/metrics").await.text();
    assert!(
        !metrics.contains(r#"doorbuster_outbox_waiting_events{kind="webhook"} 0"#),
        "{metrics}"
    );
    is_up.store(true, Ordering::SeqCst);
    let all = |received: &[ReceivedRequest]| {
        orders.iter().all(|order| !event_types(received, order).is_empty())
            && event_types(received, &orders[0]).len() == 2
    };
    let received = shop.until(120, "every event", all).await;
    assert_eq!(event_types(&received, &orders[0]), ["order.reserved", "order.cancelled"]);
    app.until(&path, "every event is delivered again", |one| {
        one["waiting"] == 0 && one["failing"] == 0
    })
    .await;
    assert_eq!(lag(&app).await, 0.0, "the metric must show that no event waits");
}

#[tokio::test]
async fn an_event_that_is_always_refused_becomes_a_dead_letter_and_later_events_continue() {
    let settings =
        [("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true"), ("DOORBUSTER_WEBHOOKS__TRIES", "2")];
    let app = TestApp::with(&settings).await;
    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = is_mended.clone();
    let answer = move |_: usize, request: &ReceivedRequest| {
        let is_bad = request.event_type() == "order.reserved"
            && request.json()["data"]["order"]["buyer"] == "buyer-1";
        CannedReply::Status(if is_bad && !mended.load(Ordering::SeqCst) { 400 } else { 200 })
    };
    let shop = Receiver::with(answer).await;
    app.open_sale("spring", 9.into(), 1).await;
    let (endpoint, _) = add(&app, &shop.url(), json!(["*"])).await;
    let order = buy(&app, 1).await;
    cancel(&app, 1, &order).await;
    let received = shop
        .until(30, "the later event arrives", |received| {
            event_types(received, &order) == ["order.cancelled"]
        })
        .await;
    assert_eq!(
        received.iter().filter(|one| one.event_type() == "order.reserved").count(),
        2,
        "the event must be tried the maximum number of times"
    );
    let letters = app
        .until("/v1/admin/dead-letters", "the dead letter is listed", |list| {
            list["dead_letters"][0].is_object()
        })
        .await;
    let letter = &letters["dead_letters"][0];
    assert_eq!(letter["kind"], "delivery");
    assert_eq!(
        (&letter["about"], &letter["type"], &letter["tries"]),
        (&json!(order), &json!("order.reserved"), &json!(2))
    );
    assert_eq!(
        (&letter["endpoint"], &letter["error"]),
        (&json!(endpoint), &json!("the endpoint answered 400"))
    );
    assert_eq!(letters["next_cursor"], json!(null));
    let metrics = app.get("/metrics").await.text();
    assert!(metrics.contains(r#"doorbuster_dead_letters{kind="delivery"} 1"#), "{metrics}");
    for outcome in ["failed", "dead"] {
        let line =
            format!(r#"doorbuster_deliveries_total{{kind="webhook",outcome="{outcome}"}} 1"#);
        assert!(metrics.lines().any(|found| found == line), "{outcome}: {metrics}");
    }
    is_mended.store(true, Ordering::SeqCst);
    let path = format!("/v1/admin/dead-letters/{}", letter["id"].as_str().expect("an id"));
    let retried = app.admin("POST", &format!("{path}/retry"), None).await;
    assert_eq!(retried.json(), json!({"id": letter["id"], "state": "pending"}));
    shop.until(30, "the event is delivered in the end", |received| {
        event_types(received, &order).len() == 2
    })
    .await;
    app.until("/v1/admin/dead-letters", "no dead letter is left", |list| {
        list["dead_letters"] == json!([])
    })
    .await;
    assert_eq!(app.admin("POST", &format!("{path}/retry"), None).await.verdict(), "404 not_found");
}
