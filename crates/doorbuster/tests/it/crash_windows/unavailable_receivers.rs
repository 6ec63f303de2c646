//! Tests events for unavailable receivers: a stopped broker, a broker that does not answer, and a
//! shop that never answers. Buyers wait no longer than at a server without receivers. When a
//! receiver is available again, it gets all events. The events of each order arrive in sequence.
//!
//! Four servers sell at the same time, so other load on the machine affects all of them in the same
//! way.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use super::buyer_probe::TIMES_MAX;
use super::client::{HttpConnection, PurchaseSpec};
use super::fixture::ServerFixture;
use crate::failpoints::receiver::{Event, WebhookReceiver, first};
use crate::nats_stream::NatsStream;
use crate::proxy::Proxy;
use crate::watch::Stopwatch;

/// The number of purchases at each server in each measurement, and the time between two purchases.
const PURCHASES: usize = 600;
const PACE: Duration = Duration::from_micros(6_667);
/// A server passes if 99 % of its answers take at most this time.
const P99_ALWAYS_ALLOWED: Duration = Duration::from_millis(50);
/// A server also passes if its 99th percentile is at most this many times the 99th percentile of
/// the server without receivers.
const P99_RATIO_MAX: u32 = 3;
/// The number of cancelled orders at each server. A cancelled order has two events, so the test can
/// check that they arrive in sequence.
const CANCELLED: usize = 60;
/// Longest wait for all deliveries, including the pauses between attempts.
const TIMEOUT: Duration = Duration::from_secs(120);
const ENDPOINTS: &str = "/v1/admin/webhook-endpoints";

enum EndpointKind {
    Nobody,
    /// A stopped broker: no server listens at its port.
    Down(NatsStream),
    /// A broker that accepts connections and never answers.
    Silent(NatsStream, Proxy),
    /// A shop that accepts messages and never answers.
    Hanging(WebhookReceiver, Proxy),
}

impl EndpointKind {
    async fn down() -> Self {
        let mut stream = NatsStream::open().await;
        stream.kill();
        Self::Down(stream)
    }

    async fn silent() -> Self {
        let stream = NatsStream::open().await;
        let proxy = Proxy::to(stream.port()).await;
        proxy.hold();
        Self::Silent(stream, proxy)
    }

    async fn hanging() -> Self {
        let shop = WebhookReceiver::open().await;
        let proxy = Proxy::to(shop.port()).await;
        proxy.hold();
        Self::Hanging(shop, proxy)
    }

    fn url(&self) -> Option<String> {
        let behind = |url: String, port: u16, proxy: &Proxy| {
            Some(url.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{}", proxy.port)))
        };
        match self {
            Self::Nobody => None,
            Self::Down(stream) => Some(stream.url()),
            Self::Silent(stream, proxy) => behind(stream.url(), stream.port(), proxy),
            Self::Hanging(shop, proxy) => behind(shop.url(), shop.port(), proxy),
        }
    }

    fn come_back(&mut self) {
        match self {
            Self::Nobody => {}
            Self::Down(stream) => stream.start_again(),
            Self::Silent(_, proxy) | Self::Hanging(_, proxy) => proxy.cut(),
        }
    }

    /// Returns the events that the receiver got. A repeated event is in the list once.
    async fn received(&self) -> Vec<Event> {
        match self {
            Self::Nobody => Vec::new(),
            Self::Down(stream) | Self::Silent(stream, _) => stream.received().await.first,
            Self::Hanging(shop, _) => first(shop.received()),
        }
    }
}

struct EndpointCase {
    name: &'static str,
    fixture: ServerFixture,
    sink: EndpointKind,
    endpoint: Option<String>,
    orders: Vec<String>,
}

/// The times from the buyers' purchases to their answers.
#[derive(Clone, Copy, Debug)]
struct Served {
    median: Duration,
    p99: Duration,
    slowest: Duration,
}

impl EndpointCase {
    async fn open(name: &'static str, sink: EndpointKind) -> Self {
        // The timeout of a delivery is short, so several deliveries fail while buyers buy.
        let settings = [
            ("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true"),
            ("DOORBUSTER_WEBHOOKS__TIMEOUT_SECS", "1"),
        ];
        let fixture = ServerFixture::with(&settings);
        fixture.open_sale("spring", &[("phone", 1_000_000, 1, 900)]).await;
        let mut endpoint = None;
        if let Some(url) = sink.url() {
            let made =
                fixture.admin("POST", ENDPOINTS, Some(&json!({"url": url, "types": ["*"]}))).await;
            assert_eq!(made.status, 201, "{made}");
            endpoint = Some(format!("{ENDPOINTS}/{}", made.id()));
        }
        Self { name, fixture, sink, endpoint, orders: Vec::new() }
    }

    /// Cancels some orders, waits until a delivery has failed, and then makes the receiver
    /// available.
    async fn start_receiver(&mut self) {
        for order in &self.orders[..CANCELLED] {
            let cancelled =
                self.fixture.admin("POST", &format!("/v1/admin/orders/{order}/cancel"), None).await;
            assert_eq!(cancelled.status, 200, "{cancelled}");
        }
        if let Some(endpoint) = &self.endpoint {
            let has_failed = async || {
                let one = self.fixture.get_ok(endpoint).await;
                (one["waiting"].as_u64() > Some(0) && one["failing"].as_u64() > Some(0))
                    .then_some(())
            };
            self.fixture.until("a delivery failed", TIMEOUT, has_failed).await;
        }
        self.sink.come_back();
    }

    /// Checks that all events and no others were delivered, and that the events of each order
    /// arrived in sequence.
    async fn check_all_delivered(&self) {
        let Some(endpoint) = &self.endpoint else { return };
        let is_level = async || {
            let one = self.fixture.get_ok(endpoint).await;
            assert_eq!(one["dead"], 0, "{}: {one}", self.name);
            (one["waiting"] == 0 && one["failing"] == 0).then_some(())
        };
        self.fixture
            .until(&format!("{}: all events are delivered", self.name), TIMEOUT, is_level)
            .await;
        let mut by_order: HashMap<String, Vec<String>> = HashMap::new();
        for Event { order, what, .. } in self.sink.received().await {
            by_order.entry(order.expect("an event of an order")).or_default().push(what);
        }
        for (number, order) in self.orders.iter().enumerate() {
            let happened =
                &["order.reserved", "order.cancelled"][..1 + usize::from(number < CANCELLED)];
            let received = by_order.remove(order).unwrap_or_default();
            assert_eq!(received, happened, "{}: {order}", self.name);
        }
        assert!(
            by_order.is_empty(),
            "{}: the receiver got events of unknown orders: {by_order:?}",
            self.name
        );
        self.fixture.audit(None).await;
    }
}

/// Buys at a steady pace that does not depend on the answers.
async fn buy(address: SocketAddr, time: usize) -> (Served, Vec<String>) {
    let spec =
        |number: usize| PurchaseSpec::new(&format!("b{time}-{number}"), "k", "spring", 1).bytes();
    let specs: Vec<Vec<u8>> = (0..PURCHASES).map(spec).collect();
    let mut every = tokio::time::interval(PACE);
    let mut asking = JoinSet::new();
    for spec in specs {
        every.tick().await;
        asking.spawn(async move {
            let timer = Stopwatch::start();
            let mut connection =
                HttpConnection::connect(address).await.expect("the server listens");
            let reply = connection.ask(&spec).await.expect("an answer");
            let waited = timer.elapsed();
            assert_eq!(reply.status, 201, "{reply}");
            (waited, reply.id())
        });
    }
    let (mut waits, orders): (Vec<Duration>, Vec<String>) =
        asking.join_all().await.into_iter().unzip();
    waits.sort_unstable();
    let at = |percent: usize| waits[PURCHASES * percent / 100];
    (Served { median: at(50), p99: at(99), slowest: waits[PURCHASES - 1] }, orders)
}

async fn buy_everywhere(cases: &mut [EndpointCase], time: usize) -> Vec<Served> {
    let buying: Vec<_> = cases
        .iter()
        .map(|test_server| tokio::spawn(buy(test_server.fixture.address, time)))
        .collect();
    let mut all = Vec::new();
    for (test_server, buying) in cases.iter_mut().zip(buying) {
        let (served, orders) = buying.await.expect("no panic");
        let Served { median, p99, slowest } = served;
        println!("{}: median {median:?}, p99 {p99:?}, slowest {slowest:?}", test_server.name);
        test_server.orders.extend(orders);
        all.push(served);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unavailable_receivers_delay_no_buyer_and_get_every_event_after_their_return() {
    let mut cases = [
        EndpointCase::open("nobody", EndpointKind::Nobody).await,
        EndpointCase::open("a broker that is down", EndpointKind::down().await).await,
        EndpointCase::open("a broker that says nothing", EndpointKind::silent().await).await,
        EndpointCase::open("a shop that never answers", EndpointKind::hanging().await).await,
    ];
    // Measures again if a server is too slow. A delay by other load on the machine ends after some
    // time; a delay by an unavailable receiver would stay.
    for time in 1.. {
        let served = buy_everywhere(&mut cases, time).await;
        let most = P99_ALWAYS_ALLOWED.max(served[0].p99 * P99_RATIO_MAX);
        if served.iter().all(|one| one.p99 <= most) {
            break;
        }
        assert!(time < TIMES_MAX, "p99 must stay below {most:?}: {served:?}");
    }
    for test_server in &mut cases {
        test_server.start_receiver().await;
    }
    for test_server in &cases {
        test_server.check_all_delivered().await;
    }
}
