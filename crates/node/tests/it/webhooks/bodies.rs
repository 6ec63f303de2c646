//! Tests that the complete body of each event matches the object that the operators' API returns.

use serde_json::{Value, json};

use super::add;
use super::receiver::{ReceivedRequest, Receiver};
use crate::app::TestApp;
use crate::money::{BRIEF_SECS, KEY, captured, open_sale, order, read, secret, send_message};

/// Starts a server that may deliver events to this machine. It verifies the provider's messages
/// with [`KEY`].
async fn start() -> TestApp {
    let believed = secret(KEY);
    let settings = [
        ("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true"),
        ("DOORBUSTER_PAYMENT__WEBHOOK_SECRET", believed.as_str()),
    ];
    TestApp::with(&settings).await
}

/// Returns the received messages without their ids.
fn bare(received: &[ReceivedRequest]) -> Vec<Value> {
    let bare = |one: &ReceivedRequest| {
        let mut message = one.json();
        let id = message.as_object_mut().and_then(|members| members.remove("id"));
        assert!(id.is_some(), "{one:?}");
        // Only the event `order.reserved` has the member `link`. The operators' API returns an
        // order without this member.
        let is_reserved = message["type"] == "order.reserved";
        let data = message["data"].as_object_mut().expect("an object");
        assert_eq!(data.remove("link").is_some(), is_reserved, "{one:?}");
        message
    };
    received.iter().map(bare).collect()
}

/// Builds the expected event of the type `what` from the order that the operators' API returns. The
/// order's last step must be of this type.
async fn last(app: &TestApp, order: &str, what: &str) -> Value {
    let mut shown = read(app, order).await;
    let members = shown.as_object_mut().expect("an object");
    let history = members.remove("history").expect("a history");
    assert!(members.remove("payments").is_some(), "an operator must see the payments of the order");
    let step = history.as_array().and_then(|steps| steps.last()).expect("a step");
    assert_eq!(step["event"], what, "{history}");
    json!({"type": what, "timestamp": step["at"], "data": {"order": shown}})
}

/// Returns the row about this payment of the order. `list` is `payments` or `refunds`.
async fn row(app: &TestApp, list: &str, order: &str, payment: &str) -> Value {
    let found = app.admin("GET", &format!("/v1/admin/{list}?order={order}"), None).await.json();
    let rows = found[list].as_array().expect("a list");
    rows.iter().find(|row| row["payment"] == payment).unwrap_or_else(|| panic!("{found}")).clone()
}

fn state(message: &Value) -> &str {
    message["data"]["order"]["state"].as_str().expect("a word")
}

#[tokio::test]
async fn events_about_payments_and_the_last_unit_match_the_operators_view() {
    let (app, shop) = (start().await, Receiver::start().await);
    open_sale(&app, 1.into(), 1, 900).await;
    let (endpoint, key) = add(&app, &shop.url(), json!(["*"])).await;
    let path = format!("/v1/admin/webhook-endpoints/{endpoint}");
    let level = async || {
        app.until(&path, "every event is delivered", |one| {
            one["waiting"] == 0 && one["failing"] == 0
        })
        .await
    };
    let id = order(&app, "anna", "k", 1).await;
    assert_eq!(app.buy("bert", "k", "spring", "phone", 1).await.verdict(), "409 sold_out");
    level().await;
    let reserved = last(&app, &id, "order.reserved").await;
    assert_eq!(
        bare(&shop.received()),
        std::slice::from_ref(&reserved),
        "there must be no event that the item is sold out while held units may return"
    );

    assert_eq!(
        send_message(&app, "msg_1", &captured("pay_1", &id, 10)).await.json()["outcome"],
        "paid"
    );
    let paid = last(&app, &id, "order.paid").await;
    assert_eq!(
        send_message(&app, "msg_2", &captured("pay_2", &id, 10)).await.json()["outcome"],
        "refunded"
    );
    let refund = app.admin("POST", &format!("/v1/admin/orders/{id}/refund"), None).await;
    assert_eq!(refund.verdict(), "200", "{}", refund.text());
    let refunded = last(&app, &id, "order.refunded").await;
    assert_eq!([&reserved, &paid, &refunded].map(state), ["reserved", "paid", "refunded"]);
    let (payment, refund) =
        (row(&app, "payments", &id, "pay_2").await, row(&app, "refunds", &id, "pay_2").await);
    assert_eq!(
        (&refund["cause"], &refund["state"]),
        (&json!("second"), &json!("pending")),
        "{refund}"
    );
    let returned = json!({"type": "payment.refunded", "timestamp": refund["at"], "data": {"payment": payment, "refund": refund}});
    let gone = json!({"type": "item.sold_out", "timestamp": paid["timestamp"], "data": {"sale": "spring", "item": "phone"}});

    level().await;
    let received = shop.received();
    received.iter().for_each(|one| one.verify(&key));
    let (sold_out, of_order): (Vec<_>, Vec<_>) =
        bare(&received).into_iter().partition(|message| message["type"] == "item.sold_out");
    assert_eq!(
        of_order,
        [reserved, paid, returned, refunded],
        "the events must be in the sequence of the changes"
    );
    assert_eq!(sold_out, [gone], "item.sold_out must come once, when the last unit is paid");
}

#[tokio::test]
async fn events_about_extension_and_expiry_match_the_operators_view_of_that_time() {
    let (app, shop) = (start().await, Receiver::start().await);
    open_sale(&app, 1.into(), 1, BRIEF_SECS).await;
    let (_, key) = add(&app, &shop.url(), json!(["*"])).await;
    let id = order(&app, "anna", "k", 1).await;
    let reserved = last(&app, &id, "order.reserved").await;
    let longer =
        app.admin("POST", &format!("/v1/admin/orders/{id}/extend"), Some(json!({"secs": 1}))).await;
    assert_eq!(longer.verdict(), "200", "{}", longer.text());
    let extended = last(&app, &id, "order.extended").await;
    assert_ne!(extended["data"]["order"]["pay_by"], reserved["data"]["order"]["pay_by"]);
    let received = shop
        .until(30, "the event about the expiry arrives", |received| {
            received.iter().any(|one| one.event_type() == "order.expired")
        })
        .await;
    let expired = last(&app, &id, "order.expired").await;
    assert_eq!([&reserved, &extended, &expired].map(state), ["reserved", "reserved", "expired"]);
    received.iter().for_each(|one| one.verify(&key));
    assert_eq!(bare(&received), [reserved, extended, expired]);
}
