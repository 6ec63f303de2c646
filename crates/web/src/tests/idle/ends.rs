//! Tests how idle WebSockets end: when the server stops, when an operator blocks the buyer, and
//! after a fault.
use doorbuster_core::{GrantId, Millis, Order, OrderState, RequestKey, TicketN};

use super::*;

const CROWD: usize = 300;

#[tokio::test]
async fn a_stopping_server_closes_idle_sockets_and_releases_them() {
    let full = start(|_| {}).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(raw_socket(&full).await);
    }
    wait_for_idle(&full, 3).await;
    full.app.begin_shutdown();
    full.stop.cancel();
    for stream in &mut streams {
        assert_eq!(close_code(stream).await, 1001);
    }
    drop(streams);
    expect_no_connection(&full).await;
    until("no task holds the app", || Arc::strong_count(&full.app) == 1).await;
}

async fn end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // An error of the read is ignored, because a reset also ends the connection.
    let _ = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut rest))
        .await
        .expect("the connection ends");
}

#[tokio::test]
async fn a_stop_closes_many_idle_sockets_without_a_task_each() {
    // Both ends of each connection are in this process, so this process needs many file handles.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let full = Full::start_for(CROWD, &[], |app| app.idle_after = IDLE_AFTER).await;
    let mut crowd = Vec::new();
    for at in 0..CROWD {
        crowd.push(socket_of(&full, &format!("b{at}"), "?sale=spring").await);
    }
    wait_for_idle(&full, CROWD as u64).await;
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = alive();
    full.app.begin_shutdown();
    full.stop.cancel();
    for stream in &mut crowd {
        assert_eq!(close_code(stream).await, 1001);
    }
    // The server may start or end a few other tasks, so the test allows some more tasks. But it
    // allows fewer than one task for each WebSocket.
    assert!(alive() < before + CROWD / 2, "{} tasks run now, {before} before", alive());
    assert_eq!(
        full.app.node.hub().readers(),
        0,
        "the closed sockets must have no readers at the hub"
    );
    for (at, stream) in crowd.iter_mut().enumerate() {
        // The server disconnects a client that answers too late. The write then fails, and the test
        // ignores this error.
        let _ = match at % 3 {
            0 => stream.write_all(&CLOSE).await,
            // A client may send a pong before it has read the close frame.
            1 => stream.write_all(&[&PONG[..], &CLOSE].concat()).await,
            _ => stream.shutdown().await,
        };
        end(stream).await;
    }
    expect_no_connection(&full).await;
    until("no task holds the app", || Arc::strong_count(&full.app) == 1).await;
}

/// Opens a WebSocket whose client reads nothing. Publishes events until the server's socket accepts
/// no more bytes.
async fn stuck() -> (Full, TcpStream) {
    let full = start(|app| app.write_stall = REST).await;
    let slow = upgraded(narrow(&full).await, &websocket("anna", "")).await;
    wait_for_idle(&full, 1).await;
    for units in 1..=WAITING as u32 {
        if idle_sockets(&full) == 0 {
            break;
        }
        publish_refusal(&full, units);
        let_other_tasks_run().await;
    }
    assert_eq!(idle_sockets(&full), 0, "the socket still accepts bytes");
    (full, slow)
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_socket_that_reads_nothing() {
    let (full, slow) = stuck().await;
    full.app.begin_shutdown();
    until("the socket is closed", || full.app.metrics.sockets.get() == 0).await;
    drop(slow);
}

#[tokio::test]
async fn blocking_a_buyer_does_not_wait_for_a_socket_that_reads_nothing() {
    let (full, slow) = stuck().await;
    block(&full, "bert").await;
    let_other_tasks_run().await;
    assert_eq!(
        full.app.metrics.sockets.get(),
        1,
        "a block of another buyer must not close the socket"
    );
    block(&full, "anna").await;
    until("the socket is closed", || full.app.metrics.sockets.get() == 0).await;
    drop(slow);
}

#[tokio::test]
async fn cutting_connections_does_not_wait_for_a_socket_that_reads_nothing() {
    let (full, slow) = stuck().await;
    full.stop.cancel();
    until("the socket is closed", || full.app.metrics.sockets.get() == 0).await;
    drop(slow);
}

#[tokio::test]
async fn a_panic_for_one_idle_socket_closes_only_that_socket() {
    let full = start(|_| {}).await;
    let (mut anna, mut bert) =
        (socket_of(&full, "anna", "").await, socket_of(&full, "bert", "").await);
    wait_for_idle(&full, 2).await;
    // The sale's currency is invalid, so the server panics when it renders an order of the sale.
    let made = full.app.sales.create_sale(sale("fall", 1, "none")).await;
    made.expect("the store is available").expect("the sale's id is free");
    let fall = full.app.node.catalogue().sale("fall").cloned().expect("the sale was created");
    let order = Order {
        id: TicketId::parse(&format!("ord_{}", "A".repeat(52))).expect("an id"),
        item: fall.item("phone").expect("the sale was created").row.id,
        buyer: BuyerId::new("anna").expect("a buyer"),
        key: RequestKey::new("k").expect("a key"),
        units: Units::ONE,
        state: OrderState::Reserved,
        grant: GrantId(1),
        n: TicketN(1),
        reserved_at: Millis(0),
        pay_by: Millis(0),
        paid_at: None,
        ended_at: None,
    };
    full.app.node.hub().publish(EventKind::Order(Arc::new(order)));
    end(&mut anna).await;
    publish_refusal_to("bert", &full, 7);
    assert_eq!(
        (units(&mut bert).await, idle_sockets(&full)),
        (7, 1),
        "the other socket must get the event and stay idle"
    );
}
