//! Tests that a client sees no difference between an idle and an active WebSocket connection.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use super::{Socket, next, open, socket};
use crate::app::{TIMEOUT, TestApp, bearer, sale};
use crate::watch::Stopwatch;

/// A connection that sends and receives no message for this long counts as idle.
const A_WHILE: Duration = Duration::from_millis(400);

async fn idle_count(app: &TestApp) -> u64 {
    let page = app.get("/metrics").await.text();
    let number =
        page.lines().find_map(|line| line.strip_prefix("doorbuster_events_websockets_idle "));
    number.and_then(|number| number.parse().ok()).expect("the metric exists")
}

async fn wait_for_idle(app: &TestApp, count: u64) {
    let timer = Stopwatch::start();
    while idle_count(app).await != count {
        assert!(timer.elapsed() < TIMEOUT, "timed out; expected: {count} idle connections");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns the next message that is not a ping.
async fn message(socket: &mut Socket) -> Option<Message> {
    loop {
        let message = tokio::time::timeout(TIMEOUT, socket.next())
            .await
            .expect("a message arrives in time")?;
        match message.expect("a message") {
            Message::Ping(_) => {}
            message => return Some(message),
        }
    }
}

/// Returns the state of the order in the next event about an order.
async fn order(socket: &mut Socket) -> Value {
    loop {
        let mut event = next(socket).await;
        if event["type"] == "order" {
            return event["order"]["state"].take();
        }
    }
}

#[tokio::test]
async fn an_idle_connection_receives_order_events_in_order_and_sale_events() {
    let app = TestApp::start().await;
    app.open_sale("spring", 10.into(), 10).await;
    let mut anna = socket(&app, "anna", "?sale=spring").await;
    let mut bert = socket(&app, "bert", "").await;
    for round in 0..3 {
        wait_for_idle(&app, 2).await;
        let placed = app.buy("anna", &format!("k{round}"), "spring", "phone", 3).await.json();
        assert_eq!(order(&mut anna).await, "reserved");
        assert_eq!(idle_count(&app).await, 2, "the event must not make a connection active");
        let id = placed["id"].as_str().expect("an id");
        assert_eq!(
            app.buyer("anna", "POST", &format!("/v1/orders/{id}/cancel")).await.verdict(),
            "200"
        );
        assert_eq!(order(&mut anna).await, "cancelled");
        assert_eq!(
            app.buy("carl", &format!("k{round}"), "spring", "phone", 1).await.verdict(),
            "201"
        );
        loop {
            let event = next(&mut anna).await;
            if event["status"]["items"][0]["held"] == round + 1 {
                break;
            }
        }
    }
    assert_eq!(app.buy("bert", "k", "spring", "phone", 1).await.verdict(), "201");
    assert_eq!(
        next(&mut bert).await["order"]["buyer"],
        "bert",
        "the event must be about the buyer's own order"
    );
}

#[tokio::test]
async fn an_idle_connection_receives_its_admission() {
    let app = TestApp::start().await;
    let mut body = sale("spring", 1.into(), 1);
    body["front_door"] = json!({"waiting_room": "always"});
    assert_eq!(app.admin("POST", "/v1/admin/sales", Some(body)).await.verdict(), "201");
    app.step("spring", "open").await;
    let mut anna = socket(&app, "anna", "?sale=spring").await;
    wait_for_idle(&app, 1).await;
    let entered = app.buyer("anna", "POST", "/v1/sales/spring/waiting-room").await;
    assert_eq!(entered.verdict(), "201");
    let event = loop {
        let event = next(&mut anna).await;
        if event["type"] == "waiting_room" && event["state"] == "admitted" {
            break event;
        }
    };
    assert_eq!((&event["sale"], &event["place"]), (&json!("spring"), &entered.json()["place"]));
}

#[tokio::test]
async fn a_frame_from_an_idle_connection_is_answered() {
    let app = TestApp::start().await;
    let mut anna = socket(&app, "anna", "").await;
    for said in [&[1_u8, 2][..], &[], &[7; 125]] {
        wait_for_idle(&app, 1).await;
        anna.send(Message::Ping(said.to_vec().into())).await.expect("the server takes the message");
        assert_eq!(message(&mut anna).await, Some(Message::Pong(said.to_vec().into())));
    }
    wait_for_idle(&app, 1).await;
    anna.send(Message::Text("x".repeat(200).into())).await.expect("the server takes the message");
    // The answer to this ping shows that the server has also read the earlier text frame.
    anna.send(Message::Ping(vec![9].into())).await.expect("the server takes the message");
    assert_eq!(message(&mut anna).await, Some(Message::Pong(vec![9].into())));
    wait_for_idle(&app, 1).await;
    anna.send(Message::Close(None)).await.expect("the server takes the message");
    assert_eq!(message(&mut anna).await, Some(Message::Close(None)));
    assert_eq!(message(&mut anna).await, None);
    wait_for_idle(&app, 0).await;
    let mut long = socket(&app, "anna", "").await;
    wait_for_idle(&app, 1).await;
    long.send(Message::Text("x".repeat(5_000).into())).await.expect("the message is sent");
    let Some(Message::Close(Some(frame))) = message(&mut long).await else {
        panic!("the server did not close the socket")
    };
    assert_eq!(u16::from(frame.code), 1002);
}

#[tokio::test]
async fn half_a_frame_is_kept_until_the_rest_arrives() {
    let app = TestApp::start().await;
    let mut anna = socket(&app, "anna", "").await;
    // The mask consists of zeros, so the masked bytes are the bytes of the message.
    let ping = [0x89, 0x82, 0, 0, 0, 0, 3, 4];
    for falls_asleep in [false, true] {
        if falls_asleep {
            wait_for_idle(&app, 1).await;
        }
        anna.get_mut().write_all(&ping[..5]).await.expect("the server takes the message");
        wait_for_idle(&app, 0).await;
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(
            idle_count(&app).await,
            0,
            "a connection with an incomplete frame must not be idle"
        );
        anna.get_mut().write_all(&ping[5..]).await.expect("the server takes the message");
        assert_eq!(message(&mut anna).await, Some(Message::Pong(vec![3, 4].into())));
    }
    wait_for_idle(&app, 1).await;
}

#[tokio::test]
async fn an_idle_connection_of_a_blocked_buyer_is_closed_and_counted_once() {
    let app = TestApp::start().await;
    let (mut anna, mut bert) = (socket(&app, "anna", "").await, socket(&app, "bert", "").await);
    app.open_sale("spring", 10.into(), 10).await;
    wait_for_idle(&app, 2).await;
    let body = Some(json!({"kind": "buyer", "value": "anna"}));
    assert_eq!(app.admin("POST", "/v1/admin/blocks", body).await.verdict(), "201");
    let Some(Message::Close(Some(frame))) = message(&mut anna).await else {
        panic!("the server did not close the socket")
    };
    assert_eq!(u16::from(frame.code), 1008);
    let page = app.get("/metrics").await.text();
    assert!(
        page.lines().any(|line| line == "doorbuster_blocked_total{kind=\"buyer\"} 1"),
        "{page}"
    );
    assert_eq!(idle_count(&app).await, 1, "the other connection must stay idle");
    assert_eq!(app.buy("bert", "k", "spring", "phone", 1).await.verdict(), "201");
    assert_eq!(order(&mut bert).await, "reserved");
}

#[tokio::test]
async fn an_idle_connection_from_a_blocked_network_is_closed() {
    let app = TestApp::with(&[("DOORBUSTER_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    app.open_sale("spring", 10.into(), 10).await;
    let from = async |buyer: &str, address: &str| {
        let headers = [("authorization", bearer(buyer)), ("x-forwarded-for", address.to_owned())];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        open(&app, "", &headers).await.expect("an upgrade").0
    };
    let (mut anna, mut bert) =
        (from("anna", "192.0.2.7").await, from("bert", "198.51.100.7").await);
    wait_for_idle(&app, 2).await;
    let body = Some(json!({"kind": "ip", "value": "192.0.2.0/24"}));
    assert_eq!(app.admin("POST", "/v1/admin/blocks", body).await.verdict(), "201");
    let close = loop {
        match message(&mut anna).await {
            // The first event of the stream.
            Some(Message::Text(_)) => {}
            other => break other,
        }
    };
    let Some(Message::Close(Some(frame))) = close else { panic!("{close:?}") };
    assert_eq!(u16::from(frame.code), 1008);
    assert_eq!(idle_count(&app).await, 1, "the other connection must stay idle");
    assert_eq!(app.buy("bert", "k", "spring", "phone", 1).await.verdict(), "201");
    assert_eq!(order(&mut bert).await, "reserved");
}

#[tokio::test]
async fn idle_connections_are_notified_of_shutdown() {
    let mut app = TestApp::start().await;
    let mut sockets = Vec::new();
    for number in 0..20 {
        sockets.push(socket(&app, &format!("b{number}"), "").await);
    }
    wait_for_idle(&app, 20).await;
    let timer = Stopwatch::start();
    let ended = app.ask_to_stop();
    for socket in &mut sockets {
        let Some(Message::Close(Some(frame))) = message(socket).await else {
            panic!("the server did not close the socket")
        };
        assert_eq!(u16::from(frame.code), 1001);
    }
    drop(sockets);
    ended.await.expect("the server did not panic").expect("the server stops without an error");
    assert!(timer.elapsed() < Duration::from_secs(3), "{:?}", timer.elapsed());
}
