//! Tests the pauses between requests about a checkout, and when the server stops these requests.
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use doorbuster_core::money::CheckoutOutcome;
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{BuyerId, IdKey, NodeId, RequestKey, Spread, Stock, Units};
use doorbuster_store::{NewItem, NewSale};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::*;
use crate::clock::Clock;
use crate::config::{Roles, StripeSettings};
use crate::engine::{DatabaseOptions, Engine, EngineOptions, StockLocation};
use crate::payment::PaymentMetrics;
use crate::payment::provider::Provider;
use crate::payment::silence::AT_ONCE;
use crate::payment::stripe::{self, Stripe};
use crate::purchase::{Purchase, PurchaseOutcome};
use crate::temp_dir::TempDir;

#[test]
fn a_full_page_is_followed_by_the_next_once_requests_can_start() {
    assert!(reads_next_page(true, 0, true));
    assert!(!reads_next_page(true, 1, true), "this page is not finished");
    assert!(!reads_next_page(true, 0, false), "no request can start");
    assert!(!reads_next_page(false, 0, true), "there are no more checkouts");
    const { assert!(AT_ONCE < PAGE, "a full page still waits for requests") };
}

#[test]
fn a_checkout_without_an_answer_is_asked_about_less_and_less_often() {
    let day = 86_400_000;
    for (waited, again) in [
        (-1, ENDED_RETRY_MIN_MS),
        (480_000, 60_000),
        (960_000, 120_000),
        (day, day / 8),
        (29 * day, day / 4),
        (300 * day, day / 4),
    ] {
        assert_eq!(retry_after_ms(OrderState::Cancelled, waited), again, "{waited}");
        assert_eq!(
            retry_after_ms(OrderState::Reserved, waited),
            RETRY_MS,
            "units wait for this order"
        );
    }
    let (mut waited, mut questions) = (0, 0);
    while waited < GIVE_UP_AFTER_MS {
        (waited, questions) = (waited + retry_after_ms(OrderState::Paid, waited), questions + 1);
    }
    assert!((100..300).contains(&questions), "{questions}");
}

/// Starts an engine with an order that waits for its payment at a checkout of Stripe.
async fn engine_with_checkout(dir: &TempDir, clock: Clock) -> (Arc<Engine>, Checkout, Order) {
    let engine = Engine::start(EngineOptions {
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
    let engine = engine.await.expect("a fresh directory opens");
    let item = NewItem {
        name: "phone".into(),
        title: "Phone".into(),
        description: String::new(),
        image: None,
        price_minor: 10,
        currency: "CNY".into(),
        list_price_minor: None,
        limit: 1,
        hold_ms: 900_000,
        page: String::new(),
        stock: Stock::Counted(1),
        spread: Spread::default(),
    };
    let sale = NewSale {
        id: "spring".into(),
        title: "Spring".into(),
        starts_at: None,
        ends_at: None,
        front_door: "{}".into(),
        page: String::new(),
        items: vec![item],
    };
    engine.create_sale(sale).await.expect("writes").expect("the id is free");
    engine.step_sale("spring", PhaseStep::Open).await.expect("writes");
    let sale = engine.catalogue().sale("spring").cloned().expect("created");
    let item = sale.items[0].clone();
    let (buyer, key) =
        (BuyerId::new("anna").expect("a buyer"), RequestKey::new("k").expect("a key"));
    let wait = Duration::from_secs(5);
    let request = engine.id_key().request_hash("anna", "k");
    let units = Units::ONE;
    let bought =
        engine.buy(&Purchase { buyer, key, request, sale, item, units, wait, door: None }).await;
    let PurchaseOutcome::Created(order) = bought else { panic!("{bought:?}") };
    let checkout = Checkout {
        order: order.id,
        provider: stripe::NAME.to_owned(),
        session: "cs_1".to_owned(),
        url: "/".to_owned(),
        expires_at: order.pay_by,
        open: true,
        at: engine.now(),
        asked_at: None,
    };
    let kept = engine.store().keep_checkout(checkout.clone()).await.expect("writes");
    assert_eq!(kept, CheckoutOutcome::Kept(checkout.clone()));
    (engine, checkout, order)
}

#[tokio::test]
async fn the_lag_counts_waiting_units_and_not_ended_orders() {
    let dir = TempDir::new();
    let (engine, _, order) = engine_with_checkout(&dir, Clock::default()).await;
    let now = order.pay_by.plus(7_000);
    let ended = Order {
        state: OrderState::Cancelled,
        ended_at: Some(now.plus(-3_600_000)),
        ..order.clone()
    };
    assert_eq!(lag_ms([&ended].into_iter(), now), 0);
    assert_eq!(lag_ms([&ended, &order].into_iter(), now), 7_000);
    assert_eq!(
        lag_ms([&order].into_iter(), order.pay_by.plus(-1)),
        0,
        "the payment window has not ended"
    );
    engine.stop().await;
}

/// Starts a Stripe stand-in that reports every session as undecided, and returns its address.
async fn undecided() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("the stand-in listens");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            drop(stream.read(&mut head).await);
            let body = r#"{"status":"complete","payment_status":"unpaid"}"#;
            let length = body.len();
            let text = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: \
                 {length}\r\nconnection: close\r\n\r\n{body}"
            );
            drop(stream.write_all(text.as_bytes()).await);
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn the_server_stops_asking_about_an_ended_order_after_thirty_undecided_days() {
    let (dir, wall) = (TempDir::new(), Arc::new(AtomicI64::new(1_000_000_000_000)));
    let read = wall.clone();
    let clock = Clock::with_wall(Arc::new(move || read.load(Ordering::Relaxed)));
    let (engine, checkout, order) = engine_with_checkout(&dir, clock).await;
    let payments = |api_url: String| {
        let secret_key = SecretString::from("sk_test_1");
        let stripe = Stripe::new(
            &StripeSettings { api_url, secret_key, webhook_secrets: Vec::new() },
            "m1".into(),
        );
        Payments {
            applied: None,
            engine: engine.clone(),
            provider: Provider::Stripe(stripe),
            meter: PaymentMetrics::default(),
            controls: true,
            page_origin: None,
            sandbox_page: false,
            public_url: None,
            refunds: Notify::new(),
        }
    };
    let (unavailable, undecided) =
        (payments("http://127.0.0.1:1".to_owned()), payments(undecided().await));
    let ended = |ago: i64| {
        let ended_at = Some(engine.now().plus(-ago));
        Order { state: OrderState::Cancelled, ended_at, ..order.clone() }
    };
    let stays = async |payments: &Payments, checkout: &Checkout, ago: i64| {
        payments.check_checkout(checkout.clone(), ended(ago)).await.expect("writes");
        engine
            .store()
            .checkout(order.id)
            .await
            .expect("reads")
            .expect("the checkout is stored")
            .open
    };
    assert!(
        stays(&unavailable, &checkout, 2 * GIVE_UP_AFTER_MS).await,
        "the provider may have taken money"
    );
    let foreign = Checkout { provider: "another".to_owned(), ..checkout.clone() };
    assert!(
        stays(&undecided, &foreign, 2 * GIVE_UP_AFTER_MS).await,
        "the checkout's provider was never asked"
    );
    assert!(
        stays(&undecided, &checkout, GIVE_UP_AFTER_MS - 60_000).await,
        "a bank may still decide after that time"
    );
    wall.fetch_add(3_600_000, Ordering::Relaxed);
    engine.clock().discipline();
    assert!(stays(&undecided, &checkout, GIVE_UP_AFTER_MS).await, "the clock was stepped");
    wall.fetch_sub(3_600_000, Ordering::Relaxed);
    engine.clock().discipline();
    assert!(!stays(&undecided, &checkout, GIVE_UP_AFTER_MS).await);
    engine.stop().await;
}
