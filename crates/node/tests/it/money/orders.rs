//! Tests orders and payments: refunds by operators, late payments, extensions, and races.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use doorbuster_api::value::Time;
use futures_util::future::join_all;
use serde_json::json;

use super::exports::reconciliation;
use super::{
    BRIEF_SECS, assert_ledger_adds_up, captured, open_sale, order, payments, read, refunds,
    send_message, start, until,
};
use crate::app::TestApp;

#[tokio::test]
async fn an_operator_refunds_a_paid_order_exactly_once() {
    let app = start().await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 10).await;
    let path = format!("/v1/admin/orders/{id}/refund");
    let refused = app.admin("POST", &path, None).await;
    assert_eq!(
        (refused.verdict().as_str(), &refused.json()["state"]),
        ("409 wrong_state", &json!("reserved"))
    );
    send_message(&app, "msg_1", &captured("pay_1", &id, 100)).await;
    assert_eq!(app.buy("bert", "k", "spring", "phone", 1).await.verdict(), "409 sold_out");
    let reason = json!({"reason": "broken in transit"});
    for _ in 0..3 {
        let refunded = app.admin("POST", &path, Some(reason.clone())).await;
        assert_eq!(
            (refunded.verdict().as_str(), &refunded.json()["state"]),
            ("200", &json!("refunded"))
        );
        assert_eq!(refunds(&app, &id).await, [("pay_1".into(), "pending".into())]);
    }
    assert_eq!(payments(&app, &id).await, [("pay_1".into(), "refunded".into())]);
    until("the order's units are for sale", async || {
        (app.buy("bert", "k", "spring", "phone", 10).await.status == 201).then_some(())
    })
    .await;
    let row =
        app.admin("GET", &format!("/v1/admin/refunds?order={id}"), None).await.json()["refunds"][0]
            .clone();
    assert_eq!(
        (&row["cause"], &row["amount"]),
        (&json!("operator"), &json!({"amount_minor": 100, "currency": "CNY"}))
    );
    let refund = row["refund"].as_str().expect("an id");
    assert!(refund.starts_with("ref_"), "{refund}");
    let settled = json!({"type": "refund.settled", "data": {"refund": refund, "order": id}});
    assert_eq!(send_message(&app, "msg_2", &settled).await.json()["outcome"], "noted");
    assert_eq!(send_message(&app, "msg_2", &settled).await.json()["outcome"], "repeated");
    assert_eq!(refunds(&app, &id).await, [("pay_1".into(), "settled".into())]);
    assert_eq!(app.admin("POST", &path, None).await.verdict(), "200", "the repeated refund failed");
    assert_eq!(refunds(&app, &id).await, [("pay_1".into(), "settled".into())]);
    let history = read(&app, &id).await["history"].clone();
    let events: Vec<_> = history
        .as_array()
        .expect("a list")
        .iter()
        .map(|step| step["event"].as_str().expect("a word"))
        .collect();
    assert_eq!(events, ["order.reserved", "order.paid", "order.refunded"], "{history}");
    assert_eq!(
        (&history[0]["by"], &history[1]["by"]),
        (&json!("buyer"), &json!("provider:sandbox"))
    );
    assert_eq!(
        (&history[2]["by"], &history[2]["why"]),
        (&json!("operator:configured"), &json!("broken in transit"))
    );
    let own = app.buyer("anna", "GET", &format!("/v1/orders/{id}/history")).await.json();
    assert_eq!(
        (&own["history"][2]["by"], &own["history"][2]["why"]),
        (&json!("operator"), &json!(null))
    );
    assert_eq!(
        app.buyer("bert", "GET", &format!("/v1/orders/{id}/history")).await.verdict(),
        "404 not_found"
    );
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn a_refund_message_that_names_only_the_payment_settles_the_refund() {
    let app = start().await;
    open_sale(&app, 10.into(), 10, 900).await;
    send_message(&app, "msg_1", &captured("pay_1", "ord_unknown", 100)).await;
    let settled = json!({"type": "refund.settled", "data": {"payment": "pay_1"}});
    assert_eq!(send_message(&app, "msg_2", &settled).await.json()["outcome"], "noted");
    assert_eq!(refunds(&app, "ord_unknown").await, [("pay_1".into(), "settled".into())]);
    assert_eq!(send_message(&app, "msg_2", &settled).await.json()["outcome"], "repeated");
}

/// The shop's own payment service reports that the bank rejected a refund.
#[tokio::test]
async fn a_refund_that_failed_is_a_dead_letter_until_it_settles() {
    let app = start().await;
    open_sale(&app, 10.into(), 10, 900).await;
    send_message(&app, "msg_1", &captured("pay_1", "ord_unknown", 100)).await;
    let data = json!({"payment": "pay_1", "reason": "the account is closed"});
    let failed = json!({"type": "refund.failed", "data": data});
    assert_eq!(send_message(&app, "msg_2", &failed).await.json()["outcome"], "noted");
    assert_eq!(refunds(&app, "ord_unknown").await, [("pay_1".into(), "failed".into())]);
    let letters = app.admin("GET", "/v1/admin/dead-letters?kind=refund", None).await.json();
    assert!(letters.to_string().contains("the account is closed"), "{letters}");
    let settled = json!({"type": "refund.settled", "data": {"payment": "pay_1"}});
    assert_eq!(send_message(&app, "msg_3", &settled).await.json()["outcome"], "noted");
    assert_eq!(refunds(&app, "ord_unknown").await, [("pay_1".into(), "settled".into())]);
}

#[tokio::test]
async fn a_message_about_an_unknown_refund_or_payment_is_ignored_each_time() {
    let app = start().await;
    let amount = json!({"amount_minor": 100, "currency": "CNY"});
    let unknown = [
        ("refund.settled", json!({"payment": "pay_2"})),
        ("refund.settled", json!({"refund": "ref_none", "payment": "pay_2", "amount": amount})),
        ("refund.settled", json!({"refund": "ref_none"})),
        ("refund.failed", json!({"payment": "pay_2", "reason": "closed"})),
        ("refund.failed", json!({"refund": "ref_none"})),
        ("payment.returned", json!({"payment": "pay_2", "amount": amount})),
        ("payment.disputed", json!({"payment": "pay_2", "order": "ord_none"})),
    ];
    for (kind, data) in &unknown {
        for _ in 0..2 {
            let reply = send_message(&app, "msg_1", &json!({"type": kind, "data": data})).await;
            assert_eq!(
                (reply.verdict().as_str(), &reply.json()["outcome"]),
                ("200", &json!("ignored")),
                "{kind} {data}"
            );
        }
    }
    // The server does not record the ids of ignored messages, so other messages can use these ids.
    send_message(&app, "msg_1", &captured("pay_2", "ord_unknown", 100)).await;
    assert_eq!(refunds(&app, "ord_unknown").await, [("pay_2".into(), "pending".into())]);
}

#[tokio::test]
async fn a_late_payment_takes_a_unit_from_the_pool_or_one_recalled_from_a_slot() {
    let app = start().await;
    open_sale(&app, 10.into(), 10, 900).await;
    for n in 0..5 {
        let id = order(&app, "anna", &format!("k{n}"), 2).await;
        let cancelled = app.buyer("anna", "POST", &format!("/v1/orders/{id}/cancel")).await;
        assert_eq!(cancelled.verdict(), "200");
        if n % 2 == 0 {
            app.until("/v1/admin/sales/spring/stock", "the units are in the slot", |stock| {
                stock["items"][0]["pool"] == 0
            })
            .await;
        }
        let reply =
            send_message(&app, &format!("msg_{n}"), &captured(&format!("pay_{n}"), &id, 20)).await;
        assert_eq!(reply.json()["outcome"], "paid", "{n}");
        assert_eq!(read(&app, &id).await["state"], "paid");
        assert!(read(&app, &id).await["ended_at"].is_null());
        assert_ledger_adds_up(&app).await;
    }
    assert_eq!(app.buy("bert", "k", "spring", "phone", 1).await.verdict(), "409 sold_out");
}

#[tokio::test]
async fn a_late_payment_without_a_unit_or_beyond_the_limit_gets_one_refund() {
    let app = start().await;
    open_sale(&app, 4.into(), 2, 900).await;
    let gone = order(&app, "anna", "k", 2).await;
    assert_eq!(
        app.buyer("anna", "POST", &format!("/v1/orders/{gone}/cancel")).await.verdict(),
        "200"
    );
    // Units remain, but Anna's second order uses up her limit. So a payment for her first order
    // must be refunded.
    let other = order(&app, "anna", "k2", 2).await;
    assert_eq!(
        send_message(&app, "msg_1", &captured("pay_1", &gone, 20)).await.json()["outcome"],
        "refunded"
    );
    assert_eq!(refunds(&app, &gone).await, [("pay_1".into(), "pending".into())]);
    assert_eq!(
        app.buyer("anna", "POST", &format!("/v1/orders/{other}/cancel")).await.verdict(),
        "200"
    );
    // Anna is below her limit again, but no units remain. So a payment for her second order must
    // also be refunded.
    until("both units are sold", async || {
        (app.buy("bert", "k", "spring", "phone", 2).await.status < 300).then_some(())
    })
    .await;
    until("both units are sold", async || {
        (app.buy("carl", "k", "spring", "phone", 2).await.status < 300).then_some(())
    })
    .await;
    assert_eq!(
        send_message(&app, "msg_2", &captured("pay_2", &other, 20)).await.json()["outcome"],
        "refunded"
    );
    assert_eq!(
        send_message(&app, "msg_3", &captured("pay_2", &other, 20)).await.json()["outcome"],
        "repeated"
    );
    assert_eq!(refunds(&app, &other).await, [("pay_2".into(), "pending".into())]);
    assert_eq!(read(&app, &other).await["state"], "cancelled");
    let history = read(&app, &other).await["history"].clone();
    let last = history.as_array().and_then(|steps| steps.last()).expect("steps").clone();
    assert_eq!(
        (&last["event"], &last["state"]),
        (&json!("payment.refunded"), &json!("cancelled")),
        "{history}"
    );
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn the_payment_window_of_an_unpaid_order_can_be_extended() {
    let app = start().await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 1).await;
    let path = format!("/v1/admin/orders/{id}/extend");
    let before = read(&app, &id).await["pay_by"].as_str().expect("a time").to_owned();
    let extended =
        app.admin("POST", &path, Some(json!({"secs": 600, "reason": "the bank is slow"}))).await;
    assert_eq!(extended.verdict(), "200", "{}", extended.text());
    let after = extended.json()["pay_by"].as_str().expect("a time").to_owned();
    assert!(after > before, "{after}");
    let millis = |text: &str| Time::parse(text).expect("a time").millis();
    assert_eq!(millis(&after) - millis(&before), 600_000);
    assert_eq!(app.admin("POST", &path, Some(json!({"pay_by": after}))).await.verdict(), "200");
    for wrong in [
        json!({}),
        json!({"secs": 0}),
        json!({"pay_by": before}),
        json!({"secs": 2_592_000}),
        json!({"secs": 1, "pay_by": after}),
    ] {
        assert_eq!(
            app.admin("POST", &path, Some(wrong.clone())).await.verdict(),
            "422 invalid_request",
            "{wrong}"
        );
    }
    let detail = read(&app, &id).await;
    assert_eq!((&detail["pay_by"], &detail["state"]), (&json!(after), &json!("reserved")));
    let step = &detail["history"][1];
    assert_eq!(
        (&step["event"], &step["why"], &step["pay_by"]),
        (&json!("order.extended"), &json!("the bank is slow"), &json!(after))
    );
    assert!(detail["history"][2].is_null(), "the history has the repeated request: {detail}");
    send_message(&app, "msg_1", &captured("pay_1", &id, 10)).await;
    assert_eq!(
        app.admin("POST", &path, Some(json!({"secs": 60}))).await.verdict(),
        "409 wrong_state"
    );
    let nobody = format!("/v1/admin/orders/ord_{}/extend", "A".repeat(52));
    assert_eq!(
        app.admin("POST", &nobody, Some(json!({"secs": 60}))).await.verdict(),
        "404 not_found"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_concurrent_payment_and_cancellation_exactly_one_takes_effect() {
    let app = start().await;
    open_sale(&app, 1_000.into(), 1_000, 900).await;
    for n in 0..60 {
        let id = order(&app, "anna", &format!("k{n}"), 1).await;
        let (message, payment) = (format!("msg_{n}"), format!("pay_{n}"));
        let (path, body) = (format!("/v1/orders/{id}/cancel"), captured(&payment, &id, 10));
        let twin = format!("{message}_b");
        let (first, cancelled, again) = tokio::join!(
            send_message(&app, &message, &body),
            app.buyer("anna", "POST", &path),
            send_message(&app, &twin, &body)
        );
        assert_eq!((first.status, again.status), (200, 200));
        let state = read(&app, &id).await["state"].as_str().expect("a word").to_owned();
        let owed = refunds(&app, &id).await.len();
        match (state.as_str(), owed) {
            // A payment after the cancellation can still pay the order with a unit from the pool.
            ("paid", 0) | ("cancelled", 1) => {}
            other => panic!("{other:?}, cancel {}", cancelled.status),
        }
        assert!(matches!(cancelled.status, 200 | 409), "{}", cancelled.text());
        assert_eq!(payments(&app, &id).await.len(), 1);
    }
    assert_ledger_adds_up(&app).await;
}

/// Sends a payment twice while another buyer tries to buy the unit. The payment is sent `after_ms`
/// after the end of the order's payment window, or before the end if `after_ms` is negative.
/// Returns the payment's outcome.
async fn pay_when_due(app: &TestApp, n: i64, id: &str, after_ms: i64) -> String {
    let pay_by =
        read(app, id).await["pay_by"].as_str().and_then(Time::parse).expect("a time").millis();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let wait = pay_by + after_ms - i64::try_from(now).expect("the delay is in range");
    tokio::time::sleep(Duration::from_millis(u64::try_from(wait).unwrap_or(0))).await;
    let (message, twin, rival) = (format!("msg_{n}"), format!("msg_{n}_b"), format!("rival{n}"));
    let body = captured(&format!("pay_{n}"), id, 10);
    let (first, bought, again) = tokio::join!(
        send_message(app, &message, &body),
        app.buy(&rival, "k", "spring", "phone", 1),
        send_message(app, &twin, &body)
    );
    assert!(bought.status < 300 || bought.verdict() == "409 sold_out", "{}", bought.text());
    assert_eq!((first.status, again.status), (200, 200), "{} {}", first.text(), again.text());
    let mut outcomes =
        [first, again].map(|reply| reply.json()["outcome"].as_str().expect("a word").to_owned());
    outcomes.sort_unstable();
    let [outcome, repeated] = outcomes;
    assert_eq!(repeated, "repeated", "{outcome}");
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_concurrent_payment_and_expiry_exactly_one_takes_effect() {
    let app = start().await;
    open_sale(&app, 24.into(), 1, BRIEF_SECS).await;
    let buyers: Vec<_> = (0..24).map(|n| format!("buyer{n}")).collect();
    let ids = join_all(buyers.iter().map(|buyer| order(&app, buyer, "k", 1))).await;
    // The first payments arrive before the window ends. The last payments arrive when other buyers
    // may have the units.
    let outcomes =
        join_all(ids.iter().zip(0..).map(|(id, n)| pay_when_due(&app, n, id, 3 * n - 24))).await;
    for (n, (id, outcome)) in ids.iter().zip(outcomes).enumerate() {
        let state = read(&app, id).await["state"].as_str().expect("a word").to_owned();
        let owed = refunds(&app, id).await.len();
        let stands = match (outcome.as_str(), state.as_str(), owed) {
            // A payment that arrives after the expiry can still pay for the order, if the pool has
            // a unit for the order.
            ("paid", "paid", 0) => "captured",
            ("refunded", "expired", 1) => "refunded",
            other => panic!("{n}: {other:?}"),
        };
        assert_eq!(payments(&app, id).await, [(format!("pay_{n}"), stands.into())]);
    }
    assert_ledger_adds_up(&app).await;
    let report = reconciliation(&app, "").await;
    assert_eq!(report["ok"], true, "{report}");
}
