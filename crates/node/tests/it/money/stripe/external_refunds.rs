//! Tests refunds and disputes that start in the Stripe account, and the rate of requests to Stripe.
use super::*;

async fn notices(app: &TestApp) -> Vec<(String, String)> {
    let audit = app.admin("GET", "/v1/admin/audit", None).await.json();
    let word = |notice: &Value, name: &str| notice[name].as_str().expect("a text").to_owned();
    assert_eq!(audit["ok"], true, "{audit}");
    let all = audit["notices"].as_array().expect("a list").iter();
    all.map(|notice| (word(notice, "kind"), word(notice, "order"))).collect()
}

async fn bought(app: &TestApp, stripe: &StripeStandIn, key: &str, payment: &str) -> String {
    let id = order(app, "anna", key, 2).await;
    checkout(app, &id).await;
    let mut event = paid(stripe, &format!("cs_{payment}"), &id, 20);
    event["payment_intent"] = json!(payment);
    let reply =
        send_message(app, &format!("evt_{payment}"), "checkout.session.completed", &event).await;
    assert_eq!(reply.json()["outcome"], "paid", "{}", reply.text());
    id
}

fn charge(payment: &str, back: i64) -> Value {
    json!({"id": "ch_1", "object": "charge", "payment_intent": payment, "amount": 20, "amount_refunded": back, "currency": "cny"})
}

#[tokio::test]
async fn a_refund_made_by_hand_gives_a_notice_and_is_not_repeated() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = bought(&app, &stripe, "k", "pi_1").await;
    stripe.refunded_by_hand(20);
    for (event, outcome) in [("evt_1", "noted"), ("evt_1", "repeated"), ("evt_2", "repeated")] {
        let reply = send_message(&app, event, "charge.refunded", &charge("pi_1", 20)).await;
        assert_eq!((reply.status, &reply.json()["outcome"]), (200, &json!(outcome)), "{event}");
    }
    let refund = json!({"id": "re_9", "payment_intent": "pi_1", "status": "succeeded", "amount": 20, "currency": "cny"});
    assert_eq!(send_message(&app, "evt_3", "refund.updated", &refund).await.status, 200);
    assert_eq!(notices(&app).await, [("returned".to_owned(), id.clone())]);
    assert_eq!(
        (read(&app, &id).await["state"].clone(), refunds(&app, &id).await),
        (json!("paid"), vec![])
    );
    assert!(stripe.sent("POST", "/v1/refunds").is_empty(), "the server must request no refund");
    // The operator now requests a refund. Stripe answers that the payment is already refunded, so
    // the server's refund settles.
    assert_eq!(
        app.admin("POST", &format!("/v1/admin/orders/{id}/refund"), None).await.verdict(),
        "200"
    );
    until("settlement", async || (refunds(&app, &id).await[0].1 == "settled").then_some(())).await;
    assert_eq!(stripe.sent("POST", "/v1/refunds").len(), 1, "the server must request one refund");
    assert_eq!(notices(&app).await, []);
    // Stripe also reports the refund that this server requested. The report changes nothing.
    assert_eq!(
        send_message(&app, "evt_4", "charge.refunded", &charge("pi_1", 20)).await.json()["outcome"],
        "repeated"
    );
    assert_eq!(
        send_message(&app, "evt_5", "charge.refunded", &charge("pi_theirs", 20)).await.status,
        200,
        "a payment of another system must be ignored"
    );
    assert_eq!(notices(&app).await, []);
    assert_ledger_adds_up(&app).await;
}

/// Returns a refund that was made by hand in the Stripe account.
fn by_hand(amount: i64, status: &str) -> Value {
    json!({"id": "re_9", "object": "refund", "payment_intent": "pi_1", "amount": amount, "currency": "cny", "status": status, "metadata": {}})
}

async fn state(app: &TestApp, id: &str) -> String {
    refunds(app, id).await.pop().map(|(_, state)| state).unwrap_or_default()
}

/// Checks that this server refunds the rest of a payment after a person refunded a part of it. The
/// server's refund must settle only when the rest has arrived.
async fn the_rest_goes_back(app: &TestApp, stripe: &StripeStandIn, id: &str) {
    until("the server requests the remaining amount", async || {
        (stripe.sent("POST", "/v1/refunds").len() == 1).then_some(())
    })
    .await;
    for (event, status) in [("evt_more", "pending"), ("evt_most", "succeeded")] {
        assert_eq!(
            send_message(app, event, "refund.updated", &by_hand(8, status)).await.json()["outcome"],
            "noted"
        );
    }
    until("the server reads the refunds", async || stripe.sent("GET", "/v1/refunds").pop()).await;
    assert_eq!(state(app, id).await, "pending", "the remaining amount has not arrived yet");
    stripe.refunds_are("succeeded");
    assert_eq!(
        send_message(app, "evt_hurry", "refund.updated", &by_hand(8, "succeeded")).await.status,
        200
    );
    until("refund settled", async || (state(app, id).await == "settled").then_some(())).await;
    assert_eq!(stripe.sent("POST", "/v1/refunds").len(), 1);
    assert_ledger_adds_up(app).await;
}

#[tokio::test]
async fn after_a_partial_refund_by_hand_our_refund_sends_the_rest() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = bought(&app, &stripe, "k", "pi_1").await;
    stripe.refunded_in_part(8, 20);
    assert_eq!(
        send_message(&app, "evt_1", "refund.updated", &by_hand(8, "succeeded")).await.json()["outcome"],
        "noted"
    );
    assert_eq!(notices(&app).await, [("returned".to_owned(), id.clone())]);
    assert_eq!(
        app.admin("POST", &format!("/v1/admin/orders/{id}/refund"), None).await.verdict(),
        "200"
    );
    the_rest_goes_back(&app, &stripe, &id).await;
}

#[tokio::test]
async fn a_partial_refund_by_hand_does_not_settle_our_pending_refund() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = bought(&app, &stripe, "k", "pi_1").await;
    stripe.fail(true);
    assert_eq!(
        app.admin("POST", &format!("/v1/admin/orders/{id}/refund"), None).await.verdict(),
        "200"
    );
    for (event, status) in [("evt_1", "pending"), ("evt_2", "succeeded"), ("evt_3", "failed")] {
        assert_eq!(
            send_message(&app, event, "refund.updated", &by_hand(8, status)).await.json()["outcome"],
            "noted"
        );
        assert_eq!(state(&app, &id).await, "pending", "{status}");
    }
    let count = stripe.sent("POST", "/v1/refunds").len();
    assert!(count <= 1, "at most one attempt must request a refund, but {count} did");
    stripe.forget();
    stripe.refunded_in_part(8, 20);
    stripe.fail(false);
    the_rest_goes_back(&app, &stripe, &id).await;
}

#[tokio::test]
async fn a_full_refund_by_hand_that_fails_makes_our_refund_fail() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = bought(&app, &stripe, "k", "pi_1").await;
    stripe.refunded_by_hand(20);
    assert_eq!(
        app.admin("POST", &format!("/v1/admin/orders/{id}/refund"), None).await.verdict(),
        "200"
    );
    until("refund settled", async || (state(&app, &id).await == "settled").then_some(())).await;
    stripe.by_hand_status("failed");
    assert_eq!(
        send_message(&app, "evt_1", "refund.failed", &by_hand(20, "failed")).await.json()["outcome"],
        "noted"
    );
    until("the refund has failed", async || (state(&app, &id).await == "failed").then_some(()))
        .await;
}

/// Returns this server's refund as Stripe reports it.
async fn ours(app: &TestApp, amount: i64, status: &str) -> Value {
    let row = app.admin("GET", "/v1/admin/refunds", None).await.json()["refunds"][0].clone();
    json!({"id": "re_1", "object": "refund", "payment_intent": "pi_1", "amount": amount, "currency": "cny", "status": status,
           "metadata": {"refund": row["refund"]}})
}

/// Retries the server's failed refund as an operator. A person had refunded a part of the payment
/// by hand, and this refund failed. The server must now refund exactly this part.
async fn the_lost_part_is_sent(app: &TestApp, stripe: &StripeStandIn, id: &str) {
    until("the refund has failed", async || (state(app, id).await == "failed").then_some(())).await;
    let dead = app.admin("GET", "/v1/admin/dead-letters?kind=refund", None).await.json();
    let letter = dead["dead_letters"][0]["id"].as_str().expect("an id").to_owned();
    let retried = app.admin("POST", &format!("/v1/admin/dead-letters/{letter}/retry"), None).await;
    assert!(matches!(retried.status, 200 | 202), "{}", retried.text());
    until("the server requests the lost part", async || {
        (stripe.sent("POST", "/v1/refunds").len() == 2).then_some(())
    })
    .await;
    assert_eq!(stripe.amounts(), [8, 12]);
    assert_eq!(
        send_message(app, "evt_part", "refund.updated", &ours(app, 8, "pending").await)
            .await
            .status,
        200
    );
    assert_eq!(state(app, id).await, "pending");
    stripe.refunds_are("succeeded");
    assert_eq!(
        send_message(app, "evt_rest", "refund.updated", &ours(app, 8, "succeeded").await)
            .await
            .status,
        200
    );
    until("refund settled", async || (state(app, id).await == "settled").then_some(())).await;
    assert_ledger_adds_up(app).await;
}

#[tokio::test]
async fn a_partial_refund_by_hand_that_fails_after_the_rest_arrived_is_detected() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = bought(&app, &stripe, "k", "pi_1").await;
    stripe.refunded_in_part(8, 20);
    assert_eq!(
        app.admin("POST", &format!("/v1/admin/orders/{id}/refund"), None).await.verdict(),
        "200"
    );
    until("a refund of 12 is requested", async || (stripe.amounts() == [12]).then_some(())).await;
    stripe.refunds_are("succeeded");
    assert_eq!(
        send_message(&app, "evt_1", "refund.updated", &ours(&app, 12, "succeeded").await)
            .await
            .status,
        200
    );
    until("refund settled", async || (state(&app, &id).await == "settled").then_some(())).await;
    stripe.by_hand_status("failed");
    assert_eq!(
        send_message(&app, "evt_2", "refund.failed", &by_hand(8, "failed")).await.json()["outcome"],
        "noted"
    );
    the_lost_part_is_sent(&app, &stripe, &id).await;
}

#[tokio::test]
async fn a_partial_refund_by_hand_that_fails_before_the_rest_arrived_is_detected() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = bought(&app, &stripe, "k", "pi_1").await;
    stripe.refunded_in_part(8, 20);
    assert_eq!(
        app.admin("POST", &format!("/v1/admin/orders/{id}/refund"), None).await.verdict(),
        "200"
    );
    until("a refund of 12 is requested", async || (stripe.amounts() == [12]).then_some(())).await;
    stripe.by_hand_status("failed");
    assert_eq!(
        send_message(&app, "evt_1", "refund.failed", &by_hand(8, "failed")).await.json()["outcome"],
        "noted"
    );
    stripe.refunds_are("succeeded");
    assert_eq!(
        send_message(&app, "evt_2", "refund.updated", &ours(&app, 12, "succeeded").await)
            .await
            .status,
        200
    );
    the_lost_part_is_sent(&app, &stripe, &id).await;
}

#[tokio::test]
async fn a_partial_refund_by_hand_that_fails_before_stripes_answer_is_read_is_detected() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = bought(&app, &stripe, "k", "pi_1").await;
    stripe.refunded_in_part(8, 20);
    stripe.by_hand_fails_next();
    assert_eq!(
        app.admin("POST", &format!("/v1/admin/orders/{id}/refund"), None).await.verdict(),
        "200"
    );
    the_lost_part_is_sent(&app, &stripe, &id).await;
}

#[tokio::test]
async fn the_audit_reports_a_dispute_until_the_shop_wins_it() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = bought(&app, &stripe, "k", "pi_1").await;
    let dispute = |status: &str| json!({"id": "dp_1", "object": "dispute", "payment_intent": "pi_1", "amount": 20, "currency": "cny", "status": status});
    assert_eq!(
        send_message(&app, "evt_1", "charge.dispute.created", &dispute("needs_response"))
            .await
            .json()["outcome"],
        "noted"
    );
    assert_eq!(
        send_message(&app, "evt_2", "charge.dispute.funds_withdrawn", &dispute("under_review"))
            .await
            .status,
        200
    );
    assert_eq!(notices(&app).await, [("disputed".to_owned(), id.clone())]);
    assert_eq!(
        send_message(&app, "evt_3", "charge.dispute.closed", &dispute("won")).await.json()["outcome"],
        "noted"
    );
    let again =
        send_message(&app, "evt_1", "charge.dispute.created", &dispute("needs_response")).await;
    assert_eq!(again.json()["outcome"], "repeated", "a repeated message must change nothing");
    assert_eq!(
        (notices(&app).await, read(&app, &id).await["state"].clone()),
        (vec![], json!("paid"))
    );
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn a_dispute_whose_end_arrives_first_is_over() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let (won, lost) =
        (bought(&app, &stripe, "k", "pi_1").await, bought(&app, &stripe, "l", "pi_2").await);
    let dispute = |id: &str, payment: &str, status: &str| json!({"id": id, "payment_intent": payment, "amount": 20, "currency": "cny", "status": status});
    let now = now_secs();
    for (nth, (kind, status, ago, outcome)) in [
        ("closed", "won", 5, "noted"),
        ("funds_withdrawn", "under_review", 5, "repeated"),
        ("created", "needs_response", 60, "repeated"),
    ]
    .into_iter()
    .enumerate()
    {
        let event = dispute("dp_1", "pi_1", status);
        let (id, kind) = (format!("evt_won_{nth}"), format!("charge.dispute.{kind}"));
        let sent = send_event_at(&app, &id, &kind, &event, now - ago).await;
        assert_eq!((sent.status, sent.json()["outcome"].clone()), (200, json!(outcome)), "{kind}");
        assert_eq!(notices(&app).await, [], "{kind}");
    }
    for (nth, (kind, status, ago)) in
        [("closed", "lost", 5), ("created", "needs_response", 60), ("closed", "warning_closed", 30)]
            .into_iter()
            .enumerate()
    {
        let event = dispute("dp_2", "pi_2", status);
        let (id, kind) = (format!("evt_lost_{nth}"), format!("charge.dispute.{kind}"));
        let reply = send_event_at(&app, &id, &kind, &event, now - ago).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!(notices(&app).await, [("disputed".to_owned(), lost)]);
    send_message(
        &app,
        "evt_other",
        "charge.dispute.created",
        &dispute("dp_3", "pi_1", "needs_response"),
    )
    .await;
    assert!(notices(&app).await.contains(&("disputed".to_owned(), won)));
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn a_refund_without_a_message_is_found_by_a_status_query() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, BRIEF_SECS).await;
    let id = order(&app, "anna", "k", 2).await;
    checkout(&app, &id).await;
    stripe.set_session("cs_test_1", paid(&stripe, "cs_test_1", &id, 20));
    stripe.refunded_by_hand(20);
    until("order paid", async || (read(&app, &id).await["state"] == "paid").then_some(())).await;
    let noticed = until("the reversal is recorded", async || notices(&app).await.pop()).await;
    assert_eq!(noticed, ("returned".to_owned(), id));
}

#[tokio::test]
async fn a_refund_reported_before_its_capture_is_reported_again() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 2).await;
    checkout(&app, &id).await;
    let mut charge = charge("pi_1", 20);
    for (metadata, verdict) in [
        (json!({}), "200"),
        (json!({"order": id, "doorbuster": "another"}), "200"),
        (json!({"order": "ord_of_nobody", "doorbuster": refund_marker(&stripe)}), "200"),
        (json!({"order": id, "doorbuster": refund_marker(&stripe)}), "503 unavailable"),
    ] {
        charge["metadata"] = metadata;
        assert_eq!(
            send_message(&app, "evt_1", "charge.refunded", &charge).await.verdict(),
            verdict,
            "{charge}"
        );
    }
    let capture = paid(&stripe, "cs_test_1", &id, 20);
    assert_eq!(
        send_message(&app, "evt_2", "checkout.session.completed", &capture).await.json()["outcome"],
        "paid"
    );
    assert_eq!(
        send_message(&app, "evt_1", "charge.refunded", &charge).await.json()["outcome"],
        "noted"
    );
    assert_eq!(notices(&app).await, [("returned".to_owned(), id)]);
}

async fn differences(app: &TestApp) -> Vec<String> {
    let report = app.admin("GET", "/v1/admin/exports/reconciliation", None).await.json();
    let all = report["differences"].as_array().expect("a list");
    assert_eq!(report["ok"], json!(all.is_empty()), "{report}");
    all.iter().map(|found| found["kind"].as_str().expect("a word").to_owned()).collect()
}

#[tokio::test]
async fn the_reconciliation_reports_a_reversed_payment_until_it_is_refunded_exactly_once() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let (returned, disputed) =
        (bought(&app, &stripe, "k", "pi_1").await, bought(&app, &stripe, "l", "pi_2").await);
    assert_eq!(differences(&app).await, [""; 0]);
    assert_eq!(
        send_message(&app, "evt_1", "charge.refunded", &charge("pi_1", 20)).await.json()["outcome"],
        "noted"
    );
    assert_eq!(differences(&app).await, ["reversed"]);
    stripe.refunded_by_hand(20);
    assert_eq!(
        app.admin("POST", &format!("/v1/admin/orders/{returned}/refund"), None).await.verdict(),
        "200"
    );
    until("settlement", async || (state(&app, &returned).await == "settled").then_some(())).await;
    assert_eq!(differences(&app).await, [""; 0], "a single refund must not be reported");
    let dispute = json!({"id": "dp_1", "payment_intent": "pi_2", "amount": 20, "currency": "cny", "status": "lost"});
    assert_eq!(
        send_message(&app, "evt_2", "charge.dispute.closed", &dispute).await.json()["outcome"],
        "noted"
    );
    assert_eq!(differences(&app).await, ["reversed"]);
    assert_eq!(
        app.admin("POST", &format!("/v1/admin/orders/{disputed}/refund"), None).await.verdict(),
        "200"
    );
    until("settlement", async || (state(&app, &disputed).await == "settled").then_some(())).await;
    assert_eq!(differences(&app).await, ["reversed"], "a second return must be reported");
}

#[tokio::test]
async fn requests_to_stripe_for_checkouts_are_rate_limited() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let (one, other) = (order(&app, "anna", "k", 1).await, order(&app, "anna", "l", 1).await);
    stripe.fail(true);
    let ask =
        async |id: &str| app.buyer("anna", "POST", &format!("/v1/orders/{id}/checkout")).await;
    for n in 0..10 {
        assert_eq!(ask(&one).await.verdict(), "503 unavailable", "{n}");
    }
    let limited = ask(&one).await;
    assert_eq!(limited.verdict(), "429 rate_limited", "{}", limited.text());
    let left = limited.header("ratelimit");
    assert!(
        left.is_some_and(|said| said.starts_with("\"buyer\";r=0;t=")),
        "the limit for checkouts of this order must be used up: {left:?}"
    );
    assert!(
        limited
            .header("retry-after")
            .is_some_and(|secs| secs.parse::<u32>().is_ok_and(|secs| secs > 0))
    );
    assert_eq!(stripe.sent("POST", "/v1/checkout/sessions").len(), 10);
    assert_eq!(ask(&other).await.verdict(), "503 unavailable", "the limit must be for each order");
    stripe.fail(false);
    let opened = order(&app, "anna", "m", 1).await;
    let count = stripe.sent("POST", "/v1/checkout/sessions").len();
    for _ in 0..30 {
        assert_eq!(ask(&opened).await.verdict(), "200", "the server must return the open checkout");
    }
    assert_eq!(stripe.sent("POST", "/v1/checkout/sessions").len(), count + 1);
}
