//! Tests that a sale does not stay sold out. Returned units are for sale immediately, and the
//! server refuses no buyer while units are free.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;

use super::client::PurchaseSpec;
use super::fixture::ServerFixture;
use crate::watch::Stopwatch;

/// An order must be `expired` within this time after the end of its payment window.
const EXPIRED_WITHIN: Duration = Duration::from_secs(2);
/// The units of an unpaid order must be for sale within this time after the end of its payment
/// window.
const FOR_SALE_WITHIN: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_of_a_cancelled_order_is_for_sale_at_once() {
    let fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 2, 2, 900)]).await;
    let mut owner = PurchaseSpec::new("b0", "k", "spring", 2);
    let mut order = fixture.buy(&owner).await;
    for number in 1..60 {
        let next = PurchaseSpec::new(&format!("b{number}"), "k", "spring", 2);
        let refused = fixture.buy(&next).await;
        assert_eq!(
            (&*refused.verdict(), &refused.json()["may_return"]),
            ("409 sold_out", &true.into()),
            "{refused}"
        );
        let cancelled = fixture.ask(&owner.order("POST", &order.id(), "/cancel")).await;
        assert_eq!(cancelled.status, 200, "{cancelled}");
        // When the cancellation is answered, the units of the order must be free: in the slot or in
        // the pool.
        order = fixture.buy(&next).await;
        assert_eq!(order.verdict(), "201", "round {number}: {order}");
        owner = next;
    }
    fixture.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_that_is_raised_is_for_sale_at_once() {
    let fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 1, 1, 900)]).await;
    assert_eq!(fixture.buy(&PurchaseSpec::new("b0", "k", "spring", 1)).await.status, 201);
    for number in 1..30 {
        let next = PurchaseSpec::new(&format!("b{number}"), "k", "spring", 1);
        assert_eq!(fixture.buy(&next).await.verdict(), "409 sold_out");
        assert_eq!(fixture.adjust("spring", &format!("a{number}"), 1).await.status, 200);
        assert_eq!(fixture.buy(&next).await.verdict(), "201", "round {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_ends_is_expired_and_its_units_are_for_sale_within_their_times() {
    let fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 6, 2, 1)]).await;
    let mut expired = Duration::ZERO;
    for wave in 0..2 {
        let mine: Vec<_> =
            (0..3).map(|n| PurchaseSpec::new(&format!("w{wave}-{n}"), "k", "spring", 2)).collect();
        let mut ids = Vec::new();
        for spec in &mine {
            let bought = async || (fixture.buy(spec).await.status == 201).then_some(());
            fixture
                .until(
                    "the returned units are sold",
                    FOR_SALE_WITHIN + Duration::from_secs(1),
                    bought,
                )
                .await;
            ids.push(fixture.buy(spec).await.id());
        }
        let timer = Stopwatch::start();
        for (spec, id) in mine.iter().zip(&ids) {
            let over = async || {
                (fixture.ask(&spec.order("GET", id, "")).await.json()["state"] == "expired")
                    .then_some(())
            };
            fixture.until("expired", EXPIRED_WITHIN + Duration::from_secs(1), over).await;
        }
        // The payment windows last one second. Only the time after the end of the last payment
        // window counts.
        expired = expired.max(timer.elapsed().saturating_sub(Duration::from_secs(1)));
    }
    assert!(expired < EXPIRED_WITHIN, "{expired:?}");
    let next = PurchaseSpec::new("next", "k", "spring", 2);
    let bought = async || (fixture.buy(&next).await.status == 201).then_some(());
    fixture.until("the returned units are sold", FOR_SALE_WITHIN - expired, bought).await;
    fixture.audit(None).await;
}

/// Tries to buy a unit until the item is not sold out any more. Cancels the order, but only after
/// every buyer has tried at least once. Returns the number of refusals before the order.
async fn buy_and_cancel(
    fixture: Arc<ServerFixture>,
    all_asked: Arc<Barrier>,
    number: usize,
) -> usize {
    let (spec, mut connection) =
        (PurchaseSpec::new(&format!("b{number}"), "k", "spring", 1), fixture.connect().await);
    let timer = Stopwatch::start();
    for refused in 0.. {
        let reply = connection.ask(&spec.bytes()).await.expect("an answer");
        if refused == 0 {
            tokio::time::timeout(Duration::from_secs(60), all_asked.wait())
                .await
                .expect("all buyers ask");
        }
        match &*reply.verdict() {
            "201" => {
                let cancelled = connection
                    .ask(&spec.order("POST", &reply.id(), "/cancel"))
                    .await
                    .expect("an answer");
                assert_eq!(cancelled.status, 200, "{cancelled}");
                return refused;
            }
            "409 sold_out" => {
                assert_eq!(
                    reply.json()["may_return"],
                    true,
                    "held units may return, so the answer must say so: {reply}"
                )
            }
            "503 overloaded" | "503 unavailable" => {}
            other => panic!("{other}: {reply}"),
        }
        assert!(timer.elapsed() < Duration::from_secs(30), "buyer {number} got no order in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    unreachable!("the loop returns or panics")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_buyer_gets_one_of_few_units_that_are_cancelled_in_turn() {
    let fixture = Arc::new(ServerFixture::start());
    fixture.open_sale("spring", &[("phone", 3, 1, 900)]).await;
    let all_asked = Arc::new(Barrier::new(100));
    let crowd: Vec<_> = (0..100)
        .map(|n| tokio::spawn(buy_and_cancel(fixture.clone(), all_asked.clone(), n)))
        .collect();
    let mut refused = 0;
    for one in crowd {
        refused += one.await.expect("no panic");
    }
    assert!(refused >= 97, "too few buyers waited: {refused} refusals");
    assert_eq!(fixture.stock("spring").await.free(), 3);
    for number in 0..3 {
        assert_eq!(
            fixture
                .buy(&PurchaseSpec::new(&format!("late{number}"), "k", "spring", 1))
                .await
                .verdict(),
            "201"
        );
    }
    assert_eq!(
        fixture.buy(&PurchaseSpec::new("late", "k", "spring", 1)).await.verdict(),
        "409 sold_out"
    );
    fixture.audit(None).await;
}
