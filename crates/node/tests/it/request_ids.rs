//! Tests that the answer to an operator's request has the id of the request.

use serde_json::json;

use crate::app::{ADMIN_KEY, TestApp};

#[tokio::test]
async fn answers_to_operators_changes_have_the_requests_id() {
    let app = TestApp::start().await;
    let id = ("X-Request-Id", "night-7");
    let body = json!({"name": "screen", "role": "viewer"});
    let viewer = app.admin_with("POST", "/v1/admin/keys", &[id], Some(body)).await;
    assert_eq!((viewer.status, viewer.header("x-request-id")), (201, Some("night-7")));
    let viewer = viewer.json()["key"].as_str().map(|key| format!("Bearer {key}")).expect("a key");

    let json = ("Content-Type", "application/json");
    let path = "/v1/admin/sales";
    for headers in [vec![("Authorization", viewer.as_str()), json, id], vec![json, id]] {
        let refused = app.call("POST", path, &headers, b"{}").await;
        assert!(matches!(refused.status, 401 | 403), "{}", refused.text());
        assert_eq!(refused.header("x-request-id"), Some("night-7"), "{}", refused.text());
    }

    let body = json!({ "key": ADMIN_KEY }).to_string();
    let path = "/v1/admin/session";
    let signed_in = app.call("POST", path, &[json], body.as_bytes()).await;
    assert_eq!((signed_in.status, signed_in.header("cache-control")), (204, Some("no-store")));
    let id = signed_in.header("x-request-id").expect("an id").to_owned();
    let actions = app.admin("GET", "/v1/admin/actions", None).await.json();
    let actions = actions["actions"].as_array().expect("a list");
    let action = actions.iter().find(|action| action["action"] == "session.created");
    assert_eq!(action.expect("an action")["request_id"], id);
    let named = ("X-Request-Id", "night-8");
    let wrong = app.call("POST", path, &[json, named], br#"{"key":"wrong"}"#).await;
    assert_eq!((wrong.status, wrong.header("cache-control")), (401, Some("no-store")));
    assert_eq!(wrong.header("x-request-id"), Some("night-8"));
    let empty = app.call("POST", path, &[json, named], b"{}").await;
    assert_eq!((empty.status, empty.header("x-request-id")), (422, Some("night-8")));
}

#[tokio::test]
async fn a_refused_answer_to_a_request_with_a_token_is_not_kept_by_a_cache() {
    let app = TestApp::start().await;
    let reply = app.buyer("anna", "GET", "/v1/sales?limit=0").await;
    assert_eq!((reply.status, reply.header("cache-control")), (422, Some("no-store")));
}
