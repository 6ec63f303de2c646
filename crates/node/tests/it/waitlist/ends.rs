//! Tests the end of a waitlist and of its entries. A waitlist ends with its sale, even if the
//! server restarts in the meantime. Each entry gets one event about its end.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{IdKey, Millis};
use doorbuster_store::{SqliteOptions, Store};
use serde_json::{Value, json};

use super::{TIMEOUT, WAITLIST};
use crate::app::TestApp;
use crate::events::{next, socket};
use crate::money::{self, captured, now_secs, send_message};
use crate::webhooks::receiver::{ReceivedRequest, Receiver};

const STOCK: &str = "/v1/admin/sales/spring/stock";
const SETTINGS: [(&str, &str); 1] = [("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true")];

/// Returns the type and the id of each event about the order or the waitlist entry `id`.
fn states_sent(received: &[ReceivedRequest], id: &str) -> BTreeSet<(String, String)> {
    received
        .iter()
        .filter(|one| one.order() == id)
        .map(|one| (one.event_type(), one.id()))
        .collect()
}

/// Closes the sale only in the database, as if the server had stopped before it ended the sale's
/// waitlists.
async fn close_behind_its_back(dir: &Path) {
    let at = Millis((now_secs() + 1).cast_signed() * 1_000);
    let store = Store::open_sqlite(SqliteOptions {
        dir: dir.to_owned(),
        id_key: IdKey::new([0; 32]),
        clock: Arc::new(move || at),
        sink: Arc::new(|_| {}),
        on_fatal: Arc::new(|_| {}),
    });
    let store = store.expect("no other process uses the database");
    store.step_sale("spring", PhaseStep::Close).await.expect("writes");
    store.close().await;
}

async fn nobody_waits(app: &TestApp) -> Value {
    let found =
        app.until(STOCK, "the waitlist ends", |found| found["items"][0]["waiting"] == 0).await;
    assert_eq!(found["items"][0]["kept"], 0, "{found}");
    found["items"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waitlist_survives_a_restart() {
    let app = TestApp::start().await;
    let first = app.held_out(1, 1, 900).await;
    let (b, c) = (app.joined("b").await, app.joined("c").await);
    app.step("spring", "pause").await;
    app.cancel("a", &first).await;
    let dir = app.stop().await;
    let app = TestApp::try_start(dir, &[], false).await.expect("the server starts again");
    let waits = app.waiting_entry("c", &c).await;
    assert_eq!((&waits["state"], &waits["ahead"]), (&json!("waiting"), &json!(1)));
    app.step("spring", "resume").await;
    app.becomes("b", &b, "reserved").await;
    let dir = app.stop().await;
    let app = TestApp::try_start(dir, &[], false).await.expect("the server starts again");
    assert_eq!(app.buy("d", "k", "spring", "phone", 1).await.verdict(), "409 sold_out");
    app.cancel("b", &b).await;
    app.becomes("c", &c, "reserved").await;
    app.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_that_closes_ends_its_waitlist_with_an_event_for_each_entry() {
    let (app, shop) = (crate::webhooks::start().await, Receiver::start().await);
    let first = app.held_out(2, 1, 900).await;
    crate::webhooks::add(&app, &shop.url(), json!(["order.refused", "order.cancelled"])).await;
    let (b, c) = (app.joined("b").await, app.joined("c").await);
    let mut events = socket(&app, "b", "").await;
    app.step("spring", "close").await;
    let mut over = Vec::new();
    for (buyer, id) in [("b", &b), ("c", &c)] {
        let read = app.waiting_entry(buyer, id).await;
        assert_eq!(
            (&read["state"], &read["code"]),
            (&json!("refused"), &json!("ended")),
            "the entry must have ended with the sale"
        );
        over.push(read);
    }
    nobody_waits(&app).await;
    for (buyer, read) in [("b", &over[0]), ("c", &over[1])] {
        assert_eq!(
            app.waiting_entry(buyer, read["id"].as_str().expect("an id")).await,
            *read,
            "a verdict must not change"
        );
        assert_eq!(app.buyer(buyer, "DELETE", WAITLIST).await.verdict(), "204");
        assert_eq!(app.join(buyer, "line").await.verdict(), "409 ended");
    }
    let operators = app.admin("GET", &format!("/v1/admin/orders/{b}"), None).await.json();
    assert_eq!((&operators["code"], &operators["buyer"]), (&json!("ended"), &json!("b")));
    loop {
        let event = next(&mut events).await;
        if event["order"]["id"] == *b {
            assert_eq!(event["order"], over[0]);
            break;
        }
    }
    // The waitlist has ended, so the server keeps no returned units for it. The event of this
    // cancellation comes after all events of the waitlist. When this event has arrived, all events
    // of the waitlist have arrived.
    app.cancel("a", &first).await;
    let row = nobody_waits(&app).await;
    assert_eq!((&row["pool"], &row["held"]), (&json!(2), &json!(1)));
    let received = shop
        .until(10, "the event about the cancellation arrives", |received| {
            received.iter().any(|one| one.order() == first)
        })
        .await;
    for read in &over {
        let id = read["id"].as_str().expect("an id");
        let mine = received.iter().find(|one| one.order() == id).expect("the entry has an event");
        assert_eq!(
            (mine.event_type().as_str(), &mine.json()["data"]["order"]),
            ("order.refused", read),
            "the event must show the entry as the API does"
        );
        assert_eq!(
            states_sent(&received, id).len(),
            1,
            "each entry must have one event: {received:?}"
        );
    }
    let (line, begun) = ("doorbuster_waitlist_ended_total{outcome=\"closed\"} 2", Instant::now());
    while !app.get("/metrics").await.text().lines().any(|found| found == line) {
        assert!(begun.elapsed() < TIMEOUT, "{line}");
    }
    app.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waitlist_left_by_an_ended_sale_ends_at_startup_with_one_event() {
    let (app, shop) = (crate::webhooks::start().await, Receiver::start().await);
    let first = app.held_out(2, 1, 900).await;
    crate::webhooks::add(&app, &shop.url(), json!(["order.refused", "order.cancelled"])).await;
    let entries = [app.joined("b").await, app.joined("c").await];
    let dir = app.stop().await;
    close_behind_its_back(&dir).await;
    let app = TestApp::try_start(dir, &SETTINGS, false).await.expect("the server starts again");
    let read = app.waiting_entry("b", &entries[0]).await;
    assert_eq!((&read["state"], &read["code"]), (&json!("refused"), &json!("ended")));
    nobody_waits(&app).await;
    let both = |received: &[ReceivedRequest]| {
        entries.iter().all(|id| received.iter().any(|one| one.order() == *id))
    };
    shop.until(10, "both entries have an event", both).await;
    let dir = app.stop().await;
    let app = TestApp::try_start(dir, &SETTINGS, false).await.expect("the server starts again");
    nobody_waits(&app).await;
    // The event of this cancellation comes after all events of the waitlist. When this event has
    // arrived, all events of the waitlist have arrived.
    app.cancel("a", &first).await;
    let received = shop
        .until(10, "the event about the cancellation arrives", |received| {
            received.iter().any(|one| one.order() == first)
        })
        .await;
    for id in &entries {
        let states = states_sent(&received, id);
        assert_eq!(
            states.iter().map(|(what, _)| what.as_str()).collect::<Vec<_>>(),
            ["order.refused"],
            "{received:?}"
        );
    }
    app.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waitlist_entry_that_became_an_order_cannot_be_left() {
    let app = TestApp::start().await;
    let first = app.held_out(1, 2, 900).await;
    let b = app.joined("b").await;
    app.cancel("a", &first).await;
    app.becomes("b", &b, "reserved").await;
    let leave = async |buyer: &str| {
        let reply = app.buyer(buyer, "DELETE", WAITLIST).await;
        let state = if reply.status == 409 { reply.json()["state"].clone() } else { Value::Null };
        (reply.verdict(), state)
    };
    for _ in 0..2 {
        assert_eq!(leave("b").await, ("409 wrong_state".into(), json!("reserved")));
    }
    assert_eq!(app.waiting_entry("b", &b).await["state"], "reserved", "the order must stay");
    assert_eq!(leave("d").await.0, "204", "leaving without an entry must succeed");
    app.joined("c").await;
    for _ in 0..2 {
        assert_eq!(leave("c").await.0, "204", "a buyer who left must be able to leave again");
    }
    app.cancel("b", &b).await;
    assert_eq!(
        leave("b").await,
        ("409 wrong_state".into(), json!("cancelled")),
        "the answer must be the same after the order has ended"
    );
    app.step("spring", "close").await;
    assert_eq!(
        leave("b").await,
        ("409 wrong_state".into(), json!("cancelled")),
        "the answer must be the same after the sale's end"
    );
    app.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_for_a_waitlist_entry_is_refunded_and_pays_for_no_order() {
    let app = money::start().await;
    let first = app.held_out(1, 1, 900).await;
    let b = app.joined("b").await;
    assert_eq!(
        send_message(&app, "evt_early", &captured("pay_early", &b, 10)).await.verdict(),
        "200"
    );
    app.cancel("a", &first).await;
    app.becomes("b", &b, "reserved").await;
    let history = app.buyer("b", "GET", &format!("/v1/orders/{b}/history")).await.json();
    assert_eq!(history["refunds"][0]["cause"], "unknown_order", "{history}");
    let audit = app.admin("GET", "/v1/admin/audit", None).await.json();
    let notice = &audit["notices"][0];
    assert_eq!(
        (&notice["kind"], &notice["order"]),
        (&json!("unknown_order"), &json!(b)),
        "{audit}"
    );
    assert!(
        notice["detail"]
            .as_str()
            .is_some_and(|said| said.contains("named an order that does not exist")),
        "{notice}"
    );
    for (list, has_it) in [("payments.csv", true), ("payments.csv?sale=spring", false)] {
        let export = app.admin("GET", &format!("/v1/admin/exports/{list}"), None).await.text();
        assert_eq!(export.contains("pay_early"), has_it, "{list}: {export}");
    }
    // The payment arrives after the entry has become an order.
    assert_eq!(
        send_message(&app, "evt_then", &captured("pay_then", &b, 10)).await.verdict(),
        "200"
    );
    assert_eq!(app.waiting_entry("b", &b).await["state"], "paid");
    app.is_well().await;
}
