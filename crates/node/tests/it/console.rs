//! Tests the console's endpoints: sessions, actions, nodes, statistics, a buyer's history, and the
//! check before opening.

mod buyers;
mod changes;
mod check;
mod every_action;
mod series;
#[path = "console/sign_in.rs"]
mod sign_in;

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::app::{TestApp, bearer};
use crate::http::Reply;

const CONSOLE: (&str, &str) = ("x-doorbuster-console", "1");

/// Returns the key's id and the key.
async fn new_key(app: &TestApp, role: &str) -> (String, String) {
    let body = json!({"name": "night shift", "role": role});
    let made = app.admin("POST", "/v1/admin/keys", Some(body)).await.json();
    let text = |member: &str| made[member].as_str().expect("a text").to_owned();
    (text("id"), text("key"))
}

async fn sign_in(app: &TestApp, key: &str) -> Reply {
    let body = json!({ "key": key }).to_string();
    let headers = [("content-type", "application/json")];
    app.call("POST", "/v1/admin/session", &headers, body.as_bytes()).await
}

/// Returns the cookie as `name=value`.
fn cookie(reply: &Reply) -> String {
    let set = reply.header("set-cookie").expect("a cookie");
    set.split(';').next().expect("a pair").to_owned()
}

fn actions(list: &Value) -> Vec<(String, String)> {
    let rows = list["actions"].as_array().expect("a list");
    let text = |row: &Value, member: &str| row[member].as_str().expect("a text").to_owned();
    rows.iter().map(|row| (text(row, "action"), text(row, "subject"))).collect()
}

#[tokio::test]
async fn a_session_has_the_rights_of_its_key_and_ends_with_it() {
    let app = TestApp::start().await;
    let (id, key) = new_key(&app, "viewer").await;
    let made = sign_in(&app, &key).await;
    assert_eq!(made.verdict(), "204", "{}", made.text());
    let set = made.header("set-cookie").expect("a cookie");
    for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/", "; Max-Age=28800"] {
        assert!(set.contains(part), "{set} lacks {part}");
    }
    assert!(
        !set.contains("Secure"),
        "without an HTTPS address, the cookie must work over plain HTTP: {set}"
    );
    let cookie = cookie(&made);
    let with = |extra: Option<(&'static str, &'static str)>| {
        let mut headers = vec![("cookie", cookie.as_str())];
        headers.extend(extra);
        headers
    };
    let read = app.call("GET", "/v1/admin/session", &with(None), b"").await;
    let session = read.json();
    assert_eq!(session["key"], json!({"id": id, "name": "night shift"}));
    assert_eq!(session["role"], "viewer");
    assert!(session["expires_at"].is_string());
    let sales = app.call("GET", "/v1/admin/sales", &with(None), b"").await;
    assert_eq!(sales.verdict(), "200");
    for (method, body) in [("DELETE", String::new()), ("POST", json!({ "key": key }).to_string())] {
        let headers = with(Some(("content-type", "application/json")));
        let forged = app.call(method, "/v1/admin/session", &headers, body.as_bytes()).await;
        assert_eq!(
            forged.verdict(),
            "403 forbidden",
            "{method} without the console's header must be refused"
        );
        assert_eq!(
            forged.header("set-cookie"),
            None,
            "{method} without the console's header must be refused"
        );
    }
    let body = json!({ "key": key }).to_string();
    let headers = [("content-type", "application/json"), ("cookie", cookie.as_str()), CONSOLE];
    let again = app.call("POST", "/v1/admin/session", &headers, body.as_bytes()).await;
    assert_eq!(again.verdict(), "204", "{}", again.text());
    let refused =
        app.call("DELETE", &format!("/v1/admin/keys/{id}"), &with(Some(CONSOLE)), b"").await;
    assert_eq!(refused.verdict(), "403 forbidden", "a viewer must not delete keys");
    let deleted = app.admin("DELETE", &format!("/v1/admin/keys/{id}"), None).await;
    assert_eq!(deleted.verdict(), "204");
    let ended = app.call("GET", "/v1/admin/session", &with(None), b"").await;
    assert_eq!(ended.verdict(), "401 unauthenticated");
}

#[tokio::test]
async fn a_session_ends_when_the_operator_signs_out() {
    let app = TestApp::start().await;
    let (id, key) = new_key(&app, "operator").await;
    let cookie = cookie(&sign_in(&app, &key).await);
    let headers = [("cookie", cookie.as_str()), CONSOLE];
    let out = app.call("DELETE", "/v1/admin/session", &headers, b"").await;
    assert_eq!(out.verdict(), "204");
    assert!(out.header("set-cookie").is_some_and(|set| set.contains("Max-Age=0")));
    let after = app.call("GET", "/v1/admin/session", &headers, b"").await;
    assert_eq!(after.verdict(), "401 unauthenticated");
    let list = app.admin("GET", &format!("/v1/admin/actions?by={id}"), None).await.json();
    let subject = format!("key:{id}");
    let wanted = ["session.deleted", "session.created"].map(|a| (a.to_owned(), subject.clone()));
    assert_eq!(actions(&list), wanted);
}

#[tokio::test]
async fn the_cookie_is_for_https_alone_where_browsers_use_https() {
    let plain = TestApp::start().await;
    let (_, key) = new_key(&plain, "viewer").await;
    let body = json!({ "key": key }).to_string();
    let headers = [("content-type", "application/json"), ("x-forwarded-proto", "https")];
    let by_proxy = plain.call("POST", "/v1/admin/session", &headers, body.as_bytes()).await;
    let by_setting = TestApp::with(&[("DOORBUSTER_PAGE__URL", "https://shop.example")]).await;
    let (_, key) = new_key(&by_setting, "viewer").await;
    for reply in [by_proxy, sign_in(&by_setting, &key).await] {
        let set = reply.header("set-cookie").expect("a cookie");
        assert!(set.ends_with("; Secure"), "{set}");
    }
}

async fn guess_until_refused(app: &TestApp) {
    // An address may try ten wrong keys in each minute. A new minute may begin during the loop, so
    // the loop tries more than 20 keys.
    for guess in 0..22 {
        if sign_in(app, &format!("dbk_guess_{guess}")).await.status == 429 {
            return;
        }
    }
    panic!("no key was refused");
}

fn secs_left_in_minute() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    60 - now.as_secs() % 60
}

#[tokio::test]
async fn an_address_that_guesses_keys_is_refused_for_a_minute() {
    let app = TestApp::start().await;
    let (_, key) = new_key(&app, "viewer").await;
    for guess in 0..10 {
        let wrong = sign_in(&app, &format!("dbk_wrong_{guess}")).await;
        assert_eq!(wrong.verdict(), "401 unauthenticated");
    }
    // A new minute may begin between the refused guess and the right key. Then the right key is
    // accepted, and the test tries again.
    for _ in 0..3 {
        guess_until_refused(&app).await;
        let before = secs_left_in_minute();
        let right = sign_in(&app, &key).await;
        let after = secs_left_in_minute();
        if right.status == 429 && after <= before {
            assert_eq!(right.verdict(), "429 rate_limited");
            let secs = right.header("retry-after").expect("a 429 has it");
            let secs: u64 = secs.parse().expect("seconds");
            let expected = after - 1..=before + 1;
            assert!(expected.contains(&secs), "{secs} is not in {expected:?}");
            return;
        }
    }
    panic!("the right key was not refused");
}

#[tokio::test]
async fn each_change_by_an_operator_is_an_action() {
    let app = TestApp::start().await;
    app.make_sale("spring", 5.into(), 1).await;
    let path = "/v1/admin/sales/spring";
    let change = |title: &str| Some(json!({ "title": title }));
    app.admin("PATCH", path, change("Summer drop")).await;
    app.admin("PATCH", path, change("Summer drop")).await;
    let refused = app.admin("PATCH", path, Some(json!({"items": [{"id": "none"}]}))).await;
    assert_eq!(refused.verdict(), "422 invalid_request");
    let times = json!({"starts_at": "2100-01-01T00:00:00Z"});
    app.admin("PATCH", path, Some(times)).await;
    app.step("spring", "schedule").await;
    app.step("spring", "unschedule").await;
    app.step("spring", "unschedule").await;
    app.step("spring", "open").await;
    let order = app.buy("ann", "k1", "spring", "phone", 1).await.json();
    let order = order["id"].as_str().expect("an order").to_owned();
    let cancel = format!("/v1/admin/orders/{order}/cancel");
    let reply = app.admin("POST", &cancel, Some(json!({"reason": "a test"}))).await;
    let request_id = reply.header("x-request-id").expect("an id").to_owned();
    app.admin("POST", &cancel, None).await;
    let adjust = "/v1/admin/sales/spring/items/phone/adjustments";
    let body = json!({"units": 2, "reason": "found a box"});
    for _ in 0..2 {
        let key = [("Idempotency-Key", "a1")];
        let reply = app.admin_with("POST", adjust, &key, Some(body.clone())).await;
        assert_eq!(reply.verdict(), "200", "{}", reply.text());
    }
    let list = app.admin("GET", "/v1/admin/actions", None).await.json();
    let sale = |action: &str| (action.to_owned(), "sale:spring".to_owned());
    let wanted = [
        sale("stock.adjusted"),
        ("order.cancelled".to_owned(), format!("order:{order}")),
        sale("sale.opened"),
        sale("sale.unscheduled"),
        sale("sale.scheduled"),
        sale("sale.changed"),
        sale("sale.changed"),
        sale("sale.created"),
    ];
    assert_eq!(actions(&list), wanted);
    let rows = list["actions"].as_array().expect("a list");
    assert_eq!(
        rows[0]["changes"],
        json!([
            {"path": "/total", "from": 5, "to": 7},
            {"path": "/reason", "from": null, "to": "found a box"},
            {"path": "/item", "from": null, "to": "phone"}
        ])
    );
    assert_eq!(
        rows[1]["changes"],
        json!([
            {"path": "/state", "from": "reserved", "to": "cancelled"},
            {"path": "/reason", "from": null, "to": "a test"}
        ])
    );
    assert_eq!(rows[1]["request_id"], request_id);
    assert_eq!(rows[1]["by"], "configured");
    assert_eq!(rows[1]["address"], "127.0.0.1");
    assert_eq!(
        rows[5]["changes"],
        json!([{"path": "/starts_at", "from": null, "to": "2100-01-01T00:00:00.000Z"}])
    );
}

#[tokio::test]
async fn actions_are_filtered_and_listed_page_by_page() {
    let app = TestApp::start().await;
    app.open_sale("spring", 5.into(), 1).await;
    app.make_sale("autumn", 5.into(), 1).await;
    app.step("spring", "pause").await;
    let list = async |query: &str| {
        app.admin("GET", &format!("/v1/admin/actions?{query}"), None).await.json()
    };
    let row = |action: &str, sale: &str| (action.to_owned(), format!("sale:{sale}"));
    let all = [
        row("sale.paused", "spring"),
        row("sale.created", "autumn"),
        row("sale.opened", "spring"),
        row("sale.created", "spring"),
    ];
    assert_eq!(actions(&list("subject=sale:autumn").await), all[1..2]);
    assert_eq!(actions(&list("action=sale.paused&by=configured").await), all[..1]);
    assert_eq!(actions(&list("by=key_none").await), []);
    let page = list("limit=3").await;
    assert_eq!(actions(&page), all[..3]);
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let next = list(&format!("limit=200&cursor={cursor}")).await;
    assert_eq!((actions(&next).as_slice(), &next["next_cursor"]), (&all[3..], &Value::Null));
    let wrong = app.admin("GET", "/v1/admin/actions?by=%20", None).await;
    assert_eq!(wrong.verdict(), "422 invalid_request");
}

#[tokio::test]
async fn an_action_never_shows_a_secret() {
    let app = TestApp::start().await;
    let (_, key) = new_key(&app, "operator").await;
    let body = json!({"url": "https://user:pass@shop.example/secret-path", "types": ["*"]});
    let made = app.admin("POST", "/v1/admin/webhook-endpoints", Some(body)).await;
    app.make_sale("spring", 5.into(), 1).await;
    let codes = "/v1/admin/sales/spring/access-codes";
    let codes = app.admin("POST", codes, Some(json!({"count": 1}))).await.json();
    let text = app.admin("GET", "/v1/admin/actions", None).await.text().to_owned();
    let code = codes["codes"][0].as_str().expect("a code");
    let secret = made.json()["secret"].as_str().unwrap_or("whsec_").to_owned();
    for secret in [key.as_str(), &secret, "secret-path", "pass@", code] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    assert!(text.contains("codes.created") && text.contains("key.created"), "{text}");
}

#[tokio::test]
async fn one_node_describes_itself_its_store_and_its_slots() {
    let app = TestApp::start().await;
    let list = app.admin("GET", "/v1/admin/nodes", None).await.json();
    let node = &list["nodes"][0];
    assert_eq!(node["roles"], json!(["api", "settle", "control"]));
    assert_eq!((&node["leader"], &node["lease_until"]), (&true.into(), &Value::Null));
    assert_eq!(node["lag_ms"], 0, "the only node must have no lag");
    assert!(node["version"].is_string() && node["started_at"].is_string());
    assert!(node["connections"].as_u64().is_some_and(|open| open >= 1), "{node}");
    assert_eq!(list["store"]["kind"], "sqlite");
    assert_eq!(list["slots"], json!([{"server": "memory", "up": true, "role": "memory"}]));
}

#[tokio::test]
async fn a_spread_is_read_and_codes_are_revoked() {
    let app = TestApp::start().await;
    app.make_sale("spring", 5.into(), 1).await;
    let path = "/v1/admin/sales/spring/items/phone/spread";
    let spread = app.admin("GET", path, None).await;
    assert_eq!((spread.verdict().as_str(), &spread.json()["partitions"]), ("200", &1.into()));
    let missing = app.admin("GET", "/v1/admin/sales/spring/items/none/spread", None).await;
    assert_eq!(missing.verdict(), "404 not_found");
    let codes = "/v1/admin/sales/spring/access-codes";
    let made = app.admin("POST", codes, Some(json!({"count": 3}))).await.json();
    let code = made["codes"][0].as_str().expect("a code");
    let revoke = async |prefix: &str| app.admin("DELETE", &format!("{codes}/{prefix}"), None).await;
    assert_eq!(revoke(code).await.json(), json!({"revoked": 1}));
    assert_eq!(revoke(code).await.json(), json!({"revoked": 0}));
    let second = made["codes"][1].as_str().expect("a code");
    assert!(revoke(&second[..4]).await.json()["revoked"].as_u64().is_some_and(|n| n >= 1));
    for wrong in ["ABCDE", "UUUU"] {
        assert_eq!(revoke(wrong).await.verdict(), "404 not_found", "{wrong}");
    }
    let counts = app.admin("GET", codes, None).await.json();
    assert!(counts["codes"].as_u64().is_some_and(|left| left <= 1), "{counts}");
}

#[tokio::test]
async fn a_waitlist_is_listed_first_come_first() {
    let app = TestApp::start().await;
    app.open_sale("spring", 3.into(), 3).await;
    app.buy("ann", "k", "spring", "phone", 3).await;
    let path = "/v1/sales/spring/items/phone/waitlist";
    for buyer in ["bob", "eve", "joe"] {
        let token = bearer(buyer);
        let headers = [("Authorization", token.as_str()), ("Idempotency-Key", "w")];
        let joined = app.call("POST", path, &headers, b"").await;
        assert_eq!(joined.verdict(), "201", "{buyer}: {}", joined.text());
    }
    let list = async |query: &str| {
        let path = format!("/v1/admin/sales/spring/items/phone/waitlist?{query}");
        app.admin("GET", &path, None).await.json()
    };
    let entries = |page: &Value| -> Vec<(Value, Value)> {
        let rows = page["entries"].as_array().expect("a list");
        rows.iter().map(|row| (row["buyer"].clone(), row["ahead"].clone())).collect()
    };
    let all: Vec<(Value, Value)> = ["bob", "eve", "joe"]
        .map(Value::from)
        .into_iter()
        .zip([0, 1, 2].map(Value::from))
        .collect();
    let whole = list("").await;
    assert_eq!((entries(&whole), &whole["next_cursor"]), (all.clone(), &Value::Null));
    let page = list("limit=2").await;
    assert_eq!(entries(&page), all[..2]);
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    assert_eq!(entries(&list(&format!("cursor={cursor}")).await), all[2..]);
    let missing = "/v1/admin/sales/spring/items/none/waitlist";
    assert_eq!(app.admin("GET", missing, None).await.verdict(), "404 not_found");
}
