//! Tests that an idle WebSocket gets events, input, pings and close frames like an active one. Also
//! tests that the server releases everything that belongs to a closed WebSocket.
use doorbuster_core::{BuyerId, TicketId, Units, Verdict};
use doorbuster_engine::notify::EventKind;
use doorbuster_store::BlockKind;
use serde_json::Value;
use tokio::task::{JoinSet, yield_now};

use super::slow::{STALL, WAITING, narrow, until};
use super::*;

mod bounds;
mod ends;
mod frames;
mod statuses;

/// Frames from a client. Each has a mask of four zero bytes.
const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];
const CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];
/// In these tests, a WebSocket becomes idle after this time without activity.
const IDLE_AFTER: Duration = Duration::from_millis(5);
/// If an idle WebSocket gets this many events in a row, it stays idle.
const SHORT_BURST: u32 = 8;
/// How many times in a row a test lets other tasks run.
const TURNS: usize = 10;

async fn start(change: impl FnOnce(&mut App)) -> Full {
    let changes = |app: &mut App| {
        app.idle_after = IDLE_AFTER;
        change(app);
    };
    Full::start_with(&[], changes).await
}

fn idle_sockets(full: &Full) -> u64 {
    full.app.metrics.idle_sockets.get()
}

async fn wait_for_idle(full: &Full, count: u64) {
    until(&format!("{count} WebSockets are idle"), || idle_sockets(full) == count).await;
}

async fn expect_no_connection(full: &Full) {
    let metrics = &full.app.metrics;
    let left = || metrics.sockets.get() + metrics.idle_sockets.get() + metrics.connections.get();
    until("all connections are released", || left() == 0 && full.app.node.hub().readers() == 0)
        .await;
}

fn publish_refusal(full: &Full, units: u32) {
    publish_refusal_to("anna", full, units);
}

fn publish_refusal_to(buyer: &str, full: &Full, units: u32) {
    let id = TicketId::parse(&format!("ord_{}", "A".repeat(52))).expect("an id");
    let catalogue = full.app.node.catalogue();
    let item = catalogue
        .sale("spring")
        .expect("the sale was created")
        .item("phone")
        .expect("the sale was created")
        .row
        .id;
    let (buyer, units) =
        (BuyerId::new(buyer).expect("a buyer"), Units::new(units).expect("the number is in range"));
    full.app.node.hub().publish(EventKind::Refused {
        id,
        item,
        buyer,
        units,
        verdict: Verdict::Unavailable,
    });
}

/// Publishes refused requests of the buyer Anna, for one unit, two units, and so on. As long as her
/// socket accepts the events, her WebSocket stays idle.
async fn publish_refusals(full: &Full, times: u32) {
    for units in 1..=times {
        publish_refusal(full, units);
        if units.is_multiple_of(SHORT_BURST) {
            let_other_tasks_run().await;
        }
    }
}

async fn let_other_tasks_run() {
    for _ in 0..TURNS {
        yield_now().await;
    }
}

async fn block(full: &Full, buyer: &str) {
    let block = full.app.node.store().insert_block(BlockKind::Buyer, buyer, None, "", 10).await;
    assert!(block.expect("the store is available").is_some());
    full.app.load_blocks().await.expect("the store is available");
}

/// Returns the frame's first byte and its content.
async fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let reading = async {
        let kind = stream.read_u8().await.expect("a frame");
        let mut bytes: usize = stream.read_u8().await.expect("a length").into();
        if bytes == 126 {
            bytes = stream.read_u16().await.expect("a length").into();
        }
        let mut held = vec![0; bytes];
        stream.read_exact(&mut held).await.expect("a whole frame");
        (kind, held)
    };
    tokio::time::timeout(TIMEOUT, reading).await.expect("a frame arrives in time")
}

async fn event(stream: &mut TcpStream) -> Value {
    loop {
        let (kind, held) = frame(stream).await;
        assert_ne!(kind, 0x88, "{held:?}");
        if kind == 0x81 {
            return serde_json::from_slice(&held).expect("JSON");
        }
    }
}

/// Skips events until the next event about an order. Returns the `units` of this event.
async fn units(stream: &mut TcpStream) -> u64 {
    loop {
        let event = event(stream).await;
        if event["type"] == "order" {
            return event["order"]["units"].as_u64().expect("a number");
        }
    }
}

async fn pong(stream: &mut TcpStream) -> Vec<u8> {
    loop {
        let (kind, held) = frame(stream).await;
        assert_ne!(kind, 0x88, "{held:?}");
        if kind == 0x8a {
            return held;
        }
    }
}

async fn close_code(stream: &mut TcpStream) -> u16 {
    loop {
        let (kind, held) = frame(stream).await;
        if kind == 0x88 {
            return u16::from_be_bytes([held[0], held[1]]);
        }
    }
}

#[tokio::test]
async fn an_idle_socket_that_answers_pings_stays_open() {
    let ping_policy = PingPolicy { ping_every: Duration::from_millis(50), pings_max: 3 };
    let full = start(|app| app.ping_policy = ping_policy).await;
    let mut there = raw_socket(&full).await;
    wait_for_idle(&full, 1).await;
    for _ in 0..4 * ping_policy.pings_max {
        let pinged = tokio::time::timeout(TIMEOUT, pings(&mut there, true, 1))
            .await
            .expect("the socket is pinged");
        assert_eq!(
            (pinged, idle_sockets(&full)),
            (1, 1),
            "the socket must stay idle while it answers pings"
        );
    }
    publish_refusal(&full, 7);
    assert_eq!(
        (units(&mut there).await, idle_sockets(&full)),
        (7, 1),
        "the socket must get the event and stay idle"
    );
    drop(there);
    expect_no_connection(&full).await;
}

#[tokio::test]
async fn an_idle_socket_that_answers_no_ping_is_closed_like_an_active_one() {
    let ping_policy = PingPolicy { ping_every: Duration::from_millis(50), pings_max: 4 };
    let full = start(|app| app.ping_policy = ping_policy).await;
    let mut gone = raw_socket(&full).await;
    wait_for_idle(&full, 1).await;
    let unanswered = tokio::time::timeout(TIMEOUT, pings(&mut gone, false, usize::MAX)).await;
    assert_eq!(unanswered.expect("the socket is closed"), ping_policy.pings_max as usize);
    expect_no_connection(&full).await;
}

#[tokio::test]
async fn events_during_a_change_between_idle_and_active_arrive_once_in_order() {
    const EVENTS: u32 = 200;
    let full = start(|_| {}).await;
    let mut stream = raw_socket(&full).await;
    for units in 1..=EVENTS {
        publish_refusal(&full, units);
        if units.is_multiple_of(7) {
            // Input makes a connection active.
            stream.write_all(&PING).await.expect("the server reads");
        }
        // The pauses have different lengths, so that events come before, during and after the
        // WebSocket's change to idle.
        tokio::time::sleep(IDLE_AFTER / 5 * (units % 11)).await;
    }
    for expected in 1..=u64::from(EVENTS) {
        assert_eq!(units(&mut stream).await, expected);
    }
    wait_for_idle(&full, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_published_by_several_threads_arrive_in_order() {
    const PUBLISHERS: u32 = 4;
    const EACH: u32 = 200;
    let full = Arc::new(start(|_| {}).await);
    let mut stream = raw_socket(&full).await;
    let mut publishing = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let full = full.clone();
        publishing.spawn(async move {
            for number in 0..EACH {
                publish_refusal(&full, publisher * EACH + number + 1);
                tokio::time::sleep(IDLE_AFTER / 5 * ((publisher + number) % 11)).await;
            }
        });
    }
    let mut arrived = [0; PUBLISHERS as usize];
    for count in 0..PUBLISHERS * EACH {
        let received = units(&mut stream).await - 1;
        let publisher = (received / u64::from(EACH)) as usize;
        assert_eq!(
            received % u64::from(EACH),
            arrived[publisher],
            "an event of publisher {publisher} arrived out of order"
        );
        arrived[publisher] += 1;
        if count.is_multiple_of(7) {
            stream.write_all(&PING).await.expect("the server reads");
        }
    }
    publishing.join_all().await;
    wait_for_idle(&full, 1).await;
    publish_refusal(&full, 7);
    assert_eq!(units(&mut stream).await, 7, "an event arrived twice");
}

#[tokio::test]
async fn a_socket_with_a_partial_frame_stays_active_until_the_frame_is_complete() {
    let full = start(|_| {}).await;
    let mut stream = raw_socket(&full).await;
    // The four zero bytes are the frame's mask.
    let ping = [0x89, 0x85, 0, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'];
    for cut in 0..ping.len() {
        wait_for_idle(&full, 1).await;
        if cut > 0 {
            stream.write_all(&ping[..cut]).await.expect("the server reads");
            wait_for_idle(&full, 0).await;
            // The frame is incomplete, so the WebSocket must not become idle during this time.
            tokio::time::sleep(10 * IDLE_AFTER).await;
            assert_eq!(
                idle_sockets(&full),
                0,
                "the socket became idle after {cut} bytes of a frame"
            );
        }
        stream.write_all(&ping[cut..]).await.expect("the server reads");
        assert_eq!(
            pong(&mut stream).await,
            b"hello",
            "the socket did not answer a ping that was cut after {cut} bytes"
        );
    }
    wait_for_idle(&full, 1).await;
}

#[tokio::test]
async fn an_idle_socket_that_reads_nothing_is_closed_and_its_events_are_dropped() {
    let full = start(|app| app.write_stall = STALL).await;
    let slow = upgraded(narrow(&full).await, &websocket("anna", "")).await;
    wait_for_idle(&full, 1).await;
    publish_refusals(&full, WAITING as u32).await;
    expect_no_connection(&full).await;
    // The WebSocket was closed because its client read nothing, not because too many events waited.
    assert_eq!(full.app.node.hub().dropped(), 0);
    drop(slow);
}

#[tokio::test]
async fn after_a_partial_write_to_an_idle_socket_the_remaining_bytes_follow() {
    let full = start(|app| app.write_stall = REST).await;
    let mut slow = upgraded(narrow(&full).await, &websocket("anna", "")).await;
    wait_for_idle(&full, 1).await;
    publish_refusals(&full, WAITING as u32).await;
    until("the socket accepts no more bytes", || idle_sockets(&full) == 0).await;
    for expected in 1..=WAITING as u64 {
        assert_eq!(units(&mut slow).await, expected);
    }
    wait_for_idle(&full, 1).await;
    publish_refusal(&full, 7);
    assert_eq!(units(&mut slow).await, 7);
}
