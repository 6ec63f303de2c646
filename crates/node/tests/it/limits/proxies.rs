//! Tests blocks of addresses behind proxies.

use serde_json::json;

use super::{buy_by, open};
use crate::app::{TestApp, bearer};

#[tokio::test]
async fn a_forged_forwarding_header_does_not_hide_a_blocked_address() {
    let app = TestApp::with(&[("DOORBUSTER_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    open(&app, "spring", 1, json!({})).await;
    assert_eq!(app.buy("winner", "k", "spring", "phone", 1).await.verdict(), "201");
    let body = json!({"kind": "ip", "value": "192.0.2.0/24"});
    assert_eq!(app.admin("POST", "/v1/admin/blocks", Some(body)).await.verdict(), "201");
    let bearer = bearer("anna");
    for (by_proxy, claimed, expected) in [
        (("X-Forwarded-For", "192.0.2.9"), None, "403 forbidden"),
        (("X-Forwarded-For", "192.0.2.9"), Some(("Forwarded", "for=1.2.3.4")), "403 forbidden"),
        (("Forwarded", "for=192.0.2.9"), Some(("X-Forwarded-For", "1.2.3.4")), "403 forbidden"),
        (("Forwarded", "for=198.51.100.1"), Some(("X-Forwarded-For", "1.2.3.4")), "409 sold_out"),
    ] {
        let headers: Vec<_> = claimed.into_iter().chain([by_proxy]).collect();
        assert_eq!(buy_by(&app, "anna", "k2", &headers).await.verdict(), expected, "{headers:?}");
        let own = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        let headers = [&headers[..], &own].concat();
        let pass = app
            .call("POST", "/v1/sales/spring/passes", &headers, br#"{"item":"phone"}"#)
            .await
            .verdict();
        assert_eq!(pass == "403 forbidden", expected == "403 forbidden", "{headers:?}: {pass}");
    }
    app.stop().await;
}
