//! Tests with NATS.
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use doorbuster_brokers::{Broker, Error};
use futures_util::future::join_all;
use tokio::task::JoinHandle;

use crate::nats_server::NatsServer;
use crate::proxy::{Proxy, silence};
use crate::{broker, broker_within, message, name};

/// Returns the server that most tests share. A test that stops its server starts its own.
fn shared() -> &'static NatsServer {
    static SHARED: OnceLock<NatsServer> = OnceLock::new();
    SHARED.get_or_init(NatsServer::start)
}

#[tokio::test]
async fn a_published_message_is_in_the_stream_exactly_once() {
    let (server, prefix) = (shared(), name());
    server.make_stream(&prefix).await;
    let broker = broker(&server.url(&prefix));
    for id in ["evt_1", "evt_1", "evt_2", "evt_1"] {
        broker.publish(&message(id, "order.paid")).await.expect("the message is accepted");
    }
    let kept = server.kept(&prefix).await;
    assert_eq!(kept.len(), 2, "the stream must drop a message with a repeated id: {kept:?}");
    assert_eq!(kept[0].subject, format!("{prefix}.order.paid"));
    assert_eq!(kept[0].body, br#"{"id":"evt_1"}"#);
    for line in [
        "Nats-Msg-Id: evt_1",
        "Content-Type: application/cloudevents+json",
        "ce-partitionkey: ord_evt_1",
    ] {
        assert!(kept[0].headers.contains(line), "{}", kept[0].headers);
    }
}

#[tokio::test]
async fn a_nats_refusal_is_reported_without_the_servers_text_and_password() {
    let (server, prefix) = (shared(), name());
    let check = async |url: &str, word: &str| {
        let error =
            broker(url).publish(&message("evt_1", "order.paid")).await.expect_err(word).to_string();
        assert!(error.contains(word), "{error}");
        assert!(!error.contains("wrong-password") && !error.contains("shop"), "{error}");
    };
    check(&server.url(&prefix), &format!("create a stream for {prefix}.>")).await;
    let port = server.port();
    check(&format!("nats://shop:wrong-password@127.0.0.1:{port}"), "refused the login").await;
    check(&format!("nats://wrong-password@127.0.0.1:{port}"), "refused the login").await;
    let [closed] = doorbuster_testkit::ports::free_ports();
    check(&format!("nats://127.0.0.1:{closed}"), "connection refused").await;
    check(&format!("tls://shop:secret@127.0.0.1:{port}"), "no connection").await;
    // A publish fails while no stream exists. After the stream is created, a publish over the same
    // connection must succeed.
    let broker = broker(&server.url(&prefix));
    broker.publish(&message("evt_1", "order.paid")).await.expect_err("no stream");
    server.make_stream(&prefix).await;
    broker.publish(&message("evt_1", "order.paid")).await.expect("the message is accepted");
}

#[tokio::test]
async fn an_answer_from_another_subscriber_is_not_an_acknowledgement() {
    use futures_util::StreamExt;
    let (server, prefix) = (shared(), name());
    let client = server.connect().await;
    let mut requests = client.subscribe(format!("{prefix}.>")).await.expect("subscribed");
    client.flush().await.expect("the server has the subscription");
    tokio::spawn(async move {
        while let Some(message) = requests.next().await {
            let answer =
                client.publish(message.reply.expect("a reply subject"), r#"{"ok":true}"#.into());
            answer.await.expect("sent");
        }
    });
    let error = broker(&server.url(&prefix))
        .publish(&message("evt_1", "order.paid"))
        .await
        .expect_err("no stream");
    assert_eq!(error.to_string(), "the answer did not come from a stream");
}

#[tokio::test]
async fn an_attempt_at_a_silent_server_ends_in_bounded_time() {
    let port = silence().await;
    let broker = broker_within(&format!("nats://127.0.0.1:{port}"), Duration::from_secs(1));
    let (before, message) = (Instant::now(), message("evt_1", "order.paid"));
    for _ in 0..3 {
        for done in join_all((0..8).map(|_| broker.publish(&message))).await {
            assert_eq!(done.expect_err("no answer").to_string(), "no connection in time");
        }
    }
    assert!(before.elapsed() < Duration::from_secs(8), "{:?}", before.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_fails_when_its_connection_breaks_although_the_client_reconnects() {
    let (server, prefix) = (shared(), name());
    let proxy = Proxy::to(server.port()).await;
    server.make_stream(&prefix).await;
    let url = server.url(&prefix).replace(&server.port().to_string(), &proxy.port.to_string());
    let broker = Arc::new(broker_within(&url, Duration::from_secs(40)));
    broker.publish(&message("evt_1", "order.paid")).await.expect("the message is accepted");
    let publishing = held_back(&broker, &proxy, server, &prefix).await;
    let cut = Instant::now();
    proxy.cut();
    publishing.await.expect("no panic").expect_err("no ack");
    assert!(cut.elapsed() < Duration::from_secs(20), "{:?}", cut.elapsed());
    broker.publish(&message("evt_2", "order.paid")).await.expect("accepted over a new connection");
    assert_eq!(server.kept(&prefix).await.len(), 2);
}

/// Publishes `evt_2` through a proxy that holds back the stream's ack, and waits until the stream
/// has the event. Returns the task that publishes.
async fn held_back(
    broker: &Arc<Broker>,
    proxy: &Proxy,
    server: &NatsServer,
    prefix: &str,
) -> JoinHandle<Result<(), Error>> {
    proxy.hold();
    let broker = broker.clone();
    let publishing =
        tokio::spawn(async move { broker.publish(&message("evt_2", "order.paid")).await });
    let since = Instant::now();
    while server.kept(prefix).await.len() < 2 {
        assert!(since.elapsed() < Duration::from_secs(30), "the stream did not get the message");
    }
    assert!(!publishing.is_finished(), "the ack must be held back");
    publishing
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_without_an_ack_is_not_accepted_when_the_server_is_killed() {
    let mut server = NatsServer::start();
    let (prefix, proxy) = (name(), Proxy::to(server.port()).await);
    server.make_stream(&prefix).await;
    let url = server.url(&prefix).replace(&server.port().to_string(), &proxy.port.to_string());
    let broker = Arc::new(broker_within(&url, Duration::from_secs(30)));
    broker.publish(&message("evt_1", "order.paid")).await.expect("the message is accepted");
    let publishing = held_back(&broker, &proxy, &server, &prefix).await;
    server.kill();
    proxy.cut();
    publishing.await.expect("no panic").expect_err("no ack");
    broker.publish(&message("evt_2", "order.paid")).await.expect_err("the server is down");
    server.start_again();
    broker.publish(&message("evt_2", "order.paid")).await.expect("accepted over a new connection");
    broker.publish(&message("evt_3", "order.paid")).await.expect("the message is accepted");
    let ids: Vec<_> = server
        .kept(&prefix)
        .await
        .into_iter()
        .map(|kept| String::from_utf8(kept.body).expect("text"))
        .collect();
    assert_eq!(ids, [r#"{"id":"evt_1"}"#, r#"{"id":"evt_2"}"#, r#"{"id":"evt_3"}"#]);
}
