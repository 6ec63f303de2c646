//! Tests connections whose requests are refused with `503 overloaded`, and WebSockets whose peer no
//! longer answers.

use std::sync::Arc;
use std::time::Duration;

use doorbuster_auth::{BuyerTokenVerifier, ExpectedClaims, NewToken, OperatorKeyVerifier, token};
use doorbuster_base::clock::Clock;
use doorbuster_config::{Flags, Settings, load};
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{IdKey, NodeId, Stock};
use doorbuster_engine::start::{self, DatabaseOptions, EngineOptions, EngineParts, StockLocation};
use doorbuster_secrets as secrets;
use doorbuster_store::conformance::{new_item, new_sale};
use doorbuster_store::{KnownHistories, NewItem, NewSale};
use doorbuster_testkit::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::app::{App, PingPolicy};
use crate::bind;
use crate::limits::PURCHASES_MAX;
use crate::overload_pacer::OverloadPacer;

mod idle;
mod slow;
mod token_times;

const SECRET: &str = "a secret of the shop, long enough for anyone";
/// Longest wait for an event, on a slow machine.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A pause that does not end during these tests, because it is longer than any of their waits.
const REST: Duration = Duration::from_secs(600);
const CONNECTIONS: usize = 16;

/// A server that already processes the largest number of purchases, so the server refuses further
/// purchases. After a refusal, the server pauses the connection for a long time.
struct Full {
    app: Arc<App>,
    address: std::net::SocketAddr,
    stop: CancellationToken,
    _purchases: Vec<TaskTrackerToken>,
    _dir: TempDir,
}

impl Full {
    async fn start(more: &[(&str, &str)]) -> Self {
        Self::start_with(more, |app| app.overload_pacer = OverloadPacer::fixed_pause(REST)).await
    }

    async fn start_with(more: &[(&str, &str)], change: impl FnOnce(&mut App)) -> Self {
        Self::start_for(CONNECTIONS, more, change).await
    }

    async fn start_for(
        connections: usize,
        more: &[(&str, &str)],
        change: impl FnOnce(&mut App),
    ) -> Self {
        let dir = TempDir::new();
        let flags = Flags {
            listen: Some("127.0.0.1:0".into()),
            data_dir: Some(dir.path().to_owned()),
            ..Flags::default()
        };
        let mut environment = vec![("DOORBUSTER_AUTH__BUYER_SECRET", SECRET)];
        environment.extend_from_slice(more);
        let settings =
            load(&flags, environment.into_iter().map(|(name, value)| (name.into(), value.into())));
        let settings = settings.expect("valid settings");
        let mut app = app(&dir, &settings, 100).await;
        change(Arc::get_mut(&mut app).expect("the only reference"));
        app.change_live(|live| (live.connections_max, live.idle) = (connections, TIMEOUT));
        let purchases = (0..PURCHASES_MAX).map(|_| app.running_purchases.token()).collect();
        let listener = bind(settings.listen).expect("a free port");
        let (address, stop) = (listener.address().expect("bound"), CancellationToken::new());
        let (served, stopped) = (app.clone(), stop.clone());
        tokio::spawn(async move { listener.serve(&served, &stopped).await });
        Self { app, address, stop, _purchases: purchases, _dir: dir }
    }

    async fn ask(&self, times: usize) -> TcpStream {
        self.send(
            &Self::purchase(|body| format!("Content-Length: {}\r\n\r\n{body}", body.len()))
                .repeat(times),
        )
        .await
    }

    /// Sends a purchase that the fast path leaves to the general HTTP server.
    async fn ask_generally(&self) -> TcpStream {
        let chunked = |body: &str| {
            format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
        };
        self.send(&Self::purchase(chunked)).await
    }

    fn purchase(framed: impl Fn(&str) -> String) -> String {
        let token = token(
            SECRET.as_bytes(),
            &NewToken { exp: 4_000_000_000, ..NewToken::new("anna", 0, TIMEOUT) },
        );
        let body = r#"{"sale":"spring","item":"phone","units":1}"#;
        format!(
            "POST /v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Idempotency-Key: k\r\nContent-Type: application/json\r\n{}",
            framed(body)
        )
    }

    async fn send(&self, requests: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("the server listens");
        stream.write_all(requests.as_bytes()).await.expect("the server reads");
        stream
    }
}

/// Returns an app with a sale of `stock` phones. Each buyer may buy one phone.
pub(super) async fn app(dir: &TempDir, settings: &Settings, stock: u64) -> Arc<App> {
    app_with_clock(dir, settings, stock, Clock::default()).await
}

/// Like [`app`], with this clock.
async fn app_with_clock(dir: &TempDir, settings: &Settings, stock: u64, clock: Clock) -> Arc<App> {
    // The secrets are created before the store, because the server refuses a store without its
    // id_key file.
    let secrets = secrets::load_or_create_all(settings, &KnownHistories::default())
        .await
        .expect("a fresh directory");
    let engine = engine(dir, stock, clock).await;
    let buyers = BuyerTokenVerifier::with_secret(&SECRET.into(), ExpectedClaims::default());
    let operators = OperatorKeyVerifier::new(&secrets.admin_key);
    App::new(settings, engine, buyers, operators, None, secrets.pass_keys.clone(), &secrets.webhook)
}

async fn engine(dir: &TempDir, stock: u64, clock: Clock) -> EngineParts {
    let options = EngineOptions {
        pass_key: None,
        location: StockLocation::Directory(dir.path().to_owned()),
        roles: doorbuster_config::Roles::ALL,
        id_key: IdKey::new([3; 32]),
        clock,
        node: NodeId(1),
        bounds: doorbuster_core::slot::SlotBounds::default(),
        always_leads: false,
        allow_fsync_off: false,
        database: DatabaseOptions::default(),
        on_fatal: Arc::new(|reason| panic!("the store failed: {reason}")),
    };
    let engine = start::start(options).await.expect("a fresh directory opens");
    engine
        .sales
        .create_sale(sale("spring", stock, "CNY"))
        .await
        .expect("the store is available")
        .expect("the sale's id is free");
    engine.sales.step_sale("spring", PhaseStep::Open).await.expect("the store is available");
    engine
}

/// Returns a sale of `stock` phones. Each buyer may buy one phone.
pub(super) fn sale(id: &str, stock: u64, currency: &str) -> NewSale {
    let item = NewItem {
        price_minor: 10,
        currency: currency.into(),
        list_price_minor: None,
        hold_ms: 900_000,
        ..new_item("phone", Stock::Counted(stock), 1)
    };
    NewSale { front_door: "{}".into(), ..new_sale(id, vec![item]) }
}

/// Reads until this many refusals have arrived in `text`. Panics if the connection ends earlier.
async fn read_refusals(stream: &mut TcpStream, text: &mut String, refusals: usize) {
    let reading = async {
        while text.matches("\"code\":\"overloaded\"").count() < refusals {
            let mut bytes = [0; 4096];
            let read = stream.read(&mut bytes).await.expect("the connection was reset");
            assert!(read > 0, "the connection ended: {text}");
            text.push_str(std::str::from_utf8(&bytes[..read]).expect("text"));
        }
    };
    let read = tokio::time::timeout(TIMEOUT, reading).await;
    assert!(read.is_ok(), "{refusals} refusals did not arrive: {text}");
}

#[tokio::test]
async fn a_server_that_stops_ends_a_pause_and_answers_later_requests() {
    let full = Full::start(&[]).await;
    let (mut stream, mut text) = (full.ask(2).await, String::new());
    read_refusals(&mut stream, &mut text, 1).await;
    // The server has received the second purchase, but has not answered it, because the connection
    // is paused.
    full.app.begin_shutdown();
    full.stop.cancel();
    read_refusals(&mut stream, &mut text, 2).await;
    assert_eq!(text.matches("HTTP/1.1 503").count(), 2, "{text}");
    let ended =
        tokio::time::timeout(TIMEOUT, stream.read(&mut [0; 1])).await.expect("the connection ends");
    assert_eq!(ended.expect("the connection ended with an error"), 0);
}

#[tokio::test]
async fn a_trusted_proxys_connection_is_never_paused() {
    let full = Full::start(&[("DOORBUSTER_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let (mut stream, mut text) = (full.ask(3).await, String::new());
    read_refusals(&mut stream, &mut text, 3).await;
    assert_eq!(text.matches("HTTP/1.1 503").count(), 3, "{text}");
}

#[tokio::test]
async fn the_general_server_pauses_a_connection_before_the_answer() {
    let full = Full::start(&[]).await;
    let resting = full.ask_generally().await;
    for _ in 0..20 {
        // These connections arrive later, but are answered at once: the fast path answers before it
        // pauses a connection.
        read_refusals(&mut full.ask(1).await, &mut String::new(), 1).await;
    }
    let early = resting.try_read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(
        early,
        Err(std::io::ErrorKind::WouldBlock),
        "the answer came before the pause ended"
    );
}

#[tokio::test]
async fn the_general_server_does_not_pause_a_proxys_connection() {
    let full = Full::start(&[("DOORBUSTER_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    read_refusals(&mut full.ask_generally().await, &mut String::new(), 1).await;
}

/// Opens a WebSocket without a library. The test itself reads and answers the frames.
async fn raw_socket(full: &Full) -> TcpStream {
    socket_of(full, "anna", "").await
}

async fn socket_of(full: &Full, buyer: &str, query: &str) -> TcpStream {
    upgraded(
        TcpStream::connect(full.address).await.expect("the server listens"),
        &websocket(buyer, query),
    )
    .await
}

async fn upgraded(mut stream: TcpStream, request: &str) -> TcpStream {
    let head = answer(&mut stream, request.as_bytes()).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

fn websocket(buyer: &str, query: &str) -> String {
    let token = token(
        SECRET.as_bytes(),
        &NewToken { exp: 4_000_000_000, ..NewToken::new(buyer, 0, TIMEOUT) },
    );
    format!(
        "GET /v1/ws{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    )
}

/// Sends a request, and returns the head of the answer. Does not read the body.
async fn answer(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.expect("the server reads");
    let reading = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        String::from_utf8(head).expect("a head is text")
    };
    tokio::time::timeout(TIMEOUT, reading).await.expect("the answer did not arrive in time")
}

/// Counts pings until the connection ends or `enough` pings have arrived. If `answers` is set,
/// answers each ping.
async fn pings(stream: &mut TcpStream, answers: bool, enough: usize) -> usize {
    let mut pings = 0;
    while let Ok(kind) = stream.read_u8().await {
        let mut bytes = stream.read_u8().await.expect("a length").into();
        if bytes == 126 {
            bytes = stream.read_u16().await.expect("a length").into();
        }
        stream.read_exact(&mut vec![0; bytes]).await.expect("a whole frame");
        if kind == 0x89 {
            pings += 1;
            if answers {
                // A pong, masked with zeros.
                stream.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.expect("the server reads");
            }
            if pings == enough {
                return pings;
            }
        }
    }
    pings
}

#[tokio::test]
async fn only_a_socket_that_answers_no_pings_is_dropped() {
    let ping_policy = PingPolicy { ping_every: Duration::from_millis(50), pings_max: 40 };
    let full = Full::start_with(&[], |app| app.ping_policy = ping_policy).await;
    let (mut silent, mut answering) = (raw_socket(&full).await, raw_socket(&full).await);
    // The silent socket ends after this many unanswered pings. The other socket must stay open for
    // three times as many pings.
    let most = ping_policy.pings_max as usize;
    let enough = 3 * most;
    let both = async {
        tokio::join!(pings(&mut silent, false, usize::MAX), pings(&mut answering, true, enough))
    };
    let (unanswered, answered) =
        tokio::time::timeout(TIMEOUT, both).await.expect("the server must drop the silent socket");
    assert_eq!(unanswered, most);
    assert_eq!(answered, enough, "the socket that answers pings must stay open");
    assert_eq!(full.app.metrics.sockets.get(), 1);
}

#[tokio::test]
async fn a_server_that_was_suspended_keeps_a_socket_that_answers_pings() {
    let ping_policy = PingPolicy { ping_every: Duration::from_millis(50), pings_max: 3 };
    let full = Full::start_with(&[], |app| app.ping_policy = ping_policy).await;
    let mut answering = raw_socket(&full).await;
    for _ in 0..5 {
        assert_eq!(
            tokio::time::timeout(TIMEOUT, pings(&mut answering, true, 2))
                .await
                .expect("pings continue"),
            2
        );
        // The test and the server share one thread. So the server can send no ping and read no
        // answer during this sleep.
        std::thread::sleep(10 * ping_policy.ping_every);
    }
    assert_eq!(
        tokio::time::timeout(TIMEOUT, pings(&mut answering, true, 2))
            .await
            .expect("pings continue"),
        2
    );
}
