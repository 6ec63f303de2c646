//! Too many checkouts of one buyer.

use serde_json::json;

use super::{order, start};

#[tokio::test]
async fn an_answer_about_a_checkout_says_where_its_buyer_stands() {
    let app = start().await;
    app.open_sale("spring", 10.into(), 10).await;
    let (one, other) = (order(&app, "anna", "k1", 1).await, order(&app, "anna", "k2", 1).await);
    let limits = json!({"front_door": {"limits": {"buyer": {"burst": 1, "per_minute": 1}, "ip": null}}});
    let patched = app.admin("PATCH", "/v1/admin/sales/spring", Some(limits)).await;
    assert_eq!(patched.verdict(), "200", "{}", patched.text());
    let open = async |id: &str| app.buyer("anna", "POST", &format!("/v1/orders/{id}/checkout")).await;
    for _ in 0..2 {
        let told = open(&one).await;
        assert_eq!(told.verdict(), "200", "the checkout that is there costs nothing: {}", told.text());
        assert_eq!(told.header("ratelimit-policy"), Some("\"buyer\";q=1;w=60"));
        assert!(told.header("ratelimit").is_some_and(|said| said.starts_with("\"buyer\";r=0;t=")), "{told:?}");
    }
    let told = open(&other).await;
    assert_eq!((told.verdict().as_str(), &told.json()["scope"]), ("429 rate_limited", &json!("buyer")));
    assert!(told.header("retry-after").is_some());
    assert_eq!(told.header("ratelimit-policy"), Some("\"buyer\";q=1;w=60"));
    assert!(told.header("ratelimit").is_some_and(|said| said.starts_with("\"buyer\";r=0;t=")), "{told:?}");
}
