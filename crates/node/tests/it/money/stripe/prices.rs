//! Tests currencies and prices that Stripe does not accept.
use super::*;

#[tokio::test]
async fn a_currency_that_stripe_counts_differently_is_refused_and_the_request_not_repeated() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    for currency in ["ISK", "UGX", "MGA"] {
        let mut sale = crate::app::sale("spring", 10.into(), 10);
        sale["items"][0]["price"]["currency"] = json!(currency);
        let made = app.admin("POST", "/v1/admin/sales", Some(sale)).await;
        assert_eq!(made.verdict(), "422 invalid_request", "{}", made.text());
        assert!(made.text().contains("/items/0/price/currency"), "{}", made.text());
    }
    open_sale(&app, 10.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 10).await;
    stripe.refuse_sessions(true);
    let refused = app.buyer("anna", "POST", &format!("/v1/orders/{id}/checkout")).await;
    assert_eq!(
        (refused.verdict().as_str(), &refused.json()["retryable"]),
        ("409 wrong_state", &json!(false))
    );
    assert!(
        refused.header("x-request-id").is_some(),
        "the answer must have the request id, which is also in the log line with the reason"
    );
    stripe.refuse_sessions(false);
}

#[tokio::test]
async fn a_price_with_three_decimals_ends_in_zero() {
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    let mut sale = crate::app::sale("spring", 10.into(), 10);
    let price = |minor: i64| json!({"amount_minor": minor, "currency": "KWD"});
    sale["items"][0]["price"] = price(1_234);
    let refused = app.admin("POST", "/v1/admin/sales", Some(sale.clone())).await;
    assert_eq!(refused.verdict(), "422 invalid_request", "{}", refused.text());
    assert_eq!(
        refused.json()["errors"][0]["pointer"],
        "/items/0/price/amount_minor",
        "{}",
        refused.text()
    );
    sale["items"][0]["price"] = price(1_230);
    assert_eq!(app.admin("POST", "/v1/admin/sales", Some(sale)).await.verdict(), "201");
    let patch = json!({"items": [{"id": "phone", "price": price(1_231)}]}).to_string();
    let bearer = format!("Bearer {}", crate::app::ADMIN_KEY);
    let headers =
        [("Authorization", bearer.as_str()), ("Content-Type", "application/merge-patch+json")];
    let refused = app.call("PATCH", "/v1/admin/sales/spring", &headers, patch.as_bytes()).await;
    assert_eq!(refused.verdict(), "422 invalid_request", "{}", refused.text());
    assert_eq!(
        refused.json()["errors"][0]["pointer"],
        "/items/0/price/amount_minor",
        "{}",
        refused.text()
    );
    app.step("spring", "open").await;
    let id = order(&app, "anna", "k", 3).await;
    checkout(&app, &id).await;
}
