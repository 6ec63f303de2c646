//! Tests a buyer's history in a sale: the orders and the refusals.

use serde_json::{Value, json};

use crate::app::{TestApp, bearer, sale};

#[tokio::test]
async fn a_buyers_story_has_orders_and_refusals() {
    let app = TestApp::start().await;
    app.open_sale("spring", 1.into(), 1).await;
    let order = app.buy("ann", "k1", "spring", "phone", 1).await.json();
    app.buy("ann", "k2", "spring", "phone", 1).await;
    app.buy("bob", "k1", "spring", "phone", 1).await;
    let story = async |buyer: &str| {
        let path = format!("/v1/admin/sales/spring/buyers/{buyer}");
        app.admin("GET", &path, None).await.json()
    };
    let refusals = |story: &Value| -> Vec<(Value, Value)> {
        let rows = story["refusals"].as_array().expect("a list");
        rows.iter().map(|row| (row["item"].clone(), row["code"].clone())).collect()
    };
    let ann = story("ann").await;
    assert_eq!(ann["orders"][0]["id"], order["id"]);
    assert_eq!(refusals(&ann).len(), 1, "{ann}");
    let bob = story("bob").await;
    assert_eq!(bob["orders"], json!([]));
    assert_eq!(refusals(&bob), [("phone".into(), "sold_out".into())]);
    assert_eq!((&bob["refusals_complete"], &bob["blocked"]), (&true.into(), &false.into()));
    assert_eq!(refusals(&story("eve").await), []);
    let block = json!({"kind": "buyer", "value": "bob", "reason": "a test"});
    assert_eq!(app.admin("POST", "/v1/admin/blocks", Some(block)).await.verdict(), "201");
    assert_eq!(story("bob").await["blocked"], true);
    let path = "/v1/admin/sales/spring/buyers/bob";
    let as_buyer = app.call("GET", path, &[("authorization", &bearer("bob"))], b"").await;
    assert_eq!(as_buyer.verdict(), "401 unauthenticated");
}

#[tokio::test]
async fn a_buyers_story_has_the_refusals_before_the_purchase() {
    let app = TestApp::start().await;
    let mut body = sale("spring", 5.into(), 1);
    body["front_door"] = json!({
        "pass": "required", "access_codes": "required",
        "limits": {"buyer": {"burst": 1, "per_minute": 1}, "ip": null},
    });
    assert_eq!(app.admin("POST", "/v1/admin/sales", Some(body)).await.verdict(), "201");
    app.step("spring", "open").await;
    let pass = async |buyer: &str| {
        let token = bearer(buyer);
        let headers = [("Authorization", token.as_str()), ("Content-Type", "application/json")];
        app.call("POST", "/v1/sales/spring/passes", &headers, br#"{"item":"phone"}"#).await
    };
    assert_eq!(
        pass("ann").await.verdict(),
        "403 not_eligible",
        "a pass request without a code must be refused"
    );
    assert_eq!(pass("ann").await.verdict(), "429 rate_limited");
    let story = app.admin("GET", "/v1/admin/sales/spring/buyers/ann", None).await.json();
    let mut codes: Vec<&Value> =
        story["refusals"].as_array().expect("a list").iter().map(|row| &row["code"]).collect();
    codes.sort_by_key(|code| code.as_str());
    assert_eq!(codes, ["not_eligible", "rate_limited"]);
    assert_eq!(story["refusals"][0]["item"], "phone");
    let stats = app.admin("GET", "/v1/admin/sales/spring/stats", None).await.json();
    assert_eq!(stats["requests"], 0, "a request for a pass must not count as a purchase");
}

#[tokio::test]
async fn a_buyers_story_has_the_refusals_of_the_waitlist() {
    let app = TestApp::start().await;
    app.open_sale("spring", 1.into(), 1).await;
    let join = async || {
        let headers = [("Authorization", &*bearer("ann")), ("Idempotency-Key", "line")];
        app.call("POST", "/v1/sales/spring/items/phone/waitlist", &headers, b"").await
    };
    assert_eq!(join().await.verdict(), "409 not_held_out");
    app.step("spring", "pause").await;
    assert_eq!(join().await.verdict(), "409 paused");
    let story = app.admin("GET", "/v1/admin/sales/spring/buyers/ann", None).await.json();
    let mut codes: Vec<&Value> =
        story["refusals"].as_array().expect("a list").iter().map(|row| &row["code"]).collect();
    codes.sort_by_key(|code| code.as_str());
    assert_eq!(codes, ["not_held_out", "paused"]);
    assert_eq!(story["refusals"][0]["item"], "phone");
}

#[tokio::test]
async fn a_buyers_story_is_complete_again_after_a_queued_request_got_an_order() {
    let app = TestApp::start().await;
    app.open_sale("spring", 5.into(), 1).await;
    let body = r#"{"sale":"spring","item":"phone","units":1}"#;
    let queued = app.buy_with("ann", "k", &[("Prefer", "respond-async")], body).await;
    assert_eq!(queued.verdict(), "202");
    let location = queued.header("location").expect("Location").replace("/v1/", "/v1/admin/");
    app.until(&location, "the verdict arrives", |order| order["state"] == "reserved").await;
    let complete = |story: &Value| story["refusals_complete"] == true;
    app.until("/v1/admin/sales/spring/buyers/ann", "the verdict is noted", complete).await;
}
