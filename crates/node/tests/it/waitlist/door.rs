//! Tests that joining a waitlist requires the same checks as a purchase.

use std::time::Duration;

use doorbuster_auth::{NewToken, token};
use serde_json::json;

use super::WAITLIST;
use crate::app::{FAR_FUTURE, SECRET, TestApp, sale};
use crate::http::Reply;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joining_requires_the_same_checks_as_a_purchase() {
    let app = TestApp::start().await;
    let mut body = sale("spring", 1.into(), 1);
    body["front_door"] = json!({"pass": "required", "min_level": 1, "limits": {"buyer": {"burst": 5, "per_minute": 1}, "ip": null}});
    assert_eq!(app.admin("POST", "/v1/admin/sales", Some(body)).await.verdict(), "201");
    app.step("spring", "open").await;
    let name = |buyer: &str, level: u8| {
        let claims = NewToken {
            exp: FAR_FUTURE,
            level: Some(level),
            ..NewToken::new(buyer, 0, Duration::ZERO)
        };
        format!("Bearer {}", token(SECRET.as_bytes(), &claims))
    };
    let pass = async |buyer: &str| {
        let headers = [("Authorization", &*name(buyer, 1)), ("Content-Type", "application/json")];
        let made =
            app.call("POST", "/v1/sales/spring/passes", &headers, br#"{"item":"phone"}"#).await;
        made.json()["pass"].as_str().expect("a pass").to_owned()
    };
    let purchase = json!({"sale": "spring", "item": "phone", "units": 1}).to_string();
    let bought = app.buy_with("a", "k", &[("Purchase-Pass", &pass("a").await)], &purchase).await;
    assert_eq!(bought.verdict(), "201", "{}", bought.text());
    let join_with = async |key: &str, buyer: &str, level: u8, pass: Option<&str>| {
        let name = name(buyer, level);
        let mut headers = vec![("Authorization", name.as_str()), ("Idempotency-Key", key)];
        headers.extend(pass.map(|pass| ("Purchase-Pass", pass)));
        app.call("POST", WAITLIST, &headers, b"").await
    };
    let join = async |buyer: &str, level: u8, pass: Option<&str>| {
        join_with("line", buyer, level, pass).await
    };
    assert_eq!(join("b", 0, None).await.verdict(), "403 not_eligible");
    assert_eq!(join("b", 1, None).await.verdict(), "403 pass_required");
    assert_eq!(join("b", 1, Some("forged")).await.verdict(), "403 pass_invalid");
    assert_eq!(
        join("b", 1, Some(&pass("c").await)).await.verdict(),
        "403 pass_invalid",
        "a pass of another buyer must be refused"
    );
    let held = pass("b").await;
    let joined = join("b", 1, Some(&held)).await;
    assert_eq!(joined.verdict(), "201", "{}", joined.text());
    assert!(joined.header("ratelimit").is_some_and(|said| said.contains("r=4")), "{joined:?}");
    for _ in 0..4 {
        assert_eq!(join("b", 1, Some(&held)).await.verdict(), "200");
    }
    assert_eq!(
        join_with("other", "b", 1, Some(&held)).await.verdict(),
        "429 rate_limited",
        "joins and purchases must share a limit"
    );
    // A repeated request gets its entry, even if the front door refuses new requests.
    let replayed = async |again: Reply| {
        assert_eq!(again.header("idempotent-replayed"), Some("true"), "{}", again.text());
        assert_eq!((again.status, &again.json()["id"]), (200, &joined.json()["id"]));
    };
    replayed(join("b", 1, Some(&held)).await).await;
    replayed(join("b", 1, None).await).await;
    let block = json!({"kind": "buyer", "value": "c", "reason": "a robot"});
    assert_eq!(app.admin("POST", "/v1/admin/blocks", Some(block)).await.verdict(), "201");
    assert_eq!(join("c", 1, None).await.verdict(), "403 forbidden");

    // A block also ends the entry of a buyer who already waits.
    let block = json!({"kind": "buyer", "value": "b", "reason": "a robot"});
    assert_eq!(app.admin("POST", "/v1/admin/blocks", Some(block)).await.verdict(), "201");
    let entry = joined.json()["id"].as_str().expect("an id").to_owned();
    let read = app.admin("GET", &format!("/v1/admin/orders/{entry}"), None).await.json();
    assert_eq!((&read["state"], &read["code"]), (&json!("refused"), &json!("left")), "{read}");
}
