//! Tests clients that disconnect or stall, the limit of connections, the server's stop, and the
//! data directory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use doorbuster_node::boot::ServeError;
use serde_json::json;

use crate::app::{TestApp, bearer};
use crate::http::{Connection, request};
use crate::watch::Stopwatch;

fn purchase(buyer: &str) -> Vec<u8> {
    let bearer = bearer(buyer);
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Idempotency-Key", "k"),
        ("Content-Type", "application/json"),
    ];
    request("POST", "/v1/orders", &headers, br#"{"sale":"spring","item":"phone","units":1}"#)
}

#[tokio::test]
async fn a_client_that_hangs_up_changes_nothing() {
    let app = TestApp::start().await;
    app.open_sale("spring", 20.into(), 1).await;
    for number in 0..20 {
        let mut connection = app.connect().await;
        connection.send(&purchase(&format!("b{number}"))).await;
        // The connection closes here, before the client has read an answer.
    }
    app.until("/v1/admin/sales/spring/stock", "all units are sold", |stock| {
        stock["items"][0]["held"] == 20
    })
    .await;
    let again = app.buy("b7", "k", "spring", "phone", 1).await;
    assert_eq!((again.verdict().as_str(), &again.json()["state"]), ("200", &json!("reserved")));
}

#[tokio::test]
async fn a_connection_carries_several_requests_whole_or_in_parts() {
    let app = TestApp::start().await;
    app.open_sale("spring", 1.into(), 1).await;
    let mut connection = app.connect().await;
    // Two requests arrive in one piece. Then one request arrives in many pieces.
    let two = [purchase("anna"), purchase("bert")].concat();
    connection.send(&two).await;
    assert_eq!(connection.reply(false).await.expect("an answer").verdict(), "201");
    assert_eq!(connection.reply(false).await.expect("an answer").verdict(), "409 sold_out");
    for part in purchase("carl").chunks(100) {
        connection.send(part).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(connection.reply(false).await.expect("an answer").verdict(), "409 sold_out");
    let mut connection = app.connect().await;
    let mut last = purchase("dora");
    let at = last.windows(4).position(|four| four == b"\r\n\r\n").expect("the end of the head");
    last.splice(at..at, *b"\r\nConnection: close");
    connection.send(&last).await;
    assert_eq!(connection.reply(false).await.expect("an answer").verdict(), "409 sold_out");
    assert!(connection.read_to_end().await.is_empty());
}

#[tokio::test]
async fn an_idle_connection_and_a_head_that_never_ends_are_closed() {
    let app = TestApp::with(&[("DOORBUSTER_LIMITS__IDLE_SECS", "1")]).await;
    let (since, timer) = (Instant::now(), Stopwatch::start());
    let mut idle = app.connect().await;
    let mut slow = app.connect().await;
    slow.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ").await;
    let mut kept = app.connect().await;
    kept.send(&request("GET", "/healthz", &[], b"")).await;
    assert_eq!(kept.reply(false).await.expect("an answer").verdict(), "200");
    for connection in [&mut idle, &mut slow, &mut kept] {
        connection.read_to_end().await;
    }
    let (all, took) = (since.elapsed(), timer.elapsed());
    assert!(all > Duration::from_millis(900) && took < Duration::from_secs(4), "{all:?}, {took:?}");
}

#[tokio::test]
async fn connections_over_the_cap_are_asked_to_retry() {
    let app = TestApp::with(&[("DOORBUSTER_LIMITS__CONNECTIONS", "16")]).await;
    let mut kept = Vec::new();
    for _ in 0..16 {
        let mut connection = app.connect().await;
        connection.send(&request("GET", "/healthz", &[], b"")).await;
        assert_eq!(connection.reply(false).await.expect("an answer").verdict(), "200");
        kept.push(connection);
    }
    let over = app.get("/healthz").await;
    assert_eq!(over.verdict(), "503 overloaded");
    assert_eq!(over.header("connection"), Some("close"));
    drop(kept.pop());
    let timer = Stopwatch::start();
    while app.get("/healthz").await.status != 200 {
        assert!(timer.elapsed() < Duration::from_secs(5), "no connection became free");
    }
}

#[tokio::test]
async fn a_stopping_server_answers_the_requests_it_accepted() {
    let mut app = TestApp::start().await;
    app.open_sale("spring", 500.into(), 1).await;
    let address = app.address;
    let sold = Arc::new(Mutex::new(Vec::new()));
    let is_stopping = Arc::new(AtomicBool::new(false));
    let crowd: Vec<_> = (0..8)
        .map(|part| {
            let (sold, is_stopping) = (sold.clone(), is_stopping.clone());
            tokio::spawn(async move {
                for number in 0.. {
                    // A stopping server refuses connections.
                    let Some(mut connection) = Connection::try_connect(address).await else {
                        break;
                    };
                    let buyer = format!("b{part}-{number}");
                    connection.send(&purchase(&buyer)).await;
                    match connection.reply(false).await {
                        Some(reply) if reply.verdict() == "201" => {
                            sold.lock().expect("the server did not panic").push(buyer)
                        }
                        Some(reply) => {
                            assert!(matches!(reply.status, 409 | 503), "{}", reply.verdict())
                        }
                        None => {
                            assert!(is_stopping.load(Ordering::SeqCst), "{buyer} got no answer");
                            return Some(buyer);
                        }
                    }
                }
                None
            })
        })
        .collect();
    app.until("/v1/admin/sales/spring/stock", "more than 40 units are sold", |stock| {
        stock["items"][0]["held"].as_u64() > Some(40)
    })
    .await;
    let timer = Stopwatch::start();
    is_stopping.store(true, Ordering::SeqCst);
    app.ask_to_stop()
        .await
        .expect("the server did not panic")
        .expect("the server stops without an error");
    assert!(timer.elapsed() < Duration::from_secs(10), "{:?}", timer.elapsed());
    let mut unanswered = Vec::new();
    for part in crowd {
        unanswered.extend(part.await.expect("each answer was valid"));
    }
    let sold = sold.lock().expect("the server did not panic").clone();
    assert!(sold.len() > 20, "{}", sold.len());
    let app = TestApp::try_start(app.dir(), &[], false).await.expect("the server starts again");
    for buyer in &sold {
        let again = app.buy(buyer, "k", "spring", "phone", 1).await;
        assert_eq!(
            again.verdict(),
            "200",
            "the order of {buyer} was confirmed before the stop, and is lost"
        );
    }
    for buyer in &unanswered {
        let again = app.buy(buyer, "k", "spring", "phone", 1).await;
        assert_ne!(again.verdict(), "200", "{buyer} has an order, but got no answer");
    }
    let audit = app.admin("GET", "/v1/admin/audit", None).await.json();
    assert_eq!((&audit["ok"], &audit["repairs"]), (&json!(true), &json!(0)), "{audit}");
}

#[tokio::test]
async fn a_directory_serves_one_server_at_a_time_and_keeps_its_data() {
    let app = TestApp::start().await;
    app.open_sale("spring", 5.into(), 5).await;
    let placed = app.buy("anna", "k", "spring", "phone", 2).await.json();
    let second = TestApp::try_start(app.dir(), &[], false).await;
    match second {
        Err(error @ ServeError::Engine(_)) => {
            assert!(error.to_string().contains("in use"), "{error}")
        }
        other => {
            panic!("{:?}", other.map(|_| "a second server").map_err(|error| error.to_string()))
        }
    }
    let app =
        TestApp::try_start(app.stop().await, &[], false).await.expect("the server starts again");
    let again = app.buy("anna", "k", "spring", "phone", 2).await;
    assert_eq!((again.verdict().as_str(), again.json()), ("200", placed));
    let row =
        app.admin("GET", "/v1/admin/sales/spring/stock", None).await.json()["items"][0].clone();
    assert_eq!(row["total"], 5);
    assert_eq!(
        app.buy("bert", "k", "spring", "phone", 3).await.verdict(),
        "201",
        "the sale must continue"
    );
}

#[tokio::test]
async fn an_address_in_use_is_reported() {
    let app = TestApp::start().await;
    let taken = app.address.to_string();
    let flags = doorbuster_config::Flags {
        listen: Some(taken.clone()),
        data_dir: Some(
            std::env::temp_dir().join(format!("doorbuster-it-{:016x}", rand::random::<u64>())),
        ),
        ..Default::default()
    };
    let settings = doorbuster_config::load(&flags, []).expect("valid settings");
    let dir = settings.data_dir.clone();
    let error = doorbuster_node::boot::serve(settings, None, |_| {}, std::future::pending())
        .await
        .expect_err("the address is taken");
    assert!(
        error.to_string().contains(&taken) && error.to_string().contains("--listen"),
        "{error}"
    );
    std::fs::remove_dir_all(dir).expect("the directory was created");
}
