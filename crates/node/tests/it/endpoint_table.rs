//! Tests that the router serves every endpoint as the table of endpoints says. For each endpoint,
//! tests the authorization, and that other methods get `405` with `Allow`. Each endpoint with `GET`
//! must also support `HEAD`.

use doorbuster_api::endpoints::{self, Auth, Endpoint, Method};
use doorbuster_api::header::BodyType;

use crate::app::{ADMIN_KEY, TestApp};

/// Returns the endpoint's path with ids of objects that do not exist.
fn path(endpoint: &Endpoint) -> String {
    endpoint
        .path
        .replace("{sale}", "nosuchsale")
        .replace("{item}", "nosuchitem")
        .replace("{key}", "key_none")
        .replace("{block}", "blk_0c9d8e7a65b1")
        .replace("{order}", &format!("ord_{}", "A".repeat(52)))
}

#[tokio::test]
async fn every_endpoint_is_served_as_its_row_says() {
    let app = TestApp::start().await;
    for endpoint in endpoints::all() {
        let (method, path) = (endpoint.method.as_str(), path(endpoint));
        let media = endpoint.body.map_or("application/json", |body| body.media.media_types()[0]);
        let headers = [("Content-Type", media), ("Idempotency-Key", "k")];
        let body: &[u8] = if endpoint.body.is_some() { b"{}" } else { b"" };
        let bare = app.call(method, &path, &headers, body).await;
        let verdict = bare.verdict();
        match (endpoint.id, endpoint.auth) {
            // These endpoints check the request's body before they check who sent the request.
            ("purchase" | "create_session", _) => assert_eq!(verdict, "422 invalid_request"),
            ("take_sandbox_message", _) => assert_eq!(verdict, "401 unauthenticated"),
            ("take_stripe_message", _) => assert_eq!(verdict, "404 not_found"),
            (_, Auth::Public) if endpoint.path.contains('{') => {
                assert_eq!(verdict, "404 not_found", "{path}")
            }
            (_, Auth::Public) => assert_eq!(verdict, "200", "{path}"),
            _ => assert_eq!(verdict, "401 unauthenticated", "{method} {path}"),
        }
        if let Auth::Operator(_) = endpoint.auth {
            let bearer = format!("Bearer {ADMIN_KEY}");
            let with_key = [&[("Authorization", bearer.as_str())], &headers[..]].concat();
            let known = app.call(method, &path, &with_key, body).await.verdict();
            let named = endpoint.path.contains('{');
            let allowed = match (named, endpoint.body.is_some()) {
                // `discard_dead_letter` accepts a request without a body. If there is a body, it
                // must contain `reason`.
                (_, true) if endpoint.id == "discard_dead_letter" => "422 invalid_request",
                // With `PATCH`, the body `{}` is valid and changes nothing.
                (_, true) if endpoint.method != Method::Patch && !endpoint.may_lack_body => {
                    "422 invalid_request"
                }
                (true, _) => "404 not_found",
                (false, _) if endpoint.method == Method::Delete => "204",
                (false, _) => "200",
            };
            assert_eq!(known, allowed, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn head_works_for_every_get_and_returns_the_same_headers() {
    let app = TestApp::start().await;
    let bearer = format!("Bearer {ADMIN_KEY}");
    for endpoint in endpoints::all().filter(|endpoint| endpoint.method == Method::Get) {
        if matches!(endpoint.id, "stream_events" | "open_websocket") {
            continue;
        }
        let (path, headers) = (path(endpoint), [("Authorization", bearer.as_str())]);
        let get = app.call("GET", &path, &headers, b"").await;
        let head = app.call("HEAD", &path, &headers, b"").await;
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        // The lengths are not compared for a streamed answer, which has no `Content-Length`, and
        // for the metrics, which may change between `GET` and `HEAD`.
        if get.header("content-length").is_some() && !matches!(endpoint.id, "metrics") {
            assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
        }
    }
}

#[tokio::test]
async fn an_unsupported_method_is_405_with_the_supported_methods() {
    let app = TestApp::start().await;
    for endpoint in endpoints::all() {
        let path = path(endpoint);
        let mut there: Vec<&str> = endpoints::all()
            .filter(|other| other.path == endpoint.path)
            .map(|other| other.method.as_str())
            .collect();
        if there.contains(&"GET") {
            there.push("HEAD");
        }
        for method in ["PUT", "OPTIONS", "TRACE", "GET", "POST", "PATCH", "DELETE", "BREW"] {
            if there.contains(&method) {
                continue;
            }
            let reply = app.call(method, &path, &[], b"").await;
            assert_eq!(reply.verdict(), "405 method_not_allowed", "{method} {path}");
            let mut allow: Vec<&str> =
                reply.header("allow").expect("Allow").split(',').map(str::trim).collect();
            allow.sort_unstable();
            there.sort_unstable();
            assert_eq!(allow, there, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn an_accept_header_that_excludes_the_media_type_is_406() {
    let app = TestApp::start().await;
    app.open_sale("spring", 1.into(), 1).await;
    let check = async |path: &str, accept: &str, expected: &str| {
        let reply = app.call("GET", path, &[("Accept", accept)], b"").await;
        assert_eq!(reply.verdict(), expected, "{path} {accept}");
    };
    check("/v1/sales", "text/html", "406 not_acceptable").await;
    check("/v1/sales", "text/html, */*;q=0.1", "200").await;
    check("/v1/sales/spring", "application/*", "200").await;
    check("/v1/sales/spring/status", "application/json;q=0", "406 not_acceptable").await;
    check("/v1/sales/none", "application/problem+json, application/json", "404 not_found").await;
    let accept = [("Accept", "text/csv")];
    assert_eq!(
        app.admin_with("GET", "/v1/admin/exports/orders.csv", &accept, None).await.verdict(),
        "200"
    );
    assert_eq!(
        app.admin_with("GET", "/v1/admin/sales", &accept, None).await.verdict(),
        "406 not_acceptable"
    );
    let bought =
        app.buy_with("anna", "k", &accept, r#"{"sale":"spring","item":"phone","units":1}"#).await;
    assert_eq!(bought.verdict(), "406 not_acceptable");
    assert!(BodyType::Json.matches(b"application/json"));
}

#[tokio::test]
async fn an_unknown_path_is_a_problem_document() {
    let app = TestApp::start().await;
    let long = format!("/{}", "x".repeat(5_000));
    for path in [
        "/nothing",
        "/v1",
        "/v1/",
        "/v1/orders/",
        "/v1/sales/spring/",
        "/v1/sales/a%2Fb",
        "/v1/sales/%FF",
        "/v1/sales/%00",
        "/V1/sales",
        "/v1/orders/x",
        "/v1/admin",
        "/demo/guest",
        "/assets/none.js",
        "/sale",
        "//",
        "/v1/sales/../sales/none",
        "/v1/sales/spring%20",
        &long,
    ] {
        let bearer = crate::app::bearer("anna");
        let reply = app.call("GET", path, &[("Authorization", &bearer)], b"").await;
        assert_eq!(reply.verdict(), "404 not_found", "{path}");
    }
}
