//! Tests that an event stream ends when its token expires. If the client has sent a newer token,
//! the stream ends when that token expires.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use doorbuster_auth::{NewToken, token};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::app::{SECRET, TIMEOUT, TestApp};
use crate::events::{Socket, next, open};
use crate::http::request;

fn short_token(buyer: &str, secs: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let now = i64::try_from(now).expect("a time");
    token(SECRET.as_bytes(), &NewToken::new(buyer, now, Duration::from_secs(secs)))
}

async fn open_with(app: &TestApp, token: &str) -> Socket {
    let header = format!("Bearer {token}");
    let (mut socket, _) = open(app, "", &[("authorization", &header)]).await.expect("an upgrade");
    assert_eq!(next(&mut socket).await["type"], "hello");
    socket
}

/// Returns the next close frame. Only pings and pongs may come before it.
async fn close_frame(socket: &mut Socket) -> CloseFrame {
    loop {
        let message =
            tokio::time::timeout(TIMEOUT, socket.next()).await.expect("a frame arrives in time");
        match message.expect("the socket is open").expect("a message") {
            Message::Close(Some(frame)) => return frame,
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let app = TestApp::start().await;
    let token = short_token("anna", 2);
    let mut connection = app.connect().await;
    let header = format!("Bearer {token}");
    connection.send(&request("GET", "/v1/events", &[("Authorization", &header)], b"")).await;
    assert_eq!(connection.head().await.status, 200);
    let mut socket = open_with(&app, &token).await;
    let frame = close_frame(&mut socket).await;
    assert_eq!(u16::from(frame.code), 4401, "{frame:?}");
    let mut text = String::new();
    loop {
        let chunk = tokio::time::timeout(TIMEOUT, connection.chunk())
            .await
            .expect("the stream ends in time");
        let chunk = chunk.expect("the last chunk is empty");
        if chunk.is_empty() {
            break;
        }
        text.push_str(&String::from_utf8(chunk).expect("UTF-8"));
    }
    assert!(text.ends_with("event: bye\ndata: {\"reason\":\"token_expired\"}\n\n"), "{text}");
}

#[tokio::test]
async fn a_newer_token_of_the_same_buyer_renews_an_open_socket() {
    let app = TestApp::start().await;
    let first = short_token("anna", 3);
    let mut socket = open_with(&app, &first).await;
    let mut other = open_with(&app, &first).await;
    let renew = |token: &str| Message::text(json!({"type": "renew", "token": token}).to_string());
    socket.send(renew(&short_token("anna", 3_600))).await.expect("a socket");
    let answer = next(&mut socket).await;
    assert!(answer["type"] == "renewed" && answer["expires_at"].is_string(), "{answer}");
    assert_eq!(
        u16::from(close_frame(&mut other).await.code),
        4401,
        "the stream must end when the first token expires"
    );
    socket.send(renew(&short_token("anna", 3_600))).await.expect("a socket");
    assert_eq!(next(&mut socket).await["type"], "renewed");
    socket.send(Message::text("something else")).await.expect("a socket");
    for wrong in [short_token("bert", 3_600), "no token".to_owned()] {
        let mut other = open_with(&app, &short_token("anna", 60)).await;
        other.send(renew(&wrong)).await.expect("a socket");
        assert_eq!(u16::from(close_frame(&mut other).await.code), 4401, "{wrong}");
    }
    socket.send(renew(&short_token("anna", 3_600))).await.expect("a socket");
    assert_eq!(next(&mut socket).await["type"], "renewed");
}
