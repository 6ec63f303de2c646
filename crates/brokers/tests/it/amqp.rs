//! Tests with RabbitMQ.
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lapin::ExchangeKind;
use lapin::options::ExchangeDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};

use crate::proxy::{Proxy, silence};
use crate::rabbit::Rabbit;
use crate::{broker, broker_within, message, name};

/// Returns the broker that most tests share. A test that stops its broker starts its own.
fn shared() -> &'static Rabbit {
    static SHARED: OnceLock<Rabbit> = OnceLock::new();
    SHARED.get_or_init(Rabbit::start)
}

#[tokio::test]
async fn a_published_message_is_in_the_queue() {
    let (rabbit, exchange) = (shared(), name());
    let (orders, all) =
        (rabbit.queue(&exchange, "order.*").await, rabbit.queue(&exchange, "#").await);
    let broker = broker(&rabbit.url(&exchange));
    broker.publish(&message("evt_1", "order.paid")).await.expect("the message is accepted");
    broker.publish(&message("evt_2", "sale.opened")).await.expect("the message is accepted");
    let paid = orders.take().await.expect("the message is in the queue");
    assert!(orders.take().await.is_none(), "the queue must get only the types that it is bound to");
    assert_eq!(all.take().await.expect("both messages").data, paid.data);
    assert_eq!(all.take().await.expect("both messages").routing_key.as_str(), "sale.opened");
    assert_eq!(
        (paid.data.as_slice(), paid.routing_key.as_str()),
        (br#"{"id":"evt_1"}"#.as_slice(), "order.paid")
    );
    let has = &paid.properties;
    let text = |text: &Option<lapin::types::ShortString>| {
        text.as_ref().map(|text| text.as_str().to_owned())
    };
    assert_eq!(text(has.message_id()).as_deref(), Some("evt_1"));
    assert_eq!(text(has.kind()).as_deref(), Some("order.paid"));
    assert_eq!(text(has.content_type()).as_deref(), Some("application/cloudevents+json"));
    assert_eq!(
        (*has.delivery_mode(), *has.timestamp()),
        (Some(2), Some(1_795_168_842)),
        "the message must be persistent and have its time"
    );
    let headers = has.headers().as_ref().expect("headers").inner();
    assert_eq!(headers.get("partitionkey"), Some(&AMQPValue::LongString("ord_evt_1".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unroutable_message_is_refused_and_does_not_affect_others() {
    const AT_ONCE: usize = 66;
    let (rabbit, exchange) = (shared(), name());
    let orders = rabbit.queue(&exchange, "order.*").await;
    let broker = Arc::new(broker(&rabbit.url(&exchange)));
    for round in 0..20 {
        // All messages use one connection. On this connection, the broker's returns of unroutable
        // messages arrive between its confirms of other messages.
        let each =
            (0..AT_ONCE).map(|n| {
                let (broker, what) =
                    (broker.clone(), if n % 3 == 0 { "sale.opened" } else { "order.paid" });
                async move {
                    (n % 3 != 0, broker.publish(&message(&format!("{round}-{n}"), what)).await)
                }
            });
        for (is_wanted, done) in join_all(each).await {
            let why = done.as_ref().err().map(ToString::to_string).unwrap_or_default();
            assert_eq!(done.is_ok(), is_wanted, "{why}");
            assert!(is_wanted || why.contains("no queue"), "{why}");
        }
    }
    let mut ids = HashSet::new();
    while let Some(delivery) = orders.take().await {
        ids.insert(delivery.data);
    }
    assert_eq!(ids.len(), 20 * AT_ONCE * 2 / 3, "the queue must have every accepted message");
}

#[tokio::test]
async fn an_amqp_refusal_is_reported_without_the_brokers_text_and_password() {
    let (rabbit, exchange) = (shared(), name());
    let check = async |url: &str, word: &str| {
        let error =
            broker(url).publish(&message("evt_1", "order.paid")).await.expect_err(word).to_string();
        assert!(error.contains(word), "{error}");
        assert!(!error.contains("wrong-password") && !error.contains("guest"), "{error}");
    };
    let port = rabbit.port();
    check(&format!("amqp://guest:wrong-password@127.0.0.1:{port}/"), "refused the login").await;
    check(&format!("amqp://guest:guest@127.0.0.1:{port}/nowhere"), "virtual host").await;
    let (_connection, channel) = rabbit.connect().await;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declared = channel.exchange_declare(
        exchange.as_str().into(),
        ExchangeKind::Fanout,
        durable,
        FieldTable::default(),
    );
    declared.await.expect("an exchange");
    check(&rabbit.url(&exchange), "not a durable topic exchange").await;
    let [closed] = doorbuster_testkit::ports::free_ports();
    check(&format!("amqp://guest:guest@127.0.0.1:{closed}/"), "connection refused").await;
    check(&format!("amqps://guest:guest@127.0.0.1:{port}/"), "no connection").await;
}

fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("lapin-io-loop")).count()
}

#[tokio::test]
async fn an_attempt_at_a_silent_broker_ends_in_bounded_time_and_leaves_no_thread() {
    /// The number of attempts. If each attempt left a thread, `threads` would return at least this
    /// number. The threads of other tests also count, but they are fewer than this number.
    const ATTEMPTS: usize = 16;
    let port = silence().await;
    let broker =
        broker_within(&format!("amqp://a:b@127.0.0.1:{port}/"), Duration::from_millis(300));
    let (before, message) = (Instant::now(), message("evt_1", "order.paid"));
    for _ in 0..ATTEMPTS {
        // The eight callers use one connection. One of them tries to connect; the others wait for
        // this attempt and get its error.
        for done in join_all((0..8).map(|_| broker.publish(&message))).await {
            assert_eq!(done.expect_err("no answer").to_string(), "no connection in time");
        }
    }
    assert!(before.elapsed() < Duration::from_secs(15), "{:?}", before.elapsed());
    let since = Instant::now();
    while threads() >= ATTEMPTS {
        assert!(
            since.elapsed() < Duration::from_secs(30),
            "the client library still has {} threads",
            threads()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_without_a_confirm_is_not_accepted_when_the_broker_is_killed() {
    let mut rabbit = Rabbit::start();
    let (exchange, proxy) = (name(), Proxy::to(rabbit.port()).await);
    // A killed broker sometimes forgets the recent binding of a queue. So the test first stops the
    // broker cleanly, which makes the binding durable.
    let orders = rabbit.queue(&exchange, "order.*").await;
    rabbit.stop();
    rabbit.start_again();
    let orders = orders.again(&rabbit).await;
    let url = rabbit.url(&exchange).replace(&rabbit.port().to_string(), &proxy.port.to_string());
    let broker = Arc::new(broker_within(&url, Duration::from_secs(30)));
    broker.publish(&message("evt_1", "order.paid")).await.expect("the message is accepted");
    let first = orders.next().await;
    proxy.hold();
    let publishing = tokio::spawn({
        let broker = broker.clone();
        async move { broker.publish(&message("evt_2", "order.paid")).await }
    });
    assert_ne!(orders.next().await.data, first.data, "the queue must have the second message");
    assert!(!publishing.is_finished(), "the confirm must be held back");
    rabbit.kill();
    proxy.cut();
    let lost = publishing.await.expect("no panic").expect_err("no confirm");
    assert!(!lost.to_string().is_empty());
    broker.publish(&message("evt_2", "order.paid")).await.expect_err("the broker is down");
    rabbit.start_again();
    broker.publish(&message("evt_2", "order.paid")).await.expect("accepted over a new connection");
    let orders = orders.again(&rabbit).await;
    // The killed broker may have forgotten that the test took `evt_1`, and may deliver it again.
    while orders.next().await.data != br#"{"id":"evt_2"}"# {}
    broker.publish(&message("evt_3", "order.paid")).await.expect("the message is accepted");
    rabbit.kill();
    rabbit.start_again();
    let orders = orders.again(&rabbit).await;
    while orders.next().await.data != br#"{"id":"evt_3"}"# {}
}
