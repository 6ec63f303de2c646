//! The operator changes an item's total under load. The units add up to the total at every instant,
//! each change takes effect once, and no held or sold unit is removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use super::client::{PurchaseSpec, Reply};
use super::faults::MachineFaults;
use super::fixture::{ServerFixture, adjustment, operator};
use super::purchase_log::AllowedEvents;
use super::random_load::{self, ChangeState, RandomLoad};
use super::requests::{at_once, available};

/// The shortest duration of a load.
const STORM: Duration = Duration::from_secs(3);
const LOOKS_MIN: usize = 60;
/// A load in which the operator changes the total continues until at least this number of changes
/// is confirmed. A load in which the operator pauses the sale continues until at least
/// [`PAUSES_MIN`] pauses.
const CHANGES_MIN: usize = 5;
const PAUSES_MIN: usize = 3;
/// The longest wait for a change that the test expects, even on a slow machine.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The delay of a commit. It is shorter than the eight seconds for which the pause of a sale waits
/// for tickets.
const COMMIT_DELAY: Duration = Duration::from_secs(7);
/// The number of purchases that are tried during the delayed commit, while the sale is being paused
/// or closed.
const LOOKS: u32 = 15;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stock_adds_up_at_every_read_while_buyers_cancel_and_the_operator_changes_it() {
    let fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 60, 6, 900)]).await;
    let plan = RandomLoad::new(fixture.address, "spring", 7, 16, AllowedEvents::default());
    let storm = tokio::spawn(random_load::run(plan.clone()));
    let enough = |plan: &RandomLoad| {
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        of(&plan.reads) >= LOOKS_MIN && of(&plan.done) >= CHANGES_MIN && of(&plan.refused) >= 1
    };
    plan.run_for(STORM, enough).await;
    assert!(!storm.is_finished(), "the load ended early");
    plan.stop.store(true, Ordering::Relaxed);
    // A task of the load fails if the units do not add up, or if an answer contradicts an earlier
    // answer.
    let record = storm.await.expect("a load without contradictions");
    println!(
        "{} answers, {} changes, {} looks in {:?}",
        plan.answered.load(Ordering::Relaxed),
        record.changes.len(),
        plan.reads.load(Ordering::Relaxed),
        record.took
    );
    let of = |became| record.changes.iter().filter(move |change| change.state == became);
    let (done, refused, open) = (
        of(ChangeState::Done).count(),
        of(ChangeState::Refused).count(),
        of(ChangeState::Open).count(),
    );
    assert_eq!(
        open, 0,
        "every change must have an answer: {done} done, {refused} refused, {open} unanswered"
    );
    let total = 60 + of(ChangeState::Done).map(|change| change.units).sum::<i64>();
    let stock = fixture.stock("spring").await;
    assert_eq!(i64::try_from(stock.total), Ok(total));
    let held: u64 = fixture
        .orders("spring")
        .await
        .iter()
        .filter(|o| o["state"] == "reserved")
        .filter_map(|o| o["units"].as_u64())
        .sum();
    assert_eq!(stock.held, held);
    fixture.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_that_is_paused_repeatedly_keeps_every_order_and_every_unit() {
    let fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 200, 6, 1)]).await;
    let allowed = AllowedEvents { pause: true, expire: true, queue: true };
    let plan = RandomLoad::new(fixture.address, "spring", 11, 16, allowed);
    let storm = tokio::spawn(random_load::run(plan.clone()));
    plan.run_for(STORM, |plan| plan.pauses.load(Ordering::Relaxed) >= PAUSES_MIN).await;
    plan.stop.store(true, Ordering::Relaxed);
    let record = storm.await.expect("a load without contradictions");
    let (answers, pauses) =
        (plan.answered.load(Ordering::Relaxed), plan.pauses.load(Ordering::Relaxed));
    println!("{answers} answers, {pauses} pauses");
    let mut connection = fixture.connect().await;
    for mut purchase_log in record.purchase_logs {
        if purchase_log.order.is_some() {
            assert!(purchase_log.buy(&mut connection, "").await.expect("an answer").is_replay());
        } else if purchase_log.queued.is_some() {
            purchase_log.look(&mut connection).await.expect("an answer");
        }
    }
    fixture.audit(None).await;
    // When all payment windows have ended, other buyers must be able to buy all unsold units.
    let all_ended = async || (fixture.stock("spring").await.held == 0).then_some(());
    fixture.until("every hold has ended", Duration::from_secs(4), all_ended).await;
    let free = fixture.stock("spring").await.free();
    let specs = (0..free)
        .map(|n| PurchaseSpec::new(&format!("late{n}"), "k", "spring", 1).bytes())
        .collect();
    let replies = at_once(&fixture, specs).await;
    let verdicts: Vec<_> =
        replies.iter().map(Reply::verdict).filter(|verdict| verdict != "201").collect();
    assert!(
        verdicts.is_empty(),
        "all {free} free units must be for sale, but {} purchases failed: {verdicts:?}",
        verdicts.len()
    );
    fixture.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_is_paused_or_closed_only_when_requests_in_flight_have_settled() {
    let (fixture, faults) = MachineFaults::fixture(&[]);
    for (step, phase, over) in [("pause", "paused", "409 paused"), ("close", "closed", "409 ended")]
    {
        let sale = format!("to-{step}");
        let spec = |buyer: &str, units: u32| {
            PurchaseSpec::new(&format!("{buyer}-{step}"), "k", &sale, units)
        };
        fixture.open_sale(&sale, &[("phone", 10, 1, 900)]).await;
        let (first, before) = (spec("first", 1), available(&fixture, &sale).await);
        let (mut connection, mut console) = (fixture.connect().await, fixture.connect().await);
        // When the operator pauses or closes the sale, one ticket is being committed, and another
        // one waits for the next commit.
        faults.slow_disk(COMMIT_DELAY);
        connection.send(&first.with("Prefer: wait=20\r\n")).await.expect("the request is sent");
        let cut = async || (available(&fixture, &sale).await < before).then_some(());
        fixture.until("the ticket is issued", CHANGE_TIMEOUT, cut).await;
        let next = spec("next", 1);
        let queued = fixture.ask(&next.with("Prefer: respond-async\r\n")).await;
        assert_eq!(queued.verdict(), "202", "{queued}");
        let request = operator("POST", &format!("/v1/admin/sales/{sale}/{step}"), "", None);
        let stepping = tokio::spawn(async move { console.ask(&request).await.expect("an answer") });
        // The test repeats this request until the refusal shows that the sale sells nothing new.
        // The request asks for more units than the limit allows, so it never gets a ticket.
        let greedy = spec("greedy", 2);
        let begun =
            async || (fixture.buy(&greedy).await.verdict() == "503 unavailable").then_some(());
        fixture.until("nothing new is sold", CHANGE_TIMEOUT, begun).await;
        let second = spec("second", 1);
        for _ in 0..LOOKS {
            assert_eq!(fixture.buy(&second).await.verdict(), "503 unavailable", "{step}");
            assert!(
                !stepping.is_finished(),
                "{step}: the server answered while tickets were in flight"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(
            fixture.orders(&sale).await.is_empty(),
            "{step}: the tickets must not be committed yet"
        );
        faults.slow_disk(Duration::ZERO);
        let stepped = stepping.await.expect("no panic");
        assert_eq!((stepped.status, &stepped.json()["phase"]), (200, &json!(phase)), "{stepped}");
        assert_eq!(
            fixture.orders(&sale).await.len(),
            2,
            "{step}: every ticket in flight must be an order after the step"
        );
        let stock = fixture.stock(&sale).await;
        assert_eq!((stock.held, stock.in_slots), (2, 0), "{step}");
        assert_eq!(connection.reply().await.expect("an answer").verdict(), "201", "{step}");
        let shown = fixture.ask(&next.order("GET", &queued.id(), "")).await;
        assert_eq!(shown.json()["state"], "reserved", "{step}: {shown}");
        assert_eq!(fixture.buy(&second).await.verdict(), over);
    }
    fixture.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_change_many_times_at_once_happens_once() {
    let fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 50, 50, 900)]).await;
    for (key, units, total) in [("up", 7, 57), ("down", -20, 37), ("up-again", 3, 40)] {
        let replies = at_once(&fixture, vec![adjustment("spring", key, units); 16]).await;
        assert!(
            replies.iter().all(|reply| reply.status == 200),
            "{:?}",
            replies.iter().map(Reply::verdict).collect::<Vec<_>>()
        );
        assert_eq!(fixture.stock("spring").await.total, total, "{key}");
        assert_eq!(
            fixture.adjust("spring", key, units + 1).await.verdict(),
            "422 idempotency_key_reused"
        );
    }
    fixture.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lowering_the_total_removes_free_units_only() {
    let fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 10, 4, 900)]).await;
    let mut orders = Vec::new();
    for number in 0..2 {
        let spec = PurchaseSpec::new(&format!("b{number}"), "k", "spring", 4);
        orders.push((spec.clone(), fixture.buy(&spec).await.id()));
    }
    let refused = async |key: &str, units: i64, free: u64| {
        let reply = fixture.adjust("spring", key, units).await;
        assert_eq!(
            (&*reply.verdict(), &reply.json()["free"]),
            ("409 wrong_state", &json!(free)),
            "{reply}"
        );
    };
    refused("a", -3, 2).await;
    assert_eq!(fixture.adjust("spring", "b", -2).await.status, 200);
    refused("c", -1, 0).await;
    let (spec, id) = &orders[0];
    assert_eq!(fixture.ask(&spec.order("POST", id, "/cancel")).await.status, 200);
    refused("a", -5, 4).await;
    assert_eq!(
        fixture.adjust("spring", "a", -4).await.status,
        200,
        "after a refusal, the same key must be a new attempt"
    );
    let stock = fixture.stock("spring").await;
    assert_eq!((stock.total, stock.held, stock.free()), (4, 4, 0));
    assert_eq!(
        fixture.buy(&PurchaseSpec::new("late", "k", "spring", 1)).await.verdict(),
        "409 sold_out"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_is_sold_or_removed_never_both() {
    let fixture = Arc::new(ServerFixture::start());
    for round in 0..12 {
        let sale = format!("s{round}");
        fixture.open_sale(&sale, &[("phone", 20, 2, 900)]).await;
        // The sale has twenty units. At the same moment, fifteen buyers ask for two units each, and
        // the operator tries three times to remove four units.
        let mut requests: Vec<_> =
            (0..15).map(|n| PurchaseSpec::new(&format!("b{n}"), &sale, &sale, 2).bytes()).collect();
        for part in 0..3 {
            requests.insert(part * 5, adjustment(&sale, &format!("a{part}"), -4));
        }
        let replies = at_once(&fixture, requests).await;
        let sold = 2 * replies.iter().filter(|reply| reply.status == 201).count() as u64;
        let taken = 4 * replies.iter().filter(|reply| reply.status == 200).count() as u64;
        let verdicts: Vec<_> = replies.iter().map(Reply::verdict).collect();
        assert!(
            verdicts
                .iter()
                .all(|v| ["200", "201", "409 sold_out", "409 wrong_state"].contains(&&**v)),
            "{verdicts:?}"
        );
        let stock = fixture.stock(&sale).await;
        assert_eq!((stock.total, stock.held), (20 - taken, sold), "{verdicts:?}");
        // Some buyers were refused during the race, but all units that are free now must be for
        // sale.
        for number in 0..stock.free() {
            let late =
                fixture.buy(&PurchaseSpec::new(&format!("late{number}"), &sale, &sale, 1)).await;
            assert_eq!(late.verdict(), "201", "round {round}: {verdicts:?}");
        }
    }
    fixture.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lowering_the_total_during_a_cancellation_is_not_refused_for_lack_of_free_units() {
    let (fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", 3, 2, 900)]).await;
    let (first, second) =
        (PurchaseSpec::new("anna", "k", "spring", 2), PurchaseSpec::new("bert", "k", "spring", 1));
    let order = fixture.buy(&first).await.id();
    // The slow disk delays the commit of the purchase that takes the last unit. The change of the
    // total arrives next, and then the cancellation. These two requests wait for the next commit.
    faults.slow_disk(Duration::from_millis(300));
    let mut connections = Vec::new();
    for request in
        [second.bytes(), adjustment("spring", "a", -2), first.order("POST", &order, "/cancel")]
    {
        let mut connection = fixture.connect().await;
        connection.send(&request).await.expect("the request is sent");
        tokio::time::sleep(Duration::from_millis(60)).await;
        connections.push(connection);
    }
    let lowered = connections[1].reply().await.expect("an answer");
    match &*lowered.verdict() {
        "200" => {}
        "409 wrong_state" => assert!(lowered.json()["free"].as_u64() < Some(2), "{lowered}"),
        other => panic!("{other}: {lowered}"),
    }
}
