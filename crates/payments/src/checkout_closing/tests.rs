//! Tests the pauses between requests about a checkout, and when the server stops these requests.
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use doorbuster_base::clock::Clock;
use doorbuster_core::TicketParts;
use doorbuster_engine::waiters::TicketInfo;
use doorbuster_testkit::TempDir;

use super::*;
use crate::CheckoutResult;
use crate::fixture::{engine_with_checkout, stand_in, stripe_payments};
use crate::silence::AT_ONCE;

/// A session of Stripe whose payment is pending.
const UNDECIDED: &str = r#"{"status":"complete","payment_status":"unpaid"}"#;
/// A session of Stripe whose payment was captured.
const PAID: &str = r#"{"status":"complete","payment_status":"paid","payment_intent":"pi_1",
    "client_reference_id":"ord_1","amount_total":10,"currency":"cny"}"#;

#[test]
fn a_full_page_is_followed_by_the_next_once_requests_can_start() {
    assert!(reads_next_page(true, 0, true));
    assert!(!reads_next_page(true, 1, true), "the next page must wait for this page's requests");
    assert!(!reads_next_page(true, 0, false), "the next page must wait until a request can start");
    assert!(
        !reads_next_page(false, 0, true),
        "the last page must not be followed by an immediate read"
    );
    const { assert!(AT_ONCE < PAGE_SIZE, "a full page's requests must not all start together") };
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
            "the pause must stay short while an order holds units"
        );
    }
    let (mut waited, mut questions) = (0, 0);
    while waited < GIVE_UP_AFTER_MS {
        (waited, questions) = (waited + retry_after_ms(OrderState::Paid, waited), questions + 1);
    }
    assert!((100..300).contains(&questions), "{questions}");
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
        "an order's units must not count as waiting before its payment window has ended"
    );
    engine.stock.stop_node().await;
}

#[tokio::test]
async fn the_server_stops_asking_about_an_ended_order_after_thirty_undecided_days() {
    let (dir, wall) = (TempDir::new(), Arc::new(AtomicI64::new(1_000_000_000_000)));
    let read = wall.clone();
    let clock = Clock::with_wall(Arc::new(move || read.load(Ordering::Relaxed)));
    let (engine, checkout, order) = engine_with_checkout(&dir, clock).await;
    let payments = |api_url: String| stripe_payments(&engine, api_url);
    let (unavailable, undecided) =
        (payments("http://127.0.0.1:1".to_owned()), payments(stand_in(UNDECIDED).await.0));
    let ended = |ago: i64| {
        let ended_at = Some(engine.node.now().plus(-ago));
        Order { state: OrderState::Cancelled, ended_at, ..order.clone() }
    };
    let stays = async |payments: &Payments, checkout: &Checkout, ago: i64| {
        payments.close_checkout(checkout.clone(), ended(ago)).await.expect("writes");
        engine
            .node
            .store()
            .checkout(order.id)
            .await
            .expect("reads")
            .expect("the checkout is stored")
            .open
    };
    assert!(
        stays(&unavailable, &checkout, 2 * GIVE_UP_AFTER_MS).await,
        "the provider gave no answer, so the checkout must stay open"
    );
    let foreign = Checkout { provider: "another".to_owned(), ..checkout.clone() };
    assert!(
        stays(&undecided, &foreign, 2 * GIVE_UP_AFTER_MS).await,
        "the checkout has another provider, so it must stay open"
    );
    assert!(
        stays(&undecided, &checkout, GIVE_UP_AFTER_MS - 60_000).await,
        "the checkout must stay open while a bank may still decide"
    );
    wall.fetch_add(3_600_000, Ordering::Relaxed);
    engine.node.clock().adjust_to_wall();
    assert!(
        stays(&undecided, &checkout, GIVE_UP_AFTER_MS).await,
        "the checkout must stay open after a jump of the clock"
    );
    wall.fetch_sub(3_600_000, Ordering::Relaxed);
    engine.node.clock().adjust_to_wall();
    assert!(!stays(&undecided, &checkout, GIVE_UP_AFTER_MS).await);
    engine.stock.stop_node().await;
}

#[tokio::test]
async fn a_new_checkout_ends_late_enough_for_stripe_after_a_step_of_the_clock() {
    const OPENED: &str = r#"{"id":"cs_2","url":"https://stripe.example/cs_2"}"#;
    let (dir, wall) = (TempDir::new(), Arc::new(AtomicI64::new(1_000_000_000_000)));
    let read = wall.clone();
    let clock = Clock::with_wall(Arc::new(move || read.load(Ordering::Relaxed)));
    let (engine, checkout, order) = engine_with_checkout(&dir, clock).await;
    let store = engine.node.store();
    store.close_checkout(order.id, checkout.session).await.expect("writes");
    let real_now = 3_600_000 + wall.fetch_add(3_600_000, Ordering::Relaxed);
    let (address, seen) = stand_in(OPENED).await;
    let payments = stripe_payments(&engine, address);
    let opened = payments.open(order.id, &order.buyer, "http://shop", async |_| Ok(())).await;
    let opened = opened.expect("the store is available");
    assert!(matches!(&opened, CheckoutResult::Open(new) if new.session == "cs_2"), "{opened:?}");
    let request = seen.lock().expect("no panic").concat();
    let end = request.split('&').find_map(|part| part.strip_prefix("expires_at="));
    let end_secs: i64 = end.and_then(|secs| secs.parse().ok()).expect("the request has an end");
    assert!(end_secs * 1_000 >= real_now + 1_800_000, "Stripe requires half an hour: {end_secs}");
    let kept = store.checkout(order.id).await.expect("reads").expect("the checkout is stored");
    assert!(
        kept.expires_at < engine.node.now().plus(3_600_000),
        "the stored end must be in the store's time"
    );
    engine.stock.stop_node().await;
}

#[tokio::test]
async fn a_checkout_stays_open_until_its_payment_is_applied() {
    let dir = TempDir::new();
    let (engine, checkout, order) = engine_with_checkout(&dir, Clock::default()).await;
    let payments = stripe_payments(&engine, stand_in(PAID).await.0);
    let is_open = async || {
        let checkout = engine.node.store().checkout(order.id).await.expect("reads");
        checkout.expect("the order keeps its checkout").open
    };
    // The payment comes too early, because the order's ticket has no verdict yet.
    let TicketParts { token, units, decide_by, .. } = order.id.parts().expect("a valid id");
    let info = TicketInfo { item: order.item, buyer: order.buyer.clone(), units, decide_by };
    let waiting = engine.node.waiters().register(token, info);
    let early = payments.close_checkout(checkout.clone(), order.clone()).await;
    assert!(matches!(early, Err(EngineError::TooEarly)), "{early:?}");
    assert!(is_open().await);
    drop(waiting);
    payments.close_checkout(checkout, order.clone()).await.expect("the payment is applied");
    assert!(!is_open().await);
    let paid =
        engine.node.store().order(order.id).await.expect("reads").expect("the order is stored");
    assert_eq!(paid.state, OrderState::Paid);
    engine.stock.stop_node().await;
}

#[tokio::test]
async fn running_requests_make_progress_while_another_node_leads() {
    let dir = TempDir::new();
    let (engine, checkout, order) = engine_with_checkout(&dir, Clock::default()).await;
    let (address, seen) = stand_in(r#"{"status":"expired"}"#).await;
    let payments = stripe_payments(&engine, address);
    let mut queries = CheckoutQueries::new(&payments);
    queries.start_requests(&mut vec![(checkout, order.clone())]);
    let closed = async {
        let is_open = async || {
            let checkout = engine.node.store().checkout(order.id).await.expect("reads");
            checkout.expect("the order keeps its checkout").open
        };
        while is_open().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Turn::First
    };
    let turn = tokio::time::timeout(Duration::from_secs(30), queries.drive_until(closed)).await;
    assert_eq!(turn, Ok(Turn::First), "the running request must close the checkout");
    assert!(!seen.lock().expect("no panic").is_empty());
    engine.stock.stop_node().await;
}
