//! Tests requests whose body is optional. If there is a body, the request must declare it as JSON.

use crate::app::{ADMIN_KEY, TestApp, bearer};

#[tokio::test]
async fn a_body_that_is_not_declared_as_json_is_refused_even_if_no_body_is_needed() {
    let app = TestApp::start().await;
    app.make_sale("spring", 5.into(), 1).await;
    let (operator, buyer) = (format!("Bearer {ADMIN_KEY}"), bearer("ann"));
    let call = async |by: &str, path: &str, media: &[(&str, &str)], body: &[u8]| {
        let headers = [media, &[("Authorization", by), ("Idempotency-Key", "k")]].concat();
        app.call("POST", path, &headers, body).await.verdict()
    };
    for (by, path) in [
        (&operator, "/v1/admin/sales/spring/schedule"),
        (&operator, "/v1/admin/sales/spring/open"),
        (&operator, "/v1/admin/sales/spring/check"),
        (&operator, "/v1/admin/dead-letters/evt_none/retry"),
        (&buyer, "/v1/orders/ord_none/cancel"),
        (&buyer, "/v1/orders/ord_none/checkout"),
        (&buyer, "/v1/linked-orders/ord_none/checkout"),
        (&buyer, "/v1/sales/spring/items/phone/waitlist"),
        (&buyer, "/v1/session"),
    ] {
        for media in [&[][..], &[("Content-Type", "text/plain")]] {
            let refused = call(by, path, media, b"{}").await;
            assert_eq!(refused, "415 unsupported_media_type", "{path} {media:?}");
        }
    }
    let sale = app.admin("GET", "/v1/admin/sales/spring", None).await.json();
    assert_eq!(sale["phase"], "draft", "a refused request must change nothing");
    let open = "/v1/admin/sales/spring/open";
    let json = [("Content-Type", "application/json")];
    assert_eq!(call(&operator, open, &json, b"{}").await, "200");
    assert_eq!(call(&operator, open, &[], b"").await, "200");
}
