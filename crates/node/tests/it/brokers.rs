//! Tests RabbitMQ and NATS as endpoints for events. Each broker stops while buyers buy. After the
//! restart, the broker gets all events that it missed.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::app::TestApp;
use crate::nats_server::NatsServer;
use crate::rabbit::{Queue, Rabbit};
use crate::watch::Stopwatch;
use crate::webhooks::{buy, cancel};

const PATH: &str = "/v1/admin/webhook-endpoints";
/// The name of the exchange in RabbitMQ and of the stream in NATS.
const NAME: &str = "shop-events";
/// The longest wait until every event is delivered. It includes a start of the broker and the
/// pauses between attempts.
const TIMEOUT: Duration = Duration::from_secs(150);

enum BrokerServer {
    Rabbit(Rabbit),
    Nats(NatsServer),
}

impl BrokerServer {
    fn url(&self) -> String {
        match self {
            Self::Rabbit(rabbit) => rabbit.url(NAME),
            Self::Nats(nats) => nats.url(NAME),
        }
    }

    fn port(&self) -> u16 {
        match self {
            Self::Rabbit(rabbit) => rabbit.port(),
            Self::Nats(nats) => nats.port(),
        }
    }

    /// Stops the broker: RabbitMQ is shut down cleanly, and NATS is killed as by a power failure.
    fn stop(mut self) -> Self {
        match &mut self {
            Self::Rabbit(rabbit) => rabbit.stop(),
            Self::Nats(nats) => nats.kill(),
        }
        self
    }

    fn restart(mut self) -> Self {
        match &mut self {
            Self::Rabbit(rabbit) => rabbit.start_again(),
            Self::Nats(nats) => nats.start_again(),
        }
        self
    }
}

struct BrokerConsumer {
    queue: Option<Queue>,
    messages: Vec<Value>,
}

impl BrokerConsumer {
    async fn of(broker: &BrokerServer) -> Self {
        let queue = match broker {
            BrokerServer::Rabbit(rabbit) => Some(rabbit.queue(NAME, "#").await),
            BrokerServer::Nats(nats) => {
                nats.make_stream(NAME).await;
                None
            }
        };
        Self { queue, messages: Vec::new() }
    }

    async fn reconnect(&mut self, broker: &BrokerServer) {
        if let (BrokerServer::Rabbit(rabbit), Some(queue)) = (broker, &self.queue) {
            self.queue = Some(queue.again(rabbit).await);
        }
    }

    async fn listen(&mut self, broker: &BrokerServer) {
        match (broker, &self.queue) {
            (BrokerServer::Nats(nats), _) => {
                let kept = nats.kept(NAME).await;
                self.messages = kept
                    .iter()
                    .map(|kept| serde_json::from_slice(&kept.body).expect("JSON"))
                    .collect();
                for (kept, event) in kept.iter().zip(&self.messages) {
                    assert_eq!(
                        kept.subject,
                        format!("{NAME}.{}", event["type"].as_str().expect("a type"))
                    );
                }
            }
            (BrokerServer::Rabbit(_), Some(queue)) => {
                while let Some(delivery) = queue.take().await {
                    let event: Value = serde_json::from_slice(&delivery.data).expect("JSON");
                    assert_eq!(event["type"], delivery.routing_key.as_str());
                    self.messages.push(event);
                }
            }
            (BrokerServer::Rabbit(_), None) => unreachable!("the consumer has a queue"),
        }
    }

    /// Returns the types of each order's events, in the sequence in which they first arrived.
    fn received(&self) -> BTreeMap<String, Vec<String>> {
        let mut seen = HashSet::new();
        let mut received: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for event in self.messages.iter().filter(|event| seen.insert(event["id"].to_string())) {
            let text = |name: &str| event[name].as_str().expect("a text").to_owned();
            if text("subject").starts_with("ord_") {
                received.entry(text("subject")).or_default().push(text("type"));
            }
        }
        received
    }

    async fn until(&mut self, broker: &BrokerServer, wanted: &BTreeMap<String, Vec<String>>) {
        let since = Stopwatch::start();
        loop {
            self.listen(broker).await;
            let received = self.received();
            if received == *wanted {
                return;
            }
            assert!(since.elapsed() < TIMEOUT, "{received:?} is not {wanted:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn start(port: u16) -> TestApp {
    let host = format!("127.0.0.1:{port}");
    TestApp::with(&[
        ("DOORBUSTER_BROKERS__HOSTS", host.as_str()),
        ("DOORBUSTER_WEBHOOKS__TIMEOUT_SECS", "5"),
    ])
    .await
}

/// Buys one unit for each of these buyers, and cancels every second order. Adds the events of these
/// orders to `wanted`.
async fn trade(
    app: &TestApp,
    buyers: std::ops::Range<usize>,
    wanted: &mut BTreeMap<String, Vec<String>>,
) {
    for n in buyers {
        let order = buy(app, n).await;
        let mut happened = vec!["order.reserved".to_owned()];
        if n % 2 == 0 {
            cancel(app, n, &order).await;
            happened.push("order.cancelled".to_owned());
        }
        wanted.insert(order, happened);
    }
}

async fn a_broker_receives_every_event(broker: BrokerServer, password: &str) {
    let mut ear = BrokerConsumer::of(&broker).await;
    let app = start(broker.port()).await;
    app.open_sale("spring", 999.into(), 1).await;
    let reply = app.admin("POST", PATH, Some(json!({"url": broker.url(), "types": ["*"]}))).await;
    assert_eq!(reply.verdict(), "201", "{}", reply.text());
    let made = reply.json();
    assert_eq!((&made["kind"], &made["secret"]), (&json!("broker"), &json!(null)));
    let one = format!("{PATH}/{}", made["id"].as_str().expect("an id"));
    let mut wanted = BTreeMap::new();
    trade(&app, 0..4, &mut wanted).await;
    ear.until(&broker, &wanted).await;
    let event = ear
        .messages
        .iter()
        .find(|event| event["type"] == "order.reserved")
        .expect("the broker received the events")
        .clone();
    let order = &event["data"]["order"];
    assert_eq!((&event["specversion"], &event["source"]), (&json!("1.0"), &json!("doorbuster")));
    assert_eq!(event["datacontenttype"], "application/json");
    assert_eq!((&event["subject"], &event["partitionkey"]), (&order["id"], &order["id"]));
    assert_eq!((&event["time"], &order["state"]), (&order["reserved_at"], &json!("reserved")));
    assert!(event["id"].as_str().is_some_and(|id| id.starts_with("evt_")), "{event}");

    let ending = std::thread::spawn(move || broker.stop());
    let timer = Stopwatch::start();
    trade(&app, 4..34, &mut wanted).await;
    assert!(
        timer.elapsed() < Duration::from_secs(20),
        "buyers must not wait for the stopped broker: {:?}",
        timer.elapsed()
    );
    let broker = ending.join().expect("the task did not panic");
    trade(&app, 34..44, &mut wanted).await;
    let endpoint = app.until(&one, "an event waits", |one| one["waiting"].as_u64() > Some(0)).await;
    assert_eq!(endpoint["dead"], 0);
    for path in [PATH.to_owned(), one.clone(), format!("{one}/deliveries")] {
        let shown = app.admin("GET", &path, None).await.text();
        assert!(!shown.contains(password), "{path}: {shown}");
    }
    let broker = broker.restart();
    ear.reconnect(&broker).await;
    trade(&app, 44..48, &mut wanted).await;
    ear.until(&broker, &wanted).await;
    app.until(&one, "every event is delivered", |one| {
        one["waiting"] == 0 && one["failing"] == 0 && one["dead"] == 0
    })
    .await;
    let metrics = app.get("/metrics").await.text();
    assert!(
        !metrics.contains(r#"doorbuster_deliveries_total{kind="broker",outcome="delivered"} 0"#),
        "{metrics}"
    );
    assert!(
        metrics.contains(r#"doorbuster_deliveries_total{kind="broker",outcome="dead"} 0"#),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rabbitmq_that_stops_in_mid_stream_receives_every_event_in_order() {
    a_broker_receives_every_event(BrokerServer::Rabbit(Rabbit::start()), ":guest@").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nats_that_is_killed_in_mid_stream_receives_every_event_in_order() {
    a_broker_receives_every_event(BrokerServer::Nats(NatsServer::start()), "secret@").await;
}

#[tokio::test]
async fn an_invalid_broker_address_is_refused_with_the_reason() {
    let app = start(5999).await;
    let refused = async |method: &str, path: &str, url: &str, word: &str| {
        let mut body = json!({"url": url});
        if method == "POST" {
            body["types"] = json!(["*"]);
        }
        let reply = app.admin(method, path, Some(body)).await;
        assert_eq!(reply.verdict(), "422 invalid_request", "{url}");
        assert_eq!(reply.json()["errors"][0]["pointer"], "/url", "{url}");
        assert!(
            reply.text().contains(word) && !reply.text().contains("s3cr3t"),
            "{}",
            reply.text()
        );
    };
    for elsewhere in [
        "amqp://a:s3cr3t@127.0.0.1/",
        "nats://10.0.0.1:5999",
        "amqps://a:s3cr3t@rabbit.example:5999",
    ] {
        refused("POST", PATH, elsewhere, "brokers.hosts").await;
    }
    refused("POST", PATH, "amqp://127.0.0.1:5999/", "password").await;
    refused("POST", PATH, "nats://127.0.0.1:5999/?exchange=s3cr3t", "prefix=NAME").await;
    let add = async |url: &str| {
        app.admin("POST", PATH, Some(json!({"url": url, "types": ["order.paid"]}))).await.json()
    };
    let broker = add("amqp://a:s3cr3t@127.0.0.1:5999/v").await;
    assert_eq!(broker["url"], "amqp://a:***@127.0.0.1:5999/v");
    let path = format!("{PATH}/{}", broker["id"].as_str().expect("an id"));
    refused("PATCH", &path, "amqp://a:***@127.0.0.1:5999/v", "write the password").await;
    refused("PATCH", &path, "https://8.8.8.8/", "cannot change").await;
    let changed = app
        .admin("PATCH", &path, Some(json!({"url": "nats://s3cr3t@127.0.0.1:5999", "types": ["*"]})))
        .await;
    assert_eq!(
        (changed.verdict().as_str(), &changed.json()["url"]),
        ("200", &json!("nats://***@127.0.0.1:5999"))
    );
    let rotated = app.admin("POST", &format!("{path}/rotate-secret"), None).await;
    assert_eq!(
        (rotated.verdict().as_str(), &rotated.json()["state"]),
        ("409 wrong_state", &json!("broker"))
    );
    let webhook = add("https://8.8.8.8/hook").await;
    assert_eq!(webhook["kind"], "webhook");
    let path = format!("{PATH}/{}", webhook["id"].as_str().expect("an id"));
    refused("PATCH", &path, "nats://127.0.0.1:5999", "cannot change").await;
}

#[tokio::test]
async fn no_connection_is_made_to_a_host_that_is_no_longer_allowed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let app = start(port).await;
    app.open_sale("spring", 9.into(), 1).await;
    let url = format!("amqp://a:b@127.0.0.1:{port}/");
    let made = app
        .admin("POST", PATH, Some(json!({"url": url, "types": ["*"], "enabled": false})))
        .await
        .json();
    let dir = app.stop().await;
    let app = TestApp::try_start(dir, &[], false)
        .await
        .expect("the server starts again and allows fewer hosts");
    let one = format!("{PATH}/{}", made["id"].as_str().expect("an id"));
    app.admin("PATCH", &one, Some(json!({"enabled": true}))).await;
    buy(&app, 1).await;
    let page = app
        .until(&format!("{one}/deliveries"), "the delivery failed", |page| {
            page["deliveries"][0]["error"].is_string()
        })
        .await;
    let delivery = &page["deliveries"][0];
    assert_eq!(delivery["error"], "the setting brokers.hosts does not contain the broker's host");
    assert_eq!(delivery["tries"], 0, "another node may allow the host, so no try must count");
    listener.set_nonblocking(true).expect("the test's socket works");
    assert!(
        listener.accept().is_err(),
        "the server must not connect to a host that is not allowed"
    );
}
