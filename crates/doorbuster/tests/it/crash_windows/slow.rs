//! Tests slow, dead and malicious clients. Each such client costs the server little and delays no
//! other client. The server disconnects each slow client at its deadline.
//!
//! `DOORBUSTER_READERS` sets the number of WebSockets that the test opens and never reads [default:
//! 1,000]. For a run by hand, use 10,000.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::buyer_probe::BuyerProbe;
use super::client::{HttpConnection, PurchaseSpec, request, signed_in};
use super::fixture::ServerFixture;
use crate::watch::Stopwatch;

/// If a client does not send a complete request head within this many seconds, the server closes
/// the connection.
const IDLE_SECS: u64 = 2;
/// The number of connections that never finish the head of their request.
const HALF_HEADS: usize = 2_000;
const SILENT: usize = 200;
/// The number of clients that repeatedly send a request with a header of 64 KiB, which is too long.
const BOMBERS: usize = 8;
/// The number of connections that send the body of a request slowly, byte by byte.
const HALF_BODIES: usize = 50;
/// The server closes a connection with an unfinished body within this time, even on a busy machine.
const BODY_WITHIN: Duration = Duration::from_secs(14);
/// The number of concurrent buyers, which is five times as many as one worker can serve.
const OVERLOAD: usize = 500;
/// During the overload, this many WebSockets are never read, and this many clients send their
/// request heads slowly.
const ATTACKERS: usize = 200;
/// The longest wait for the server to disconnect a slow client.
const TIMEOUT: Duration = Duration::from_secs(40);
/// The maximum memory that the server may use for each slow client, in KiB.
const KIB_EACH_MAX: u64 = 24;

fn readers() -> usize {
    let text = std::env::var("DOORBUSTER_READERS").unwrap_or_else(|_| "1000".into());
    text.parse().expect("DOORBUSTER_READERS is a number")
}

async fn narrow(fixture: &ServerFixture) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 * 1024).expect("a buffer size");
    socket.connect(fixture.address).await.expect("the server listens")
}

/// Opens WebSockets that follow the sale and are never read.
async fn sleepers(fixture: &ServerFixture, count: usize) -> Vec<TcpStream> {
    let mut sockets = Vec::with_capacity(count);
    for number in 0..count {
        let lines = format!(
            "{}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            signed_in(&format!("sleeper{number}"))
        );
        let mut connection = HttpConnection::over(narrow(fixture).await).expect("a socket");
        connection
            .send(&request("GET", "/v1/ws?sale=spring", &lines, None))
            .await
            .expect("the request is sent");
        assert_eq!(connection.head().await.expect("an answer").status, 101);
        sockets.push(connection.stream);
    }
    sockets
}

/// Sends `first`, then one more byte after each `pace`, until the server disconnects. Returns how
/// long the connection lasted.
fn trickle(mut connection: HttpConnection, first: Vec<u8>, pace: Duration) -> JoinHandle<Duration> {
    tokio::spawn(async move {
        let timer = Stopwatch::start();
        let saying = async {
            let mut result = connection.send(&first).await;
            while result.is_ok() {
                tokio::select! {
                    ended = connection.more() => if ended.is_err() { break },
                    () = tokio::time::sleep(pace) => result = connection.send(b"a").await,
                }
            }
        };
        // If the server never disconnects, the client stops after `TIMEOUT`, which is longer than
        // every allowed time.
        let _ = tokio::time::timeout(TIMEOUT, saying).await;
        timer.elapsed()
    })
}

/// Sends `bombs` requests with a header that is too long. Returns the number of `431` answers, and
/// the number of connections that closed without an answer.
fn throw(address: SocketAddr, bombs: usize) -> JoinHandle<(usize, usize)> {
    tokio::spawn(async move {
        let filler = "x".repeat(64 * 1024);
        let bytes = request("GET", "/v1/sales", &format!("X-Bomb: {filler}\r\n"), None);
        let (mut refused, mut reset) = (0, 0);
        for _ in 0..bombs {
            let Ok(mut connection) = HttpConnection::connect(address).await else { continue };
            // The send may fail, because the server may disconnect before it has read all bytes.
            let _ = connection.send(&bytes).await;
            match connection.reply().await {
                Ok(reply) => {
                    assert_eq!(reply.status, 431, "{reply}");
                    refused += 1;
                }
                Err(_) => reset += 1,
            }
        }
        (refused, reset)
    })
}

/// Waits for all connections. Returns the duration of the longest one.
async fn longest(all: Vec<JoinHandle<Duration>>) -> Duration {
    let mut longest = Duration::ZERO;
    for one in all {
        longest = longest.max(one.await.expect("no panic"));
    }
    longest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_slow_clients_are_disconnected_and_do_not_slow_the_buyers() {
    // Each client needs an open file in this process.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let idle = IDLE_SECS.to_string();
    let fixture = ServerFixture::with(&[("DOORBUSTER_LIMITS__IDLE_SECS", &idle)]);
    fixture.open_sale("spring", &[("phone", 1_000_000, 1_000_000, 900), ("gone", 0, 1, 900)]).await;
    let (mut heads, mut silent, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
    // The slow bodies start first, because the server allows them the longest time. Half of the
    // bodies are chunked, so the general HTTP server reads them. The other half have a known
    // length, so the server's fast path reads them.
    let purchase = PurchaseSpec::new("trickle", "k", "spring", 1).bytes();
    let chunked =
        PurchaseSpec::new("trickle", "k", "spring", 1).with("Transfer-Encoding: chunked\r\n");
    let chunked = String::from_utf8(chunked).expect("text");
    let (head, _) = chunked.split_once("Content-Type").expect("a head");
    let chunked = format!("{head}Content-Type: application/json\r\n\r\n4000\r\n{{");
    for number in 0..HALF_BODIES {
        let half =
            if number % 2 == 0 { &purchase[..purchase.len() - 40] } else { chunked.as_bytes() };
        bodies.push(trickle(fixture.connect().await, half.to_vec(), Duration::from_millis(900)));
    }
    let mut buyer_probe = BuyerProbe::open(&fixture, "spring", 8).await;
    buyer_probe.measure(Duration::from_millis(500)).await;
    let before = buyer_probe.measure(Duration::from_millis(1_500)).await;
    let memory = fixture.resident_kib();

    let (timer, readers) = (Instant::now(), readers());
    let sleeping = sleepers(&fixture, readers).await;
    let mut buyer_probe = BuyerProbe::open(&fixture, "spring", 8).await;
    let p99_max = before.p99 * 10 + Duration::from_millis(250);
    let beating = tokio::spawn(async move {
        buyer_probe.measure_until(Duration::from_secs(4), |now| now.p99 < p99_max).await
    });
    let bombers: Vec<_> = (0..BOMBERS).map(|_| throw(fixture.address, readers / BOMBERS)).collect();
    for number in 0..HALF_HEADS {
        let first = if number % 2 == 0 { "POST /v1/orders" } else { "GET /v1/sales" };
        let half = format!("{first} HTTP/1.1\r\nHost: shop.example\r\nX-Slow-{number}: a");
        heads.push(trickle(fixture.connect().await, half.into_bytes(), Duration::from_millis(400)));
    }
    for _ in 0..SILENT {
        silent.push(trickle(fixture.connect().await, Vec::new(), Duration::from_secs(3_600)));
    }
    println!("all connected after {:?}", timer.elapsed());
    assert_eq!(fixture.metric("doorbuster_events_websockets").await, readers as u64);
    let grown = fixture.resident_kib().saturating_sub(memory);
    let (_, meanwhile) = beating.await.expect("no panic");
    println!("{before:?}, meanwhile {meanwhile:?}, {grown} KiB");
    let (mut refused, mut reset) = (0, 0);
    for bomber in bombers {
        let (some, others) = bomber.await.expect("no panic");
        (refused, reset) = (refused + some, reset + others);
    }
    println!("headers of 64 KiB: {refused} refused, {reset} closed without an answer");
    assert!(refused > reset, "long headers: {refused} got an answer, {reset} got none");
    let each = grown / (readers + HALF_HEADS + SILENT) as u64;
    assert!(each < KIB_EACH_MAX, "too much memory: {each} KiB for each slow client");
    assert!(meanwhile.p99 < p99_max, "the p99 is too high: {before:?}, meanwhile {meanwhile:?}");

    let most = Duration::from_secs(IDLE_SECS + 2);
    let (heads, silent, bodies) =
        (longest(heads).await, longest(silent).await, longest(bodies).await);
    println!("disconnected after: heads {heads:?}, silent {silent:?}, bodies {bodies:?}");
    assert!(heads < most, "a client with half a head stayed connected for {heads:?}");
    assert!(silent < most, "a silent client stayed connected for {silent:?}");
    assert!(bodies < BODY_WITHIN, "a client with half a body stayed connected for {bodies:?}");
    assert_eq!(fixture.buy(&PurchaseSpec::new("late", "k", "spring", 1)).await.verdict(), "201");
    drop(sleeping);
    fixture.audit(None).await;
}

async fn again<F: Future>(stop: Arc<AtomicBool>, mut come: impl FnMut() -> F) -> Vec<F::Output> {
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        times.push(come().await);
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_times_the_buyers_get_correct_answers_in_time_beside_attack_clients() {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    // The connections of fast buyers stay idle until the slowest buyer has an answer. So this
    // server allows a longer idle time than the server of the other test.
    let idle = (IDLE_SECS * 3).to_string();
    let fixture = ServerFixture::with(&[
        ("DOORBUSTER_WORKERS", "1"),
        ("DOORBUSTER_LIMITS__IDLE_SECS", &idle),
    ]);
    fixture.open_sale("spring", &[("phone", 1_000_000, 1_000_000, 900), ("gone", 0, 1, 900)]).await;
    let mut buyer_probe = BuyerProbe::open(&fixture, "spring", OVERLOAD).await;
    buyer_probe.measure(Duration::from_millis(500)).await;
    let before = buyer_probe.measure(Duration::from_millis(1_500)).await;

    // A disconnected attacker connects again, so all kinds of attackers are always present.
    let sleeping = sleepers(&fixture, ATTACKERS).await;
    let (stop, address) = (Arc::new(AtomicBool::new(false)), fixture.address);
    let let_go = Arc::new(AtomicUsize::new(0));
    let slow = |number: usize| {
        let half = format!("POST /v1/orders HTTP/1.1\r\nHost: shop.example\r\nX-Slow-{number}: a")
            .into_bytes();
        let let_go = let_go.clone();
        let come = move || {
            let (half, let_go) = (half.clone(), let_go.clone());
            async move {
                let Ok(connection) = HttpConnection::connect(address).await else { return };
                trickle(connection, half, Duration::from_millis(400)).await.expect("no panic");
                let_go.fetch_add(1, Ordering::Relaxed);
            }
        };
        tokio::spawn(again(stop.clone(), come))
    };
    let slow: Vec<_> = (0..ATTACKERS).map(slow).collect();
    let bomb = move || async move { throw(address, 1).await.expect("no panic") };
    let bombers: Vec<_> = (0..BOMBERS).map(|_| tokio::spawn(again(stop.clone(), bomb))).collect();
    let p99_max = before.p99 * 5 + Duration::from_millis(250);
    let mut buyer_probe = BuyerProbe::open(&fixture, "spring", OVERLOAD).await;
    let (answers, meanwhile) =
        buyer_probe.measure_until(Duration::from_secs(4), |now| now.p99 < p99_max).await;
    assert_eq!(fixture.metric("doorbuster_events_websockets").await, ATTACKERS as u64);
    let come_again = async || (let_go.load(Ordering::Relaxed) > ATTACKERS).then_some(());
    fixture.until("slow clients are disconnected and reconnect", TIMEOUT, come_again).await;
    stop.store(true, Ordering::Relaxed);

    let (mut reconnects, mut refused, mut reset) = (0, 0, 0);
    for one in slow {
        reconnects += one.await.expect("no panic").len();
    }
    for bomber in bombers {
        for (some, others) in bomber.await.expect("no panic") {
            (refused, reset) = (refused + some, reset + others);
        }
    }
    let after = BuyerProbe::open(&fixture, "spring", OVERLOAD)
        .await
        .measure(Duration::from_millis(1_500))
        .await;
    println!(
        "{before:?}, meanwhile {meanwhile:?}, after {after:?}, {answers} answers; {reconnects} slow \
         heads, {refused} + {reset} bombs"
    );
    assert!(
        reconnects > ATTACKERS && refused > reset && refused > BOMBERS,
        "too few attacks: {reconnects} slow heads, {refused} + {reset} bombs"
    );
    assert!(meanwhile.later * 100 < meanwhile.answers, "requests were refused: {meanwhile:?}");
    assert!(meanwhile.p99 < p99_max, "the p99 is too high: {before:?}, meanwhile {meanwhile:?}");
    // Half of the usual rate is enough, because the attacking clients and other tests also use the
    // processor.
    let half = before.per_sec().min(after.per_sec()) / 2.0;
    assert!(meanwhile.per_sec() >= half, "too few: {before:?}, {meanwhile:?}, {after:?}");
    drop(sleeping);
    fixture.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_heads_and_bodies_are_refused() {
    let fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 100, 1, 900)]).await;
    let memory = fixture.resident_kib();
    let check = async |what: &str, bytes: Vec<u8>, status: u16| {
        let mut bombs = JoinSet::new();
        for _ in 0..40 {
            let (mut connection, bytes) = (fixture.connect().await, bytes.clone());
            bombs.spawn(async move {
                // The send may fail, because the server may disconnect before it has read all
                // bytes.
                let _ = connection.send(&bytes).await;
                let reply = connection.reply().await.map(|reply| reply.status);
                (reply, connection.ends(Duration::from_secs(10)).await)
            });
        }
        let results = bombs.join_all().await;
        // On a few connections, the client may get a reset in place of the answer.
        let correct = results
            .iter()
            .filter(|(reply, _)| reply.as_ref().is_ok_and(|&code| code == status))
            .count();
        let lost = results.iter().filter(|(reply, _)| reply.is_err()).count();
        assert!(correct + lost == results.len() && correct >= 20, "{what}: {results:?}");
        assert!(
            results.iter().all(|(_, ended)| ended.is_some()),
            "{what}: the server must close the connection"
        );
    };
    let filler = "x".repeat(64 * 1024);
    check(
        "one long header",
        request("GET", "/v1/sales", &format!("X-Bomb: {filler}\r\n"), None),
        431,
    )
    .await;
    check(
        "a purchase with one",
        PurchaseSpec::new("b", "k", "spring", 1).with(&format!("X-Bomb: {filler}\r\n")),
        431,
    )
    .await;
    let many: String = (0..2_000).map(|n| format!("X-Bomb-{n}: x\r\n")).collect();
    check("many headers", request("GET", "/v1/sales", &many, None), 431).await;
    let large = format!(
        "{}Content-Type: application/json\r\nContent-Length: {}\r\n",
        signed_in("b"),
        1_u64 << 40
    );
    let mut large = request("POST", "/v1/orders", &large, None);
    large.extend_from_slice(filler.as_bytes());
    check("a body without end", large, 413).await;
    assert!(fixture.resident_kib().saturating_sub(memory) < 32 * 1024);
    assert_eq!(fixture.buy(&PurchaseSpec::new("anna", "k", "spring", 1)).await.verdict(), "201");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_without_its_body_is_refused_and_disconnected() {
    let fixture = ServerFixture::with(&[("DOORBUSTER_LIMITS__IDLE_SECS", "1")]);
    fixture.open_sale("spring", &[("phone", 10, 1, 900)]).await;
    let purchase = PurchaseSpec::new("late", "k", "spring", 1).bytes();
    let mut connection = fixture.connect().await;
    connection.send(&purchase[..purchase.len() - 5]).await.expect("the request is sent");
    let answer = tokio::time::timeout(TIMEOUT, connection.head())
        .await
        .expect("in time")
        .expect("an answer");
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("connection"), Some("close"));
}
