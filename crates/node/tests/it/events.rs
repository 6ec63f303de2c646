//! Tests events by SSE and WebSocket: `hello`, the buyer's own orders, the requested sales, and
//! slow readers.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::app::{TIMEOUT, TestApp, WAIT_FOR_ORDER, bearer, sale};
use crate::http::{Connection, request};
use crate::watch::Stopwatch;

mod handshake;
mod idle;

pub(crate) type Socket = WebSocketStream<TcpStream>;

pub(crate) async fn open(
    app: &TestApp,
    query: &str,
    headers: &[(&'static str, &str)],
) -> Result<(WebSocketStream<TcpStream>, Response), Error> {
    let url = format!("ws://{}/v1/ws{query}", app.address);
    let mut request = url.into_client_request().expect("an address");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a header value"));
    }
    let stream = TcpStream::connect(app.address).await.expect("the server listens");
    client_async_with_config(request, stream, Some(WebSocketConfig::default())).await
}

pub(crate) async fn socket(app: &TestApp, buyer: &str, query: &str) -> WebSocketStream<TcpStream> {
    let (mut socket, _) =
        open(app, query, &[("authorization", &bearer(buyer))]).await.expect("an upgrade");
    let hello = next(&mut socket).await;
    assert!(hello["type"] == "hello" && hello["server_time"].is_string(), "{hello}");
    socket
}

pub(crate) async fn next(socket: &mut WebSocketStream<TcpStream>) -> Value {
    loop {
        let message = tokio::time::timeout(TIMEOUT, socket.next()).await.expect("an event arrives");
        match message.expect("the socket is open").expect("a message") {
            Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Returns the next server-sent event, with its id.
async fn sent(connection: &mut Connection, text: &mut String) -> (Option<u64>, Value) {
    loop {
        if let Some((frame, rest)) = text.clone().split_once("\n\n") {
            *text = rest.to_owned();
            let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name));
            if let Some(data) = field("data: ") {
                let id = field("id: ").map(|id| id.parse().expect("a decimal id"));
                return (id, serde_json::from_str(data).expect("JSON"));
            }
            continue;
        }
        let chunk =
            tokio::time::timeout(TIMEOUT, connection.chunk()).await.expect("an event arrives");
        text.push_str(&String::from_utf8(chunk.expect("the stream is open")).expect("UTF-8"));
    }
}

async fn stream(app: &TestApp, path: &str, more: &[(&str, &str)]) -> (Connection, String) {
    let mut connection = app.connect().await;
    let bearer = bearer("anna");
    let headers = [&[("Authorization", bearer.as_str())], more].concat();
    connection.send(&request("GET", path, &headers, b"")).await;
    let head = connection.head().await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(head.header("cache-control"), Some("no-store"));
    let mut text = String::new();
    let (_, hello) = sent(&mut connection, &mut text).await;
    assert!(hello["type"] == "hello" && hello["server_time"].is_string(), "{hello}");
    (connection, text)
}

#[tokio::test]
async fn a_socket_reports_the_buyers_orders_and_the_requested_sales() {
    let app = TestApp::start().await;
    app.open_sale("spring", 10.into(), 10).await;
    app.open_sale("autumn", 10.into(), 10).await;
    let mut anna = socket(&app, "anna", "?sale=spring").await;
    for _ in 0..5 {
        // No order changes here, so each new reader must get the current status as its first event.
        let mut other = socket(&app, "anna", "?sale=spring").await;
        let present = next(&mut other).await;
        assert_eq!(
            (&present["type"], &present["status"]["items"][0]["remaining"]),
            (&json!("status"), &json!(10))
        );
    }
    let mut bert = socket(&app, "bert", "").await;
    assert_eq!(app.buy("anna", "k", "spring", "phone", 3).await.verdict(), "201");
    assert_eq!(app.buy("carl", "k", "autumn", "phone", 1).await.verdict(), "201");
    let (mut order, mut status) = (Value::Null, Value::Null);
    while order.is_null() || status["status"]["items"][0]["held"] != 3 {
        let event = next(&mut anna).await;
        match event["type"].as_str() {
            Some("order") => order = event,
            Some("status") => status = event,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        (&order["order"]["state"], &order["order"]["units"]),
        (&json!("reserved"), &json!(3))
    );
    assert_eq!(
        (&status["status"]["sale"], &status["status"]["items"][0]["remaining"]),
        (&json!("spring"), &json!(7))
    );
    assert_eq!(app.buy("bert", "k", "spring", "phone", 1).await.verdict(), "201");
    assert_eq!(
        next(&mut bert).await["order"]["buyer"],
        "bert",
        "the first event must be about the buyer's own order"
    );
}

#[tokio::test]
async fn a_browser_offers_its_token_as_a_subprotocol() {
    let app = TestApp::start().await;
    let token = bearer("anna").trim_start_matches("Bearer ").to_owned();
    let offered = format!("doorbuster.v1, bearer.{token}");
    let (_, response) =
        open(&app, "", &[("sec-websocket-protocol", &offered)]).await.expect("an upgrade");
    assert_eq!(response.headers()["sec-websocket-protocol"], "doorbuster.v1");
    let check = async |headers: &[(&'static str, &str)], query: &str, expected: u16| match open(
        &app, query, headers,
    )
    .await
    {
        Err(Error::Http(response)) => assert_eq!(response.status(), expected),
        other => panic!("{headers:?}: {:?}", other.map(|(_, response)| response)),
    };
    check(&[("sec-websocket-protocol", "doorbuster.v1, bearer.nonsense")], "", 401).await;
    check(&[("sec-websocket-protocol", "doorbuster.v1")], "", 401).await;
    check(&[("authorization", "Bearer nonsense"), ("sec-websocket-protocol", &offered)], "", 401)
        .await;
    check(&[], "", 401).await;
    let known = bearer("anna");
    check(&[("authorization", &known)], "?sale=none", 404).await;
    check(&[("authorization", &known)], "?sale=a%20b", 422).await;
    let plain = app.buyer("anna", "GET", "/v1/ws").await;
    assert_eq!(plain.verdict(), "422 invalid_request", "a plain GET request must be refused");
}

#[tokio::test]
async fn messages_from_a_client_are_bounded_and_ignored() {
    let app = TestApp::start().await;
    let mut small = socket(&app, "anna", "").await;
    small.send(Message::Text("hello yourself".into())).await.expect("the server takes the message");
    small.send(Message::Ping(vec![1, 2].into())).await.expect("the server takes the message");
    let pong = tokio::time::timeout(TIMEOUT, small.next())
        .await
        .expect("a message arrives in time")
        .expect("open")
        .expect("a message");
    assert_eq!(pong, Message::Pong(vec![1, 2].into()));
    // Returns a socket's last frame. The server answers a close frame with a close frame.
    let farewell = async |mut socket: Socket| {
        let mut last = None;
        while let Some(Ok(message)) = socket.next().await {
            assert!(!message.is_text(), "{message}");
            last = Some(message);
        }
        last
    };
    small.send(Message::Close(None)).await.expect("the server takes the message");
    let answered = tokio::time::timeout(TIMEOUT, farewell(small)).await.expect("the socket ends");
    assert_eq!(answered, Some(Message::Close(None)));
    let mut large = socket(&app, "anna", "").await;
    large.send(Message::Text("x".repeat(5_000).into())).await.expect("the message is sent");
    let answer = tokio::time::timeout(TIMEOUT, farewell(large))
        .await
        .expect("a message over the limit closes the socket");
    let Some(Message::Close(Some(frame))) = answer else { panic!("{answer:?}") };
    assert_eq!(u16::from(frame.code), 1002);
    assert_eq!(app.get("/healthz").await.verdict(), "200");
}

#[tokio::test]
async fn server_sent_events_have_decimal_ids_and_resume_after_the_last_received_event() {
    let app = TestApp::start().await;
    app.open_sale("spring", 10.into(), 10).await;
    let (mut connection, mut text) = stream(&app, "/v1/events?sale=spring&sale=spring", &[]).await;
    let (id, present) = sent(&mut connection, &mut text).await;
    assert_eq!(id, None, "the first event is only for this reader, so it must have no id");
    assert_eq!(
        (&present["type"], &present["status"]["items"][0]["remaining"]),
        (&json!("status"), &json!(10))
    );
    let placed = app.buy("anna", "k", "spring", "phone", 3).await.json();
    let mut last = 0;
    loop {
        let (id, event) = sent(&mut connection, &mut text).await;
        let id = id.expect("an id");
        assert!(id > last, "ids rise");
        last = id;
        if event["type"] == "order" {
            assert_eq!(event["order"], placed);
            break;
        }
    }
    let (mut connection, mut text) =
        stream(&app, "/v1/events?sale=spring", &[("Last-Event-ID", &last.to_string())]).await;
    let (_, event) = sent(&mut connection, &mut text).await;
    assert_eq!(
        (&event["type"], &event["status"]["sale"]),
        (&json!("status"), &json!("spring")),
        "a reader that reconnects must get the current status"
    );
    drop((connection, text));
    let id = placed["id"].as_str().expect("an id");
    assert_eq!(
        app.buyer("anna", "POST", &format!("/v1/orders/{id}/cancel")).await.verdict(),
        "200"
    );
    assert_eq!(app.buy("bert", "k", "spring", "phone", 1).await.verdict(), "201");
    let next_order = async |last: &str| {
        let (mut connection, mut text) =
            stream(&app, "/v1/events", &[("Last-Event-ID", last)]).await;
        let again = app.buy("anna", &format!("behind-{last}"), "spring", "phone", 1).await.json();
        let (first_id, first) = sent(&mut connection, &mut text).await;
        let id = again["id"].as_str().expect("an id");
        assert_eq!(
            app.buyer("anna", "POST", &format!("/v1/orders/{id}/cancel")).await.verdict(),
            "200"
        );
        (first_id.expect("an id"), first["order"].clone(), again)
    };
    let (id, first, _) = next_order(&last.to_string()).await;
    assert!(id > last, "ids rise");
    assert_eq!((&first["id"], &first["state"]), (&placed["id"], &json!("cancelled")));
    // If `Last-Event-ID` is unknown or invalid, the stream sends only new events.
    for none in ["later", "-1", "18446744073709551616", "9007199254740991"] {
        let (_, first, again) = next_order(none).await;
        assert_eq!(first["id"], again["id"], "{none}");
    }
}

#[tokio::test]
async fn server_sent_events_report_the_buyers_waiting_room_position() {
    let app = TestApp::start().await;
    let mut body = sale("spring", 1.into(), 1);
    body["front_door"] = json!({"waiting_room": "always"});
    assert_eq!(app.admin("POST", "/v1/admin/sales", Some(body)).await.verdict(), "201");
    app.step("spring", "open").await;
    let (mut connection, mut text) = stream(&app, "/v1/events?sale=spring", &[]).await;
    let entered = app.buyer("anna", "POST", "/v1/sales/spring/waiting-room").await;
    assert_eq!(entered.verdict(), "201", "{}", entered.text());
    let called_in = async {
        loop {
            let (_, event) = sent(&mut connection, &mut text).await;
            if event["type"] == "waiting_room" && event["state"] == "admitted" {
                return event;
            }
        }
    };
    let event = tokio::time::timeout(TIMEOUT, called_in).await.expect("the position is sent");
    assert_eq!((&event["sale"], &event["place"]), (&json!("spring"), &entered.json()["place"]));
    assert!(event["admitted_until"].is_string(), "{event}");
}

/// Opens a socket with a very small receive buffer.
async fn open_slow_reader(app: &TestApp, buyer: &str) -> WebSocketStream<TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 * 1024).expect("a socket");
    let stream = socket.connect(app.address).await.expect("the server listens");
    let mut request =
        format!("ws://{}/v1/ws", app.address).into_client_request().expect("an address");
    request.headers_mut().insert("authorization", bearer(buyer).parse().expect("a header value"));
    client_async_with_config(request, stream, None).await.expect("an upgrade").0
}

/// Sends this number of purchases of one buyer, over 40 connections.
async fn buy_many(app: &TestApp, orders: usize) {
    let known = bearer("anna");
    let mut connections = Vec::new();
    for _ in 0..40 {
        connections.push(app.connect().await);
    }
    for round in 0..orders / connections.len() {
        for (index, connection) in connections.iter_mut().enumerate() {
            let key = format!("k{round}-{index}");
            let headers = [
                ("Authorization", known.as_str()),
                ("Idempotency-Key", key.as_str()),
                ("Content-Type", "application/json"),
                WAIT_FOR_ORDER,
            ];
            let body = br#"{"sale":"spring","item":"phone","units":1}"#;
            connection.send(&request("POST", "/v1/orders", &headers, body)).await;
        }
        for connection in &mut connections {
            assert_eq!(connection.reply(false).await.expect("an answer").verdict(), "201");
        }
    }
}

async fn wait_for_metric(app: &TestApp, lines: &[&str]) {
    let watch = Stopwatch::start();
    loop {
        let page = app.get("/metrics").await.text();
        if page.lines().any(|line| lines.contains(&line)) {
            return;
        }
        assert!(watch.elapsed() < TIMEOUT, "{lines:?}: {page}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_slow_reader_is_dropped_and_delays_no_other_reader() {
    const ORDERS: usize = 4_000;
    let app = TestApp::start().await;
    app.open_sale("spring", "unlimited".into(), 1_000_000).await;
    let mut slow = open_slow_reader(&app, "anna").await;
    // This client never reads, so it gets no close frame, and the server cuts its connection.
    let _deaf = open_slow_reader(&app, "anna").await;
    let mut quick = socket(&app, "anna", "").await;
    let reading = tokio::spawn(async move {
        for _ in 0..ORDERS {
            next(&mut quick).await;
        }
        quick
    });
    let close = async {
        wait_for_metric(&app, &["doorbuster_events_dropped_total 2"]).await;
        let (dropped, mut read) = (Stopwatch::start(), 0);
        let code = loop {
            match slow.next().await {
                Some(Ok(Message::Close(frame))) => break frame.map(|frame| u16::from(frame.code)),
                Some(Ok(_)) => read += 1,
                other => panic!("after {read} events: {other:?}"),
            }
        };
        drop(slow);
        // The server has disconnected all readers except the quick one. It did so before the write
        // timeout of 30 s.
        wait_for_metric(&app, &["doorbuster_events_websockets 1"]).await;
        (read, code, dropped.elapsed())
    };
    let both = async { tokio::join!(buy_many(&app, ORDERS), close) };
    let ((), (read, code, took)) =
        tokio::time::timeout(2 * TIMEOUT, both).await.expect("the sockets end");
    assert_eq!(code, Some(1013), "after {read} events");
    assert!(read < ORDERS, "the slow reader must be dropped before it gets every event");
    assert!(took < Duration::from_secs(10), "{took:?}");
    tokio::time::timeout(TIMEOUT, reading)
        .await
        .expect("a message arrives in time")
        .expect("the fast reader gets every order");
}

#[tokio::test]
async fn a_buyer_has_a_bounded_number_of_streams_of_both_kinds() {
    let app = TestApp::with(&[("DOORBUSTER_LIMITS__CONNECTIONS", "32")]).await;
    let mut connections = Vec::new();
    for _ in 0..8 {
        connections.push(stream(&app, "/v1/events", &[]).await.0);
    }
    let mut sockets = Vec::new();
    for _ in 0..8 {
        sockets.push(socket(&app, "anna", "").await);
    }
    let refused = app.buyer("anna", "GET", "/v1/events").await;
    assert_eq!(refused.verdict(), "429 rate_limited");
    assert_eq!(
        (&refused.json()["scope"], refused.header("retry-after")),
        (&json!("buyer"), Some("10"))
    );
    match open(&app, "", &[("authorization", &bearer("anna"))]).await {
        Err(Error::Http(refused)) => assert_eq!(refused.status(), 429),
        other => panic!("{:?}", other.map(|(_, response)| response)),
    }
    drop(socket(&app, "bert", "").await);
    // The closed stream counts for the buyer's limit until the server has noticed its end.
    sockets.pop();
    let again = async {
        while open(&app, "", &[("authorization", &bearer("anna"))]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, again).await.expect("the buyer may open another stream");
}

#[tokio::test]
async fn the_limit_of_streams_is_a_setting() {
    let app = TestApp::with(&[("DOORBUSTER_LIMITS__EVENT_STREAMS", "2")]).await;
    let streams = (stream(&app, "/v1/events", &[]).await, stream(&app, "/v1/events", &[]).await);
    let refused = app.buyer("anna", "GET", "/v1/events").await;
    assert_eq!(refused.verdict(), "429 rate_limited");
    drop(streams);
}

async fn is_over(connection: &mut Connection, text: &str) {
    let chunk = tokio::time::timeout(TIMEOUT, connection.chunk()).await.expect("the stream ends");
    assert_eq!((text, chunk.as_deref()), ("", Some(&[][..])));
}

#[tokio::test]
async fn a_blocked_buyer_receives_no_more_events() {
    let app = TestApp::with(&[("DOORBUSTER_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    app.open_sale("spring", 10.into(), 10).await;
    let block = async |kind: &str, value: &str| {
        let body = Some(json!({"kind": kind, "value": value}));
        assert_eq!(app.admin("POST", "/v1/admin/blocks", body).await.verdict(), "201");
    };
    let mut robot = socket(&app, "anna", "").await;
    let (mut connection, text) = stream(&app, "/v1/events", &[]).await;
    let (mut farm, farm_text) =
        stream(&app, "/v1/events", &[("X-Forwarded-For", "192.0.2.7")]).await;
    let mut bert = socket(&app, "bert", "?sale=spring").await;
    block("ip", "192.0.2.0/24").await;
    is_over(&mut farm, &farm_text).await;
    block("buyer", "anna").await;
    let close = async {
        loop {
            match robot.next().await {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| u16::from(frame.code)),
                Some(Ok(Message::Ping(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    assert_eq!(tokio::time::timeout(TIMEOUT, close).await.expect("the stream ends"), Some(1008));
    is_over(&mut connection, &text).await;
    assert_eq!(app.buyer("anna", "GET", "/v1/events").await.verdict(), "403 forbidden");
    match open(&app, "", &[("authorization", &bearer("anna"))]).await {
        Err(Error::Http(refused)) => assert_eq!(refused.status(), 403),
        other => panic!("{:?}", other.map(|(_, response)| response)),
    }
    let carl = bearer("carl");
    let from_there = [("Authorization", carl.as_str()), ("X-Forwarded-For", "192.0.2.8")];
    assert_eq!(app.call("GET", "/v1/events", &from_there, b"").await.verdict(), "403 forbidden");
    assert_eq!(app.buy("bert", "k", "spring", "phone", 1).await.verdict(), "201");
    while next(&mut bert).await["type"] != "order" {}
}

#[tokio::test]
async fn streams_end_with_the_server() {
    let mut app = TestApp::start().await;
    let mut socket = socket(&app, "anna", "").await;
    let (mut connection, _) = stream(&app, "/v1/events", &[]).await;
    let timer = Stopwatch::start();
    let ended = app.ask_to_stop();
    let close = tokio::time::timeout(TIMEOUT, socket.next())
        .await
        .expect("a message arrives in time")
        .expect("a frame")
        .expect("a frame");
    assert!(
        matches!(&close, Message::Close(Some(frame)) if u16::from(frame.code) == 1001),
        "{close:?}"
    );
    drop(socket);
    connection.read_to_end().await;
    ended.await.expect("the server did not panic").expect("the server stops without an error");
    assert!(timer.elapsed() < Duration::from_secs(3), "{:?}", timer.elapsed());
}
