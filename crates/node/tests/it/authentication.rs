//! Tests valid and invalid tokens and keys, and the permissions of each role.

use std::time::Duration;

use doorbuster_auth::{NewToken, token};
use serde_json::json;

use crate::app::{ADMIN_KEY, FAR_FUTURE, SECRET, TestApp, bearer};

#[tokio::test]
async fn a_buyer_is_identified_by_the_shops_signature() {
    let app = TestApp::start().await;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs() as i64;
    let check = async |authorization: &str, expected: &str| {
        let reply = app.call("GET", "/v1/orders", &[("Authorization", authorization)], b"").await;
        assert_eq!(reply.verdict(), expected, "{authorization}");
    };
    let signed = |secret: &str, sub: &str, exp: i64| {
        let claims =
            NewToken { exp, member: true, level: Some(3), ..NewToken::new(sub, 0, Duration::ZERO) };
        format!("Bearer {}", token(secret.as_bytes(), &claims))
    };
    check(&signed(SECRET, "anna", FAR_FUTURE), "200").await;
    check(&signed(SECRET, "anna", now - 20), "200").await;
    check(&signed(SECRET, "anna", now - 40), "401 unauthenticated").await;
    check(
        &signed("another secret of the shop, long enough", "anna", FAR_FUTURE),
        "401 unauthenticated",
    )
    .await;
    check(&signed(SECRET, "no name", FAR_FUTURE), "401 unauthenticated").await;
    check("Bearer nonsense", "401 unauthenticated").await;
    check("Bearer", "401 unauthenticated").await;
    check("Basic YTpi", "401 unauthenticated").await;
    // The header of this token is {"alg":"none"}, and its claims are
    // {"sub":"anna","exp":4000000000}. The token has no signature.
    check(
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm5hIiwiZXhwIjo0MDAwMDAwMDAwfQ.",
        "401 unauthenticated",
    )
    .await;
    check(&format!("Bearer {ADMIN_KEY}"), "401 unauthenticated").await;
    let twice = [("Authorization", bearer("anna")), ("Authorization", bearer("anna"))];
    let twice: Vec<_> = twice.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(app.call("GET", "/v1/orders", &twice, b"").await.verdict(), "401 unauthenticated");
    assert_eq!(app.get("/v1/orders").await.verdict(), "401 unauthenticated");
}

#[tokio::test]
async fn issuer_and_audience_are_checked_where_they_are_configured() {
    let app = TestApp::with(&[
        ("DOORBUSTER_AUTH__ISSUER", "shop"),
        ("DOORBUSTER_AUTH__AUDIENCE", "door"),
    ])
    .await;
    let check = async |iss: Option<&str>, aud: Option<&str>, expected: &str| {
        let claims =
            NewToken { iss, aud, exp: FAR_FUTURE, ..NewToken::new("anna", 0, Duration::ZERO) };
        let bearer = format!("Bearer {}", token(SECRET.as_bytes(), &claims));
        assert_eq!(
            app.call("GET", "/v1/orders", &[("Authorization", &bearer)], b"").await.verdict(),
            expected
        );
    };
    check(Some("shop"), Some("door"), "200").await;
    check(Some("other"), Some("door"), "401 unauthenticated").await;
    check(Some("shop"), None, "401 unauthenticated").await;
}

#[tokio::test]
async fn a_key_works_within_its_role_until_it_is_deleted() {
    let app = TestApp::start().await;
    app.make_sale("spring", 5.into(), 1).await;
    let made = async |role: &str| {
        let reply = app
            .admin("POST", "/v1/admin/keys", Some(json!({"name": "night shift", "role": role})))
            .await;
        assert_eq!(reply.verdict(), "201");
        let key = reply.json();
        assert!(key["id"].as_str().expect("an id").starts_with("key_"));
        (
            key["id"].as_str().expect("an id").to_owned(),
            key["key"].as_str().expect("a key").to_owned(),
        )
    };
    let (viewer_id, viewer) = made("viewer").await;
    let (_, operator) = made("operator").await;
    let (_, admin) = made("admin").await;
    let check = async |key: &str, method: &str, path: &str, body: &str, expected: &str| {
        let bearer = format!("Bearer {key}");
        let mut headers = vec![("Authorization", bearer.as_str()), ("Idempotency-Key", "k")];
        if !body.is_empty() {
            headers.push(("Content-Type", "application/json"));
        }
        let reply = app.call(method, path, &headers, body.as_bytes()).await;
        assert_eq!(reply.verdict(), expected, "{method} {path}: {}", reply.text());
    };
    let adjustments = "/v1/admin/sales/spring/items/phone/adjustments";
    let (more, new_key) = (r#"{"units":1,"reason":"recount"}"#, r#"{"name":"n","role":"viewer"}"#);
    for path in [
        "/v1/admin/sales",
        "/v1/admin/sales/spring/stock",
        "/v1/admin/keys",
        "/v1/admin/audit",
        "/v1/admin/exports/orders.csv",
    ] {
        for key in [&viewer, &operator, &admin] {
            check(key, "GET", path, "", "200").await;
        }
    }
    check(&viewer, "POST", "/v1/admin/sales/spring/open", "", "403 forbidden").await;
    check(&viewer, "POST", adjustments, more, "403 forbidden").await;
    check(&operator, "POST", adjustments, more, "200").await;
    check(&operator, "POST", "/v1/admin/keys", new_key, "403 forbidden").await;
    check(&operator, "DELETE", &format!("/v1/admin/keys/{viewer_id}"), "", "403 forbidden").await;
    check(&admin, "POST", "/v1/admin/keys", new_key, "201").await;
    check(
        "nobodys-key-nobodys-key-nobodys-key",
        "GET",
        "/v1/admin/sales",
        "",
        "401 unauthenticated",
    )
    .await;
    check(
        bearer("anna").trim_start_matches("Bearer "),
        "GET",
        "/v1/admin/sales",
        "",
        "401 unauthenticated",
    )
    .await;

    let listed = app.admin("GET", "/v1/admin/keys", None).await.json();
    let keys = listed["keys"].as_array().expect("keys");
    assert!(
        keys.len() == 4 && keys.iter().all(|key| key["key"].is_null() && key["role"].is_string()),
        "{listed}"
    );
    check(&admin, "DELETE", &format!("/v1/admin/keys/{viewer_id}"), "", "204").await;
    check(&viewer, "GET", "/v1/admin/sales", "", "401 unauthenticated").await;
    check(&admin, "DELETE", &format!("/v1/admin/keys/{viewer_id}"), "", "404 not_found").await;

    let app = TestApp::try_start(app.stop().await, &[], false).await.expect("server restarts");
    let bearer = format!("Bearer {operator}");
    let reply = app.call("GET", "/v1/admin/sales", &[("Authorization", &bearer)], b"").await;
    assert_eq!(reply.verdict(), "200", "the key must still work after a restart");
}

#[tokio::test]
async fn public_keys_accept_tokens_that_the_shop_signed() {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use base64::Engine;
    let b64 = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let pair = Ed25519KeyPair::generate().expect("a key");
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": b64(pair.public_key().as_ref())}]});
    let path = std::env::temp_dir().join(format!("doorbuster-jwks-{:016x}", rand::random::<u64>()));
    std::fs::write(&path, set.to_string()).expect("writable");
    let app =
        TestApp::with(&[("DOORBUSTER_AUTH__BUYER_JWKS", path.to_str().expect("UTF-8"))]).await;
    std::fs::remove_file(&path).expect("the file was written");
    let signed = |kid: &str| {
        let header = b64(json!({"alg": "EdDSA", "kid": kid}).to_string().as_bytes());
        let claims = b64(json!({"sub": "anna", "exp": FAR_FUTURE}).to_string().as_bytes());
        let message = format!("{header}.{claims}");
        format!("Bearer {message}.{}", b64(pair.sign(message.as_bytes()).as_ref()))
    };
    let check = async |authorization: &str, expected: &str| {
        let reply = app.call("GET", "/v1/orders", &[("Authorization", authorization)], b"").await;
        assert_eq!(reply.verdict(), expected, "{authorization}");
    };
    check(&signed("one"), "200").await;
    check(&signed("two"), "401 unauthenticated").await;
    check(&bearer("anna"), "401 unauthenticated").await;
}

#[tokio::test]
async fn public_keys_are_fetched_from_the_shop_before_tokens_are_checked() {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use base64::Engine;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let b64 = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let pair = Ed25519KeyPair::generate().expect("a key");
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": b64(pair.public_key().as_ref())}]});
    let shop = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/jwks.json", shop.local_addr().expect("an address"));
    let serving = tokio::spawn(async move {
        let body = set.to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        while let Ok((mut stream, _)) = shop.accept().await {
            let _ = stream.read(&mut [0; 2048]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let header = b64(json!({"alg": "EdDSA", "kid": "one"}).to_string().as_bytes());
    let message = format!(
        "{header}.{}",
        b64(json!({"sub": "anna", "exp": FAR_FUTURE}).to_string().as_bytes())
    );
    let token = format!("Bearer {message}.{}", b64(pair.sign(message.as_bytes()).as_ref()));
    let app = TestApp::with(&[("DOORBUSTER_AUTH__BUYER_JWKS", &url)]).await;
    let known = app.call("GET", "/v1/orders", &[("Authorization", &token)], b"").await;
    assert_eq!(known.verdict(), "200");
    serving.abort();
    // No server answers at this address, so the node cannot verify the token. This is not the
    // buyer's fault, so the answer must be `503`.
    let app =
        TestApp::with(&[("DOORBUSTER_AUTH__BUYER_JWKS", "http://127.0.0.1:9/jwks.json")]).await;
    let unknown = app.call("GET", "/v1/orders", &[("Authorization", &token)], b"").await;
    assert_eq!(unknown.verdict(), "503 unavailable");
}
