//! How sleepers end: with the server, by operators, and by a fault.
use doorbuster_core::{GrantId, Millis, Order, OrderState, RequestKey, TicketN};

use super::*;

/// A few hundred.
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
        assert_eq!(farewell(stream).await, 1001);
    }
    drop(streams);
    expect_no_connection(&full).await;
    until("nothing holds on to it", || Arc::strong_count(&full.app) == 1).await;
}

/// Reads to the connection's end.
async fn end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it ends");
}

#[tokio::test]
async fn a_stop_closes_many_idle_sockets_without_a_task_each() {
    // Both ends of each connection are here.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let full = Full::start_for(CROWD, &[], |app| app.idle_after = MOMENT).await;
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
        assert_eq!(farewell(stream).await, 1001);
    }
    // The rest of the server has a few that come and go.
    assert!(alive() < before + CROWD / 2, "{} tasks, {before} before", alive());
    assert_eq!(full.app.engine.hub().readers(), 0, "nothing waits for them any more");
    for (at, stream) in crowd.iter_mut().enumerate() {
        // One that is late for it is cut.
        let _ = match at % 3 {
            0 => stream.write_all(&CLOSE).await,
            // As one does that had not heard the farewell yet.
            1 => stream.write_all(&[&PONG[..], &CLOSE].concat()).await,
            _ => stream.shutdown().await,
        };
        end(stream).await;
    }
    expect_no_connection(&full).await;
    until("nothing holds on to it", || Arc::strong_count(&full.app) == 1).await;
}

/// A server, and a reader that took part of what it was told in its sleep, and takes no more.
async fn stuck() -> (Full, TcpStream) {
    let full = start(|app| app.write_stall = REST).await;
    let slow = upgraded(narrow(&full).await, &websocket("anna", "")).await;
    wait_for_idle(&full, 1).await;
    for units in 1..=WAITING as u32 {
        if idle_sockets(&full) == 0 {
            break;
        }
        tell(&full, units);
        others_have_turns().await;
    }
    assert_eq!(idle_sockets(&full), 0, "it takes no more");
    (full, slow)
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_socket_that_reads_nothing() {
    let (full, slow) = stuck().await;
    full.app.begin_shutdown();
    until("it is let go", || full.app.metrics.sockets.get() == 0).await;
    drop(slow);
}

#[tokio::test]
async fn blocking_a_buyer_does_not_wait_for_a_socket_that_reads_nothing() {
    let (full, slow) = stuck().await;
    block(&full, "bert").await;
    others_have_turns().await;
    assert_eq!(full.app.metrics.sockets.get(), 1, "that was somebody else");
    block(&full, "anna").await;
    until("it is let go", || full.app.metrics.sockets.get() == 0).await;
    drop(slow);
}

#[tokio::test]
async fn cutting_connections_does_not_wait_for_a_socket_that_reads_nothing() {
    let (full, slow) = stuck().await;
    full.stop.cancel();
    until("it is let go", || full.app.metrics.sockets.get() == 0).await;
    drop(slow);
}

#[tokio::test]
async fn a_panic_for_one_idle_socket_closes_only_that_socket() {
    let full = start(|_| {}).await;
    let (mut anna, mut bert) =
        (socket_of(&full, "anna", "").await, socket_of(&full, "bert", "").await);
    wait_for_idle(&full, 2).await;
    // Its currency is none, which nobody can tell.
    let made = full.app.engine.create_sale(sale("fall", 1, "none")).await;
    made.expect("the store is there").expect("the id is free");
    let fall = full.app.engine.catalogue().sale("fall").cloned().expect("it was made");
    let order = Order {
        id: TicketId::parse(&format!("ord_{}", "A".repeat(52))).expect("an id"),
        item: fall.item("phone").expect("it was made").row.id,
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
    full.app.engine.hub().publish(EventKind::Order(Arc::new(order)));
    end(&mut anna).await;
    tell_of("bert", &full, 7);
    assert_eq!((units(&mut bert).await, idle_sockets(&full)), (7, 1), "it sleeps on");
}
