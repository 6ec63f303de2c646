//! Tests that every effective change by an operator is recorded as an action.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::app::{TIMEOUT, TestApp};
use crate::money::{captured, order, send_message, start};
use crate::watch::Stopwatch;

/// The actions that this test causes. Actions that need a failed or repeated delivery are left out.
const ACTIONS: [&str; 27] = [
    "block.created",
    "block.deleted",
    "buyer.erased",
    "codes.created",
    "codes.revoked",
    "endpoint.changed",
    "endpoint.created",
    "endpoint.deleted",
    "endpoint.secret_rotated",
    "key.created",
    "key.deleted",
    "order.cancelled",
    "order.extended",
    "order.refunded",
    "sale.changed",
    "sale.closed",
    "sale.created",
    "sale.deleted",
    "sale.opened",
    "sale.paused",
    "sale.resumed",
    "sale.scheduled",
    "sale.unscheduled",
    "session.created",
    "spread.changed",
    "stock.adjusted",
    "visitors.admitted",
];

async fn done(app: &TestApp, method: &str, path: &str, body: Option<Value>) -> Value {
    let key = [("Idempotency-Key", "k")];
    let reply = app.admin_with(method, &format!("/v1/admin/{path}"), &key, body).await;
    assert!(reply.status < 300, "{method} {path}: {}", reply.text());
    if reply.status == 204 { Value::Null } else { reply.json() }
}

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().expect("a text").to_owned()
}

async fn change_sales_and_orders(app: &TestApp) {
    app.make_sale("draft", 1.into(), 1).await;
    done(app, "DELETE", "sales/draft", None).await;
    app.make_sale("spring", 9.into(), 9).await;
    let starts_at = json!({"starts_at": "2100-01-01T00:00:00Z"});
    done(app, "PATCH", "sales/spring", Some(starts_at)).await;
    let spread =
        json!({"partitions": 2, "choose": "buyer", "initial": 0, "threshold": 0, "refill": 0});
    done(app, "PUT", "sales/spring/items/phone/spread", Some(spread)).await;
    for step in ["schedule", "unschedule", "open", "pause", "resume"] {
        app.step("spring", step).await;
    }
    let units = json!({"units": 1, "reason": "found"});
    done(app, "POST", "sales/spring/items/phone/adjustments", Some(units)).await;
    let [cancelled, paid] = [order(app, "ann", "k1", 1).await, order(app, "ann", "k2", 1).await];
    done(app, "POST", &format!("orders/{cancelled}/extend"), Some(json!({"secs": 60}))).await;
    done(app, "POST", &format!("orders/{cancelled}/cancel"), None).await;
    assert_eq!(send_message(app, "evt_1", &captured("pay_1", &paid, 10)).await.verdict(), "200");
    done(app, "POST", &format!("orders/{paid}/refund"), None).await;
    done(app, "POST", "sales/spring/access-codes", Some(json!({"count": 1}))).await;
    // Revokes all codes by their first character. Every code begins with one of these characters.
    for first in "0123456789ABCDEFGHJKMNPQRSTVWXYZ".chars() {
        done(app, "DELETE", &format!("sales/spring/access-codes/{first}"), None).await;
    }
}

async fn admit_visitors(app: &TestApp) {
    app.make_sale("queued", 1.into(), 1).await;
    let room = json!({"front_door": {"waiting_room": "always"}});
    done(app, "PATCH", "sales/queued", Some(room)).await;
    let admit = "sales/queued/waiting-room/admissions";
    let body = || Some(json!({"visitors": 5, "reason": "a test"}));
    let early = app.admin("POST", &format!("/v1/admin/{admit}"), body()).await;
    assert_eq!(
        early.verdict(),
        "409 wrong_state",
        "a sale that is not open must refuse to admit visitors"
    );
    app.step("queued", "open").await;
    // There is one unit, so the room by itself admits at most one of these buyers. The operator
    // admits the other buyers.
    for buyer in ["ann", "bob"] {
        let entered = app.buyer(buyer, "POST", "/v1/sales/queued/waiting-room").await;
        assert_eq!(entered.verdict(), "201");
    }
    let answer = done(app, "POST", admit, body()).await;
    assert!(answer["admitted"].as_u64().is_some_and(|n| n >= 1), "{answer}");
    assert_eq!(answer["waiting"], 0);
    for buyer in ["ann", "bob"] {
        let timer = Stopwatch::start();
        let place = async || app.buyer(buyer, "GET", "/v1/sales/queued/waiting-room").await.json();
        while place().await["state"] != "admitted" {
            assert!(timer.elapsed() < TIMEOUT, "{buyer} was not admitted");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let without = "/v1/admin/sales/spring/waiting-room/admissions";
    let without = app.admin("POST", without, body()).await;
    assert_eq!(
        without.verdict(),
        "404 not_found",
        "a sale without a waiting room must refuse to admit visitors"
    );
}

async fn change_access(app: &TestApp) {
    let key = done(app, "POST", "keys", Some(json!({"name": "n", "role": "admin"}))).await;
    let body = json!({"key": key["key"]}).to_string();
    let headers = [("Content-Type", "application/json")];
    let session = app.call("POST", "/v1/admin/session", &headers, body.as_bytes()).await;
    assert_eq!(session.verdict(), "204");
    done(app, "DELETE", &format!("keys/{}", text(&key, "id")), None).await;
    let block = json!({"kind": "buyer", "value": "eve", "reason": "a test"});
    let block = done(app, "POST", "blocks", Some(block)).await;
    done(app, "DELETE", &format!("blocks/{}", text(&block, "id")), None).await;
}

async fn change_endpoints(app: &TestApp) {
    let body = json!({"url": "https://93.184.216.34/hook", "types": ["*"], "enabled": false});
    let made = done(app, "POST", "webhook-endpoints", Some(body)).await;
    let path = format!("webhook-endpoints/{}", text(&made, "id"));
    for _ in 0..2 {
        done(app, "PATCH", &path, Some(json!({"types": ["order.paid"]}))).await;
    }
    done(app, "POST", &format!("{path}/rotate-secret"), None).await;
    done(app, "DELETE", &path, None).await;
}

#[tokio::test]
async fn every_kind_of_change_leaves_its_action() {
    let app = start().await;
    change_sales_and_orders(&app).await;
    admit_visitors(&app).await;
    change_access(&app).await;
    change_endpoints(&app).await;
    app.step("spring", "close").await;
    for _ in 0..2 {
        done(&app, "POST", "erasures", Some(json!({"buyer": "ann"}))).await;
    }
    let list = app.admin("GET", "/v1/admin/actions?limit=200", None).await.json();
    let rows = list["actions"].as_array().expect("a list");
    let found: BTreeSet<&str> = rows.iter().filter_map(|row| row["action"].as_str()).collect();
    assert_eq!(found, ACTIONS.into());
    let times = |action: &str| rows.iter().filter(|row| row["action"] == action).count();
    assert_eq!(
        times("endpoint.changed"),
        1,
        "a change without an effect must record no action: {list}"
    );
    assert_eq!(
        times("buyer.erased"),
        1,
        "an erasure without an effect must record no action: {list}"
    );
    assert_eq!(times("codes.revoked"), 1);
    let csv = app.admin("GET", "/v1/admin/exports/actions.csv", None).await;
    let text = csv.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "id,at,by,action,subject,changes,address,request_id");
    assert_eq!(lines.len(), rows.len() + 1, "the export must have every action");
    assert!(lines[1].starts_with("act_1,"), "the oldest action must come first: {}", lines[1]);
    let one = "/v1/admin/exports/actions.csv?action=sale.closed&subject=sale:spring&by=configured";
    let one = app.admin("GET", one, None).await;
    assert_eq!(one.text().lines().count(), 2, "{}", one.text());
}
