//! Tests webhook events about payments that were reversed without a request of the shop.

use serde_json::{Value, json};

use super::{KEY, captured, order, secret, send_message};
use crate::app::TestApp;
use crate::webhooks::receiver::Receiver;

#[tokio::test]
async fn a_shop_gets_one_event_about_a_payment_that_was_reversed_externally() {
    let key = secret(KEY);
    let settings = [
        ("DOORBUSTER_PAYMENT__WEBHOOK_SECRET", key.as_str()),
        ("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true"),
    ];
    let (app, shop) = (TestApp::with(&settings).await, Receiver::start().await);
    app.open_sale("spring", 10.into(), 10).await;
    crate::webhooks::add(&app, &shop.url(), json!(["payment.reversed", "order.paid"])).await;
    let id = order(&app, "anna", "k", 1).await;
    assert_eq!(
        send_message(&app, "m1", &captured("pay_1", &id, 10)).await.json()["outcome"],
        "paid"
    );
    let reversed = |what: &str, minor: i64| {
        let amount = json!({"amount_minor": minor, "currency": "CNY"});
        json!({"type": what, "timestamp": "2026-11-20T10:00:00.000Z", "data": {"payment": "pay_1", "order": id, "amount": amount}})
    };
    for (message, what, minor) in [
        ("m2", "payment.returned", 4),
        ("m3", "payment.returned", 4),
        ("m4", "payment.disputed", 10),
    ] {
        assert_eq!(
            send_message(&app, message, &reversed(what, minor)).await.verdict(),
            "200",
            "{what}"
        );
    }
    let received = shop
        .until(10, "the event about the dispute arrives", |received| {
            received.iter().any(|one| kind(&one.json()) == "disputed")
        })
        .await;
    let events: Vec<Value> = received
        .iter()
        .filter(|one| one.event_type() == "payment.reversed")
        .map(|one| one.json()["data"].clone())
        .collect();
    let expected = |kind: &str, minor: i64| {
        json!({"reversal": {"payment": "pay_1", "order": id, "amount": {"amount_minor": minor, "currency": "CNY"}, "kind": kind, "dispute": null, "stands": true,
                            "provider": "sandbox"}})
    };
    assert_eq!(
        events,
        [expected("returned", 4), expected("disputed", 10)],
        "each event must arrive once and in sequence"
    );
    assert_eq!(
        received[0].event_type(),
        "order.paid",
        "the order's earlier events must come first"
    );
    let history =
        app.admin("GET", &format!("/v1/admin/orders/{id}"), None).await.json()["history"].clone();
    let last = history.as_array().and_then(|all| all.last()).expect("steps");
    assert_eq!(
        (&last["event"], &last["state"], &last["by"]),
        (&json!("payment.reversed"), &json!("paid"), &json!("provider:sandbox"))
    );
}

fn kind(message: &Value) -> String {
    message["data"]["reversal"]["kind"].as_str().unwrap_or_default().to_owned()
}
