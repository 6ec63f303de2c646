//! Tests outgoing webhooks: receivers that fail or misbehave, endpoints, and dead letters.

mod bodies;
mod dead_letters;
mod delivery;
mod endpoints;
mod libraries;
mod nodes;
pub(crate) mod official;
mod pause;
pub(crate) mod receiver;
mod tls;

use serde_json::{Value, json};

use crate::app::TestApp;

pub(crate) async fn start() -> TestApp {
    TestApp::with(&[("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true")]).await
}

/// Starts a server that waits only one second for a receiver's answer. Tests use it with receivers
/// that answer too late.
async fn start_hasty() -> TestApp {
    let settings = [
        ("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true"),
        ("DOORBUSTER_WEBHOOKS__TIMEOUT_SECS", "1"),
    ];
    TestApp::with(&settings).await
}

/// Returns the endpoint's id and secret.
pub(crate) async fn add(app: &TestApp, url: &str, types: Value) -> (String, String) {
    let body = json!({"url": url, "types": types});
    let reply = app.admin("POST", "/v1/admin/webhook-endpoints", Some(body)).await;
    assert_eq!(reply.verdict(), "201", "{}", reply.text());
    let created = reply.json();
    let text = |name: &str| created[name].as_str().expect("a text").to_owned();
    (text("id"), text("secret"))
}

/// Returns the order's id.
pub(crate) async fn buy(app: &TestApp, n: usize) -> String {
    let bought = app.buy(&format!("buyer-{n}"), &format!("key-{n}"), "spring", "phone", 1).await;
    assert_eq!(bought.verdict(), "201", "{}", bought.text());
    bought.json()["id"].as_str().expect("an id").to_owned()
}

pub(crate) async fn cancel(app: &TestApp, n: usize, order: &str) {
    let reply =
        app.buyer(&format!("buyer-{n}"), "POST", &format!("/v1/orders/{order}/cancel")).await;
    assert_eq!(reply.verdict(), "200", "{}", reply.text());
}
