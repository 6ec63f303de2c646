//! Tests clients that read nothing. The server must close their connections in time, and each
//! connection may cost only the memory of its buffers. Other clients must still be served.
use std::time::Instant;

use doorbuster_core::{BuyerId, TicketId, Units, Verdict};
use doorbuster_engine::notify::EventKind;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpSocket;
use tokio::runtime::Builder;

use super::*;
use crate::limits::{CONNECTION_BUFFER_BYTES_MAX, SEND_BUFFER_BYTES};

pub(super) const STALL: Duration = Duration::from_millis(200);
/// The longest wait of a test. It is shorter than the server's default timeout. So if a test sets a
/// shorter timeout for the server, and this setting has no effect, the test fails.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The largest number of bytes that can be on the way to a client that reads nothing. The server's
/// kernel doubles the send buffer, and the client's kernel also holds some bytes.
const HELD_MAX: usize = 8 * SEND_BUFFER_BYTES;
/// The largest amount of memory that a connection may cost, in bytes. This amount includes the
/// connection's buffers, and the memory for the server's other work while the connection is open.
const COST_MAX: u64 = 16 * CONNECTION_BUFFER_BYTES_MAX as u64;
/// More events than the hub's queue and the connection's buffers can hold.
const EVENTS: usize = 12_000;
/// The number of events that a test publishes at once. They fit into the hub's queue.
const BATCH: usize = 100;
/// The number of published events: too many for the connection's buffers, but few enough for the
/// hub's queue.
pub(super) const WAITING: usize = 1_500;

/// Connects a client with a very small receive buffer.
pub(super) async fn narrow(full: &Full) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 * 1024).expect("the size can be set");
    socket.connect(full.address).await.expect("the server listens")
}

struct Reader(Lines<BufReader<TcpStream>>);

impl Reader {
    async fn new(stream: TcpStream) -> Self {
        Self::following(stream, "").await
    }

    async fn following(stream: TcpStream, query: &str) -> Self {
        Self::until(stream, query, 4_000_000_000).await
    }

    /// `exp` is the Unix time at which the token expires.
    async fn until(mut stream: TcpStream, query: &str, exp: i64) -> Self {
        let claims = NewToken { exp, ..NewToken::new("anna", 0, TIMEOUT) };
        let token = token(SECRET.as_bytes(), &claims);
        let request = format!(
            "GET /v1/events{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("the server reads");
        let mut reader = Self(BufReader::new(stream).lines());
        assert_eq!(reader.line().await, "HTTP/1.1 200 OK");
        reader.hear("data: ", 1).await;
        reader
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(TIMEOUT, self.0.next_line())
            .await
            .expect("no line arrived in time");
        line.expect("the connection was reset").expect("the connection ended")
    }

    async fn hear(&mut self, begin: &str, times: usize) {
        for _ in 0..times {
            while !self.line().await.starts_with(begin) {}
        }
    }
}

fn publish_refusals(full: &Full, times: usize) {
    let id = TicketId::parse(&format!("ord_{}", "A".repeat(52))).expect("an id");
    let units = Units::new(1).expect("the number is in range");
    let catalogue = full.app.node.catalogue();
    let item = catalogue
        .sale("spring")
        .expect("the sale was created")
        .item("phone")
        .expect("the sale was created")
        .row
        .id;
    for _ in 0..times {
        let buyer = BuyerId::new("anna").expect("a buyer");
        full.app.node.hub().publish(EventKind::Refused {
            id,
            item,
            buyer,
            units,
            verdict: Verdict::Unavailable,
        });
    }
}

pub(super) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(TIMEOUT, waiting).await;
    assert!(waited.is_ok(), "{what}");
}

#[tokio::test]
async fn a_stream_that_reads_nothing_is_dropped_and_others_get_every_event() {
    // The timeout for slow clients is long, so that the slow client's connection is still open when
    // the client reads again.
    let full = Full::start_with(&[], |app| app.write_stall = REST).await;
    let mut slow = Reader::new(narrow(&full).await).await;
    let mut quick =
        Reader::new(TcpStream::connect(full.address).await.expect("the server listens")).await;
    for _ in 0..EVENTS / BATCH {
        publish_refusals(&full, BATCH);
        quick.hear("data: ", BATCH).await;
    }
    let (mut events, mut bytes) = (0, 0);
    // The empty chunk `0` ends the stream. On a slow machine, the connection may have been cut
    // before this chunk.
    while let Ok(Some(line)) = slow.0.next_line().await
        && line != "0"
    {
        events += usize::from(line.starts_with("data: "));
        bytes += line.len() + 1;
    }
    assert!(bytes < HELD_MAX, "{events} events were kept for the slow client, {bytes} bytes");
    assert_eq!(
        (full.app.node.hub().dropped(), full.app.metrics.streams.get()),
        (1, 1),
        "the hub must drop the slow reader, after {events} events"
    );
    assert_eq!(full.app.node.hub().readers(), 1);
    publish_refusals(&full, 1);
    quick.hear("data: ", 1).await;
}

#[tokio::test]
async fn a_stream_that_reads_nothing_for_long_is_closed_and_its_events_are_dropped() {
    let full = Full::start_with(&[], |app| app.write_stall = STALL).await;
    let slow = Reader::new(narrow(&full).await).await;
    publish_refusals(&full, WAITING);
    until("the stream is closed", || full.app.metrics.streams.get() == 0).await;
    // The stream was closed because its client read nothing, not because too many events waited.
    assert_eq!((full.app.node.hub().dropped(), full.app.node.hub().readers()), (0, 0));
    drop(slow);
}

#[tokio::test]
async fn a_stream_that_must_end_is_cut_soon_although_it_reads_nothing() {
    let start = || Full::start_with(&[], |app| app.write_stall = REST);
    let overflow = async {
        let full = start().await;
        let slow = Reader::new(narrow(&full).await).await;
        while full.app.node.hub().dropped() == 0 {
            publish_refusals(&full, BATCH);
            tokio::task::yield_now().await;
        }
        until("the stream is cut", || full.app.metrics.streams.get() == 0).await;
        drop(slow);
    };
    let expiry = async {
        let full = start().await;
        let exp = full.app.node.now().0 / 1000 + 2;
        let slow = Reader::until(narrow(&full).await, "", exp).await;
        publish_refusals(&full, WAITING);
        until("the stream is cut", || full.app.metrics.streams.get() == 0).await;
        assert_eq!(
            full.app.node.hub().dropped(),
            0,
            "the stream must end because its token expired, not because events were dropped"
        );
        // The last event says that the token expired. The client has not read it.
        drop(slow);
    };
    tokio::join!(overflow, expiry);
}

#[tokio::test]
async fn a_stream_without_events_gets_pings_that_need_no_answer() {
    let ping_policy = PingPolicy { ping_every: Duration::from_millis(50), pings_max: 3 };
    let full = Full::start_with(&[], |app| app.ping_policy = ping_policy).await;
    let mut reader =
        Reader::new(TcpStream::connect(full.address).await.expect("the server listens")).await;
    let pings = 2 * ping_policy.pings_max as usize;
    let pinged = tokio::time::timeout(TIMEOUT, reader.hear(": ping", pings)).await;
    assert!(pinged.is_ok(), "{pings} pings did not arrive");
    publish_refusals(&full, 1);
    reader.hear("data: ", 1).await;
}

#[tokio::test]
async fn a_slow_status_reaches_a_stream_whose_ping_is_due() {
    let ping_policy = PingPolicy { ping_every: Duration::from_millis(20), pings_max: 3 };
    let full = Full::start_with(&[], |app| app.ping_policy = ping_policy).await;
    let stream = TcpStream::connect(full.address).await.expect("the server listens");
    let mut reader = Reader::following(stream, "?sale=spring").await;
    let spring = full.app.node.catalogue().sale("spring").cloned().expect("the sale was created");
    let view = full.app.views.sale_view(&spring);
    // Every stream begins with a status.
    reader.hear("data: ", 1).await;
    for _ in 0..3 {
        let making = view.hold_render_lock().await;
        full.app.node.hub().publish(EventKind::Status("spring".into()));
        tokio::time::sleep(5 * ping_policy.ping_every).await;
        drop(making);
        let status = tokio::time::timeout(TIMEOUT, reader.hear("data: ", 1)).await;
        assert!(status.is_ok(), "the status was lost");
    }
}

#[tokio::test]
async fn a_busy_connection_with_overlapping_purchases_stays_open() {
    // The time after which the server closes an inactive connection. It is so long that a stall of
    // the machine for a second does not close the connection.
    const IDLE: Duration = Duration::from_secs(3);
    // The server never pauses the connection of a trusted proxy, so the next answer comes at once.
    let full = Full::start_with(&[("DOORBUSTER_TRUSTED_PROXIES", "127.0.0.0/8")], |_| ()).await;
    full.app.change_live(|live| live.idle = IDLE);
    let purchase = Full::purchase(|body| format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    let (first_half, second_half) = purchase.split_at(purchase.len() / 2);
    // With these halves, the server already has a part of the next purchase whenever it answers a
    // purchase.
    let halves = format!("{second_half}{first_half}");
    let mut stream = full.send(first_half).await;
    let begun = Instant::now();
    while begun.elapsed() <= IDLE + IDLE / 4 {
        stream.write_all(halves.as_bytes()).await.expect("the server reads");
        read_refusals(&mut stream, &mut String::new(), 1).await;
        // Without this pause, a fast machine would exceed the rate limit for a buyer.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn answer_bytes(full: &Full, request: &str) -> usize {
    let last = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let (mut stream, mut answer) = (full.send(&last).await, Vec::new());
    let read = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut answer))
        .await
        .expect("the connection did not end in time");
    read.expect("the connection was reset")
}

/// Sends requests without reading the answers, until the server ends the connection.
async fn ask_without_end(full: &Full, request: &str) {
    let (mut stream, requests) = (narrow(full).await, request.repeat(100));
    let asking = async { while stream.write_all(requests.as_bytes()).await.is_ok() {} };
    let ended = tokio::time::timeout(TIMEOUT, asking).await;
    assert!(ended.is_ok(), "the connection is still open");
}

fn answered(full: &Full) -> u64 {
    full.app.metrics.requests.read().map(|(_, _, count)| count).sum()
}

#[test]
fn a_client_that_sends_without_reading_is_disconnected_and_uses_only_its_buffers() {
    // All work of the server runs on this thread. So the test counts all memory that the server
    // uses for its clients.
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    // The server never pauses the connection of a trusted proxy, so it sends the answers at once.
    let proxies = [("DOORBUSTER_TRUSTED_PROXIES", "127.0.0.0/8")];
    let full = runtime.block_on(Full::start_with(&proxies, |app| app.write_stall = STALL));
    let page = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".to_owned();
    // The fast path answers this ordinary purchase.
    let purchase = Full::purchase(|body| format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    for request in [page, purchase] {
        let each = runtime.block_on(answer_bytes(&full, &request));
        let before = answered(&full);
        let counted =
            allocation_counter::measure(|| runtime.block_on(ask_without_end(&full, &request)));
        runtime.block_on(until("the connection is released", || {
            full.app.metrics.connections.get() == 0
        }));
        let answers = (answered(&full) - before) as usize;
        let line = request.lines().next();
        // The server wrote only a part of the last answer, so this answer does not count.
        assert!(
            answers > 0 && (answers - 1) * each < HELD_MAX,
            "{line:?}: {answers} answers of {each} bytes"
        );
        assert!(counted.bytes_max < COST_MAX, "{line:?}: {counted:?}");
    }
    runtime.block_on(async move { drop(full) });
}
