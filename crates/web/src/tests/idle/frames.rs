//! Tests the handling of frames from the clients of idle WebSockets.
use super::*;

/// The time after which a WebSocket becomes idle. It is so long that a test can check the active
/// WebSocket first.
const LONG: Duration = Duration::from_secs(3);

#[tokio::test]
async fn frames_sent_with_the_request_are_read() {
    let full = start(|_| {}).await;
    let mut stream = TcpStream::connect(full.address).await.expect("the server listens");
    let request = [websocket("anna", "").as_bytes(), &PING].concat();
    let head = answer(&mut stream, &request).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    pong(&mut stream).await;
    wait_for_idle(&full, 1).await;
    publish_refusal(&full, 7);
    assert_eq!(units(&mut stream).await, 7);
}

#[tokio::test]
async fn a_socket_with_half_a_message_stays_active_until_the_message_is_complete() {
    // The first and the last frame of a text message, with masks of zeros.
    let (half, rest) = ([0x01, 0x81, 0, 0, 0, 0, b'a'], [0x80, 0x81, 0, 0, 0, 0, b'b']);
    let full = start(|_| {}).await;
    for is_idle in [false, true] {
        let mut stream = TcpStream::connect(full.address).await.expect("the server listens");
        let request = websocket("anna", "");
        if is_idle {
            stream = upgraded(stream, &request).await;
            wait_for_idle(&full, 1).await;
            stream.write_all(&half).await.expect("the server reads");
            wait_for_idle(&full, 0).await;
        } else {
            let head = answer(&mut stream, &[request.as_bytes(), &half].concat()).await;
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        }
        tokio::time::sleep(10 * IDLE_AFTER).await;
        assert_eq!(idle_sockets(&full), 0, "the socket became idle before the second half arrived");
        stream.write_all(&rest).await.expect("the server reads");
        stream.write_all(&PING).await.expect("the server reads");
        pong(&mut stream).await;
        publish_refusal(&full, 7);
        assert_eq!(units(&mut stream).await, 7);
        drop(stream);
        expect_no_connection(&full).await;
    }
}

#[tokio::test]
async fn an_invalid_frame_closes_an_idle_socket_with_the_reason() {
    let full = start(|_| {}).await;
    let wrong: [&[u8]; 6] = [
        // A frame without a mask.
        &[0x89, 0],
        &[0x8a, 0],
        // A frame of an unknown kind.
        &[0x83, 0x80, 0, 0, 0, 0],
        &[0x8b, 0x80, 0, 0, 0, 0],
        // A frame with a reserved bit.
        &[0xca, 0x80, 0, 0, 0, 0],
        // A continuation frame without a first frame.
        &[0x80, 0x80, 0, 0, 0, 0],
    ];
    for said in wrong {
        let mut stream = raw_socket(&full).await;
        wait_for_idle(&full, 1).await;
        stream.write_all(said).await.expect("the server reads");
        assert_eq!(close_code(&mut stream).await, 1002, "{said:?}");
        drop(stream);
        expect_no_connection(&full).await;
    }
}

#[tokio::test]
async fn a_message_other_than_a_pong_wakes_an_idle_socket() {
    let full = start(|app| app.idle_after = LONG).await;
    let mut stream = raw_socket(&full).await;
    wait_for_idle(&full, 1).await;
    stream.write_all(&PONG.repeat(100)).await.expect("the server reads");
    wait_for_idle(&full, 0).await;
    wait_for_idle(&full, 1).await;
    stream.write_all(&PONG.repeat(3)).await.expect("the server reads");
    publish_refusal(&full, 7);
    assert_eq!(
        (units(&mut stream).await, idle_sockets(&full)),
        (7, 1),
        "a few pongs must leave the socket idle"
    );
}

#[tokio::test]
async fn a_client_that_closes_its_side_is_disconnected() {
    let full = start(|_| {}).await;
    let mut stream = raw_socket(&full).await;
    wait_for_idle(&full, 1).await;
    stream.shutdown().await.expect("the stream was open");
    expect_no_connection(&full).await;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("the stream ended with an error");
    assert_eq!(rest.first(), Some(&0x81), "the first event did not arrive");
    assert!(!rest.ends_with(b"stopping"), "the server must not send a close frame");
}
