//! Tests web push with a stand-in push service.

mod nodes;
mod payments;
mod restart;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::app::{TIMEOUT, TestApp, bearer, sale};
use crate::http::Reply;
use crate::nodes::number;

/// The browser's keys in the example of RFC 8291.
const PRIVATE: &str = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94";
const PUBLIC: &str =
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";
/// The server's private key in the example of RFC 8291.
const SHOP: &str = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw";
/// How long a test waits for a further message that must not arrive.
const WATCH: Duration = Duration::from_millis(300);

#[derive(Clone, Debug)]
struct Pushed {
    head: String,
    body: Vec<u8>,
}

impl Pushed {
    fn header(&self, name: &str) -> &str {
        let named = self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        });
        named.unwrap_or_else(|| panic!("{name}: {}", self.head))
    }

    /// Decrypts the message as a browser does it.
    fn message(&self) -> Value {
        let (salt, rest) = self.body.split_at(16);
        let (server, record) = rest[5..].split_at(usize::from(rest[4]));
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64url");
        let key = PrivateKey::from_private_key(&ECDH_P256, &decode(PRIVATE)).expect("a key");
        let theirs = UnparsedPublicKey::new(&ECDH_P256, server.to_vec());
        let shared = agree(&key, theirs, (), |secret| Ok(secret.to_vec())).expect("a point");
        let mac = |key: &[u8], parts: &[&[u8]]| -> Vec<u8> {
            let mut mac =
                <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("a key of any length");
            parts.iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes().to_vec()
        };
        let info: &[&[u8]] = &[b"WebPush: info\0", &decode(PUBLIC), server, &[1]];
        let mixed = mac(salt, &[&mac(&mac(&decode(AUTH), &[&shared]), info)]);
        let content = mac(&mixed, &[b"Content-Encoding: aes128gcm\0", &[1]]);
        let nonce = mac(&mixed, &[b"Content-Encoding: nonce\0", &[1]]);
        let opener = UnboundKey::new(&AES_128_GCM, &content[..16]).expect("a key");
        let nonce = Nonce::try_assume_unique_for_key(&nonce[..12]).expect("a nonce");
        let mut record = record.to_vec();
        let text = LessSafeKey::new(opener)
            .open_in_place(nonce, Aad::empty(), &mut record)
            .expect("the record is for this browser");
        let (last, text) = text.split_last().expect("a delimiter");
        assert_eq!(*last, 2, "the delimiter must mark the last record");
        serde_json::from_slice(text).expect("JSON")
    }
}

/// A stand-in for a push service. It answers each request with `status`.
struct PushService {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Pushed>>>,
}

impl PushService {
    async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let got: Arc<Mutex<Vec<Pushed>>> = Arc::default();
        let kept = got.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, status, kept.clone()));
            }
        });
        Self { address, got }
    }

    fn url(&self) -> String {
        self.url_of("browser")
    }

    fn url_of(&self, browser: &str) -> String {
        format!("http://{}/p/{browser}", self.address)
    }

    fn got(&self) -> Vec<Pushed> {
        self.got.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn until(&self, count: usize) -> Vec<Pushed> {
        let waiting = async {
            while self.got().len() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(TIMEOUT, waiting).await;
        assert!(waited.is_ok(), "{:?}", self.got());
        self.got()
    }
}

/// Starts a push service that never answers. Returns its address and the number of its connections.
async fn start_silent() -> (SocketAddr, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (count, connections) = watch::channel(0);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
            count.send_replace(open.len());
        }
    });
    (address, connections)
}

async fn answer(mut stream: TcpStream, status: u16, got: Arc<Mutex<Vec<Pushed>>>) {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4_096];
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend_from_slice(&part[..count]),
        }
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let pushed = Pushed { head, body: bytes[end + 4..].to_vec() };
        let length: usize = pushed.header("content-length").parse().expect("a number");
        if pushed.body.len() < length {
            continue;
        }
        bytes.clear();
        got.lock().unwrap_or_else(PoisonError::into_inner).push(pushed);
        let reply = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        if stream.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}

const SETTINGS: [(&str, &str); 3] = [
    ("DOORBUSTER_PAGE__PUSH__KEY", SHOP),
    ("DOORBUSTER_PAGE__PUSH__CONTACT", "mailto:shop@example.com"),
    ("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true"),
];

async fn start() -> TestApp {
    TestApp::with(&SETTINGS).await
}

async fn subscribe(app: &TestApp, buyer: &str, endpoint: &str) -> Reply {
    let body = json!({"endpoint": endpoint, "p256dh": PUBLIC, "auth": AUTH}).to_string();
    let bearer = bearer(buyer);
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    app.call("POST", "/v1/push-subscriptions", &headers, body.as_bytes()).await
}

#[tokio::test]
async fn a_buyer_is_told_that_units_are_reserved_until_when_and_nobody_else_is() {
    let (app, service) = (start().await, PushService::start(201).await);
    app.open_sale("spring", 5.into(), 1).await;
    assert_eq!(subscribe(&app, "anna", &service.url()).await.status, 204);
    assert_eq!(
        subscribe(&app, "anna", &service.url()).await.status,
        204,
        "a repeated subscription must be renewed"
    );
    assert_eq!(app.buy("bob", "b", "spring", "phone", 1).await.status, 201);
    let order = app.buy("anna", "a", "spring", "phone", 1).await.json();
    let got = service.until(1).await;
    let message = got[0].message();
    let until = message["until"].as_i64().expect("a time");
    let pay_by: i64 = jiff::Timestamp::from_millisecond(until).expect("a time").as_millisecond();
    assert_eq!(
        (message["kind"].as_str(), message["title"].as_str(), message["url"].as_str()),
        (
            Some("reserved"),
            Some("Phone"),
            Some(format!("/order/{}", order["id"].as_str().expect("an id")).as_str())
        )
    );
    let named: jiff::Timestamp = order["pay_by"].as_str().expect("a time").parse().expect("a time");
    assert_eq!(named.as_millisecond(), pay_by);
    let ttl: i64 = got[0].header("ttl").parse().expect("seconds");
    assert!((800..=900).contains(&ttl), "the message must expire with the reservation: {ttl}");
    assert_eq!(got[0].header("content-encoding"), "aes128gcm");
    let token = got[0].header("authorization").strip_prefix("vapid t=").expect("a token");
    let claims = token.split('.').nth(1).expect("claims");
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64"))
        .expect("claims are JSON");
    assert_eq!(claims["aud"], format!("http://{}", service.address));
    assert_eq!(claims["sub"], "mailto:shop@example.com");
    tokio::time::sleep(WATCH).await;
    assert_eq!(service.got().len(), 1, "anna must get no message about bob's order");
    let metrics = app.get("/metrics").await.text();
    for line in [
        "doorbuster_push_messages_total{outcome=\"sent\"} 1",
        "doorbuster_push_messages_total{outcome=\"failed\"} 0",
        "doorbuster_push_subscriptions 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

/// Creates a scheduled sale, and lets this buyer enter its waiting room.
async fn scheduled_sale(app: &TestApp, id: &str, buyer: &str) {
    let mut drop = sale(id, 5.into(), 1);
    drop["front_door"] = json!({"waiting_room": "always", "limits": {"buyer": null, "ip": null}});
    drop["starts_at"] = json!("2100-01-01T00:00:00.000Z");
    assert_eq!(app.admin("POST", "/v1/admin/sales", Some(drop)).await.status, 201);
    app.step(id, "schedule").await;
    let room = format!("/v1/sales/{id}/waiting-room");
    assert_eq!(app.buyer(buyer, "POST", &room).await.status, 201);
}

#[tokio::test]
async fn a_browser_gets_only_the_messages_of_its_last_buyer() {
    let (app, service) = (start().await, PushService::start(201).await);
    app.open_sale("spring", 5.into(), 1).await;
    assert_eq!(subscribe(&app, "anna", &service.url()).await.status, 204);
    assert_eq!(subscribe(&app, "bob", &service.url()).await.status, 204);
    assert_eq!(number(&app, "doorbuster_push_subscriptions").await, 1);
    assert_eq!(app.buy("anna", "a", "spring", "phone", 1).await.status, 201);
    let order = app.buy("bob", "b", "spring", "phone", 1).await.json();
    let message = service.until(1).await[0].message();
    assert_eq!(message["url"], format!("/order/{}", order["id"].as_str().expect("an id")));
    tokio::time::sleep(WATCH).await;
    assert_eq!(service.got().len(), 1, "anna must get no message after her subscription has ended");
}

#[tokio::test]
async fn a_buyer_is_told_that_the_turn_has_come_once_and_until_when() {
    let (app, service) = (start().await, PushService::start(201).await);
    scheduled_sale(&app, "spring", "anna").await;
    let room = "/v1/sales/spring/waiting-room";
    assert_eq!(subscribe(&app, "anna", &service.url()).await.status, 204);
    app.step("spring", "open").await;
    let message = service.until(1).await[0].message();
    let place = app.buyer("anna", "GET", room).await.json();
    let until: jiff::Timestamp =
        place["admitted_until"].as_str().expect("a turn").parse().expect("a time");
    assert_eq!(
        message,
        json!({"kind": "turn", "title": "Spring drop", "until": until.as_millisecond(),
               "url": "/sale/spring"})
    );
    let pass = json!({"item": "phone"}).to_string();
    let bearer = bearer("anna");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let passes = "/v1/sales/spring/passes";
    assert_eq!(app.call("POST", passes, &headers, pass.as_bytes()).await.status, 201);
    tokio::time::sleep(WATCH).await;
    assert_eq!(service.got().len(), 1, "a buyer who has used the turn must get no message");
}

#[tokio::test]
async fn a_buyer_is_told_of_the_turn_for_each_item() {
    let (app, service) = (start().await, PushService::start(201).await);
    let mut drop = sale("spring", 5.into(), 1);
    let mut case = drop["items"][0].clone();
    case["id"] = json!("case");
    drop["items"].as_array_mut().expect("a list").push(case);
    let limits = json!({"buyer": null, "ip": null});
    drop["front_door"] = json!({"waiting_room": "always", "rooms": "items", "limits": limits});
    drop["starts_at"] = json!("2100-01-01T00:00:00.000Z");
    assert_eq!(app.admin("POST", "/v1/admin/sales", Some(drop)).await.status, 201);
    app.step("spring", "schedule").await;
    let bearer = bearer("anna");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    for item in ["phone", "case"] {
        let wanted = json!({"item": item}).to_string();
        let room = "/v1/sales/spring/waiting-room";
        assert_eq!(app.call("POST", room, &headers, wanted.as_bytes()).await.status, 201);
    }
    assert_eq!(subscribe(&app, "anna", &service.url()).await.status, 204);
    app.step("spring", "open").await;
    let got = service.until(2).await;
    let mut urls: Vec<_> = got.iter().map(|pushed| pushed.message()["url"].to_string()).collect();
    urls.sort();
    assert_eq!(urls, ["\"/sale/spring#item=case&turn\"", "\"/sale/spring#item=phone&turn\""]);
}

#[tokio::test]
async fn a_subscription_that_the_browser_ended_gets_nothing_more() {
    let (app, service) = (start().await, PushService::start(410).await);
    app.open_sale("spring", 5.into(), 5).await;
    assert_eq!(subscribe(&app, "anna", &service.url()).await.status, 204);
    assert_eq!(app.buy("anna", "a", "spring", "phone", 1).await.status, 201);
    service.until(1).await;
    tokio::time::sleep(WATCH).await;
    assert_eq!(app.buy("anna", "b", "spring", "phone", 1).await.status, 201);
    tokio::time::sleep(WATCH).await;
    assert_eq!(service.got().len(), 1);
    let metrics = app.get("/metrics").await.text();
    for line in
        ["doorbuster_push_messages_total{outcome=\"gone\"} 1", "doorbuster_push_subscriptions 0"]
    {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn a_message_is_not_sent_again_after_its_subscription_has_ended() {
    let (app, service) = (start().await, PushService::start(503).await);
    app.open_sale("spring", 5.into(), 1).await;
    assert_eq!(subscribe(&app, "anna", &service.url()).await.status, 204);
    assert_eq!(app.buy("anna", "a", "spring", "phone", 1).await.status, 201);
    service.until(1).await;
    assert_eq!(app.buyer("anna", "DELETE", "/v1/push-subscriptions").await.status, 204);
    crate::money::until("the message is dropped at its next attempt", async || {
        let metrics = app.get("/metrics").await.text();
        metrics.contains("doorbuster_push_messages_total{outcome=\"gone\"} 1").then_some(())
    })
    .await;
    assert_eq!(service.got().len(), 1);
}

#[tokio::test]
async fn a_push_service_that_does_not_answer_does_not_stop_messages_to_another() {
    let (app, service) = (start().await, PushService::start(201).await);
    let (silent, mut connections) = start_silent().await;
    app.open_sale("spring", 5.into(), 3).await;
    for browser in 1..=4 {
        let endpoint = format!("http://{silent}/p/{browser}");
        assert_eq!(subscribe(&app, "anna", &endpoint).await.status, 204);
    }
    assert_eq!(subscribe(&app, "bob", &service.url()).await.status, 204);
    for key in ["a", "b", "c"] {
        assert_eq!(app.buy("anna", key, "spring", "phone", 1).await.status, 201);
    }
    let has_requests = connections.wait_for(|count| *count >= 8);
    assert!(
        tokio::time::timeout(TIMEOUT, has_requests).await.is_ok(),
        "one push service must get eight requests at the same time"
    );
    assert_eq!(app.buy("bob", "d", "spring", "phone", 1).await.status, 201);
    // Each request to the silent push service times out after ten seconds. This message must arrive
    // sooner.
    let sent = tokio::time::timeout(Duration::from_secs(5), service.until(1)).await;
    assert!(sent.is_ok(), "the message must not wait for the silent push service");
}

#[tokio::test]
async fn push_is_off_without_a_key_and_reaches_only_public_addresses() {
    let app = TestApp::start().await;
    let off = subscribe(&app, "anna", "https://push.example/p/1").await;
    assert_eq!(off.verdict(), "404 not_found");
    drop(app);
    let app = TestApp::with(&[
        ("DOORBUSTER_PAGE__PUSH__KEY", SHOP),
        ("DOORBUSTER_PAGE__PUSH__CONTACT", "mailto:shop@example.com"),
    ])
    .await;
    for private in ["http://push.example/p", "https://127.0.0.1/p", "https://[::1]/p"] {
        let reply = subscribe(&app, "anna", private).await;
        assert_eq!(reply.verdict(), "422 invalid_request", "{private}");
    }
    assert_eq!(app.buyer("anna", "DELETE", "/v1/push-subscriptions").await.status, 204);
    let worker = app.get("/push.js").await;
    assert_eq!(worker.header("content-type"), Some("text/javascript; charset=utf-8"));
}
