//! Tests the push messages about an order whose payment fails.

use super::*;
use crate::money::until;

#[tokio::test]
async fn a_failed_payment_sends_no_second_message() {
    let settings = [&SETTINGS[..], &[("DOORBUSTER_PAYMENT__SANDBOX_PAGE", "true")]].concat();
    let (app, service) = (TestApp::with(&settings).await, PushService::start(201).await);
    app.open_sale("spring", 5.into(), 2).await;
    assert_eq!(subscribe(&app, "anna", &service.url()).await.status, 204);
    let first = app.buy("anna", "a", "spring", "phone", 1).await.json();
    service.until(1).await;
    let path = format!("/v1/orders/{}/checkout", first["id"].as_str().expect("an id"));
    let opened = app.buyer("anna", "POST", &path).await.json();
    let url = opened["checkout_url"].as_str().expect("an address");
    let page = url.strip_prefix("http://shop.example").expect("the host of the request");
    assert_eq!(app.call("POST", &format!("{page}/fail"), &[], b"").await.status, 200);
    until("the failed payment is recorded", async || {
        let path = format!("/v1/admin/payments?order={}", first["id"].as_str().expect("an id"));
        let payments = app.admin("GET", &path, None).await.json();
        (payments["payments"][0]["state"] == "failed").then_some(())
    })
    .await;
    let second = app.buy("anna", "b", "spring", "phone", 1).await.json();
    let url = format!("/order/{}", second["id"].as_str().expect("an id"));
    assert_eq!(service.until(2).await[1].message()["url"], url);
}
