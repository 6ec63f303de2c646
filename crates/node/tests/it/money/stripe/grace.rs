//! Tests how long an expired order waits for the provider's answer.

use std::time::{Duration, Instant};

use doorbuster_core::limits::{PROVIDER_CHECK_WITHIN_MS, PROVIDER_GRACE_MS};

use super::*;
use crate::postgres::Cluster;
use crate::several_servers::address;

/// The number of orders. The server cannot ask Stripe about so many checkouts at the same time.
const MANY: usize = 300;
/// The server asks a silent provider about only a few checkouts, and postpones the others. After
/// this time of silence, the grace period of the postponed checkouts begins.
const BELIEVED_AFTER: Duration = Duration::from_secs(10);

/// A server that uses the Stripe stand-in and its own PostgreSQL database. The test changes times
/// in the database instead of waiting.
struct StripeShop {
    app: TestApp,
    stripe: StripeStandIn,
    home: Cluster,
    database: String,
}

impl StripeShop {
    async fn open(stock: usize, hold_secs: u32) -> Self {
        Self::open_with(stock, hold_secs, &[]).await
    }

    async fn open_with(stock: usize, hold_secs: u32, more: &[(&str, &str)]) -> Self {
        let (home, stripe) = (Cluster::start(&[]), StripeStandIn::start().await);
        let database = home.database();
        let url = address(&home, &database);
        let shape = [("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", &url)];
        let app = start_with(&stripe, &[&shape[..], more].concat()).await;
        open_sale(&app, stock.into(), 2, hold_secs).await;
        Self { app, stripe, home, database }
    }

    /// Sells a unit to each of `orders` buyers, and opens a checkout for each order.
    async fn sell(&self, orders: usize) {
        for n in 0..orders {
            let buyer = format!("buyer-{n}");
            let id = order(&self.app, &buyer, "k", 1).await;
            let opened = self.app.buyer(&buyer, "POST", &format!("/v1/orders/{id}/checkout")).await;
            assert_eq!(opened.verdict(), "200", "{}", opened.text());
        }
    }

    /// Moves the times of orders and checkouts `ms` milliseconds into the past. Like every change
    /// of an order, first locks the grants.
    fn pass(&self, ms: i64) {
        let sql = format!(
            "SELECT id FROM slot_grant ORDER BY id FOR NO KEY UPDATE;
             UPDATE checkout SET asked_at = asked_at - {ms}, due = due - {ms};
             UPDATE orders SET pay_by = pay_by - {ms}"
        );
        self.home.psql(&self.database, &sql).expect("a change");
    }

    fn checkouts(&self, condition: &str) -> usize {
        let sql = format!("SELECT count(*) FROM checkout WHERE {condition}");
        self.home.psql(&self.database, &sql).expect("a query").trim().parse().expect("a number")
    }

    /// Returns how many requests to close a session were sent to Stripe.
    fn questions(&self) -> usize {
        self.stripe.all().iter().filter(|sent| sent.path.ends_with("/expire")).count()
    }

    async fn asked_again(&self, session: &str, times: usize) {
        let path = format!("/v1/checkout/sessions/{session}/expire");
        let count = || self.stripe.sent("POST", &path).len();
        let before = count();
        until("Stripe gets the request", async || (count() >= before + times).then_some(())).await;
    }

    async fn state(&self, order: &str) -> Value {
        read(&self.app, order).await["state"].clone()
    }

    async fn held(&self) -> Value {
        self.app.admin("GET", "/v1/admin/sales/spring/stock", None).await.json()["items"][0]["held"]
            .clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_down_delays_the_return_for_a_bounded_time() {
    let shop = StripeShop::open(2, BRIEF_SECS).await;
    let id = order(&shop.app, "anna", "k", 2).await;
    checkout(&shop.app, &id).await;
    shop.stripe.fail(true);
    shop.asked_again("cs_test_1", 2).await;
    assert_eq!(
        shop.state(&id).await,
        "reserved",
        "the order must not expire while its payment is unknown"
    );
    // After half of the grace period, the order must still be reserved. After the whole grace
    // period, it must expire.
    shop.pass(PROVIDER_GRACE_MS / 2);
    shop.asked_again("cs_test_1", 2).await;
    assert_eq!(shop.state(&id).await, "reserved");
    shop.pass(PROVIDER_GRACE_MS / 2);
    until("the order's units return", async || (shop.state(&id).await == "expired").then_some(()))
        .await;
    assert_ledger_adds_up(&shop.app).await;
    shop.app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_whose_provider_cannot_be_queried_waits_for_a_bounded_time() {
    let shop = StripeShop::open(2, BRIEF_SECS).await;
    shop.stripe.busy(true);
    let first = order(&shop.app, "anna", "k1", 1).await;
    checkout(&shop.app, &first).await;
    shop.asked_again("cs_test_1", 2).await;
    shop.pass(2 * PROVIDER_GRACE_MS);
    shop.asked_again("cs_test_1", 2).await;
    assert_eq!(
        shop.state(&first).await,
        "reserved",
        "the order must not expire before Stripe answers"
    );
    assert_eq!(
        shop.checkouts("asked_at IS NOT NULL"),
        0,
        "an answer about a rate limit must not begin the grace period"
    );
    // The message about the payment is lost, but the last status query finds the payment.
    shop.stripe.set_session("cs_test_1", paid(&shop.stripe, "cs_test_1", &first, 10));
    shop.stripe.busy(false);
    until("the order is paid", async || (shop.state(&first).await == "paid").then_some(())).await;

    shop.stripe.busy(true);
    let second = order(&shop.app, "anna", "k2", 1).await;
    checkout(&shop.app, &second).await;
    shop.asked_again("cs_test_2", 2).await;
    shop.pass(PROVIDER_CHECK_WITHIN_MS - PROVIDER_GRACE_MS);
    shop.asked_again("cs_test_2", 1).await;
    assert_eq!(shop.state(&second).await, "reserved");
    shop.pass(PROVIDER_GRACE_MS);
    until("the order's unit returns", async || {
        (shop.state(&second).await == "expired").then_some(())
    })
    .await;
    assert_ledger_adds_up(&shop.app).await;
    shop.app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_units_of_many_orders_return_in_time_though_the_provider_is_silent() {
    let shop = StripeShop::open(MANY, 900).await;
    shop.sell(MANY).await;
    shop.stripe.fail(true);
    shop.pass(900_000);
    // At first, the grace period begins only for the checkouts that the server asks about. For the
    // postponed checkouts, it begins after Stripe was silent for `BELIEVED_AFTER`.
    let put_off = "asked_at IS NOT NULL OR due > extract(epoch FROM clock_timestamp()) * 1000";
    until("all checkouts are postponed", async || (shop.checkouts(put_off) == MANY).then_some(()))
        .await;
    assert_ne!(
        shop.checkouts("asked_at IS NULL"),
        0,
        "after a short silence, some grace periods must not have begun yet"
    );
    tokio::time::sleep(BELIEVED_AFTER).await;
    shop.home
        .psql(&shop.database, "UPDATE checkout SET due = 0 WHERE asked_at IS NULL")
        .expect("a change");
    until("the grace period of all orders begins", async || {
        (shop.checkouts("asked_at IS NULL") == 0).then_some(())
    })
    .await;
    let questions = shop.questions();
    assert!(
        (1..MANY).contains(&questions),
        "the server sent {questions} requests about {MANY} orders to a silent provider"
    );
    assert_eq!(shop.held().await, json!(MANY));
    shop.pass(PROVIDER_GRACE_MS);
    until("all units return", async || (shop.held().await == json!(0)).then_some(())).await;
    assert_ledger_adds_up(&shop.app).await;
    shop.app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stripe_gets_the_queries_about_many_checkouts_at_the_configured_rate() {
    let (orders, burst, per_sec) = (72, 32, 10);
    let rate = [("DOORBUSTER_PAYMENT__STRIPE__QUERIES_PER_SEC", "10")];
    let shop = StripeShop::open_with(orders, 900, &rate).await;
    shop.sell(orders).await;
    let began = Instant::now();
    shop.pass(900_000);
    until("all units return", async || (shop.held().await == json!(0)).then_some(())).await;
    assert_eq!(shop.questions(), orders, "the server must ask about each checkout once");
    let least = Duration::from_secs(((orders - burst) / per_sec) as u64);
    assert!(began.elapsed() >= least, "{:?}, {least:?}", began.elapsed());
    assert_ledger_adds_up(&shop.app).await;
    shop.app.stop().await;
}
