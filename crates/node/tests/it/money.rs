//! Tests providers' messages about payments, and their effects for buyers and operators.

mod erasures;
mod exports;
mod inbox;
mod libraries;
mod nodes;
mod orders;
mod reversals;
mod sandbox;
mod stripe;
mod too_many;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::app::{TIMEOUT, TestApp};
use crate::http::Reply;
use crate::watch::Stopwatch;

/// The bytes of the secret that signs messages.
pub(crate) const KEY: &[u8; 32] = b"a secret that providers sign by.";

/// Returns these bytes as a secret, in the form that the settings require.
pub(crate) fn secret(key: &[u8]) -> String {
    format!("whsec_{}", STANDARD.encode(key))
}

/// Starts a server that accepts messages signed with [`KEY`].
pub(crate) async fn start() -> TestApp {
    TestApp::with(&[
        ("DOORBUSTER_PAYMENT__WEBHOOK_SECRET", &secret(KEY)),
        ("DOORBUSTER_PAYMENT__SANDBOX_PAGE", "true"),
    ])
    .await
}

pub(crate) fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Returns `v1,` and the signature. Computes the signature without the tested code.
pub(crate) fn signature(key: &[u8], id: &str, timestamp: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// Sends a message that is signed with [`KEY`] at the current time.
pub(crate) async fn send_message(app: &TestApp, id: &str, body: &Value) -> Reply {
    send_text(app, id, &body.to_string()).await
}

pub(crate) async fn send_text(app: &TestApp, id: &str, body: &str) -> Reply {
    let timestamp = now_secs().to_string();
    let signature = signature(KEY, id, &timestamp, body);
    send(
        app,
        &[("webhook-id", id), ("webhook-timestamp", &timestamp), ("webhook-signature", &signature)],
        body,
    )
    .await
}

pub(crate) async fn send(app: &TestApp, headers: &[(&str, &str)], body: &str) -> Reply {
    let headers = [&[("Content-Type", "application/json")], headers].concat();
    app.call("POST", "/v1/payments/sandbox/webhook", &headers, body.as_bytes()).await
}

pub(crate) fn captured(payment: &str, order: &str, minor: i64) -> Value {
    json!({"type": "payment.captured", "timestamp": "2026-11-20T10:00:00.000Z",
           "data": {"payment": payment, "order": order, "amount": {"amount_minor": minor, "currency": "CNY"}}})
}

/// Buys units of `phone`, which cost 0.10 yuan each. Returns the order's id.
pub(crate) async fn order(app: &TestApp, buyer: &str, key: &str, units: u32) -> String {
    let bought = app.buy(buyer, key, "spring", "phone", units).await;
    assert_eq!(bought.verdict(), "201", "{}", bought.text());
    bought.json()["id"].as_str().expect("an id").to_owned()
}

pub(crate) async fn read(app: &TestApp, order: &str) -> Value {
    app.admin("GET", &format!("/v1/admin/orders/{order}"), None).await.json()
}

/// Returns the payments that named this order, as `(payment, state)`.
pub(crate) async fn payments(app: &TestApp, order: &str) -> Vec<(String, String)> {
    pairs(app, "payments", "payment", order).await
}

/// Returns the refunds of payments that named this order, as `(payment, state)`.
pub(crate) async fn refunds(app: &TestApp, order: &str) -> Vec<(String, String)> {
    pairs(app, "refunds", "payment", order).await
}

async fn dead_refunds(app: &TestApp) -> u64 {
    let metrics = app.get("/metrics").await.text();
    let number = metrics
        .lines()
        .find_map(|line| line.strip_prefix(r#"doorbuster_dead_letters{kind="refund"} "#));
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{metrics}"))
}

async fn pairs(app: &TestApp, list: &str, name: &str, order: &str) -> Vec<(String, String)> {
    let order = order.replace(' ', "%20");
    let found = app.admin("GET", &format!("/v1/admin/{list}?order={order}"), None).await;
    assert_eq!(found.verdict(), "200", "{}", found.text());
    let found = found.json();
    let rows = found[list].as_array().expect("a list").iter();
    let word = |row: &Value, name: &str| row[name].as_str().expect("a text").to_owned();
    rows.map(|row| (word(row, name), word(row, "state"))).collect()
}

/// Creates a sale of `phone` with this stock and payment window, and opens it.
pub(crate) async fn open_sale(app: &TestApp, stock: Value, limit: u32, hold_secs: u32) {
    let mut sale = crate::app::sale("spring", stock, limit);
    sale["items"][0]["hold_secs"] = json!(hold_secs);
    let made = app.admin("POST", "/v1/admin/sales", Some(sale)).await;
    assert_eq!(made.verdict(), "201", "{}", made.text());
    app.step("spring", "open").await;
}

pub(crate) async fn assert_ledger_adds_up(app: &TestApp) {
    let audit = app.admin("GET", "/v1/admin/audit", None).await.json();
    assert_eq!(audit["ok"], true, "{audit}");
    let stock = app.admin("GET", "/v1/admin/sales/spring/stock", None).await.json();
    let item = &stock["items"][0];
    let units = |name: &str| item[name].as_u64().expect("a count");
    assert_eq!(
        units("total"),
        ["pool", "in_slots", "held", "paid"].map(units).iter().sum::<u64>(),
        "{item}"
    );
}

/// A payment window for tests. It is long enough for a buyer on a slow machine to pay, and short
/// enough for a test to wait until it ends.
pub(crate) const BRIEF_SECS: u32 = 5;

pub(crate) async fn until<T>(what: &str, mut holds: impl AsyncFnMut() -> Option<T>) -> T {
    let timer = Stopwatch::start();
    loop {
        if let Some(found) = holds().await {
            return found;
        }
        assert!(timer.elapsed() < TIMEOUT, "timed out; expected: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
