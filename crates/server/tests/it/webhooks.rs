//! Outgoing webhooks: receivers that fail, hang, trickle, redirect and flood, and operators who
//! manage endpoints and dead letters.

#[path = "webhooks/bodies.rs"]
mod bodies;
#[path = "webhooks/dead_letters.rs"]
mod dead_letters;
#[path = "webhooks/delivery.rs"]
mod delivery;
#[path = "webhooks/endpoints.rs"]
mod endpoints;
#[path = "webhooks/libraries.rs"]
mod libraries;
#[path = "webhooks/nodes.rs"]
mod nodes;
#[path = "webhooks/official.rs"]
pub(crate) mod official;
#[path = "webhooks/pause.rs"]
mod pause;
#[path = "webhooks/receiver.rs"]
pub(crate) mod receiver;
#[path = "webhooks/tls.rs"]
mod tls;

use serde_json::{Value, json};

use crate::app::TestApp;

/// A server that may tell this machine.
pub(crate) async fn start() -> TestApp {
    TestApp::with(&[("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true")]).await
}

/// One that waits for an answer for a second only: for receivers that give none in time.
async fn start_hasty() -> TestApp {
    let settings = [
        ("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true"),
        ("DOORBUSTER_WEBHOOKS__TIMEOUT_SECS", "1"),
    ];
    TestApp::with(&settings).await
}

/// Adds an endpoint; gives its id and secret.
pub(crate) async fn add(app: &TestApp, url: &str, types: Value) -> (String, String) {
    let body = json!({"url": url, "types": types});
    let reply = app.admin("POST", "/v1/admin/webhook-endpoints", Some(body)).await;
    assert_eq!(reply.verdict(), "201", "{}", reply.text());
    let created = reply.json();
    let text = |name: &str| created[name].as_str().expect("a text").to_owned();
    (text("id"), text("secret"))
}

/// Buys a unit of `spring`; gives the order's id.
pub(crate) async fn buy(app: &TestApp, n: usize) -> String {
    let bought = app.buy(&format!("buyer-{n}"), &format!("key-{n}"), "spring", "phone", 1).await;
    assert_eq!(bought.verdict(), "201", "{}", bought.text());
    bought.json()["id"].as_str().expect("an id").to_owned()
}

/// Its buyer gives an order up.
pub(crate) async fn cancel(app: &TestApp, n: usize, order: &str) {
    let reply =
        app.buyer(&format!("buyer-{n}"), "POST", &format!("/v1/orders/{order}/cancel")).await;
    assert_eq!(reply.verdict(), "200", "{}", reply.text());
}
