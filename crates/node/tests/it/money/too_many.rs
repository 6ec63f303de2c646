//! Tests the limit for a buyer who opens too many checkouts.

use serde_json::json;

use super::{order, start};

#[tokio::test]
async fn an_answer_about_a_checkout_reports_the_rate_limit_status() {
    let app = start().await;
    app.open_sale("spring", 10.into(), 10).await;
    let (one, other) = (order(&app, "anna", "k1", 1).await, order(&app, "anna", "k2", 1).await);
    let limits =
        json!({"front_door": {"limits": {"buyer": {"burst": 1, "per_minute": 1}, "ip": null}}});
    let patched = app.admin("PATCH", "/v1/admin/sales/spring", Some(limits)).await;
    assert_eq!(patched.verdict(), "200", "{}", patched.text());
    let open =
        async |id: &str| app.buyer("anna", "POST", &format!("/v1/orders/{id}/checkout")).await;
    for _ in 0..2 {
        let reply = open(&one).await;
        assert_eq!(
            reply.verdict(),
            "200",
            "a repeated request must get the existing checkout, even when the limit is used up: {}",
            reply.text()
        );
        assert_eq!(reply.header("ratelimit-policy"), Some("\"buyer\";q=1;w=60"));
        assert!(
            reply.header("ratelimit").is_some_and(|said| said.starts_with("\"buyer\";r=0;t=")),
            "{reply:?}"
        );
    }
    // A checkout request for a cancelled order does not count against the limit.
    let ended = order(&app, "bert", "k1", 1).await;
    assert_eq!(
        app.buyer("bert", "POST", &format!("/v1/orders/{ended}/cancel")).await.verdict(),
        "200"
    );
    let reply = app.buyer("bert", "POST", &format!("/v1/orders/{ended}/checkout")).await;
    assert_eq!(reply.verdict(), "409 wrong_state");
    assert_eq!(reply.header("ratelimit-policy"), Some("\"buyer\";q=1;w=60"));
    assert_eq!(reply.header("ratelimit"), Some("\"buyer\";r=1;t=0"));
    // If the server does not know the buyer or the order, it cannot find the sale's limits. So the
    // default limits for checkouts apply.
    let by_default = "\"buyer\";q=60;w=60, \"ip\";q=200000;w=20";
    let nobodys = format!("/v1/orders/{one}/checkout");
    for (reply, verdict) in [
        (app.call("POST", &nobodys, &[], b"").await, "401 unauthenticated"),
        (app.buyer("bert", "POST", &nobodys).await, "404 not_found"),
        (open("nothing").await, "404 not_found"),
    ] {
        assert_eq!(reply.verdict(), verdict);
        assert_eq!(reply.header("ratelimit-policy"), Some(by_default), "{reply:?}");
        assert_eq!(
            reply.header("ratelimit"),
            Some("\"buyer\";r=60;t=0, \"ip\";r=200000;t=0"),
            "{reply:?}"
        );
    }
    let reply = open(&other).await;
    assert_eq!(
        (reply.verdict().as_str(), &reply.json()["scope"]),
        ("429 rate_limited", &json!("buyer"))
    );
    assert!(reply.header("retry-after").is_some());
    assert_eq!(reply.header("ratelimit-policy"), Some("\"buyer\";q=1;w=60"));
    assert!(
        reply.header("ratelimit").is_some_and(|said| said.starts_with("\"buyer\";r=0;t=")),
        "{reply:?}"
    );
}
