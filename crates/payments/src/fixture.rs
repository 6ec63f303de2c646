//! Fixtures for the tests of payments.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorbuster_base::clock::Clock;
use doorbuster_config::{Roles, StripeSettings};
use doorbuster_core::money::{Checkout, CheckoutOutcome};
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{BuyerId, IdKey, NodeId, Order, RequestKey, Stock, Units};
use doorbuster_engine::purchase::{Purchase, PurchaseOutcome};
use doorbuster_engine::start::{self, DatabaseOptions, EngineOptions, EngineParts, StockLocation};
use doorbuster_store::conformance::{new_item, new_sale};
use doorbuster_store::{NewItem, NewSale};
use doorbuster_testkit::TempDir;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::provider::Provider;
use super::stripe::{self, Stripe};
use super::{PaymentMetrics, Payments};

pub(super) async fn engine(dir: &TempDir, clock: Clock) -> EngineParts {
    let engine = start::start(EngineOptions {
        pass_key: None,
        location: StockLocation::Directory(dir.path().to_owned()),
        roles: Roles::ALL,
        id_key: IdKey::new([3; 32]),
        clock,
        node: NodeId(1),
        bounds: doorbuster_core::slot::SlotBounds::default(),
        always_leads: false,
        allow_fsync_off: false,
        database: DatabaseOptions::default(),
        on_fatal: Arc::new(|reason| panic!("the store failed: {reason}")),
    });
    engine.await.expect("a fresh directory opens")
}

/// Starts an engine with an order that waits for its payment at Stripe.
pub(super) async fn engine_with_checkout(
    dir: &TempDir,
    clock: Clock,
) -> (EngineParts, Checkout, Order) {
    let engine = engine(dir, clock).await;
    let item = NewItem {
        price_minor: 10,
        currency: "CNY".into(),
        list_price_minor: None,
        hold_ms: 900_000,
        ..new_item("phone", Stock::Counted(1), 1)
    };
    let sale = NewSale { front_door: "{}".into(), ..new_sale("spring", vec![item]) };
    engine.sales.create_sale(sale).await.expect("writes").expect("the id is free");
    engine.sales.step_sale("spring", PhaseStep::Open).await.expect("writes");
    let sale = engine.node.catalogue().sale("spring").cloned().expect("created");
    let item = sale.items[0].clone();
    let (buyer, key) =
        (BuyerId::new("anna").expect("a buyer"), RequestKey::new("k").expect("a key"));
    let wait = Duration::from_secs(5);
    let request = engine.node.id_key().request_hash("anna", "k");
    let units = Units::ONE;
    let bought = engine
        .purchases
        .buy(&Purchase { buyer, key, request, sale, item, units, wait, door: None })
        .await;
    let PurchaseOutcome::Created(order) = bought else { panic!("{bought:?}") };
    let checkout = Checkout {
        order: order.id,
        provider: stripe::NAME.to_owned(),
        session: "cs_1".to_owned(),
        url: "/".to_owned(),
        expires_at: order.pay_by,
        open: true,
        at: engine.node.now(),
        asked_at: None,
    };
    let kept = engine.node.store().keep_checkout(checkout.clone()).await.expect("writes");
    assert_eq!(kept, CheckoutOutcome::Kept(checkout.clone()));
    (engine, checkout, order)
}

pub(super) fn stripe_payments(engine: &EngineParts, api_url: String) -> Payments {
    let secret_key = SecretString::from("sk_test_1");
    let settings =
        StripeSettings { api_url, secret_key, webhook_secrets: Vec::new(), queries_per_sec: 100 };
    Payments {
        applied: None,
        node: engine.node.clone(),
        orders: engine.orders.clone(),
        provider: Provider::Stripe(Stripe::new(&settings, "m1".into())),
        meter: PaymentMetrics::default(),
        controls: true,
        serves_api: true,
        page_origin: None,
        sandbox_page: false,
        public_url: None,
    }
}

/// The requests that the stand-in for Stripe has received, as text.
pub(super) type SeenRequests = Arc<Mutex<Vec<String>>>;

/// Starts a stand-in for Stripe that gives the same answer to every request. Returns its address
/// and the requests.
pub(super) async fn stand_in(body: &'static str) -> (String, SeenRequests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("the stand-in listens");
    let seen = SeenRequests::default();
    let requests = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let request = read_request(&mut stream).await;
            requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            let text = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n{body}",
                body.len()
            );
            drop(stream.write_all(text.as_bytes()).await);
        }
    });
    (format!("http://{address}"), seen)
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = String::new();
    loop {
        let mut part = [0; 4096];
        let length = stream.read(&mut part).await.unwrap_or(0);
        request.push_str(&String::from_utf8_lossy(&part[..length]));
        if length == 0 || is_whole(&request) {
            return request;
        }
    }
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.and_then(|length| length.parse::<usize>().ok()).is_none_or(|length| body.len() >= length)
}
