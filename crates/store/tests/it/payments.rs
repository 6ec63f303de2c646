//! Tests payments in PostgreSQL: several nodes, broken sessions, and rows of an older version.
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use doorbuster_core::digest::{self, OrderDigest};
use doorbuster_core::event::{Attribution, EventType};
use doorbuster_core::limits::DECIDE_WITHIN_MS;
use doorbuster_core::money::{
    Capture, CaptureOutcome, ReversalKind, ReversalOutcome, ReversalReport,
};
use doorbuster_core::order::EndReason;
use doorbuster_core::{Order, OrderState, SlotKey, Stock};
use doorbuster_store::conformance::{Fixture, id_key};
use doorbuster_store::{MoneyQuery, Store, StoreError};
use tokio::task::JoinSet;

use crate::cluster;
use crate::events::{deadlocks, message, run, session, until_blocks};
use crate::fixture::open_postgres;
use crate::nodes::{two, wait};

/// The longest time until a node knows another node's commit.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);
/// The time limit for work that waits for PostgreSQL.
const AGAIN_WITHIN: Duration = Duration::from_secs(60);
const KILLS: usize = 25;
/// After this time, no more sessions are killed, even if a failed test does not stop the killing.
const KILLS_WITHIN: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_payment_reported_to_two_nodes_at_once_is_recorded_once() {
    let (a, b, _) = two().await;
    let item = a.item(Stock::Counted(9), 3).await;
    for round in 0..40 {
        // No order has the id "basket 7", so the nodes can recognize the payment only by the
        // payment's own id.
        let report = |at: u32| {
            message(
                "basket 7",
                1,
                &format!("evt_{round}_{}", at * (round % 2)),
                &format!("pay_{round}"),
            )
        };
        let (x, y) =
            tokio::join!(a.store.capture(report(1), false), b.store.capture(report(2), false));
        let (x, y) = (x.expect("writes"), y.expect("writes"));
        let refund = |captured: &CaptureOutcome| matches!(captured, CaptureOutcome::Refund(_));
        assert!(refund(&x) != refund(&y), "{x:?} {y:?}");
        assert!([&x, &y].into_iter().any(|c| *c == CaptureOutcome::Repeated), "{x:?} {y:?}");
    }
    let all = MoneyQuery { limit: 100, ..MoneyQuery::default() };
    assert_eq!(a.store.refunds(all.clone()).await.expect("reads").rows.len(), 40);
    assert_eq!(b.store.payments(all).await.expect("reads").rows.len(), 40);
    a.expect_units(item, 9, 0, 0, 0).await;
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}

/// One node may report a reversal while another node records the payment. The order's history must
/// then contain the reversal too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reversal_reported_during_the_payment_is_in_the_orders_history() {
    let (a, b, _) = two().await;
    let (_, orders) = reserved(&a, 60).await;
    for (at, order) in orders.iter().enumerate() {
        let paid = message(&order.id.to_string(), 1, &format!("evt_{at}"), &format!("pay_{at}"));
        let report = ReversalReport {
            event: None,
            provider: paid.provider.clone(),
            payment: paid.payment.clone(),
            kind: ReversalKind::Returned,
            money: None,
            stands: true,
            reported_at: None,
            dispute: None,
        };
        let reverse = async {
            let since = Instant::now();
            let record = || b.store.record_reversal(report.clone());
            while record().await.expect("writes") == ReversalOutcome::NoPayment {
                assert!(since.elapsed() < AGAIN_WITHIN, "the payment is not recorded");
            }
        };
        let (captured, ()) = tokio::join!(a.store.capture(paid, false), reverse);
        assert!(matches!(captured, Ok(CaptureOutcome::Paid(_))), "{captured:?}");
        let history = a.store.history(order.id).await.expect("reads");
        let events: Vec<_> = history.iter().map(|stored| stored.event.what).collect();
        assert_eq!(
            events,
            [EventType::OrderReserved, EventType::OrderPaid, EventType::PaymentReversed],
            "order {at}"
        );
    }
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}

/// Nodes are upgraded one after another, so this version must read the previous version's rows.
#[tokio::test]
async fn rows_of_the_previous_version_are_read() {
    let (a, b, database) = two().await;
    let grant = a.slot(10, 10, 4).await;
    let [first, second] =
        [a.reserve(&grant, 1, "anna", 1).await, a.reserve(&grant, 2, "bert", 1).await];
    let older = session(&database).await;
    // Returns SQL that ends an order and writes its digest, as the previous version of the program
    // does.
    let end = |state: &str, order: &Order| {
        let entry = OrderDigest {
            request: id_key().request_hash(order.buyer.as_str(), order.key.as_str()).low_64_bits(),
            buyer: digest::buyer_tag(order.buyer.as_str()),
            item: order.item,
            grant: order.grant,
            n: order.n,
            created_for: None,
            ended: true,
        };
        let bytes = digest::encode(&[entry]).iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a string has room");
            hex
        });
        format!(
            "BEGIN;
             UPDATE orders SET state = t.state, paid_at = t.paid_at, ended_at = t.ended_at,
             writer = -5, changed = pg_current_xact_id()
             FROM unnest(ARRAY[{}]::bigint[], ARRAY[{}]::bigint[], ARRAY['{state}'],
             ARRAY[NULL]::bigint[], ARRAY[{}]::bigint[])
                  AS t (grant_id, n, state, paid_at, ended_at)
             WHERE orders.grant_id = t.grant_id AND orders.n = t.n;
             INSERT INTO commit_digest (at, orders) VALUES (0, decode('{bytes}', 'hex'));
             UPDATE quota SET used = 0 WHERE buyer = '{}';
             UPDATE item SET pool = pool + 1, ended = ended + 1;
             COMMIT;
             SELECT pg_notify('doorbuster', '-5')",
            order.grant.0,
            order.n.0,
            a.clock.now().0,
            order.buyer.as_str()
        )
    };
    run(&older, &end("cancelled", &first)).await;
    let due = format!(
        "SELECT id FROM orders o WHERE o.state = 'reserved' AND o.pay_by + o.ask_ms <= {}",
        second.pay_by.0
    );
    assert_eq!(older.query(&due, &[]).await.expect("a query").len(), 1);
    wait(&b, KNOWN_WITHIN, |all| {
        all.iter().any(|c| c.orders.iter().any(|o| o.state == OrderState::Cancelled))
    })
    .await;
    let history = b.store.history(first.id).await.expect("reads");
    assert_eq!(
        history.iter().map(|stored| stored.event.what).collect::<Vec<_>>(),
        [EventType::OrderReserved]
    );
    let paid = b
        .store
        .capture(message(&first.id.to_string(), 1, "evt_1", "pay_1"), false)
        .await
        .expect("writes");
    assert!(matches!(paid, CaptureOutcome::Paid(_)), "{paid:?}");
    a.check_invariants().await;
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}

/// Sends the message until the store accepts it, as a provider does.
async fn retry(store: &Store, report: &Capture) -> CaptureOutcome {
    let since = Instant::now();
    loop {
        match store.capture(report.clone(), true).await {
            Ok(captured) => return captured,
            Err(StoreError::Unavailable { .. }) if since.elapsed() < AGAIN_WITHIN => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn kill(database: &str, stop: &AtomicBool) -> usize {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM (
                   SELECT pid FROM pg_stat_activity WHERE datname = current_database()
                   AND pid <> pg_backend_pid()
                          AND state <> 'idle' ORDER BY random() LIMIT 1) s";
    let (mut kills, until) = (0, Instant::now() + KILLS_WITHIN);
    while !stop.load(Ordering::SeqCst) && kills < KILLS && Instant::now() < until {
        let killed = cluster::shared().psql(database, sql).expect("psql runs");
        kills += killed.trim().parse::<usize>().expect("a count");
        std::thread::sleep(Duration::from_millis(10));
    }
    kills
}

async fn reserved(fixture: &Fixture, count: u64) -> (doorbuster_core::Grant, Vec<Order>) {
    let grant = fixture.slot(1_000, 1_000, 4).await;
    let tickets =
        (1..=count).map(|n| fixture.ticket(&grant, n, &format!("buyer-{n}"), "k", 1)).collect();
    let resolved = fixture.store.settle(tickets).await.expect("settles");
    (grant, resolved.into_iter().filter_map(|resolved| resolved.order).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn payments_over_killed_sessions_pay_once() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let fixture = open_postgres(&cluster.url(&database), 1).await;
    let (grant, orders) = reserved(&fixture, 400).await;
    let stop = Arc::new(AtomicBool::new(false));
    let killer = tokio::task::spawn_blocking({
        let (stop, database) = (Arc::clone(&stop), database.clone());
        move || kill(&database, &stop)
    });
    let mut payers = JoinSet::new();
    for share in orders.chunks(80) {
        let (store, share) = (fixture.store.clone(), share.to_vec());
        payers.spawn(async move {
            for order in share {
                let id = order.id.to_string();
                let captured =
                    retry(&store, &message(&id, 1, &format!("evt_{id}"), &format!("pay_{id}")))
                        .await;
                // The result `Repeated` is also right: an earlier attempt succeeded, but its answer
                // was lost.
                assert!(
                    matches!(captured, CaptureOutcome::Paid(_) | CaptureOutcome::Repeated),
                    "{captured:?}"
                );
            }
        });
    }
    payers.join_all().await;
    stop.store(true, Ordering::SeqCst);
    assert!(killer.await.expect("no panic") > 0);
    fixture.expect_units(grant.slot.item, 0, 600, 0, 400).await;
    let paid: BTreeSet<_> =
        fixture.commits.take().iter().flat_map(|c| &c.orders).map(|o| (o.id, o.state)).collect();
    for order in orders {
        assert!(paid.contains(&(order.id, OrderState::Paid)), "the node must publish the order");
        let history = fixture.store.history(order.id).await.expect("reads");
        let what: Vec<_> = history.iter().map(|stored| stored.event.what).collect();
        assert_eq!(what, [EventType::OrderReserved, EventType::OrderPaid]);
    }
    fixture.store.close().await;
}

/// A payment for an ended order reads and locks all slots of the order's item. Meanwhile, settlers
/// sell from the same slots.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_payments_and_settlers_cause_no_deadlock() {
    let (a, b, database) = two().await;
    let (first, orders) = reserved(&a, 60).await;
    for order in &orders {
        a.store
            .end_order(order.id, EndReason::Cancel, Attribution::BUYER.clone())
            .await
            .expect("writes");
    }
    let mut tasks = JoinSet::new();
    for index in 1..4_u32 {
        let grant = a.open(SlotKey { item: first.slot.item, index }, 10).await;
        a.store.refill(grant.id, 10, doorbuster_core::Counter::A).await.expect("writes");
        let tickets: Vec<_> =
            (1..=20).map(|n| a.ticket(&grant, n, &format!("late-{index}-{n}"), "k", 1)).collect();
        let store = if index == 1 { a.store.clone() } else { b.store.clone() };
        tasks.spawn(async move {
            for batch in tickets.chunks(2) {
                store.settle(batch.to_vec()).await.expect("settles");
            }
        });
    }
    for (at, order) in orders.iter().enumerate() {
        let store = if at % 2 == 0 { a.store.clone() } else { b.store.clone() };
        let paid = message(&order.id.to_string(), 1, &format!("evt_{at}"), &format!("pay_{at}"));
        tasks.spawn(async move {
            let captured = store.capture(paid, false).await.expect("writes");
            assert!(
                matches!(captured, CaptureOutcome::Paid(_) | CaptureOutcome::UnitsMissing { .. }),
                "{captured:?}"
            );
        });
    }
    tasks.join_all().await;
    a.check_invariants().await;
    for fixture in [a, b] {
        fixture.store.close().await;
    }
    assert_eq!(deadlocks(&database).await, 0);
}

/// While a payment waits for the lock of its order's grant, the order may expire. The payment may
/// then need units of the item's other slots. But it must not wait for their grants while it holds
/// the item, because other transactions lock grants first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_expires_before_its_payment_locks_the_grant_causes_no_deadlock() {
    let (a, b, database) = two().await;
    let (first, orders) = reserved(&a, 1).await;
    let (item, order) = (first.slot.item.0, &orders[0]);
    let second = a.open(SlotKey { item: first.slot.item, index: 1 }, 10).await;
    let (expiry, refill) = (session(&database).await, session(&database).await);
    let lock = |id: u64| format!("BEGIN; SELECT FROM slot_grant WHERE id = {id} FOR UPDATE");
    run(&expiry, &lock(first.id.0)).await;
    run(&refill, &lock(second.id.0)).await;
    let (store, paid) = (b.store.clone(), message(&order.id.to_string(), 1, "evt", "pay"));
    let payment = tokio::spawn(async move { store.capture(paid, false).await });
    until_blocks(&expiry, &payment).await;
    let expired = format!(
        "UPDATE orders SET state = 'expired', ended_at = {};
         UPDATE quota SET used = 0; UPDATE item SET pool = pool + 1, ended = ended + 1; COMMIT",
        order.pay_by.0
    );
    run(&expiry, &expired).await;
    until_blocks(&refill, &payment).await;
    run(&refill, &format!("UPDATE item SET pool = pool WHERE id = {item}; COMMIT")).await;
    let captured = payment.await.expect("no panic");
    assert!(matches!(captured, Ok(CaptureOutcome::Paid(_))), "{captured:?}");
    for fixture in [a, b] {
        fixture.store.close().await;
    }
    assert_eq!(deadlocks(&database).await, 0);
}

/// A ticket may become an order while its time to become one ends. A payment that arrives in this
/// moment must not be refunded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_waits_for_the_verdict_of_a_ticket_that_is_being_settled() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let url = cluster.url(&database);
    // On a busy machine, the settler may have to wait long for the test.
    let patient = format!("{url} options='-c lock_timeout={}'", AGAIN_WITHIN.as_millis());
    let (a, b) = (open_postgres(&patient, 1).await, open_postgres(&url, 2).await);
    let grant = a.slot(10, 10, 4).await;
    let ticket = a.ticket(&grant, 1, "anna", "k", 1);
    let paid = message(&id_key().id_of(&ticket).to_string(), 1, "evt", "pay");
    // A settler writes a digest after it has decided the ticket.
    let (other, observer) = (session(&database).await, session(&database).await);
    run(&other, "BEGIN; LOCK TABLE commit_digest IN SHARE MODE").await;
    let store = a.store.clone();
    let settler = tokio::spawn(async move { store.settle(vec![ticket]).await });
    until_blocks(&other, &settler).await;
    for fixture in [&a, &b] {
        fixture.clock.advance(DECIDE_WITHIN_MS + 1);
    }
    let (store, report) = (b.store.clone(), paid.clone());
    let payment = tokio::spawn(async move { store.capture(report, false).await });
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while !payment.is_finished()
        && observer.query_one(waiting, &[]).await.expect("a query").get::<_, i64>(0) < 2
    {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    run(&other, "COMMIT").await;
    assert!(settler.await.expect("no panic").is_ok());
    let captured = payment.await.expect("no panic");
    assert!(matches!(captured, Ok(CaptureOutcome::TooEarly)), "{captured:?}");
    let again = b.store.capture(paid, false).await;
    assert!(matches!(again, Ok(CaptureOutcome::Paid(_))), "{again:?}");
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}
