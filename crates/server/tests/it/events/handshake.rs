//! The handshake of a WebSocket in bytes: what is taken, and what other requests hear.

use crate::app::{TestApp, bearer};
use crate::http::request;

/// The example of RFC 6455, and what proves that it was understood.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What asks for a WebSocket, as clients write it.
const ASKED: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
];

/// The same, but for one header, which is another or none.
fn but(name: &'static str, value: Option<&'static str>) -> Vec<(&'static str, &'static str)> {
    let others = ASKED.into_iter().filter(|(known, _)| *known != name);
    others.chain(value.map(|value| (name, value))).collect()
}

#[tokio::test]
async fn headers_are_lists_of_words_in_any_case() {
    let app = TestApp::start().await;
    let bearer = bearer("anna");
    let ways = [
        but("", None),
        but("Connection", Some("keep-alive, Upgrade")),
        but("Connection", Some("upgrade,keep-alive")),
        but("Upgrade", Some("WebSocket")),
    ];
    for mut headers in ways {
        headers.push(("Authorization", bearer.as_str()));
        let mut wire = app.connect().await;
        wire.send(&request("GET", "/v1/ws", &headers, b"")).await;
        let head = wire.head().await;
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
        assert_eq!(head.header("sec-websocket-protocol"), None, "none was offered");
    }
}

#[tokio::test]
async fn whoever_asks_for_something_else_is_refused() {
    let app = TestApp::start().await;
    let bearer = bearer("anna");
    let asks = async |method: &str, headers: &[(&'static str, &'static str)], expected: &str| {
        let known = [headers, &[("Authorization", bearer.as_str())]].concat();
        let reply = app.call(method, "/v1/ws", &known, b"").await;
        assert_eq!(reply.verdict(), expected, "{method} {headers:?}");
    };
    let others = [
        but("Sec-WebSocket-Version", Some("8")),
        but("Sec-WebSocket-Version", Some("14")),
        but("Sec-WebSocket-Version", None),
        but("Sec-WebSocket-Key", None),
        but("Upgrade", Some("h2c")),
        but("Upgrade", None),
        but("Connection", Some("keep-alive")),
        but("Connection", None),
    ];
    for headers in &others {
        asks("GET", headers, "422 invalid_request").await;
    }
    asks("POST", &ASKED, "405 method_not_allowed").await;
    // Who asks is looked at first.
    let nobody = app.call("GET", "/v1/ws", &but("Sec-WebSocket-Key", None), b"").await;
    assert_eq!(nobody.verdict(), "401 unauthenticated");
}
