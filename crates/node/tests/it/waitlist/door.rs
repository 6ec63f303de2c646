//! Tests that joining a waitlist requires the same checks as a purchase.

use std::time::Duration;

use doorbuster_auth::{NewToken, token};
use serde_json::json;

use super::WAITLIST;
use crate::app::{FAR_FUTURE, SECRET, TestApp, bearer, sale};

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
    let join = async |buyer: &str, level: u8, pass: Option<&str>| {
        let name = name(buyer, level);
        let mut headers = vec![("Authorization", name.as_str()), ("Idempotency-Key", "line")];
        headers.extend(pass.map(|pass| ("Purchase-Pass", pass)));
        app.call("POST", WAITLIST, &headers, b"").await
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
        join("b", 1, Some(&held)).await.verdict(),
        "429 rate_limited",
        "joins and purchases must share a limit"
    );
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_join_gets_its_entry_while_the_sale_is_paused() {
    let app = TestApp::start().await;
    app.open_sale("spring", 1.into(), 1).await;
    assert_eq!(app.buy("anna", "k", "spring", "phone", 1).await.verdict(), "201");
    let join = async |key: &str| {
        let headers = [("Authorization", &*bearer("bert")), ("Idempotency-Key", key)];
        app.call("POST", WAITLIST, &headers, b"").await
    };
    let joined = join("line").await;
    assert_eq!(joined.verdict(), "201", "{}", joined.text());
    app.step("spring", "pause").await;
    let again = join("line").await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"), "{}", again.text());
    assert_eq!((again.status, &again.json()["id"]), (200, &joined.json()["id"]));
    assert_eq!(join("other").await.verdict(), "409 paused");
}
