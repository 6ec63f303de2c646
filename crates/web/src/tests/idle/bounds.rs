//! Tests that the bounds of active WebSockets also apply to idle ones.
use super::*;
use crate::limits::IDLE_EVENTS_MAX;

/// A number of events in a row that makes an idle WebSocket active. The reader's queue has room for
/// more events.
const MANY: u32 = 5 * IDLE_EVENTS_MAX as u32;
/// More events than may wait for a reader.
const TOO_MANY: u32 = 20_000;
const STREAMS: usize = 3;

#[tokio::test]
async fn many_events_arrive_in_order_and_too_many_close_the_socket() {
    let full = start(|_| {}).await;
    let mut stream = raw_socket(&full).await;
    for _ in 0..3 {
        wait_for_idle(&full, 1).await;
        (1..=MANY).for_each(|units| publish_refusal(&full, units));
        for expected in 1..=u64::from(MANY) {
            assert_eq!(units(&mut stream).await, expected);
        }
    }
    wait_for_idle(&full, 1).await;
    (1..=TOO_MANY).for_each(|units| publish_refusal(&full, units));
    assert_eq!((close_code(&mut stream).await, full.app.node.hub().dropped()), (1013, 1));
    drop(stream);
    expect_no_connection(&full).await;
}

#[tokio::test]
async fn an_idle_socket_counts_as_a_connection_and_as_a_stream_of_its_buyer() {
    let full = start(|app| app.change_live(|live| live.event_streams_max = STREAMS)).await;
    let mut sockets = Vec::new();
    for at in 0..CONNECTIONS {
        sockets.push(socket_of(&full, &format!("b{}", at / STREAMS), "").await);
    }
    wait_for_idle(&full, CONNECTIONS as u64).await;
    let ask = async |buyer: &str| {
        let mut stream = TcpStream::connect(full.address).await.expect("the server listens");
        let head = answer(&mut stream, websocket(buyer, "").as_bytes()).await;
        (head[9..12].to_owned(), stream)
    };
    assert_eq!(ask("carl").await.0, "503", "a connection over the limit must be refused");
    let connections_are = async |count: usize| {
        let now = || full.app.metrics.connections.get() as usize;
        until(&format!("{count} connections are open"), || now() == count).await;
    };
    // One connection is free again. But buyer `b0` still has the maximum number of streams, so the
    // next stream of this buyer must be refused with 429.
    drop(sockets.pop());
    connections_are(CONNECTIONS - 1).await;
    assert_eq!(ask("b0").await.0, "429");
    connections_are(CONNECTIONS - 1).await;
    drop(sockets.swap_remove(0));
    connections_are(CONNECTIONS - 2).await;
    let (status, _stream) = ask("b0").await;
    assert_eq!(status, "101");
    wait_for_idle(&full, CONNECTIONS as u64 - 1).await;
}
