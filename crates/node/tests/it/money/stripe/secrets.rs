//! Tests the replacement of a Stripe endpoint's secret. For a while Stripe signs with both secrets.
use super::*;

const NEW: &str = "whsec_of_the_endpoint_from_now_on";
const OTHER: &str = "whsec_of_another_endpoint";

#[tokio::test]
async fn secrets_rotate_and_one_good_signature_of_two_is_enough() {
    let stripe = StripeStandIn::start().await;
    let both = format!("{NEW},{SECRET}");
    let app = start_with(&stripe, &[("DOORBUSTER_PAYMENT__STRIPE__WEBHOOK_SECRET", &both)]).await;
    open_sale(&app, 10.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 10).await;
    checkout(&app, &id).await;
    let session = paid(&stripe, "cs_test_1", &id, 100);
    let now = now_secs();
    let message = |event: &str| {
        let kind = "checkout.session.completed";
        json!({"id": event, "object": "event", "type": kind, "created": now, "data": {"object": session}}).to_string()
    };
    // While two secrets are valid, Stripe's header has one time, and one signature for each secret.
    let signed = |body: &str, secrets: &[&str]| {
        let proofs: Vec<String> = secrets.iter().map(|secret| header(body, now, secret)).collect();
        proofs.join(",").replace(&format!(",t={now},"), ",")
    };
    let body = message("evt_1");
    for wrong in [&[OTHER][..], &[OTHER, "whsec_of_a_fourth"][..]] {
        let proof = signed(&body, wrong);
        assert_eq!(send(&app, &body, &proof).await.verdict(), "401 unauthenticated", "{proof}");
    }
    assert_eq!(
        read(&app, &id).await["state"],
        "reserved",
        "a message with an invalid signature must not pay the order"
    );
    for (event, by, outcome) in [
        ("evt_1", &[SECRET][..], "paid"),
        ("evt_2", &[NEW][..], "repeated"),
        ("evt_3", &[OTHER, SECRET][..], "repeated"),
        ("evt_4", &[NEW, OTHER][..], "repeated"),
    ] {
        let body = message(event);
        let proof = signed(&body, by);
        assert_eq!(proof.matches("v1=").count(), by.len(), "{proof}");
        let taken = send(&app, &body, &proof).await;
        assert_eq!(
            (taken.verdict().as_str(), &taken.json()["outcome"]),
            ("200", &json!(outcome)),
            "{proof}"
        );
    }
    assert_eq!(payments(&app, &id).await, [("pi_1".into(), "captured".into())]);
    assert_ledger_adds_up(&app).await;
}
