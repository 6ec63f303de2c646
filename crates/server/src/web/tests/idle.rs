//! WebSockets asleep: they are told, heard, pinged and let go like those awake, and nothing of them
//! stays.
use doorbuster_core::{BuyerId, TicketId, Units, Verdict};
use doorbuster_store::BlockKind;
use serde_json::Value;
use tokio::task::{JoinSet, yield_now};

use super::slow::{STALL, WAITING, narrow, until};
use super::*;
use crate::notify::EventKind;

mod bounds;
mod ends;
mod frames;
mod statuses;

/// A ping, a pong and the farewell of a client, masked with nothing.
const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];
const CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];
/// How long nothing happens to a WebSocket here before it sleeps.
const MOMENT: Duration = Duration::from_millis(5);
/// Events at once, fewer than one is woken for.
const FEW: u32 = 8;
/// Turns that others have meanwhile.
const TURNS: usize = 10;

async fn start(change: impl FnOnce(&mut App)) -> Full {
    let changes = |app: &mut App| {
        app.idle_after = MOMENT;
        change(app);
    };
    Full::start_with(&[], changes).await
}

fn idle_sockets(full: &Full) -> u64 {
    full.app.metrics.idle_sockets.get()
}

/// Waits until so many are asleep.
async fn wait_for_idle(full: &Full, count: u64) {
    until(&format!("{count} are asleep"), || idle_sockets(full) == count).await;
}

/// Waits until there is no reader any more, and no connection.
async fn expect_no_connection(full: &Full) {
    let metrics = &full.app.metrics;
    let left = || metrics.sockets.get() + metrics.idle_sockets.get() + metrics.connections.get();
    until("nobody is left", || left() == 0 && full.app.engine.hub().readers() == 0).await;
}

/// Tells anna of a refused request for so many units.
fn tell(full: &Full, units: u32) {
    tell_of("anna", full, units);
}

/// Tells this buyer of one.
fn tell_of(buyer: &str, full: &Full, units: u32) {
    let id = TicketId::parse(&format!("ord_{}", "A".repeat(52))).expect("an id");
    let catalogue = full.app.engine.catalogue();
    let item =
        catalogue.sale("spring").expect("it was made").item("phone").expect("it was made").row.id;
    let (buyer, units) =
        (BuyerId::new(buyer).expect("a buyer"), Units::new(units).expect("in range"));
    full.app.engine.hub().publish(EventKind::Refused {
        id,
        item,
        buyer,
        units,
        verdict: Verdict::Unavailable,
    });
}

/// Tells anna of so many refused requests, the first for one unit and each for one more, as fast as
/// she can be told in her sleep.
async fn tell_many(full: &Full, times: u32) {
    for units in 1..=times {
        tell(full, units);
        if units.is_multiple_of(FEW) {
            others_have_turns().await;
        }
    }
}

async fn others_have_turns() {
    for _ in 0..TURNS {
        yield_now().await;
    }
}

/// Has operators turn this buyer away.
async fn block(full: &Full, buyer: &str) {
    let block = full.app.engine.store().insert_block(BlockKind::Buyer, buyer, None, "", 10).await;
    assert!(block.expect("the store is there").is_some());
    full.app.load_blocks().await.expect("the store is there");
}

/// The next frame: how it begins, and what it holds.
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
    tokio::time::timeout(PATIENCE, reading).await.expect("a frame in time")
}

/// The next event.
async fn event(stream: &mut TcpStream) -> Value {
    loop {
        let (kind, held) = frame(stream).await;
        assert_ne!(kind, 0x88, "{held:?}");
        if kind == 0x81 {
            return serde_json::from_slice(&held).expect("JSON");
        }
    }
}

/// The units of the request in the next event.
async fn units(stream: &mut TcpStream) -> u64 {
    loop {
        let event = event(stream).await;
        if event["type"] == "order" {
            return event["order"]["units"].as_u64().expect("a number");
        }
    }
}

/// What the next pong holds.
async fn pong(stream: &mut TcpStream) -> Vec<u8> {
    loop {
        let (kind, held) = frame(stream).await;
        assert_ne!(kind, 0x88, "{held:?}");
        if kind == 0x8a {
            return held;
        }
    }
}

/// Reads until the server says farewell; the code.
async fn farewell(stream: &mut TcpStream) -> u16 {
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
        let pinged =
            tokio::time::timeout(PATIENCE, pings(&mut there, true, 1)).await.expect("it is pinged");
        assert_eq!((pinged, idle_sockets(&full)), (1, 1), "it answers in its sleep");
    }
    tell(&full, 7);
    assert_eq!((units(&mut there).await, idle_sockets(&full)), (7, 1), "it hears in its sleep");
    drop(there);
    expect_no_connection(&full).await;
}

#[tokio::test]
async fn an_idle_socket_that_answers_no_ping_is_closed_like_an_active_one() {
    let ping_policy = PingPolicy { ping_every: Duration::from_millis(50), pings_max: 4 };
    let full = start(|app| app.ping_policy = ping_policy).await;
    let mut gone = raw_socket(&full).await;
    wait_for_idle(&full, 1).await;
    let unanswered = tokio::time::timeout(PATIENCE, pings(&mut gone, false, usize::MAX)).await;
    assert_eq!(unanswered.expect("it is let go"), ping_policy.pings_max as usize);
    expect_no_connection(&full).await;
}

#[tokio::test]
async fn events_during_a_change_between_idle_and_active_arrive_once_in_order() {
    const EVENTS: u32 = 200;
    let full = start(|_| {}).await;
    let mut stream = raw_socket(&full).await;
    for units in 1..=EVENTS {
        tell(&full, units);
        if units.is_multiple_of(7) {
            // A connection with input is woken.
            stream.write_all(&PING).await.expect("it reads");
        }
        // Sooner than it would fall asleep, at that moment, and later.
        tokio::time::sleep(MOMENT / 5 * (units % 11)).await;
    }
    for expected in 1..=u64::from(EVENTS) {
        assert_eq!(units(&mut stream).await, expected);
    }
    wait_for_idle(&full, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_published_by_several_threads_arrive_in_order() {
    const TELLERS: u32 = 4;
    const EACH: u32 = 200;
    let full = Arc::new(start(|_| {}).await);
    let mut stream = raw_socket(&full).await;
    let mut telling = JoinSet::new();
    for teller in 0..TELLERS {
        let full = full.clone();
        telling.spawn(async move {
            for number in 0..EACH {
                tell(&full, teller * EACH + number + 1);
                tokio::time::sleep(MOMENT / 5 * ((teller + number) % 11)).await;
            }
        });
    }
    // How many were heard of each.
    let mut heard = [0; TELLERS as usize];
    for count in 0..TELLERS * EACH {
        let told = units(&mut stream).await - 1;
        let teller = (told / u64::from(EACH)) as usize;
        assert_eq!(told % u64::from(EACH), heard[teller], "of {teller}, in order");
        heard[teller] += 1;
        if count.is_multiple_of(7) {
            stream.write_all(&PING).await.expect("it reads");
        }
    }
    telling.join_all().await;
    wait_for_idle(&full, 1).await;
    tell(&full, 7);
    assert_eq!(units(&mut stream).await, 7, "nothing was told twice");
}

#[tokio::test]
async fn a_frame_in_two_halves_is_understood_and_kept_awake_for() {
    let full = start(|_| {}).await;
    let mut stream = raw_socket(&full).await;
    // Masked with nothing.
    let ping = [0x89, 0x85, 0, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'];
    for cut in 0..ping.len() {
        wait_for_idle(&full, 1).await;
        if cut > 0 {
            stream.write_all(&ping[..cut]).await.expect("it reads");
            wait_for_idle(&full, 0).await;
            // Nothing happens, and it stays awake all the same.
            tokio::time::sleep(10 * MOMENT).await;
            assert_eq!(idle_sockets(&full), 0, "half a frame is forgotten: {cut} bytes");
        }
        stream.write_all(&ping[cut..]).await.expect("it reads");
        assert_eq!(pong(&mut stream).await, b"hello", "after {cut} bytes");
    }
    wait_for_idle(&full, 1).await;
}

#[tokio::test]
async fn an_idle_socket_that_reads_nothing_is_closed_and_its_events_are_dropped() {
    let full = start(|app| app.write_stall = STALL).await;
    let slow = upgraded(narrow(&full).await, &websocket("anna", "")).await;
    wait_for_idle(&full, 1).await;
    tell_many(&full, WAITING as u32).await;
    expect_no_connection(&full).await;
    // Not because too much waited.
    assert_eq!(full.app.engine.hub().dropped(), 0);
    drop(slow);
}

#[tokio::test]
async fn a_partial_write_to_an_idle_socket_is_continued() {
    let full = start(|app| app.write_stall = REST).await;
    let mut slow = upgraded(narrow(&full).await, &websocket("anna", "")).await;
    wait_for_idle(&full, 1).await;
    tell_many(&full, WAITING as u32).await;
    until("it takes no more", || idle_sockets(&full) == 0).await;
    for expected in 1..=WAITING as u64 {
        assert_eq!(units(&mut slow).await, expected);
    }
    wait_for_idle(&full, 1).await;
    tell(&full, 7);
    assert_eq!(units(&mut slow).await, 7);
}
