//! Tests the WebSocket handshake in bytes.

use crate::app::{TestApp, bearer};
use crate::http::request;

/// The example key in RFC 6455. The server must answer it with `ACCEPT`.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const UPGRADE_HEADERS: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
];

/// Returns `UPGRADE_HEADERS`, but with another value for one header, or without this header.
fn headers_except(
    name: &'static str,
    value: Option<&'static str>,
) -> Vec<(&'static str, &'static str)> {
    let others = UPGRADE_HEADERS.into_iter().filter(|(known, _)| *known != name);
    others.chain(value.map(|value| (name, value))).collect()
}

#[tokio::test]
async fn headers_are_lists_of_words_in_any_case() {
    let app = TestApp::start().await;
    let bearer = bearer("anna");
    let ways = [
        headers_except("", None),
        headers_except("Connection", Some("keep-alive, Upgrade")),
        headers_except("Connection", Some("upgrade,keep-alive")),
        headers_except("Upgrade", Some("WebSocket")),
    ];
    for mut headers in ways {
        headers.push(("Authorization", bearer.as_str()));
        let mut connection = app.connect().await;
        connection.send(&request("GET", "/v1/ws", &headers, b"")).await;
        let head = connection.head().await;
        assert_eq!(
            (head.status, head.header("sec-websocket-accept")),
            (101, Some(ACCEPT)),
            "{headers:?}"
        );
        assert!(
            head.header("upgrade").is_some_and(|to| to.eq_ignore_ascii_case("websocket")),
            "{head:?}"
        );
        assert!(
            head.header("connection").is_some_and(|to| to.eq_ignore_ascii_case("upgrade")),
            "{head:?}"
        );
        assert_eq!(
            head.header("sec-websocket-protocol"),
            None,
            "if the client offers no subprotocol, the answer must name no subprotocol"
        );
    }
}

#[tokio::test]
async fn a_request_that_is_not_a_handshake_is_refused() {
    let app = TestApp::start().await;
    let bearer = bearer("anna");
    let asks = async |method: &str, headers: &[(&'static str, &'static str)], expected: &str| {
        let known = [headers, &[("Authorization", bearer.as_str())]].concat();
        let reply = app.call(method, "/v1/ws", &known, b"").await;
        assert_eq!(reply.verdict(), expected, "{method} {headers:?}");
    };
    let others = [
        headers_except("Sec-WebSocket-Version", Some("8")),
        headers_except("Sec-WebSocket-Version", Some("14")),
        headers_except("Sec-WebSocket-Version", None),
        headers_except("Sec-WebSocket-Key", None),
        headers_except("Upgrade", Some("h2c")),
        headers_except("Upgrade", None),
        headers_except("Connection", Some("keep-alive")),
        headers_except("Connection", None),
    ];
    for headers in &others {
        asks("GET", headers, "422 invalid_request").await;
    }
    asks("POST", &UPGRADE_HEADERS, "405 method_not_allowed").await;
    // The server checks the buyer's token before the headers of the handshake.
    let nobody = app.call("GET", "/v1/ws", &headers_except("Sec-WebSocket-Key", None), b"").await;
    assert_eq!(nobody.verdict(), "401 unauthenticated");
}
