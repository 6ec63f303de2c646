//! Tests the erasure of a buyer through the API.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorbuster_core::limits::BREAKER_FAILURES;
use serde_json::{Value, json};

use super::{
    assert_ledger_adds_up, captured, open_sale, order, payments, read, send_message, start,
};
use crate::app::{TestApp, bearer};
use crate::http::Reply;
use crate::webhooks::receiver::{CannedReply, ReceivedRequest, Receiver};
use crate::webhooks::{self, add, buy, cancel};

const BUYER: &str = "anna-rosa.42";

async fn ask(app: &TestApp, body: Value) -> Reply {
    app.admin("POST", "/v1/admin/erasures", Some(body)).await
}

async fn erase(app: &TestApp) -> Value {
    let reply = ask(app, json!({"buyer": BUYER})).await;
    assert_eq!(reply.verdict(), "200", "{}", reply.text());
    reply.json()
}

/// Returns the number of erased orders, and the number of retained orders for each reason.
fn summary(erasure: &Value) -> (u64, Vec<(&str, u64)>) {
    let held = erasure["held_back"].as_array().expect("a list").iter();
    let held = held.map(|held| {
        (held["reason"].as_str().expect("a word"), held["orders"].as_u64().expect("a number"))
    });
    (erasure["orders"].as_u64().expect("a number"), held.collect())
}

async fn csv(app: &TestApp, list: &str) -> String {
    app.admin("GET", &format!("/v1/admin/exports/{list}.csv"), None).await.text()
}

async fn orders_of(app: &TestApp, buyer: &str) -> usize {
    let list = app.admin("GET", &format!("/v1/admin/orders?buyer={buyer}"), None).await.json();
    list["orders"].as_array().expect("a list").len()
}

#[tokio::test]
async fn a_buyer_is_erased_from_ended_sales_and_the_remaining_rows_are_listed() {
    let app = start().await;
    open_sale(&app, 20.into(), 5, 900).await;
    let paid = order(&app, BUYER, "cart-1", 2).await;
    send_message(&app, "m1", &captured("pay_1", &paid, 20)).await;
    let cancelled = order(&app, BUYER, "cart-2", 1).await;
    let path = format!("/v1/orders/{cancelled}/cancel");
    assert_eq!(app.buyer(BUYER, "POST", &path).await.verdict(), "200");
    let reserved = order(&app, BUYER, "cart-3", 1).await;
    let other = order(&app, "bert", "cart-1", 1).await;
    send_message(&app, "m2", &captured("pay_2", &other, 10)).await;

    assert_eq!(
        summary(&erase(&app).await),
        (0, vec![("not_closed", 3)]),
        "the orders of an open sale must be retained"
    );
    app.step("spring", "close").await;
    let counted = ask(&app, json!({"buyer": BUYER, "dry_run": true})).await.json();
    assert_eq!((summary(&counted), &counted["dry_run"]), ((2, vec![("unpaid", 1)]), &json!(true)));
    assert_eq!(orders_of(&app, BUYER).await, 3, "a dry run must not erase the orders");
    let erased = erase(&app).await;
    assert_eq!(
        (summary(&erased), &erased["erased_as"]),
        ((2, vec![("unpaid", 1)]), &counted["erased_as"])
    );
    let name = erased["erased_as"].as_str().expect("a name");
    assert!(name.starts_with("erased:") && name.len() == 39, "{name}");

    // An erased buyer cannot use the orders, even if the buyer knows an order's id. An operator can
    // still read the orders.
    for (method, tail) in
        [("GET", ""), ("GET", "/history"), ("POST", "/cancel"), ("POST", "/checkout")]
    {
        let reply = app.buyer(BUYER, method, &format!("/v1/orders/{paid}{tail}")).await;
        assert_eq!(reply.verdict(), "404 not_found", "{method} {tail}");
    }
    let shown = read(&app, &paid).await;
    assert_eq!((&shown["buyer"], &shown["state"]), (&json!(name), &json!("paid")));
    assert_eq!(shown["history"].as_array().map(Vec::len), Some(2), "{shown}");
    assert_eq!((orders_of(&app, BUYER).await, orders_of(&app, name).await), (1, 2));
    let mine = app.buyer(BUYER, "GET", "/v1/orders").await.json();
    assert_eq!(mine["orders"][0]["id"], json!(reserved));

    // The erasure kept the reserved order, because this order had not ended.
    let path = format!("/v1/admin/orders/{reserved}/cancel");
    assert_eq!(app.admin("POST", &path, None).await.verdict(), "200");
    assert_eq!(summary(&erase(&app).await), (1, vec![]));
    assert_eq!(erase(&app).await["other"], json!(0), "a repeated erasure must change nothing");
    assert_eq!((orders_of(&app, BUYER).await, orders_of(&app, "bert").await), (0, 1));

    // Payments and the ledger keep their rows. In these rows, another name replaces the buyer's id.
    assert_eq!(
        app.admin("POST", &format!("/v1/admin/orders/{paid}/refund"), None).await.verdict(),
        "200"
    );
    assert_eq!(payments(&app, &paid).await, [("pay_1".to_owned(), "refunded".to_owned())]);
    let orders = csv(&app, "orders").await;
    assert!(orders.contains(name) && orders.contains("bert"), "{orders}");
    for list in ["orders", "payments", "refunds", "ledger"] {
        assert!(!csv(&app, list).await.contains(BUYER), "{list}");
    }
    let books = app.admin("GET", "/v1/admin/exports/reconciliation", None).await.json();
    assert_eq!(books["ok"], true, "{books}");
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn events_that_waited_for_an_endpoint_have_the_new_name() {
    const ORDERS: usize = 16;
    let app = webhooks::start().await;
    let is_up = Arc::new(AtomicBool::new(false));
    let up = is_up.clone();
    let answer = move |_: usize, _: &ReceivedRequest| {
        CannedReply::Status(if up.load(Ordering::SeqCst) { 200 } else { 503 })
    };
    let shop = Receiver::with(answer).await;
    app.open_sale("spring", 99.into(), 1).await;
    add(&app, &shop.url(), json!(["order.reserved"])).await;
    for n in 0..ORDERS {
        let order = buy(&app, n).await;
        cancel(&app, n, &order).await;
    }
    // Before each attempt, the server reads the waiting events. After one more attempt, it has thus
    // read the events of these orders.
    let tried = shop.received().len().max(BREAKER_FAILURES);
    shop.until(60, "the endpoint is down", |received| received.len() > tried).await;
    app.step("spring", "close").await;
    for n in 0..ORDERS {
        let erased = ask(&app, json!({"buyer": format!("buyer-{n}")})).await;
        assert_eq!(summary(&erased.json()), (1, vec![]), "{}", erased.text());
    }
    // For two seconds after the server has read an event, the server may send it without a new
    // read. The test waits longer, so that the server reads the events again.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let before = shop.received().len();
    is_up.store(true, Ordering::SeqCst);
    let accepted = |received: &[ReceivedRequest]| {
        let orders: HashSet<_> =
            received.iter().filter(|one| one.accepted).map(ReceivedRequest::order).collect();
        orders.len()
    };
    let received = shop.until(120, "every event", |received| accepted(received) == ORDERS).await;
    for one in &received[before..] {
        let event = one.json();
        let buyer = event["data"]["order"]["buyer"].as_str().expect("a name");
        assert!(buyer.starts_with("erased:"), "{event}");
    }
}

#[tokio::test]
async fn only_an_admin_erases_and_only_a_buyer() {
    let app = start().await;
    let made = app
        .admin("POST", "/v1/admin/keys", Some(json!({"name": "night", "role": "operator"})))
        .await
        .json();
    let weaker = format!("Bearer {}", made["key"].as_str().expect("a key"));
    let headers = [("Authorization", weaker.as_str()), ("Content-Type", "application/json")];
    let body = json!({"buyer": BUYER}).to_string();
    let reply = app.call("POST", "/v1/admin/erasures", &headers, body.as_bytes()).await;
    assert_eq!(reply.verdict(), "403 forbidden");
    let token = bearer(BUYER);
    let headers = [("Authorization", token.as_str()), ("Content-Type", "application/json")];
    assert_eq!(
        app.call("POST", "/v1/admin/erasures", &headers, body.as_bytes()).await.verdict(),
        "401 unauthenticated"
    );
    for buyer in
        [json!("a b"), json!(""), json!("x".repeat(65)), json!(7), json!("erased:0123456789abcdef")]
    {
        assert_eq!(
            ask(&app, json!({"buyer": buyer})).await.verdict(),
            "422 invalid_request",
            "{buyer}"
        );
    }
    let nobody = erase(&app).await;
    assert_eq!(
        (summary(&nobody), &nobody["other"], &nobody["blocked"]),
        ((0, vec![]), &json!(0), &json!(false))
    );
    let name = nobody["erased_as"].as_str().expect("a name");
    assert_eq!(
        app.buyer(name, "GET", "/v1/orders").await.verdict(),
        "401 unauthenticated",
        "a token with the replacement name must not be valid"
    );

    // A block is the operator's own data, so an erasure keeps it.
    let blocked =
        app.admin("POST", "/v1/admin/blocks", Some(json!({"kind": "buyer", "value": BUYER}))).await;
    assert_eq!(blocked.verdict(), "201");
    assert_eq!(erase(&app).await["blocked"], true);
    let id = blocked.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(app.admin("DELETE", &format!("/v1/admin/blocks/{id}"), None).await.verdict(), "204");
    assert_eq!(erase(&app).await["blocked"], false);
}
