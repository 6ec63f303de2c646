//! Tests delayed payment methods such as bank transfers, which succeed or fail after the checkout.
use super::*;

/// Returns a session that the buyer completed. `payment` is the status of the session's payment.
fn completed_payment(stripe: &StripeStandIn, order: &str, payment: &str) -> Value {
    let mut session = paid(stripe, "cs_test_1", order, 20);
    (session["payment_status"], session["payment_intent"]) =
        (json!("unpaid"), json!({"id": "pi_1", "status": payment}));
    session
}

#[tokio::test]
async fn a_payment_on_its_way_holds_its_order_until_it_failed() {
    for failed in ["requires_payment_method", "canceled"] {
        let stripe = StripeStandIn::start().await;
        let app = start(&stripe).await;
        open_sale(&app, 2.into(), 2, BRIEF_SECS).await;
        let id = order(&app, "anna", "k", 2).await;
        checkout(&app, &id).await;
        stripe.set_session("cs_test_1", completed_payment(&stripe, &id, "processing"));
        let asked =
            async || stripe.sent("GET", "/v1/checkout/sessions/cs_test_1").into_iter().nth(1);
        until("the server asks Stripe repeatedly", asked).await;
        assert_eq!(read(&app, &id).await["state"], "reserved");
        stripe.set_session("cs_test_1", completed_payment(&stripe, &id, failed));
        until("the order's units return", async || {
            (read(&app, &id).await["state"] == "expired").then_some(())
        })
        .await;
        assert!(payments(&app, &id).await.is_empty());
        assert_ledger_adds_up(&app).await;
    }
}

#[tokio::test]
async fn after_a_payment_that_failed_later_the_buyer_pays_at_another_checkout() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 2).await;
    let spent = checkout(&app, &id).await;
    let mut session = completed_payment(&stripe, &id, "processing");
    stripe.set_session("cs_test_1", session.clone());
    session["payment_intent"] = json!("pi_1");
    assert_eq!(
        send_message(&app, "evt_1", "checkout.session.completed", &session).await.json()["outcome"],
        "ignored"
    );
    assert_eq!(
        checkout(&app, &id).await,
        spent,
        "while the payment can succeed, the order must keep its checkout"
    );
    stripe.set_session("cs_test_1", completed_payment(&stripe, &id, "requires_payment_method"));
    let failed = "checkout.session.async_payment_failed";
    assert_eq!(send_message(&app, "evt_2", failed, &session).await.json()["outcome"], "noted");
    let history = app.buyer("anna", "GET", &format!("/v1/orders/{id}/history")).await.json();
    assert!(history["payment_failed_at"].is_string(), "{history}");
    let other = checkout(&app, &id).await;
    assert_ne!(other, spent);
    assert_eq!(send_message(&app, "evt_2", failed, &session).await.json()["outcome"], "repeated");
    assert_eq!(send_message(&app, "evt_3", failed, &session).await.status, 200);
    assert_eq!(checkout(&app, &id).await, other, "the order must keep its second checkout");
    let mut event = paid(&stripe, "cs_test_2", &id, 20);
    event["payment_intent"] = json!("pi_2");
    assert_eq!(
        send_message(&app, "evt_4", "checkout.session.completed", &event).await.json()["outcome"],
        "paid"
    );
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn without_permission_to_read_payments_a_paid_session_is_still_found() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 2.into(), 2, BRIEF_SECS).await;
    stripe.hide_payments();
    let id = order(&app, "anna", "k", 2).await;
    checkout(&app, &id).await;
    stripe.set_session("cs_test_1", completed_payment(&stripe, &id, "requires_payment_method"));
    let asked = async || stripe.sent("GET", "/v1/checkout/sessions/cs_test_1").into_iter().nth(3);
    until("the server asks Stripe again", asked).await;
    assert_eq!(
        read(&app, &id).await["state"],
        "reserved",
        "the order must not expire while the server cannot read the payment"
    );
    stripe.set_session("cs_test_1", paid(&stripe, "cs_test_1", &id, 20));
    until("the order is paid", async || (read(&app, &id).await["state"] == "paid").then_some(()))
        .await;
    assert_eq!(payments(&app, &id).await, [("pi_1".into(), "captured".into())]);
    assert_ledger_adds_up(&app).await;
}
