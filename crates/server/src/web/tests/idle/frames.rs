//! What sleepers say.
use super::*;

/// How long nothing happens here before a WebSocket sleeps that is to be seen awake.
const LONG: Duration = Duration::from_secs(3);

#[tokio::test]
async fn frames_sent_with_the_request_are_read() {
    let full = start(|_| {}).await;
    let mut stream = TcpStream::connect(full.address).await.expect("it listens");
    let asked = [websocket("anna", "").as_bytes(), &PING].concat();
    let head = answer(&mut stream, &asked).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    pong(&mut stream).await;
    wait_for_idle(&full, 1).await;
    tell(&full, 7);
    assert_eq!(units(&mut stream).await, 7);
}

#[tokio::test]
async fn half_a_message_is_not_forgotten() {
    // The first frame of a text, masked with nothing, and its last, which begins no message.
    let (half, rest) = ([0x01, 0x81, 0, 0, 0, 0, b'a'], [0x80, 0x81, 0, 0, 0, 0, b'b']);
    let full = start(|_| {}).await;
    for sleeps in [false, true] {
        let mut stream = TcpStream::connect(full.address).await.expect("it listens");
        let asked = websocket("anna", "");
        if sleeps {
            stream = upgraded(stream, &asked).await;
            wait_for_idle(&full, 1).await;
            stream.write_all(&half).await.expect("it reads");
            wait_for_idle(&full, 0).await;
        } else {
            let head = answer(&mut stream, &[asked.as_bytes(), &half].concat()).await;
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        }
        tokio::time::sleep(10 * MOMENT).await;
        assert_eq!(idle_sockets(&full), 0, "it waits for the other half");
        stream.write_all(&rest).await.expect("it reads");
        stream.write_all(&PING).await.expect("it reads");
        pong(&mut stream).await;
        tell(&full, 7);
        assert_eq!(units(&mut stream).await, 7);
        drop(stream);
        expect_no_connection(&full).await;
    }
}

#[tokio::test]
async fn an_invalid_frame_closes_an_idle_socket_with_the_reason() {
    let full = start(|_| {}).await;
    let wrong: [&[u8]; 6] = [
        // Without a mask.
        &[0x89, 0],
        &[0x8a, 0],
        // Kinds that there are not.
        &[0x83, 0x80, 0, 0, 0, 0],
        &[0x8b, 0x80, 0, 0, 0, 0],
        // A bit that nobody agreed on.
        &[0xca, 0x80, 0, 0, 0, 0],
        // The rest of nothing.
        &[0x80, 0x80, 0, 0, 0, 0],
    ];
    for said in wrong {
        let mut stream = raw_socket(&full).await;
        wait_for_idle(&full, 1).await;
        stream.write_all(said).await.expect("it reads");
        assert_eq!(farewell(&mut stream).await, 1002, "{said:?}");
        drop(stream);
        expect_no_connection(&full).await;
    }
}

#[tokio::test]
async fn a_message_other_than_a_pong_wakes_an_idle_socket() {
    let full = start(|app| app.idle_after = LONG).await;
    let mut stream = raw_socket(&full).await;
    wait_for_idle(&full, 1).await;
    stream.write_all(&PONG.repeat(100)).await.expect("it reads");
    wait_for_idle(&full, 0).await;
    wait_for_idle(&full, 1).await;
    stream.write_all(&PONG.repeat(3)).await.expect("it reads");
    tell(&full, 7);
    assert_eq!((units(&mut stream).await, idle_sockets(&full)), (7, 1), "a few are well");
}

#[tokio::test]
async fn a_client_that_closes_its_side_is_disconnected() {
    let full = start(|_| {}).await;
    let mut stream = raw_socket(&full).await;
    wait_for_idle(&full, 1).await;
    stream.shutdown().await.expect("it was open");
    expect_no_connection(&full).await;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("in good order");
    assert_eq!(rest.first(), Some(&0x81), "its greeting");
    assert!(!rest.ends_with(b"stopping"), "and no farewell");
}
