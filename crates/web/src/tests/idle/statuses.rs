//! Tests a sale's status that takes long to render. The sale's readers must get the status, and
//! other readers must not wait for it.
use super::*;
use crate::sale_views::SaleView;

/// The time after which a WebSocket becomes idle, and also the interval between two pings.
const WHILE: Duration = Duration::from_millis(50);

fn view(full: &Full) -> Arc<SaleView> {
    let sale = full.app.node.catalogue().sale("spring").cloned().expect("the sale was created");
    full.app.views.sale_view(&sale)
}

fn change(full: &Full) {
    full.app.node.hub().publish(EventKind::Status("spring".into()));
}

async fn status(stream: &mut TcpStream) {
    let reading = async { while event(stream).await["type"] != "status" {} };
    tokio::time::timeout(TIMEOUT, reading).await.expect("a status arrives in time");
}

#[tokio::test]
async fn a_status_arrives_whatever_happens_while_it_is_rendered() {
    let ping_policy = PingPolicy { ping_every: WHILE, pings_max: u32::MAX };
    let full = start(|app| (app.idle_after, app.ping_policy) = (WHILE, ping_policy)).await;
    let mut anna = socket_of(&full, "anna", "?sale=spring").await;
    let view = view(&full);
    for round in 0..3 {
        anna.write_all(&[0x89, 0x81, 0, 0, 0, 0, round]).await.expect("the server reads");
        // The socket is active now.
        let answered = async { while pong(&mut anna).await != [round] {} };
        tokio::time::timeout(TIMEOUT, answered).await.expect("a pong arrives in time");
        let making = view.hold_render_lock().await;
        change(&full);
        let_other_tasks_run().await;
        anna.write_all(&PING).await.expect("the server reads");
        // During this wait, the server sends a ping. The wait is long enough for the WebSocket to
        // become idle.
        tokio::time::sleep(4 * WHILE).await;
        drop(making);
        status(&mut anna).await;
    }
}

#[tokio::test]
async fn a_pending_status_delays_no_other_idle_socket() {
    let full = start(|_| {}).await;
    let mut anna = socket_of(&full, "anna", "?sale=spring").await;
    let mut bert = socket_of(&full, "bert", "").await;
    status(&mut anna).await;
    wait_for_idle(&full, 2).await;
    let view = view(&full);
    let making = view.hold_render_lock().await;
    change(&full);
    let_other_tasks_run().await;
    publish_refusal(&full, 3);
    publish_refusal_to("bert", &full, 7);
    assert_eq!(
        (units(&mut bert).await, idle_sockets(&full)),
        (7, 2),
        "both sockets must stay idle"
    );
    bert.write_all(&PING).await.expect("the server reads");
    pong(&mut bert).await;
    wait_for_idle(&full, 2).await;
    bert.write_all(&CLOSE).await.expect("the server reads");
    assert_eq!(
        close_code(&mut bert).await,
        1001,
        "the server must answer the client's close frame"
    );
    wait_for_idle(&full, 1).await;
    // Anna must get the waiting status before the event about her order.
    change(&full);
    drop(making);
    let mut statuses = 0;
    while event(&mut anna).await["type"] == "status" {
        statuses += 1;
    }
    assert!(statuses > 0, "the order overtook the status");
    status(&mut anna).await;
}

#[tokio::test]
async fn a_socket_woken_while_it_waits_for_a_status_still_gets_it() {
    let full = start(|_| {}).await;
    let mut anna = socket_of(&full, "anna", "?sale=spring").await;
    let view = view(&full);
    for _ in 0..3 {
        status(&mut anna).await;
        wait_for_idle(&full, 1).await;
        let making = view.hold_render_lock().await;
        change(&full);
        let_other_tasks_run().await;
        anna.write_all(&PING).await.expect("the server reads");
        wait_for_idle(&full, 0).await;
        drop(making);
    }
    status(&mut anna).await;
    anna.write_all(&PING).await.expect("the server reads");
    pong(&mut anna).await;
    wait_for_idle(&full, 1).await;
}

#[tokio::test]
async fn a_socket_that_waits_for_a_status_is_blocked_and_closed_at_a_stop() {
    let full = start(|_| {}).await;
    let mut streams = Vec::new();
    for buyer in ["anna", "bert", "carl"] {
        streams.push(socket_of(&full, buyer, "?sale=spring").await);
    }
    wait_for_idle(&full, 3).await;
    let view = view(&full);
    let making = view.hold_render_lock().await;
    change(&full);
    let_other_tasks_run().await;
    block(&full, "anna").await;
    assert_eq!(close_code(&mut streams[0]).await, 1008);
    // This WebSocket is active, so its own task waits for the status.
    streams[1].write_all(&PING).await.expect("the server reads");
    wait_for_idle(&full, 1).await;
    full.app.begin_shutdown();
    full.stop.cancel();
    for stream in &mut streams[1..] {
        assert_eq!(close_code(stream).await, 1001);
    }
    drop(streams);
    expect_no_connection(&full).await;
    drop(making);
}
