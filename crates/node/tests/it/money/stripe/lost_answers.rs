//! Tests requests that Stripe carried out, but whose answers were lost.
use super::*;
use crate::money::exports::reconciliation;
use crate::postgres::Cluster;
use crate::several_servers::address;

const SESSIONS: &str = "/v1/checkout/sessions";
const PAID: &str = "checkout.session.completed";

#[tokio::test]
async fn a_refund_whose_answer_is_lost_is_looked_up_and_not_repeated() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 2).await;
    checkout(&app, &id).await;
    let event = paid(&stripe, "cs_test_1", &id, 20);
    assert_eq!(send_message(&app, "evt_1", PAID, &event).await.json()["outcome"], "paid");
    stripe.lose_next("POST", "/v1/refunds");
    assert_eq!(
        app.admin("POST", &format!("/v1/admin/orders/{id}/refund"), None).await.verdict(),
        "200"
    );
    // The server reads the refunds from Stripe only after a refund request has failed.
    until("the server asks Stripe which refunds exist", async || {
        stripe.sent("GET", "/v1/refunds").pop()
    })
    .await;
    let row =
        async || app.admin("GET", "/v1/admin/refunds", None).await.json()["refunds"][0].clone();
    let found = until("the refund is found", async || {
        Some(row().await).filter(|row| row["error"].is_null())
    })
    .await;
    assert_eq!((&found["state"], &found["tries"]), (&json!("pending"), &json!(0)), "{found}");
    stripe.refunds_are("succeeded");
    let arrived = json!({"id": "re_1", "payment_intent": "pi_1", "status": "succeeded", "amount": 20, "currency": "cny",
                         "metadata": {"refund": found["refund"]}});
    assert_eq!(
        send_message(&app, "evt_2", "refund.updated", &arrived).await.json()["outcome"],
        "noted"
    );
    assert_eq!(refunds(&app, &id).await, [("pi_1".into(), "settled".into())]);
    assert_eq!(read(&app, &id).await["state"], "refunded");
    let [request]: [SentRequest; 1] =
        stripe.sent("POST", "/v1/refunds").try_into().expect("the refund was requested once");
    assert_eq!((request.key.as_deref(), stripe.amounts()), (found["refund"].as_str(), vec![20]));
    let report = reconciliation(&app, "").await;
    let sums = json!([{"currency": "CNY", "captured": 20, "standing": 0, "refunded": 20, "pending": 0, "failed": 0}]);
    assert_eq!((&report["ok"], &report["items"][0]["money"]), (&json!(true), &sums), "{report}");
    assert_eq!(app.admin("GET", "/v1/admin/audit", None).await.json()["notices"], json!([]));
    assert_ledger_adds_up(&app).await;
}

/// Opens the order's checkout. Stripe creates a session, but the answer is lost.
async fn lose_session(app: &TestApp, stripe: &StripeStandIn, id: &str) {
    let made = stripe.made();
    stripe.lose_next("POST", SESSIONS);
    let lost = app.buyer("anna", "POST", &format!("/v1/orders/{id}/checkout")).await;
    assert_eq!(lost.verdict(), "503 unavailable", "{}", lost.text());
    assert_eq!(stripe.made(), made + 1, "Stripe must have one more session");
    assert_eq!(read(app, id).await["state"], "reserved");
}

/// Returns an order and its session. Stripe's answer to the first request for the session was lost,
/// and the server repeated the request with the same key. The server changes the key each minute.
/// If a new minute begins between the two requests, the function tries another order.
async fn asked_again_within_a_minute(app: &TestApp, stripe: &StripeStandIn) -> (String, String) {
    for round in 0..3 {
        let id = order(app, "anna", &format!("k{round}"), 2).await;
        lose_session(app, stripe, &id).await;
        let session = format!("cs_test_{}", stripe.made());
        let url = checkout(app, &id).await;
        let keys: Vec<_> = stripe
            .sent("POST", SESSIONS)
            .into_iter()
            .map(|sent| sent.key.expect("a key"))
            .collect();
        let [.., first, second] = &keys[..] else {
            panic!("the server sent fewer than two requests")
        };
        if first == second {
            assert_eq!(url, format!("https://checkout.stripe.example/c/pay/{session}"));
            return (id, session);
        }
    }
    panic!("the server did not send the same key twice in any attempt")
}

#[tokio::test]
async fn a_repeated_request_returns_the_session_whose_answer_was_lost() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let (id, session) = asked_again_within_a_minute(&app, &stripe).await;
    assert_eq!(
        session,
        format!("cs_test_{}", stripe.made()),
        "Stripe must not create a second session"
    );
    let count = stripe.sent("POST", SESSIONS).len();
    assert!(checkout(&app, &id).await.ends_with(&session));
    assert_eq!(
        stripe.sent("POST", SESSIONS).len(),
        count,
        "the server must not request a session that it knows"
    );
    let event = paid(&stripe, &session, &id, 20);
    for (message, outcome) in [("evt_1", "paid"), ("evt_2", "repeated")] {
        assert_eq!(
            send_message(&app, message, PAID, &event).await.json()["outcome"],
            outcome,
            "{message}"
        );
    }
    assert_eq!(payments(&app, &id).await, [("pi_1".into(), "captured".into())]);
    assert!(refunds(&app, &id).await.is_empty());
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn of_two_sessions_of_an_order_one_pays_and_the_other_is_refunded_once() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 2).await;
    lose_session(&app, &stripe, &id).await;
    // The stand-in forgets all keys, so the next request counts as a request with a new key.
    stripe.forget_keys();
    assert!(checkout(&app, &id).await.ends_with("/cs_test_2"));
    for (message, nth, outcome) in
        [("evt_1", 1, "paid"), ("evt_2", 2, "refunded"), ("evt_3", 2, "repeated")]
    {
        let mut session = paid(&stripe, &format!("cs_test_{nth}"), &id, 20);
        session["payment_intent"] = json!(format!("pi_{nth}"));
        assert_eq!(
            send_message(&app, message, PAID, &session).await.json()["outcome"],
            outcome,
            "{message}"
        );
    }
    let request =
        until("the second payment is refunded", async || stripe.sent("POST", "/v1/refunds").pop())
            .await;
    assert_eq!(request.form[0], ("payment_intent".into(), "pi_2".into()));
    let mut taken = payments(&app, &id).await;
    taken.sort_unstable();
    assert_eq!(taken, [("pi_1".into(), "captured".into()), ("pi_2".into(), "refunded".into())]);
    assert_eq!(refunds(&app, &id).await, [("pi_2".into(), "pending".into())]);
    assert_eq!(
        (read(&app, &id).await["state"].clone(), stripe.amounts()),
        (json!("paid"), vec![20])
    );
    let again = app.buyer("anna", "POST", &format!("/v1/orders/{id}/checkout")).await;
    assert_eq!(again.verdict(), "409 wrong_state", "{}", again.text());
    assert_ledger_adds_up(&app).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_refund_is_recorded_even_if_its_dead_letter_cannot_be_read() {
    let (home, stripe) = (Cluster::start(&[]), StripeStandIn::start().await);
    let database = home.database();
    let url = address(&home, &database);
    let shape = [("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", url.as_str())];
    let app = start_with(&stripe, &shape).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 10).await;
    checkout(&app, &id).await;
    let event = paid(&stripe, "cs_test_1", &id, 1);
    assert_eq!(send_message(&app, "evt_1", PAID, &event).await.json()["outcome"], "refunded");
    let request =
        until("a refund request", async || stripe.sent("POST", "/v1/refunds").pop()).await;
    let (_, refund) =
        request.form.iter().find(|(name, _)| name == "metadata[refund]").expect("an id");
    // Without this column, the server cannot read dead letters, but can still store refunds.
    let away = "ALTER TABLE refund RENAME COLUMN seq TO away";
    home.psql(&database, away).expect("the column exists");
    let failed = json!({"id": "re_1", "payment_intent": "pi_1", "status": "failed",
        "failure_reason": "lost_or_stolen_card", "metadata": {"refund": refund}});
    let reply = send_message(&app, "evt_2", "refund.failed", &failed).await;
    assert_eq!(reply.json()["outcome"], "noted", "{}", reply.text());
}
