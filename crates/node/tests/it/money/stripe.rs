//! Tests Stripe payments with a local stand-in that answers as Stripe does.

mod external_refunds;
mod grace;
mod later;
mod lost_answers;
mod official;
mod prices;
mod secrets;
mod stand_in;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{
    BRIEF_SECS, assert_ledger_adds_up, dead_refunds, now_secs, open_sale, order, payments, read,
    refunds, until,
};
use crate::app::TestApp;
use crate::http::Reply;
use stand_in::{SentRequest, StripeStandIn};

const KEY: &str = "sk_test_a_key_of_the_account";
const SECRET: &str = "whsec_of_the_endpoint";

async fn start(stripe: &StripeStandIn) -> TestApp {
    start_with(stripe, &[]).await
}

async fn start_with(stripe: &StripeStandIn, more: &[(&str, &str)]) -> TestApp {
    let settings = [
        ("DOORBUSTER_PAYMENT__PROVIDER", "stripe"),
        ("DOORBUSTER_PAYMENT__STRIPE__SECRET_KEY", KEY),
        ("DOORBUSTER_PAYMENT__STRIPE__WEBHOOK_SECRET", SECRET),
        ("DOORBUSTER_PAYMENT__STRIPE__API_URL", &stripe.address),
        ("DOORBUSTER_PAGE__URL", "https://sale.example"),
    ];
    TestApp::with(&[&settings[..], more].concat()).await
}

/// Computes the `Stripe-Signature` of a body without the tested code.
fn header(body: &str, at: u64, secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
    mac.update(format!("{at}.{body}").as_bytes());
    let digits: String =
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at},v1={digits}")
}

async fn send(app: &TestApp, body: &str, header: &str) -> Reply {
    let headers =
        [("Content-Type", "application/json; charset=utf-8"), ("Stripe-Signature", header)];
    app.call("POST", "/v1/payments/stripe/webhook", &headers, body.as_bytes()).await
}

async fn send_message(app: &TestApp, id: &str, kind: &str, object: &Value) -> Reply {
    send_event_at(app, id, kind, object, now_secs()).await
}

async fn send_event_at(app: &TestApp, id: &str, kind: &str, object: &Value, created: u64) -> Reply {
    let event = json!({"id": id, "object": "event", "type": kind, "created": created, "data": {"object": object}});
    let body = event.to_string();
    let proof = header(&body, now_secs(), SECRET);
    send(app, &body, &proof).await
}

/// Returns `metadata[doorbuster]` of the server's request for a session.
fn refund_marker(stripe: &StripeStandIn) -> String {
    let [SentRequest { form, .. }, ..] = &stripe.sent("POST", "/v1/checkout/sessions")[..] else {
        panic!("the server has not requested a session")
    };
    form.iter().find(|(name, _)| name == "metadata[doorbuster]").expect("a mark").1.clone()
}

/// Returns a paid session as Stripe reports it.
fn paid(stripe: &StripeStandIn, session: &str, order: &str, minor: i64) -> Value {
    json!({"id": session, "metadata": {"order": order, "doorbuster": refund_marker(stripe)}, "object": "checkout.session", "client_reference_id": order, "payment_intent": "pi_1",
           "payment_status": "paid", "status": "complete", "amount_total": minor, "currency": "cny"})
}

async fn checkout(app: &TestApp, id: &str) -> String {
    let opened = app.buyer("anna", "POST", &format!("/v1/orders/{id}/checkout")).await;
    assert_eq!(opened.verdict(), "200", "{}", opened.text());
    opened.json()["checkout_url"].as_str().expect("an address").to_owned()
}

#[tokio::test]
async fn an_order_is_paid_and_refunded_at_stripe() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 10).await;
    let url = checkout(&app, &id).await;
    assert_eq!(url, "https://checkout.stripe.example/c/pay/cs_test_1");
    assert_eq!(checkout(&app, &id).await, url, "the open checkout must stay the same");
    let [made]: [SentRequest; 1] =
        stripe.sent("POST", "/v1/checkout/sessions").try_into().expect("one session");
    let SentRequest { form, key, authorization, .. } = made;
    assert_eq!(authorization, format!("Bearer {KEY}"));
    assert!(key.is_some_and(|key| key.len() <= 255));
    let field =
        |name: &str| form.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!((field("client_reference_id"), field("mode")), (Some(id.as_str()), Some("payment")));
    let back = |what: &str| format!("https://sale.example/order/{id}?back={what}");
    assert_eq!(field("success_url"), Some(back("paid").as_str()));
    assert_eq!(field("cancel_url"), Some(back("left").as_str()));
    let ends: u64 = field("expires_at").expect("an end").parse().expect("seconds");
    assert!((1_800..24 * 3_600).contains(&(ends - now_secs())), "Stripe refuses this end: {ends}");

    let event = paid(&stripe, "cs_test_1", &id, 100);
    let body =
        json!({"id": "evt_1", "type": "checkout.session.completed", "data": {"object": event}})
            .to_string();
    let now = now_secs();
    for wrong in [
        String::new(),
        header(&body, now, "whsec_of_another"),
        header(&body, now - 301, SECRET),
        header("{}", now, SECRET),
        header(&body, now, SECRET).replace("v1=", "v0="),
    ] {
        assert_eq!(send(&app, &body, &wrong).await.verdict(), "401 unauthenticated", "{wrong}");
    }
    let unsigned = app.call("POST", "/v1/payments/stripe/webhook", &[], body.as_bytes()).await;
    assert_eq!(unsigned.verdict(), "401 unauthenticated");
    assert_eq!(send(&app, "{", &header("{", now, SECRET)).await.verdict(), "400 malformed_request");
    assert_eq!(read(&app, &id).await["state"], "reserved");
    let taken = send(&app, &body, &header(&body, now, SECRET)).await;
    assert_eq!(
        (taken.verdict().as_str(), &taken.json()["outcome"]),
        ("200", &json!("paid")),
        "{}",
        taken.text()
    );
    assert_eq!(
        send_message(&app, "evt_1", "checkout.session.completed", &event).await.json()["outcome"],
        "repeated"
    );
    assert_eq!(
        send_message(&app, "evt_2", "checkout.session.completed", &event).await.json()["outcome"],
        "repeated"
    );
    assert_eq!(
        send_message(&app, "evt_3", "customer.created", &json!({})).await.json()["outcome"],
        "ignored"
    );
    assert_eq!(payments(&app, &id).await, [("pi_1".into(), "captured".into())]);

    let refunded = app.admin("POST", &format!("/v1/admin/orders/{id}/refund"), None).await;
    assert_eq!(refunded.verdict(), "200", "{}", refunded.text());
    let call = until("a refund request", async || stripe.sent("POST", "/v1/refunds").pop()).await;
    let row = app.admin("GET", "/v1/admin/refunds", None).await.json()["refunds"][0].clone();
    let refund = row["refund"].as_str().expect("an id").to_owned();
    assert_eq!(call.key.as_deref(), Some(refund.as_str()), "the key must be the refund's id");
    assert_eq!((call.form.len(), &call.form[0]), (3, &("payment_intent".into(), "pi_1".into())));
    assert_eq!(refunds(&app, &id).await, [("pi_1".into(), "pending".into())]);
    let settled = json!({"id": "re_1", "payment_intent": "pi_1", "status": "succeeded", "metadata": {"refund": refund}});
    assert_eq!(
        send_message(&app, "evt_4", "refund.updated", &settled).await.json()["outcome"],
        "noted"
    );
    assert_eq!(refunds(&app, &id).await, [("pi_1".into(), "settled".into())]);
    assert_eq!(stripe.sent("POST", "/v1/refunds").len(), 1, "the refund was not requested once");
    let unsigned = app.call("POST", "/v1/payments/sandbox/webhook", &[], b"{}").await;
    assert_eq!(unsigned.verdict(), "404 not_found", "the sandbox must be off with Stripe");
    assert_eq!(app.get("/sandbox/checkout/cs_1").await.verdict(), "404 not_found");
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn stripe_is_queried_before_the_units_of_a_due_order_return() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 2.into(), 2, BRIEF_SECS).await;
    // The buyer does not pay in this session. The server closes the session, and the units return.
    let id = order(&app, "anna", "k1", 1).await;
    checkout(&app, &id).await;
    until("order expired", async || (read(&app, &id).await["state"] == "expired").then_some(()))
        .await;
    assert_eq!(stripe.sent("POST", "/v1/checkout/sessions/cs_test_1/expire").len(), 1);
    // The buyer has paid in this session, but the message about the payment was lost.
    let id = order(&app, "anna", "k2", 1).await;
    checkout(&app, &id).await;
    stripe.set_session("cs_test_2", paid(&stripe, "cs_test_2", &id, 10));
    until("the order is paid", async || (read(&app, &id).await["state"] == "paid").then_some(()))
        .await;
    assert_eq!(read(&app, &id).await["history"].as_array().map(Vec::len), Some(2));
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn a_provider_that_is_down_blocks_no_order_forever_and_loses_no_refund() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 10).await;
    stripe.fail(true);
    let away = app.buyer("anna", "POST", &format!("/v1/orders/{id}/checkout")).await;
    assert_eq!(away.verdict(), "503 unavailable");
    assert_eq!(
        send_message(&app, "evt_1", "checkout.session.completed", &paid(&stripe, "cs_x", &id, 1))
            .await
            .json()["outcome"],
        "refunded"
    );
    let row =
        async || app.admin("GET", "/v1/admin/refunds", None).await.json()["refunds"][0].clone();
    let failed =
        until("a query failed", async || Some(row().await).filter(|row| row["tries"] != 0)).await;
    assert_eq!(failed["state"], "pending");
    assert!(failed["error"].as_str().is_some_and(|error| error.contains("500")), "{failed}");
    stripe.fail(false);
    until("the refund was accepted", async || (row().await["error"].is_null()).then_some(())).await;
    let keys: Vec<_> =
        stripe.sent("POST", "/v1/refunds").into_iter().map(|sent| sent.key).collect();
    // For a repeated key, Stripe repeats its first answer. The server uses another key only after
    // it has confirmed that no refund exists.
    assert!(keys.len() == 2 && keys[0] != keys[1], "{keys:?}");
    assert!(!stripe.sent("GET", "/v1/refunds").is_empty(), "the refunds must be read first");
}

#[tokio::test]
async fn a_failed_refund_becomes_a_dead_letter_and_can_be_retried() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 10).await;
    checkout(&app, &id).await;
    let event = paid(&stripe, "cs_test_1", &id, 1);
    assert_eq!(
        send_message(&app, "evt_1", "checkout.session.completed", &event).await.json()["outcome"],
        "refunded"
    );
    let row =
        async || app.admin("GET", "/v1/admin/refunds", None).await.json()["refunds"][0].clone();
    until("a refund request", async || stripe.sent("POST", "/v1/refunds").pop()).await;
    let refund = row().await["refund"].as_str().expect("an id").to_owned();
    let made = |status: &str| {
        json!({"id": "re_1", "payment_intent": "pi_1", "status": status, "failure_reason": "lost_or_stolen_card",
                                     "metadata": {"refund": refund}})
    };
    assert_eq!(
        send_message(&app, "evt_2", "refund.created", &made("succeeded")).await.json()["outcome"],
        "noted"
    );
    assert_eq!(row().await["state"], "settled");
    stripe.refunds_are("failed");
    assert_eq!(
        send_message(&app, "evt_3", "refund.failed", &made("failed")).await.json()["outcome"],
        "noted"
    );
    // The message may be about an earlier attempt, so the server asks Stripe for the result.
    until("refund failed", async || (row().await["state"] == "failed").then_some(())).await;
    let failed = row().await;
    assert_eq!(failed["settled_at"], Value::Null);
    let error = failed["error"].as_str();
    assert!(error.is_some_and(|error| error.contains("Stripe's refund failed")), "{failed}");
    assert_eq!(
        send_message(&app, "evt_4", "refund.updated", &made("succeeded")).await.verdict(),
        "200"
    );
    assert_eq!(row().await["state"], "failed", "a late message must not change the dead letter");
    let dead = app.admin("GET", "/v1/admin/dead-letters?kind=refund", None).await;
    assert_eq!(dead.json()["dead_letters"].as_array().map(Vec::len), Some(1), "{}", dead.text());
    assert_eq!(dead_refunds(&app).await, 1);
    let letter = dead.json()["dead_letters"][0]["id"].as_str().expect("an id").to_owned();
    let shown = app.admin("GET", &format!("/v1/admin/dead-letters/{letter}"), None).await.json();
    assert_eq!(
        (&shown["id"], &shown["refund"]),
        (&json!(letter), &failed),
        "the dead letter must have the payment, the amount, the cause and the last error"
    );
    let retried = app.admin("POST", &format!("/v1/admin/dead-letters/{letter}/retry"), None).await;
    assert!(matches!(retried.status, 200 | 202), "{}", retried.text());
    let call = until("the refund is requested again", async || {
        stripe.sent("POST", "/v1/refunds").into_iter().nth(1)
    })
    .await;
    assert_ne!(
        call.key.as_deref(),
        Some(refund.as_str()),
        "the retry must use a new key, because the old key returns the old refund"
    );
    stripe.refunds_are("succeeded");
    assert_eq!(
        send_message(&app, "evt_5", "refund.updated", &made("succeeded")).await.json()["outcome"],
        "noted"
    );
    until("refund settled", async || (row().await["state"] == "settled").then_some(())).await;
    assert_eq!(dead_refunds(&app).await, 0, "a settled refund must have no dead letter");
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn payments_of_other_systems_on_the_same_account_are_ignored() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 10).await;
    checkout(&app, &id).await;
    let ours = paid(&stripe, "cs_test_1", &id, 100);
    for (nth, (order, metadata)) in [
        ("cart_1234", json!({})),
        (id.as_str(), json!({"order": id})),
        (id.as_str(), json!({"doorbuster": "another"})),
    ]
    .into_iter()
    .enumerate()
    {
        let mut theirs = ours.clone();
        (theirs["client_reference_id"], theirs["metadata"]) = (json!(order), metadata);
        for kind in ["completed", "async_payment_failed", "expired"] {
            let reply = send_message(
                &app,
                &format!("evt_{nth}_{kind}"),
                &format!("checkout.session.{kind}"),
                &theirs,
            )
            .await;
            assert_eq!(
                (reply.status, &reply.json()["outcome"]),
                (200, &json!("ignored")),
                "{kind} {theirs}"
            );
        }
    }
    let subscription = json!({"id": "cs_2", "mode": "subscription", "payment_intent": null, "payment_status": "paid"});
    assert_eq!(
        send_message(&app, "evt_s", "checkout.session.completed", &subscription).await.status,
        200,
        "a payment of another system must be ignored"
    );
    assert_eq!(
        (payments(&app, &id).await.len(), read(&app, &id).await["state"].clone()),
        (0, json!("reserved"))
    );
    assert_eq!(app.admin("GET", "/v1/admin/refunds", None).await.json()["refunds"], json!([]));
    assert_eq!(
        send_message(&app, "evt_o", "checkout.session.completed", &ours).await.json()["outcome"],
        "paid"
    );
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn a_free_order_is_paid_by_its_session_and_refunded_without_a_request_to_stripe() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    let mut sale = crate::app::sale("spring", 10.into(), 10);
    sale["items"][0]["price"]["amount_minor"] = json!(0);
    assert_eq!(app.admin("POST", "/v1/admin/sales", Some(sale)).await.verdict(), "201");
    app.step("spring", "open").await;
    let id = order(&app, "anna", "k", 1).await;
    checkout(&app, &id).await;
    let mut event = paid(&stripe, "cs_test_1", &id, 0);
    (event["payment_intent"], event["payment_status"]) =
        (Value::Null, json!("no_payment_required"));
    assert_eq!(
        send_message(&app, "evt_1", "checkout.session.completed", &event).await.json()["outcome"],
        "paid"
    );
    assert_eq!(payments(&app, &id).await, [("cs_test_1".into(), "captured".into())]);
    assert_eq!(
        app.admin("POST", &format!("/v1/admin/orders/{id}/refund"), None).await.verdict(),
        "200"
    );
    until("refund settled", async || (refunds(&app, &id).await[0].1 == "settled").then_some(()))
        .await;
    assert!(stripe.sent("POST", "/v1/refunds").is_empty(), "the server must request no refund");
    assert_ledger_adds_up(&app).await;
}
