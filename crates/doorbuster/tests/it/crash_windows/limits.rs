//! Tests the buyer's limit while buyers cancel orders at the instant at which the orders expire.
//! Each order ends once, and returns its units and its quota once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::client::{HttpConnection, PurchaseSpec, Reply};
use super::fixture::{ServerFixture, operator};
use super::requests::at_once;

const HOLD_SECS: u32 = 2;
/// The number of buyers in each race between a cancellation and the expiry of an order.
const BUYERS: usize = 48;
/// The maximum number of races. On a slow machine, all cancellations of a race may come too late.
/// So each race spreads its cancellations over twice the time of the previous race.
const RACES_MAX: u32 = 4;
/// The test needs at least this number of orders that expired, and at least this number of orders
/// that were cancelled.
const ENDS_MIN: usize = 3;
/// The test must have checked the limit of at least this number of buyers.
const CHECKED_MIN: usize = BUYERS / 4;

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis())
        .expect("in range")
}

fn instant(order: &Value, member: &str) -> i64 {
    let text = order[member].as_str().unwrap_or_else(|| panic!("no {member}: {order}"));
    text.parse::<jiff::Timestamp>().expect("RFC 3339").as_millisecond()
}

async fn sleep_until(ms: i64) {
    tokio::time::sleep(Duration::from_millis((ms - now_ms()).max(0).unsigned_abs())).await;
}

fn count(replies: &[Reply], verdict: &str) -> usize {
    replies.iter().filter(|reply| reply.verdict() == verdict).count()
}

struct Raced {
    spec: PurchaseSpec,
    answers: Vec<Reply>,
    id: String,
    /// The answers to three purchases of one unit each, after the end of the first order. The list
    /// is empty if the second order has ended too, because its units are then also off the buyer's
    /// quota, and the answers would prove nothing.
    after: Vec<Reply>,
}

/// Buys two orders, and cancels the first order near the end of its payment window. Then the limit
/// must allow exactly two more orders of one unit each.
async fn race(fixture: &ServerFixture, round: u32, number: usize) -> Raced {
    let buyer = format!("b{round}-{number}");
    let (first, second) = (
        PurchaseSpec::new(&buyer, "k1", "spring", 2),
        PurchaseSpec::new(&buyer, "k2", "spring", 2),
    );
    let mut connections: Vec<HttpConnection> =
        vec![fixture.connect().await, fixture.connect().await, fixture.connect().await];
    let order = connections[0].ask(&first.bytes()).await.expect("an answer");
    assert_eq!(order.verdict(), "201", "{order}");
    let due = instant(&order.json(), "pay_by");
    sleep_until(due - 600).await;
    let other = connections[0].ask(&second.bytes()).await.expect("an answer");
    assert_eq!(other.verdict(), "201", "{other}");
    // The buyers cancel at different times, shortly before or shortly after the end of the payment
    // window. The operator cancels the same order at the same time.
    let cancel = first.order("POST", &order.id(), "/cancel");
    let cancel_too = operator("POST", &format!("/v1/admin/orders/{}/cancel", order.id()), "", None);
    let offset = i64::try_from(number % 16).expect("small") * 12 - 40;
    sleep_until(due + (offset << round)).await;
    let [a, b, _] = &mut connections[..] else { unreachable!("three connections") };
    let (mine, theirs) = tokio::join!(a.ask(&cancel), b.ask(&cancel_too));
    let answers = vec![mine.expect("an answer"), theirs.expect("an answer")];
    let mut after = Vec::new();
    for key in ["k3", "k4", "k5"] {
        after.push(
            connections[2]
                .ask(&PurchaseSpec::new(&buyer, key, "spring", 1).bytes())
                .await
                .expect("an answer"),
        );
    }
    if now_ms() > instant(&other.json(), "pay_by") {
        after.clear();
    }
    Raced { id: order.id(), spec: first, answers, after }
}

#[derive(Debug, Default)]
struct Seen {
    cancelled: usize,
    expired: usize,
    checked: usize,
}

impl Seen {
    fn is_enough(&self) -> bool {
        self.cancelled >= ENDS_MIN && self.expired >= ENDS_MIN && self.checked >= CHECKED_MIN
    }

    /// Checks that all answers agree on how the order ended, and that the order's quota was
    /// returned once.
    async fn judge(&mut self, fixture: &ServerFixture, Raced { spec, answers, id, after }: Raced) {
        let end = fixture.ask(&spec.order("GET", &id, "")).await.json();
        let expected = match end["state"].as_str() {
            Some("cancelled") => "200",
            Some("expired") => "409 wrong_state",
            _ => panic!("{end}"),
        };
        self.cancelled += usize::from(expected == "200");
        self.expired += usize::from(expected != "200");
        assert!(
            answers.iter().all(|reply| reply.verdict() == expected),
            "the order is {end}, but the answers are {} and {}",
            answers[0],
            answers[1]
        );
        let verdicts: Vec<_> = after.iter().map(Reply::verdict).collect();
        if !after.is_empty() {
            assert_eq!(
                verdicts,
                ["201", "201", "409 limit_reached"],
                "the quota of {} must be returned once",
                spec.buyer
            );
            self.checked += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_is_cancelled_when_it_expires_ends_once() {
    let fixture = std::sync::Arc::new(ServerFixture::start());
    fixture.open_sale("spring", &[("phone", 1_000, 4, HOLD_SECS)]).await;
    let mut seen = Seen::default();
    for round in 0..RACES_MAX {
        let racing: Vec<_> = (0..BUYERS).map(|n| (fixture.clone(), n)).collect();
        let racing = racing
            .into_iter()
            .map(|(fixture, n)| tokio::spawn(async move { race(&fixture, round, n).await }));
        for raced in racing.collect::<Vec<_>>() {
            seen.judge(&fixture, raced.await.expect("no panic")).await;
        }
        println!("{seen:?}");
        if seen.is_enough() {
            break;
        }
    }
    assert!(seen.is_enough(), "the machine is too slow for this test: {seen:?}");
    fixture.audit(None).await;
    let all_ended = async || (fixture.stock("spring").await.held == 0).then_some(());
    fixture
        .until("every hold has ended", Duration::from_secs(u64::from(HOLD_SECS) + 4), all_ended)
        .await;
    assert_eq!(fixture.stock("spring").await.free(), 1_000);
    fixture.audit(None).await;
}

/// Returns the ids of the orders.
async fn buy_at_once(fixture: &ServerFixture, round: usize, units: u32) -> Vec<String> {
    let spec = |n| PurchaseSpec::new("anna", &format!("r{round}-{n}"), "spring", units);
    let replies = at_once(fixture, (0..40).map(|n| spec(n).bytes()).collect()).await;
    let got = count(&replies, "201");
    assert_eq!(
        count(&replies, "409 limit_reached"),
        40 - got,
        "{:?}",
        replies.iter().map(Reply::verdict).collect::<Vec<_>>()
    );
    replies.iter().filter(|reply| reply.status == 201).map(Reply::id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_holds_for_concurrent_requests_after_cancellations_and_a_lost_slot() {
    let mut fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 1_000, 5, 900)]).await;
    let me = PurchaseSpec::new("anna", "k", "spring", 1);
    for round in 0..4 {
        let units = if round % 2 == 0 { 1 } else { 2 };
        let ids = buy_at_once(&fixture, round, units).await;
        assert_eq!(ids.len(), if units == 1 { 5 } else { 2 }, "round {round}");
        if round == 1 {
            // The killed server loses the slot, which was only in memory. The limit must still
            // count the buyer's orders, which are in the store.
            fixture.kill();
            fixture.restart();
            assert_eq!(buy_at_once(&fixture, 100, 2).await.len(), 0);
            let one = buy_at_once(&fixture, 101, 1).await;
            assert_eq!(one.len(), 1, "one unit of the limit must be left");
            assert_eq!(fixture.ask(&me.order("POST", &one[0], "/cancel")).await.status, 200);
        }
        // Each order is cancelled four times at the same moment. The server must return each
        // order's quota once.
        let cancels = ids.iter().flat_map(|id| vec![me.order("POST", id, "/cancel"); 4]).collect();
        assert!(at_once(&fixture, cancels).await.iter().all(|reply| reply.status == 200));
        fixture.audit(None).await;
    }
    assert_eq!(buy_at_once(&fixture, 200, 1).await.len(), 5);
    assert_eq!(fixture.stock("spring").await.held, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_who_cancels_may_buy_again_at_once() {
    let fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 1_000, 1, 900)]).await;
    let mut connection = fixture.connect().await;
    for number in 0..100 {
        let spec = PurchaseSpec::new("anna", &format!("k{number}"), "spring", 1);
        let order = connection.ask(&spec.bytes()).await.expect("an answer");
        assert_eq!(
            order.verdict(),
            "201",
            "the buyer must get an order after {number} cancelled orders: {order}"
        );
        let cancelled =
            connection.ask(&spec.order("POST", &order.id(), "/cancel")).await.expect("an answer");
        assert_eq!(cancelled.status, 200, "{cancelled}");
    }
}
