//! Tests strict parsing. A refusal names each error in a request and changes nothing.

use std::time::Duration;

use doorbuster_auth::{NewToken, token};
use serde_json::{Value, json};

use crate::app::{FAR_FUTURE, SECRET, TestApp, WAIT_FOR_ORDER, bearer, sale};
use crate::http::request;

/// Returns every pointer, header and parameter that a problem names.
fn named(problem: &Value) -> Vec<String> {
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    let name = |error: &Value| {
        let members = ["pointer", "header", "parameter"]
            .map(|member| error[member].as_str().unwrap_or_default());
        assert!(error["detail"].is_string(), "{error}");
        members.concat()
    };
    errors.iter().map(name).collect()
}

#[tokio::test]
async fn an_invalid_purchase_is_refused_with_the_reason() {
    let app = TestApp::start().await;
    app.open_sale("spring", 100.into(), 100).await;
    let check = async |body: &str, expected: &str, wrong: &[&str]| {
        let reply = app.buy_with("anna", "k1", &[], body).await;
        assert_eq!(reply.verdict(), expected, "{body}");
        if reply.status == 422 {
            assert_eq!(named(&reply.json()), wrong, "{body}");
        }
    };
    check("", "400 malformed_request", &[]).await;
    check("{", "400 malformed_request", &[]).await;
    check("[]", "400 malformed_request", &[]).await;
    check("\"x\"", "400 malformed_request", &[]).await;
    check("{}", "422 invalid_request", &["/sale", "/item", "/units"]).await;
    for units in
        ["0", "-1", "1.0", "1e1", "\"1\"", "null", "1000001", "99999999999999999999", "[1]", "true"]
    {
        let body = format!(r#"{{"sale":"spring","item":"phone","units":{units}}}"#);
        check(&body, "422 invalid_request", &["/units"]).await;
    }
    check(r#"{"sale":"a b","item":"phone","units":1}"#, "422 invalid_request", &["/sale"]).await;
    check(r#"{"sale":"spring","item":"","units":1}"#, "422 invalid_request", &["/item"]).await;
    check(
        r#"{"sale":"spring","item":"phone","units":1,"colour":"red"}"#,
        "422 invalid_request",
        &["/colour"],
    )
    .await;
    check(
        r#"{"sale":"spring","item":"phone","units":1,"units":1}"#,
        "422 invalid_request",
        &["/units"],
    )
    .await;
    let deep = format!(r#"{{"sale":{}}}"#, "[".repeat(5_000));
    check(&deep, "400 malformed_request", &[]).await;
    let list = app.buyer("anna", "GET", "/v1/orders").await.json();
    assert_eq!(list["orders"], json!([]), "the refused requests must change nothing");
    assert_eq!(
        app.buy("anna", "k1", "spring", "phone", 1).await.verdict(),
        "201",
        "the refused requests must not use up the key"
    );
}

#[tokio::test]
async fn an_invalid_key_type_or_size_is_refused_before_authentication() {
    let app = TestApp::start().await;
    app.open_sale("spring", 100.into(), 100).await;
    let body = r#"{"sale":"spring","item":"phone","units":1}"#;
    let json_type = ("Content-Type", "application/json");
    let check = async |headers: &[(&str, &str)], body: &str, expected: &str| {
        let reply = app.call("POST", "/v1/orders", headers, body.as_bytes()).await;
        assert_eq!(reply.verdict(), expected, "{headers:?}");
        if expected == "422 invalid_request" {
            assert_eq!(named(&reply.json()), ["Idempotency-Key"]);
        }
    };
    check(&[json_type], body, "422 invalid_request").await;
    check(&[json_type, ("Idempotency-Key", "")], body, "422 invalid_request").await;
    check(&[json_type, ("Idempotency-Key", "a b")], body, "422 invalid_request").await;
    check(&[json_type, ("Idempotency-Key", "é")], body, "422 invalid_request").await;
    check(&[json_type, ("Idempotency-Key", &"k".repeat(65))], body, "422 invalid_request").await;
    check(
        &[json_type, ("Idempotency-Key", "a"), ("Idempotency-Key", "a")],
        body,
        "422 invalid_request",
    )
    .await;
    check(&[("Idempotency-Key", "k")], body, "415 unsupported_media_type").await;
    check(
        &[("Idempotency-Key", "k"), ("Content-Type", "text/plain")],
        body,
        "415 unsupported_media_type",
    )
    .await;
    check(&[("Idempotency-Key", "k"), json_type, json_type], body, "415 unsupported_media_type")
        .await;
    check(&[("Idempotency-Key", "k"), json_type], body, "401 unauthenticated").await;
    let large = format!("{body}{}", " ".repeat(16 * 1024));
    check(&[json_type], &large, "413 body_too_large").await;
    let just = format!("{body}{}", " ".repeat(16 * 1024 - body.len()));
    check(&[json_type, ("Idempotency-Key", "k")], &just, "401 unauthenticated").await;
    check(&[json_type, ("Idempotency-Key", "k")], "nonsense", "400 malformed_request").await;
    let known = bearer("anna");
    let with = [("Authorization", known.as_str()), json_type, ("Idempotency-Key", &"k".repeat(64))];
    check(&with, body, "201").await;
}

async fn open_with(app: &TestApp, id: &str, stock: u32, door: Value) {
    let mut body = sale(id, stock.into(), 100);
    body["front_door"] = door;
    let made = app.admin("POST", "/v1/admin/sales", Some(body)).await;
    assert_eq!(made.verdict(), "201", "{id}: {}", made.text());
    app.step(id, "open").await;
}

#[tokio::test]
async fn the_first_check_that_fails_answers() {
    let app = TestApp::start().await;
    let claims =
        NewToken { exp: FAR_FUTURE, member: true, ..NewToken::new("anna", 0, Duration::ZERO) };
    let (anna, member) = (bearer("anna"), format!("Bearer {}", token(SECRET.as_bytes(), &claims)));
    let json_type = ("Content-Type", "application/json");
    let by = |who, key| vec![json_type, ("Authorization", who), ("Idempotency-Key", key)];
    let order = |sale: &str, item: &str, units: u32| {
        json!({"sale": sale, "item": item, "units": units}).to_string()
    };
    let ask = async |headers: &[(&str, &str)], body: &str| {
        app.call("POST", "/v1/orders", headers, body.as_bytes()).await.verdict()
    };
    // These requests have one fault each. The requests in the list below have two faults each.
    for id in ["spring", "resting", "over"] {
        app.open_sale(id, 100.into(), 100).await;
    }
    app.make_sale("draft", 100.into(), 100).await;
    assert_eq!(app.buy("anna", "used", "spring", "phone", 2).await.verdict(), "201");
    assert_eq!(app.buy("anna", "kept", "over", "phone", 1).await.verdict(), "201");
    app.step("resting", "pause").await;
    app.step("over", "close").await;
    assert_eq!(ask(&by(&anna, "new"), &order("resting", "phone", 1)).await, "409 paused");
    assert_eq!(ask(&by(&anna, "new"), &order("over", "phone", 1)).await, "409 ended");
    open_with(&app, "shut", 100, json!({"pass": "required"})).await;
    assert_eq!(ask(&by(&anna, "new"), &order("shut", "phone", 1)).await, "403 pass_required");
    app.step("shut", "pause").await;
    // The limit admits one purchase per minute.
    let one = json!({"buyer": {"burst": 1, "per_minute": 1}});
    for (id, stock, members_only, who) in [
        ("narrow", 100, false, &anna),
        ("narrow-resting", 100, false, &anna),
        ("members", 100, true, &member),
        ("scarce", 1, false, &anna),
    ] {
        open_with(&app, id, stock, json!({"members_only": members_only, "limits": one})).await;
        let first = [by(who, id), vec![WAIT_FOR_ORDER]].concat();
        assert_eq!(ask(&first, &order(id, "phone", 1)).await, "201", "{id}");
        assert_eq!(ask(&by(who, "new"), &order(id, "phone", 1)).await, "429 rate_limited", "{id}");
    }
    app.step("narrow-resting", "pause").await;
    assert_eq!(app.buy("bert", "new", "scarce", "phone", 1).await.verdict(), "409 sold_out");

    let key = ("Idempotency-Key", "new");
    let with_pass = [by(&anna, "new"), vec![("Purchase-Pass", "none")]].concat();
    for (what, headers, body, expected) in [
        ("bytes, token", vec![json_type, key], "{".to_owned(), "400 malformed_request"),
        ("size, token", vec![json_type, key], " ".repeat(16 * 1024 + 1), "413 body_too_large"),
        ("type, token", vec![key], order("spring", "phone", 1), "415 unsupported_media_type"),
        ("member, token", vec![json_type, key], order("spring", "phone", 0), "422 invalid_request"),
        ("key, token", vec![json_type], order("spring", "phone", 1), "422 invalid_request"),
        ("token, sale", vec![json_type, key], order("none", "phone", 1), "401 unauthenticated"),
        (
            "token, draft",
            by("Bearer nonsense", "new"),
            order("draft", "phone", 1),
            "401 unauthenticated",
        ),
        ("token, item", vec![json_type, key], order("spring", "none", 1), "401 unauthenticated"),
        ("sale, key", by(&anna, "used"), order("none", "phone", 2), "404 not_found"),
        ("draft, key", by(&anna, "used"), order("draft", "phone", 2), "404 not_found"),
        ("item, key", by(&anna, "used"), order("spring", "none", 2), "404 not_found"),
        (
            "key, phase",
            by(&anna, "used"),
            order("resting", "phone", 2),
            "422 idempotency_key_reused",
        ),
        ("known key, phase", by(&anna, "kept"), order("over", "phone", 1), "200"),
        ("phase, pass", by(&anna, "new"), order("shut", "phone", 1), "409 paused"),
        ("phase, limit", by(&anna, "new"), order("narrow-resting", "phone", 1), "409 paused"),
        ("member, limit", by(&anna, "new"), order("members", "phone", 1), "403 not_eligible"),
        ("pass, limit", with_pass, order("narrow", "phone", 1), "403 pass_invalid"),
        ("limit, stock", by(&anna, "new"), order("scarce", "phone", 1), "429 rate_limited"),
    ] {
        // `Connection: close` bypasses the fast path. Both paths must give the same answer.
        for more in [&[][..], &[("Connection", "close")]] {
            assert_eq!(
                ask(&[headers.as_slice(), more].concat(), &body).await,
                expected,
                "{what} {more:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_without_harm() {
    let app = TestApp::start().await;
    let known = bearer("anna");
    let headers = |more: (&'static str, &'static str)| {
        [
            ("Authorization", known.as_str()),
            ("Content-Type", "application/json"),
            ("Idempotency-Key", "k"),
            more,
        ]
    };
    // The client sends a megabyte even if the server does not read it.
    let large = vec![b' '; 1024 * 1024];
    let reply = app.call("POST", "/v1/orders", &headers(("X", "y")), &large).await;
    assert_eq!(reply.verdict(), "413 body_too_large");
    let mut chunked =
        request("POST", "/v1/orders", &headers(("Transfer-Encoding", "chunked")), b"");
    for _ in 0..40 {
        chunked.extend_from_slice(b"400\r\n");
        chunked.extend_from_slice(&[b' '; 1024]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let mut connection = app.connect().await;
    connection.send(&chunked).await;
    assert_eq!(connection.reply(false).await.expect("an answer").verdict(), "413 body_too_large");
    // With `Expect: 100-continue`, the server refuses the request before the client sends the body.
    let mut connection = app.connect().await;
    let ask = [headers(("Content-Length", "99999999")).as_slice(), &[("Expect", "100-continue")]]
        .concat();
    connection.send(&request("POST", "/v1/orders", &ask, b"")).await;
    assert_eq!(connection.reply(false).await.expect("an answer").verdict(), "413 body_too_large");
    let admin = [("Authorization", "Bearer x"), ("Content-Type", "application/json")];
    let reply = app.call("POST", "/v1/admin/sales", &admin, &vec![b' '; 300 * 1024]).await;
    // The server must authenticate an operator before it reads the body.
    assert_eq!(reply.verdict(), "401 unauthenticated");
    let body = json!({"title": "x".repeat(256 * 1024)});
    let huge = app.admin("POST", "/v1/admin/sales", Some(body)).await;
    assert_eq!(huge.verdict(), "413 body_too_large");
}

#[tokio::test]
async fn an_unread_body_costs_neither_the_answer_nor_the_connection() {
    let app = TestApp::start().await;
    let body = vec![b' '; 200 * 1024];
    let long = format!("/healthz?{}", "x".repeat(5_000));
    let mut connection = app.connect().await;
    for (method, path, expected) in [
        ("POST", "/v1/admin/sales", "401 unauthenticated"),
        ("GET", "/openapi.json", "200"),
        ("PUT", "/v1/orders", "405 method_not_allowed"),
        ("POST", "/nothing", "404 not_found"),
        ("GET", &long, "404 not_found"),
    ] {
        let json = [("Content-Type", "application/json")];
        connection.send(&request(method, path, &json, &body)).await;
        let reply = connection.reply(false).await.expect(path);
        assert_eq!(reply.verdict(), expected, "{method} {path}");
    }
}

#[tokio::test]
async fn an_invalid_query_is_refused_with_the_parameters_name() {
    let app = TestApp::start().await;
    let check = async |path: &str, wrong: &[&str]| {
        let bearer = if path.contains("/admin/") {
            format!("Bearer {}", crate::app::ADMIN_KEY)
        } else {
            bearer("anna")
        };
        let reply = app.call("GET", path, &[("Authorization", &bearer)], b"").await;
        if wrong.is_empty() {
            assert_eq!(reply.verdict(), "200", "{path}");
        } else {
            assert_eq!(
                (reply.verdict().as_str(), named(&reply.json())),
                ("422 invalid_request", wrong.iter().map(|&name| name.to_owned()).collect()),
                "{path}"
            );
        }
    };
    for list in ["/v1/orders", "/v1/sales", "/v1/admin/sales", "/v1/admin/orders"] {
        check(list, &[]).await;
        check(&format!("{list}?limit=200&unknown=1"), &[]).await;
        check(&format!("{list}?limit=&cursor="), &[]).await;
        for limit in ["0", "201", "-1", "x", "1.0", "99999999999999999999"] {
            check(&format!("{list}?limit={limit}"), &["limit"]).await;
        }
        check(&format!("{list}?limit=1&limit=1"), &["limit"]).await;
        for cursor in ["nonsense", "AAAA", "%00", &"A".repeat(300)] {
            check(&format!("{list}?cursor={cursor}"), &["cursor"]).await;
        }
    }
    check("/v1/orders?state=queued", &["state"]).await;
    check("/v1/admin/sales?phase=nonsense", &["phase"]).await;
    check("/v1/admin/orders?sale=a%20b&buyer=%FF", &["sale", "buyer"]).await;
    check("/v1/admin/exports/orders.csv?sale=a%20b", &["sale"]).await;
    check("/v1/events?sale=a%20b", &["sale"]).await;
}

#[tokio::test]
async fn an_invalid_sale_is_not_created() {
    let app = TestApp::start().await;
    let check = async |change: &dyn Fn(&mut Value), wrong: &[&str]| {
        let mut body = sale("spring", 5.into(), 1);
        change(&mut body);
        let reply = app.admin("POST", "/v1/admin/sales", Some(body.clone())).await;
        assert_eq!(
            (reply.verdict().as_str(), named(&reply.json())),
            ("422 invalid_request", wrong.iter().map(|&name| name.to_owned()).collect()),
            "{body}"
        );
    };
    check(&|body| body["id"] = json!("a b"), &["/id"]).await;
    check(&|body| body["title"] = json!(" "), &["/title"]).await;
    check(&|body| body["items"] = json!([]), &["/items"]).await;
    check(&|body| body["items"][0]["stock"] = json!(-1), &["/items/0/stock"]).await;
    check(&|body| body["items"][0]["stock"] = json!("many"), &["/items/0/stock"]).await;
    check(
        &|body| body["items"][0]["price"]["currency"] = json!("yuan"),
        &["/items/0/price/currency"],
    )
    .await;
    check(&|body| body["items"][0]["hold_secs"] = json!(0), &["/items/0/hold_secs"]).await;
    check(&|body| body["items"][0]["limit_per_buyer"] = json!(0), &["/items/0/limit_per_buyer"])
        .await;
    check(
        &|body| body["items"][0]["list_price"] = json!({"amount_minor": 1, "currency": "EUR"}),
        &["/items/0/list_price/currency"],
    )
    .await;
    check(&|body| body["colour"] = json!("red"), &["/colour"]).await;
    check(&|body| body["front_door"] = json!({"pass": "asked"}), &["/front_door/pass"]).await;
    check(&|body| body["starts_at"] = json!("tomorrow"), &["/starts_at"]).await;
    check(
        &|body| {
            body["starts_at"] = json!("2100-01-01T00:00:00Z");
            body["ends_at"] = json!("2099-01-01T00:00:00Z");
        },
        &["/ends_at"],
    )
    .await;
    assert_eq!(app.admin("GET", "/v1/admin/sales", None).await.json()["sales"], json!([]));
}

#[tokio::test]
async fn invalid_or_oversized_http_headers_end_the_connection() {
    let app = TestApp::start().await;
    let check = async |bytes: &[u8], expected: &str| {
        let mut connection = app.connect().await;
        connection.send(bytes).await;
        let said = String::from_utf8_lossy(&connection.read_to_end().await).into_owned();
        assert!(
            said.starts_with(expected),
            "{}: {said}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(60)])
        );
    };
    check(b"nonsense\r\n\r\n", "HTTP/1.1 400").await;
    check(b"GET /healthz HTTP/9.9\r\n\r\n", "HTTP/1.1 400").await;
    check(
        b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 400",
    )
    .await;
    check(b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400")
        .await;
    let wide = format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(20 * 1024));
    check(wide.as_bytes(), "HTTP/1.1 431").await;
    let many = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(150));
    check(many.as_bytes(), "HTTP/1.1 431").await;
    assert_eq!(app.get("/healthz").await.verdict(), "200");
}

#[tokio::test]
async fn the_fast_path_and_the_general_server_answer_a_purchase_alike() {
    let app = TestApp::start().await;
    app.open_sale("spring", 1.into(), 1).await;
    app.open_sale("paused", 1.into(), 1).await;
    app.step("paused", "pause").await;
    assert_eq!(app.buy("first", "k", "spring", "phone", 1).await.verdict(), "201");
    let (anna, first) = (bearer("anna"), bearer("first"));
    let body = r#"{"sale":"spring","item":"phone","units":1}"#;
    let json_type = ("Content-Type", "application/json");
    let cases: Vec<(Vec<(&str, &str)>, String)> = vec![
        (vec![json_type, ("Authorization", &anna), ("Idempotency-Key", "k")], body.into()),
        (vec![json_type, ("Authorization", &first), ("Idempotency-Key", "k")], body.into()),
        (
            vec![json_type, ("Authorization", &first), ("Idempotency-Key", "k")],
            body.replace('1', "2"),
        ),
        (
            vec![json_type, ("Authorization", &anna), ("Idempotency-Key", "k")],
            body.replace("spring", "paused"),
        ),
        (
            vec![json_type, ("Authorization", &anna), ("Idempotency-Key", "k")],
            body.replace("spring", "none"),
        ),
        (vec![json_type, ("Authorization", &anna), ("Idempotency-Key", "k")], "nonsense".into()),
        (vec![json_type, ("Authorization", &anna), ("Idempotency-Key", "a b")], "{}".into()),
        (vec![json_type, ("Authorization", "Bearer x"), ("Idempotency-Key", "k")], body.into()),
        (vec![json_type, ("Idempotency-Key", "k")], body.into()),
        (vec![json_type, ("Authorization", &anna)], body.into()),
        (vec![("Authorization", &anna), ("Idempotency-Key", "k")], body.into()),
        (
            vec![
                json_type,
                ("Accept", "text/html"),
                ("Authorization", &anna),
                ("Idempotency-Key", "k"),
            ],
            body.into(),
        ),
    ];
    for (headers, body) in &cases {
        let straight = app.call("POST", "/v1/orders", headers, body.as_bytes()).await;
        // With this header, the general HTTP server handles the request instead of the fast path.
        // The header has no other effect.
        let around = [headers.as_slice(), &[("TE", "trailers")]].concat();
        let around = app.call("POST", "/v1/orders", &around, body.as_bytes()).await;
        let comparable = |reply: &crate::http::Reply| {
            let mut headers = reply.headers.clone();
            // Both requests count against the buyer's limit, so their `RateLimit` headers differ.
            headers
                .iter_mut()
                .filter(|(name, _)| name == "ratelimit")
                .for_each(|(_, value)| value.clear());
            headers.retain(|(name, _)| name != "date");
            headers.sort_unstable();
            (reply.verdict(), headers, reply.text())
        };
        assert!(straight.header("date").is_some_and(|date| date.ends_with(" GMT")), "{straight:?}");
        assert_eq!(comparable(&straight), comparable(&around), "{headers:?} {body}");
    }
}
