//! Tests which changed fields the record of an action contains.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::app::TestApp;

async fn changes(app: &TestApp, action: &str) -> Vec<Value> {
    let path = format!("/v1/admin/actions?limit=1&action={action}");
    let list = app.admin("GET", &path, None).await.json();
    list["actions"][0]["changes"].as_array().expect("changes").clone()
}

/// Adds to `paths` the JSON pointer of each value in `value` that is not an object.
fn add_paths(path: &str, value: &Value, paths: &mut BTreeSet<String>) {
    let Some(fields) = value.as_object() else {
        paths.insert(path.to_owned());
        return;
    };
    for (name, field) in fields {
        add_paths(&format!("{path}/{name}"), field, paths);
    }
}

#[tokio::test]
async fn the_actions_of_a_sales_creation_and_deletion_have_each_member_of_the_sale() {
    let app = TestApp::start().await;
    let money = |minor: i64| json!({"amount_minor": minor, "currency": "EUR"});
    let lamp = json!({
        "title": {"en": "Lamp", "zh": "台灯"}, "description": "Oak", "image": "/lamp.webp",
        "gallery": [{"image": "/back.webp", "alt": "The back"}],
        "facts": [{"name": "Weight", "value": "1 kg"}],
        "price": money(10), "list_price": money(20), "stock": 7, "limit_per_buyer": 2,
        "hold_secs": 60
    });
    let limit = json!({"burst": 5, "per_minute": 60});
    let mut sale = json!({
        "title": {"en": "Spring", "zh": "春"},
        "starts_at": "2100-01-01T00:00:00Z", "ends_at": "2100-01-02T00:00:00Z",
        "front_door": {
            "pass": "off", "challenge": "off", "pow_effort": 5000, "members_only": false,
            "min_level": 0, "access_codes": "off", "waiting_room": "off", "rooms": "sale",
            "limits": {"buyer": null, "ip": limit, "interface": limit}
        }
    });
    let mut members = BTreeSet::new();
    add_paths("", &sale, &mut members);
    add_paths("/items/lamp", &lamp, &mut members);
    let mut item = lamp;
    item["id"] = json!("lamp");
    sale["id"] = json!("spring");
    sale["items"] = json!([item]);
    let made = app.admin("POST", "/v1/admin/sales", Some(sale)).await;
    assert_eq!(made.verdict(), "201", "{}", made.text());
    let deleted = app.admin("DELETE", "/v1/admin/sales/spring", None).await;
    assert_eq!(deleted.verdict(), "204", "{}", deleted.text());
    for (action, value) in [("sale.created", "to"), ("sale.deleted", "from")] {
        let changes = changes(&app, action).await;
        let of = |path: &str| {
            let change = changes.iter().find(|change| change["path"] == path);
            change.map(|change| change[value].clone())
        };
        // The server chooses the phase and the spread of a new sale, so the request lacks them.
        let paths = changes.iter().map(|change| change["path"].as_str().expect("a path"));
        let is_chosen = |path: &str| path == "/phase" || path.starts_with("/items/lamp/spread/");
        let paths = paths.filter(|path| !is_chosen(path)).map(str::to_owned);
        assert_eq!(paths.collect::<BTreeSet<String>>(), members, "{action}");
        assert_eq!(of("/items/lamp/stock"), Some(json!(7)), "{action}");
        assert_eq!(of("/items/lamp/title/zh"), Some(json!("台灯")), "{action}");
    }
}

#[tokio::test]
async fn an_action_records_what_was_replaced_or_deleted() {
    let app = TestApp::start().await;
    let post = async |path: &str, body: Option<Value>| {
        let reply = app.admin("POST", &format!("/v1/admin/{path}"), body).await;
        assert!(reply.status < 300, "{path}: {}", reply.text());
        reply.json()
    };
    let delete = async |path: &str, made: &Value| {
        let path = format!("/v1/admin/{path}/{}", made["id"].as_str().expect("an id"));
        assert_eq!(app.admin("DELETE", &path, None).await.verdict(), "204");
    };
    let change = |path: &str, from: Value, to: Value| json!({"path": path, "from": from, "to": to});
    let block = json!({"kind": "buyer", "value": "eve", "reason": "a robot"});
    post("blocks", Some(block)).await;
    let end = "2100-01-01T00:00:00.000Z";
    let block = json!({"kind": "buyer", "value": "eve", "reason": "a test", "expires_at": end});
    let block = post("blocks", Some(block)).await;
    let replaced = [
        change("/expires_at", Value::Null, json!(end)),
        change("/reason", json!("a robot"), json!("a test")),
    ];
    assert_eq!(changes(&app, "block.created").await, replaced);
    delete("blocks", &block).await;
    let gone = |path: &str, from: &str| change(path, json!(from), Value::Null);
    let deleted = [gone("/expires_at", end), gone("/kind", "buyer"), gone("/reason", "a test")];
    assert_eq!(changes(&app, "block.deleted").await, deleted);
    let key = post("keys", Some(json!({"name": "night shift", "role": "viewer"}))).await;
    delete("keys", &key).await;
    let deleted = [gone("/name", "night shift"), gone("/role", "viewer")];
    assert_eq!(changes(&app, "key.deleted").await, deleted);
    let body = json!({"url": "https://93.184.216.34/hook", "types": ["*"], "enabled": false});
    let endpoint = post("webhook-endpoints", Some(body)).await;
    let rotate =
        format!("webhook-endpoints/{}/rotate-secret", endpoint["id"].as_str().expect("an id"));
    // An endpoint has at most five secrets. So the last rotation replaces one secret, and the
    // number of secrets stays the same. The action has one change: the time at which the old
    // secrets expire.
    for _ in 0..5 {
        post(&rotate, None).await;
    }
    let rotated = changes(&app, "endpoint.secret_rotated").await;
    assert_eq!(rotated.len(), 1, "{rotated:?}");
    assert_eq!(rotated[0]["path"], "/old_secrets_expire_at");
    assert!(rotated[0]["to"].is_string(), "{rotated:?}");
}
