//! Tests the sandbox provider: its checkout, its messages, and status queries after lost messages.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    BRIEF_SECS, assert_ledger_adds_up, captured, open_sale, order, payments, read, refunds,
    send_message, start, until,
};
use crate::app::TestApp;
use crate::watch::Stopwatch;

/// Opens the checkout, and returns the path of its page.
async fn checkout(app: &TestApp, buyer: &str, order: &str) -> String {
    let opened = app.buyer(buyer, "POST", &format!("/v1/orders/{order}/checkout")).await;
    assert_eq!(opened.verdict(), "200", "{}", opened.text());
    let url = opened.json()["checkout_url"].as_str().expect("an address").to_owned();
    url.strip_prefix("http://shop.example")
        .expect("the checkout is at the host of the request")
        .to_owned()
}

async fn press(app: &TestApp, page: &str, button: &str) -> (u16, Value) {
    let pressed = app.call("POST", &format!("{page}/{button}"), &[], b"").await;
    (pressed.status, pressed.json())
}

async fn becomes(app: &TestApp, order: &str, state: &str) -> Value {
    let what = format!("{order} becomes {state}");
    until(&what, async || Some(read(app, order).await).filter(|order| order["state"] == state))
        .await
}

#[tokio::test]
async fn a_buyer_pays_at_the_checkout_and_the_message_comes_back_over_http() {
    let app = start().await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 10).await;
    let path = format!("/v1/orders/{id}/checkout");
    let first = app.buyer("anna", "POST", &path).await.json();
    assert_eq!(
        app.buyer("anna", "POST", &path).await.json(),
        first,
        "the order must keep its checkout while the checkout is open"
    );
    assert_eq!(first["expires_at"], read(&app, &id).await["pay_by"]);
    assert_eq!(app.buyer("bert", "POST", &path).await.verdict(), "404 not_found");
    let page = checkout(&app, "anna", &id).await;
    let shown = app.get(&page).await;
    assert_eq!(
        (shown.status, shown.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let policy = shown.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let state = app.get(&format!("{page}/state")).await.json();
    assert_eq!((&state["state"], &state["order"]), (&json!("open"), &json!(id)));
    assert_eq!(state["amount"], json!({"amount_minor": 100, "currency": "CNY"}));
    assert!(
        state["return_url"].as_str().is_some_and(|url| url.ends_with(&format!("/order/{id}"))),
        "{state}"
    );
    let (status, state) = press(&app, &page, "pay").await;
    assert_eq!((status, &state["state"]), (200, &json!("paid")));
    becomes(&app, &id, "paid").await;
    assert_eq!(press(&app, &page, "pay").await.0, 409, "once");
    assert_eq!(payments(&app, &id).await.len(), 1);
    let again = app.buyer("anna", "POST", &path).await;
    assert_eq!(
        (again.verdict().as_str(), &again.json()["state"]),
        ("409 wrong_state", &json!("paid"))
    );
    // The operator's refund settles when the sandbox reports that the money arrived.
    assert_eq!(
        app.admin("POST", &format!("/v1/admin/orders/{id}/refund"), None).await.verdict(),
        "200"
    );
    until("the refund settles", async || {
        (refunds(&app, &id).await[0].1 == "settled").then_some(())
    })
    .await;
    assert_eq!(app.get("/sandbox/checkout/cs_none/state").await.verdict(), "404 not_found");
    assert_eq!(
        app.call("POST", &format!("{page}/steal"), &[], b"").await.verdict(),
        "404 not_found"
    );
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn payment_buttons_work_only_in_a_demonstration_or_when_enabled() {
    let app =
        TestApp::with(&[("DOORBUSTER_PAYMENT__WEBHOOK_SECRET", &super::secret(super::KEY))]).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 1).await;
    let page = checkout(&app, "anna", &id).await;
    assert_eq!(app.get(&page).await.status, 200, "the checkout must have a page");
    for button in ["pay", "twice", "lose", "late", "fail", "return", "dispute"] {
        let (status, problem) = press(&app, &page, button).await;
        assert_eq!((status, &problem["code"]), (403, &json!("forbidden")), "{button}");
    }
    let state = app.get(&format!("{page}/state")).await.json();
    assert_eq!((&state["state"], payments(&app, &id).await.len()), (&json!("open"), 0));
    // A message that is signed with the secret counts as a payment.
    assert_eq!(
        send_message(&app, "m1", &captured("pay_1", &id, 10)).await.json()["outcome"],
        "paid"
    );
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn a_second_payment_of_an_order_is_refunded() {
    let app = start().await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 1).await;
    let page = checkout(&app, "anna", &id).await;
    assert_eq!(press(&app, &page, "twice").await.0, 200);
    until("the second payment is refunded", async || {
        let (paid, back) = (payments(&app, &id).await, refunds(&app, &id).await);
        (paid.len() == 2 && back.len() == 1 && back[0].1 == "settled").then_some(())
    })
    .await;
    assert_eq!(read(&app, &id).await["state"], "paid");
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn a_failed_payment_leaves_the_checkout_open() {
    let app = start().await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 1).await;
    let page = checkout(&app, "anna", &id).await;
    let (status, state) = press(&app, &page, "fail").await;
    assert_eq!((status, &state["state"]), (200, &json!("open")));
    let history =
        async || app.buyer("anna", "GET", &format!("/v1/orders/{id}/history")).await.json();
    assert_eq!(state["state"], "open");
    until("the failed payment is recorded", async || {
        payments(&app, &id).await.first().is_some_and(|payment| payment.1 == "failed").then_some(())
    })
    .await;
    assert!(
        history().await["payment_failed_at"].is_string(),
        "the history must show the failed payment"
    );
    assert_eq!(press(&app, &page, "pay").await.0, 200);
    becomes(&app, &id, "paid").await;
    assert_eq!(history().await["payment_failed_at"], json!(null));
}

#[tokio::test]
async fn a_payment_reversed_externally_leaves_the_order_paid_until_an_operator_refunds_it() {
    let app = start().await;
    open_sale(&app, 10.into(), 10, 900).await;
    for (button, kind) in [("return", "returned"), ("dispute", "disputed")] {
        let id = order(&app, "anna", button, 1).await;
        let page = checkout(&app, "anna", &id).await;
        assert_ne!(
            press(&app, &page, button).await.1["state"],
            kind,
            "a button must not reverse a payment that does not exist"
        );
        assert_eq!(press(&app, &page, "pay").await.0, 200);
        becomes(&app, &id, "paid").await;
        let (status, state) = press(&app, &page, button).await;
        assert_eq!((status, &state["state"]), (200, &json!(kind)));
        assert_eq!(press(&app, &page, button).await.0, 409, "once");
        let notice = until("the reversal is recorded", async || {
            let audit = app.admin("GET", "/v1/admin/audit", None).await.json();
            audit["notices"]
                .as_array()
                .expect("a list")
                .iter()
                .find(|notice| notice["order"] == json!(id))
                .cloned()
        })
        .await;
        assert_eq!(notice["kind"], kind, "{notice}");
        assert_eq!(
            (&read(&app, &id).await["state"], refunds(&app, &id).await.len()),
            (&json!("paid"), 0)
        );
        assert_eq!(
            app.admin("POST", &format!("/v1/admin/orders/{id}/refund"), None).await.verdict(),
            "200"
        );
        until("the refund settles", async || {
            (refunds(&app, &id).await[0].1 == "settled").then_some(())
        })
        .await;
    }
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn a_status_query_finds_a_payment_whose_message_was_lost_before_the_units_return() {
    let app = start().await;
    open_sale(&app, 1.into(), 1, BRIEF_SECS).await;
    let id = order(&app, "anna", "k", 1).await;
    let page = checkout(&app, "anna", &id).await;
    assert_eq!(press(&app, &page, "lose").await.0, 200);
    let paid = becomes(&app, &id, "paid").await;
    let events: Vec<_> =
        paid["history"].as_array().expect("a list").iter().map(|step| &step["event"]).collect();
    assert_eq!(events, ["order.reserved", "order.paid"], "the paid order must not expire: {paid}");
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn an_open_checkout_is_closed_when_its_order_is_due_and_the_units_return_in_time() {
    let app = start().await;
    open_sale(&app, 1.into(), 1, BRIEF_SECS).await;
    let id = order(&app, "anna", "k", 1).await;
    let page = checkout(&app, "anna", &id).await;
    let timer = Stopwatch::start();
    becomes(&app, &id, "expired").await;
    let most = Duration::from_secs(u64::from(BRIEF_SECS) + 2);
    assert!(timer.elapsed() < most, "{:?}", timer.elapsed());
    let (status, state) = press(&app, &page, "pay").await;
    assert_eq!((status, &state["state"]), (409, &json!("closed")));
    until("the unit is for sale", async || {
        (app.buy("bert", "k", "spring", "phone", 1).await.status == 201).then_some(())
    })
    .await;
    assert_eq!(
        app.buyer("anna", "POST", &format!("/v1/orders/{id}/checkout")).await.verdict(),
        "409 wrong_state"
    );
}

#[tokio::test]
async fn a_late_payment_buys_a_remaining_unit_or_is_refunded() {
    let app = start().await;
    open_sale(&app, 2.into(), 1, BRIEF_SECS).await;
    let (first, second) = (order(&app, "anna", "k", 1).await, order(&app, "bert", "k", 1).await);
    for (id, buyer) in [(&first, "anna"), (&second, "bert")] {
        let page = checkout(&app, buyer, id).await;
        assert_eq!(press(&app, &page, "late").await.1["state"], "late");
    }
    becomes(&app, &first, "expired").await;
    becomes(&app, &second, "expired").await;
    let sold = until("a unit is for sale", async || {
        let bought = app.buy("carl", "k", "spring", "phone", 1).await;
        (bought.status == 201).then(|| bought.json()["id"].as_str().expect("an id").to_owned())
    })
    .await;
    assert_eq!(
        send_message(&app, "msg_carl", &captured("pay_carl", &sold, 10)).await.json()["outcome"],
        "paid"
    );
    let ends = until("both payments are decided", async || {
        let states = [read(&app, &first).await, read(&app, &second).await]
            .map(|order| order["state"].clone());
        let back = refunds(&app, &first).await.len() + refunds(&app, &second).await.len();
        (states.contains(&json!("paid")) && back == 1).then_some(states)
    })
    .await;
    assert!(ends.contains(&json!("expired")), "{ends:?}");
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn a_cancelled_order_closes_its_checkout_and_an_extended_order_gets_another_checkout() {
    let app = start().await;
    open_sale(&app, 10.into(), 10, BRIEF_SECS).await;
    let id = order(&app, "anna", "k", 1).await;
    let page = checkout(&app, "anna", &id).await;
    assert_eq!(
        app.buyer("anna", "POST", &format!("/v1/orders/{id}/cancel")).await.verdict(),
        "200"
    );
    until("the checkout is closed", async || {
        (app.get(&format!("{page}/state")).await.json()["state"] == "closed").then_some(())
    })
    .await;
    let id = order(&app, "anna", "k2", 1).await;
    let page = checkout(&app, "anna", &id).await;
    let longer = app
        .admin("POST", &format!("/v1/admin/orders/{id}/extend"), Some(json!({"secs": 600})))
        .await;
    assert_eq!(longer.verdict(), "200", "{}", longer.text());
    let other = until("the first checkout is closed", async || {
        let other = checkout(&app, "anna", &id).await;
        (other != page).then_some(other)
    })
    .await;
    assert_eq!(press(&app, &page, "pay").await.0, 409);
    assert_eq!(press(&app, &other, "pay").await.0, 200);
    becomes(&app, &id, "paid").await;
}

#[tokio::test]
async fn messages_that_were_not_delivered_are_delivered_after_a_restart() {
    let settings = [
        ("DOORBUSTER_PAYMENT__WEBHOOK_SECRET", super::secret(super::KEY)),
        ("DOORBUSTER_PAYMENT__SANDBOX_PAGE", "true".to_owned()),
    ];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let app = TestApp::with(&settings).await;
    open_sale(&app, 10.into(), 1, 900).await;
    let mut orders = Vec::new();
    for n in 0..5 {
        let id = order(&app, &format!("b{n}"), "k", 1).await;
        let page = checkout(&app, &format!("b{n}"), &id).await;
        assert_eq!(press(&app, &page, "pay").await.0, 200);
        orders.push(id);
    }
    // Only some messages were delivered before this restart.
    let dir = app.stop().await;
    let app = TestApp::try_start(dir, &settings, false).await.expect("the server starts again");
    for id in &orders {
        becomes(&app, id, "paid").await;
        assert_eq!(payments(&app, id).await.len(), 1);
    }
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn refunds_of_unknown_payments_stay_pending_until_an_operator_settles_them() {
    let app = start().await;
    open_sale(&app, 10.into(), 10, 900).await;
    send_message(&app, "msg_1", &captured("pay_theirs", "ord_unknown", 5)).await;
    until("the refund was requested", async || {
        let text = app.get("/metrics").await.text();
        text.contains("doorbuster_refunds_total{answer=\"accepted\"} 1").then_some(())
    })
    .await;
    assert_eq!(refunds(&app, "ord_unknown").await, [("pay_theirs".into(), "pending".into())]);
    send_message(
        &app,
        "msg_2",
        &json!({"type": "refund.settled", "data": {"payment": "pay_theirs"}}),
    )
    .await;
    assert_eq!(refunds(&app, "ord_unknown").await, [("pay_theirs".into(), "settled".into())]);
}
