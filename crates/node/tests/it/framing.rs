//! Tests protection against request smuggling: HTTP messages that a proxy and the server may read
//! differently. Also tests which answers a cache may keep.

use doorbuster_api::endpoints::{self, Method};

use crate::app::{ADMIN_KEY, TestApp, bearer};
use crate::http::Reply;

async fn send(app: &TestApp, message: &str) -> Reply {
    let mut connection = app.connect().await;
    connection.send(message.as_bytes()).await;
    connection.reply(false).await.unwrap_or_else(|| panic!("no answer to {message:?}"))
}

#[tokio::test]
async fn a_request_with_ambiguous_framing_is_refused_and_its_connection_closed() {
    let app = TestApp::start().await;
    let body = r#"{"sale":"spring","item":"phone","units":1}"#;
    let length = body.len();
    let purchase = |headers: &str| {
        format!(
            "POST /v1/orders HTTP/1.1\r\n{headers}Content-Type: application/json\r\n\
             Idempotency-Key: k\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let get = |headers: &str| format!("GET /healthz HTTP/1.1\r\n{headers}\r\n");
    for (message, expected) in [
        (get(""), "400 malformed_request"),
        (get("Host: a\r\nHost: a\r\n"), "400 malformed_request"),
        (get("Host: a b\r\n"), "400 malformed_request"),
        (get("Host: user@a\r\n"), "400 malformed_request"),
        (get("Host: a/b\r\n"), "400 malformed_request"),
        (purchase(""), "400 malformed_request"),
        (purchase("Host: a\r\nHost: b\r\n"), "400 malformed_request"),
        (purchase("Host: a\r\nTransfer-Encoding: gzip, chunked\r\n"), "501 not_implemented"),
        (
            "POST /v1/orders HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
                .to_owned(),
            "501 not_implemented",
        ),
    ] {
        let mut connection = app.connect().await;
        connection.send(message.as_bytes()).await;
        let reply = connection.reply(false).await.unwrap_or_else(|| panic!("no answer to {message:?}"));
        assert_eq!(reply.verdict(), expected, "{message:?}");
        assert_eq!(reply.header("connection"), Some("close"), "{message:?}");
        assert!(connection.reply(false).await.is_none(), "connection not closed after {message:?}");
    }
    for good in ["Host: \r\n", "Host: shop.example:8080\r\n", "Host: [::1]\r\n"] {
        assert_eq!(send(&app, &get(good)).await.status, 200, "{good:?}");
    }
    let old = send(&app, "GET /healthz HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.status, 200, "HTTP/1.0 does not require the header Host");
}

#[tokio::test]
async fn a_smuggled_request_is_never_answered() {
    let app = TestApp::start().await;
    let inner = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
    ] {
        let message =
            format!("POST /v1/orders HTTP/1.1\r\nHost: a\r\n{headers}\r\n0\r\n\r\n{inner}");
        let mut connection = app.connect().await;
        connection.send(message.as_bytes()).await;
        if let Some(reply) = connection.reply(false).await {
            assert!(reply.status >= 400, "{headers:?}: {reply:?}");
            assert_eq!(reply.header("connection"), Some("close"), "{headers:?}");
            assert!(
                connection.reply(false).await.is_none(),
                "the server answered the inner request: {headers:?}"
            );
        }
    }
}

/// The endpoints whose answers a cache may keep (docs/caching.md).
const CACHEABLE: [&str; 6] = [
    "/docs",
    "/openapi.json",
    "/v1/sales",
    "/v1/sales/{sale}",
    "/v1/sales/{sale}/status",
    "/v1/sales/{sale}/draw",
];

#[tokio::test]
async fn caches_may_keep_only_public_answers_of_every_endpoint() {
    let app = TestApp::start().await;
    app.open_sale("spring", 10.into(), 1).await;
    let order = app.buy("anna", "k", "spring", "phone", 1).await.json()["id"].clone();
    let order = order.as_str().expect("an order");
    let unknown = format!("ord_{}", "A".repeat(52));
    let (buyer, operator) = (bearer("anna"), format!("Bearer {ADMIN_KEY}"));
    let mut served = 0;
    for endpoint in endpoints::all().filter(|endpoint| endpoint.method == Method::Get) {
        if matches!(endpoint.id, "stream_events" | "open_websocket") {
            continue;
        }
        for (sale, item, order) in [("spring", "phone", order), ("nope", "nope", &*unknown)] {
            let path = endpoint.path.replace("{sale}", sale).replace("{item}", item);
            let path = path.replace("{order}", order).replace("{key}", "key_none");
            let path = path.replace("{block}", "blk_0c9d8e7a65b1");
            for token in [None, Some(&buyer), Some(&operator)] {
                let headers = token.map(|token| ("Authorization", token.as_str()));
                let reply = app.call("GET", &path, headers.as_slice(), b"").await;
                let (status, kept) = (reply.status, reply.header("cache-control"));
                let is_public = token.is_none() && CACHEABLE.contains(&endpoint.path);
                let is_right = match status {
                    200 if is_public => kept.is_some_and(|kept| kept.starts_with("public")),
                    _ => kept == Some("no-store"),
                };
                assert!(is_right, "{status} {path} {token:?}: {kept:?}");
                served += u32::from(status == 200);
            }
        }
    }
    assert!(served > 50, "too few answers with 200: {served}");
    for path in ["/v1/sales?limit=0", "/v1/sales/spring/draw?item=phone&item=phone"] {
        let reply = app.get(path).await;
        assert_eq!(
            (reply.status, reply.header("cache-control")),
            (422, Some("no-store")),
            "{path}"
        );
    }
    let html = app.call("GET", "/v1/sales", &[("Accept", "text/html")], b"").await;
    assert_eq!((html.status, html.header("cache-control")), (406, Some("no-store")));
    for page in ["/sale/nope", "/order/nope", "/nope", "/assets/nope.js"] {
        let reply = app.get(page).await;
        if reply.status == 404 {
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{page}");
        }
    }
}
