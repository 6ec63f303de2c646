//! Tests events in PostgreSQL. Transactions may commit in any sequence. A reader that continues
//! after its last position must still get every event.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorbuster_core::event::{Actor, Attribution, EventType, Subject};
use doorbuster_core::money::{Capture, Money, PaymentId};
use doorbuster_core::order::EndReason;
use doorbuster_core::{Order, OrderState, TicketId};
use doorbuster_store::conformance::{Fixture, HOLD_MS};
use doorbuster_store::{MoneyQuery, Store, StoredEvent};
use tokio::task::{JoinHandle, JoinSet};
use tokio_postgres::{Client, NoTls};

use crate::cluster;
use crate::nodes::{two, wait};

/// The longest time until a node knows another node's commit.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);

/// Opens a session.
pub async fn session(database: &str) -> Client {
    let (client, connection) =
        tokio_postgres::connect(&cluster::shared().url(database), NoTls).await.expect("connects");
    // The task ends with the client.
    tokio::spawn(connection);
    client
}

pub async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.expect("valid SQL");
}

/// Waits until the task has ended, or until a session waits for a lock that `client` holds.
pub async fn until_blocks<T>(client: &Client, task: &JoinHandle<T>) {
    // A transaction reads `pg_stat_activity` only once, so this query reads `pg_locks`.
    let waiting = "SELECT count(*) FROM pg_locks
                   WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))";
    while !task.is_finished()
        && client.query_one(waiting, &[]).await.expect("a query").get::<_, i64>(0) == 0
    {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Returns how many deadlocks PostgreSQL has ended in this database.
pub async fn deadlocks(database: &str) -> i64 {
    let count = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    session(database).await.query_one(count, &[]).await.expect("a query").get(0)
}

fn insert_event(sale: &str) -> String {
    format!(
        "INSERT INTO event (type, sale_id, at, actor) VALUES ('sale.opened', '{sale}', 1, 'engine')"
    )
}

/// Reads the events after `position`, and moves `position` to the last of them. Returns the sales
/// that these events name.
async fn read_on(store: &Store, position: &mut i64) -> Vec<String> {
    let events = store.events_after(*position, 100).await.expect("reads");
    let mut sale = |stored: StoredEvent| {
        assert!(stored.position > *position);
        *position = stored.position;
        match stored.event.subject {
            Subject::Sale(sale) => sale,
            other => panic!("{other:?}"),
        }
    };
    events.into_iter().map(|read| sale(read.expect("readable"))).collect()
}

#[tokio::test]
async fn a_late_commit_reaches_readers_that_continue() {
    let (a, b, database) = two().await;
    let (slow, quick) = (session(&database).await, session(&database).await);
    run(&slow, "BEGIN").await;
    run(&slow, &insert_event("first")).await;
    run(&quick, "BEGIN").await;
    run(&quick, &insert_event("second")).await;
    run(&quick, &insert_event("third")).await;
    let mut position = 0;
    assert_eq!(a.store.sequence_events(100).await.expect("writes"), 0);
    assert_eq!(read_on(&a.store, &mut position).await, Vec::<String>::new());
    run(&quick, "COMMIT").await;
    assert_eq!(
        read_on(&a.store, &mut position).await,
        Vec::<String>::new(),
        "events without positions must not be read"
    );
    assert_eq!(b.store.sequence_events(1).await.expect("writes"), 1);
    assert_eq!(a.store.sequence_events(100).await.expect("writes"), 1);
    assert_eq!(read_on(&a.store, &mut position).await, ["second", "third"]);
    run(&slow, &insert_event("fourth")).await;
    run(&slow, "COMMIT").await;
    assert_eq!(a.store.sequence_events(100).await.expect("writes"), 2);
    assert_eq!(
        read_on(&a.store, &mut position).await,
        ["first", "fourth"],
        "the event that committed late must be read too"
    );
    run(&slow, "BEGIN").await;
    run(&slow, &insert_event("never")).await;
    run(&quick, &insert_event("fifth")).await;
    run(&slow, "ROLLBACK").await;
    // The positions of deleted events must not be used again.
    run(&quick, "DELETE FROM event WHERE position IS NOT NULL").await;
    let (x, y) = tokio::join!(a.store.sequence_events(100), b.store.sequence_events(100));
    assert_eq!(x.expect("writes") + y.expect("writes"), 1);
    assert_eq!(read_on(&b.store, &mut position).await, ["fifth"]);
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}

/// Only one transaction at a time may assign positions. A second transaction must wait until the
/// first one ends, and must then see the positions that the first one assigned.
#[tokio::test]
async fn one_transaction_at_a_time_assigns_positions() {
    let (a, b, database) = two().await;
    let (other, quick) = (session(&database).await, session(&database).await);
    run(&quick, &insert_event("first")).await;
    run(&other, "BEGIN; SELECT position FROM event_turn FOR NO KEY UPDATE").await;
    run(&other, "UPDATE event SET position = 7; UPDATE event_turn SET position = 7").await;
    run(&quick, &insert_event("second")).await;
    let store = a.store.clone();
    let waits = tokio::spawn(async move { store.sequence_events(100).await.expect("writes") });
    until_blocks(&other, &waits).await;
    run(&other, "COMMIT").await;
    assert_eq!(waits.await.expect("runs"), 1, "the first event must already have a position");
    let mut position = 0;
    assert_eq!(read_on(&b.store, &mut position).await, ["first", "second"]);
    assert_eq!(position, 8);
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}

/// Old events may be deleted while they get positions. Then the next events must get positions that
/// no event has.
#[tokio::test]
async fn a_deletion_during_the_assignment_takes_no_position() {
    let (a, b, database) = two().await;
    let (other, quick) = (session(&database).await, session(&database).await);
    for sale in ["first", "second", "third"] {
        run(&quick, &insert_event(sale)).await;
    }
    run(&other, "BEGIN; DELETE FROM event WHERE sale_id = 'first'").await;
    let store = a.store.clone();
    let waits = tokio::spawn(async move { store.sequence_events(3).await.expect("writes") });
    until_blocks(&other, &waits).await;
    run(&other, "COMMIT").await;
    assert_eq!(waits.await.expect("runs"), 3, "more events may have no position");
    run(&quick, &insert_event("fourth")).await;
    assert_eq!(b.store.sequence_events(100).await.expect("writes"), 1);
    let mut position = 0;
    assert_eq!(read_on(&b.store, &mut position).await, ["second", "third", "fourth"]);
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}

/// Returns a provider's message about a payment of the right amount.
pub fn message(order: &str, units: u32, event: &str, payment: &str) -> Capture {
    Capture {
        event: event.to_owned(),
        provider: "paybank".to_owned(),
        payment: PaymentId(payment.to_owned()),
        order: order.to_owned(),
        money: Money { minor: 1_999 * i64::from(units), currency: "EUR".to_owned() },
    }
}

fn operator() -> Attribution {
    Attribution { actor: Actor::Operator("key_1".to_owned()), why: Some("they asked".to_owned()) }
}

fn change_concurrently(nodes: [&Fixture; 2], order: &Order, tasks: &mut JoinSet<()>) {
    let (id, units) = (order.id, order.units.get());
    for (at, fixture) in nodes.into_iter().enumerate() {
        let (store, pay_by) = (fixture.store.clone(), order.pay_by.plus(at as i64 + 1));
        let text = id.to_string();
        // Each node gets a message about the same payment. A third message reports a second
        // payment.
        let first = message(&text, units, &format!("evt_{at}_{text}"), &format!("pay_{text}"));
        let second = message(&text, units, &format!("evt_2_{text}"), &format!("pay_2_{text}"));
        let work: [std::pin::Pin<Box<dyn Future<Output = ()> + Send>>; 5] = [
            Box::pin({
                let store = store.clone();
                async move { drop(store.capture(first, true).await.expect("writes")) }
            }),
            Box::pin({
                let store = store.clone();
                async move { drop(store.capture(second, true).await.expect("writes")) }
            }),
            Box::pin({
                let store = store.clone();
                async move {
                    drop(
                        store
                            .end_order(id, EndReason::Cancel, Attribution::BUYER.clone())
                            .await
                            .expect("writes"),
                    )
                }
            }),
            Box::pin({
                let store = store.clone();
                async move { drop(store.extend_order(id, pay_by, operator()).await.expect("writes")) }
            }),
            Box::pin(async move {
                drop(store.end_order(id, EndReason::Refund, operator()).await.expect("writes"))
            }),
        ];
        work.into_iter().for_each(|one| drop(tasks.spawn(one)));
    }
}

/// Gives positions to events and reads the events. Returns all events as soon as `done` is set and
/// no event is left to read.
async fn follow(store: Store, done: Arc<AtomicBool>) -> Vec<StoredEvent> {
    let (mut all, mut position): (Vec<StoredEvent>, i64) = (Vec::new(), 0);
    loop {
        let last = done.load(Ordering::SeqCst);
        while store.sequence_events(7).await.expect("writes") == 7 {}
        let page = store.events_after(position, 1_000).await.expect("reads");
        let page: Vec<_> = page.into_iter().map(|read| read.expect("readable")).collect();
        assert!(page.is_sorted_by(|a, b| a.position < b.position));
        if last && page.is_empty() {
            return all;
        }
        position = page.last().map_or(position, |stored| stored.position);
        all.extend(page);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_miss_no_event_and_each_payment_has_one_result_under_concurrent_changes() {
    let (a, b, database) = two().await;
    let grant = a.slot(600, 500, 4).await;
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = [&a, &b]
        .map(|fixture| tokio::spawn(follow(fixture.store.clone(), Arc::clone(&done))))
        .into_iter()
        .collect();
    let mut orders: BTreeSet<TicketId> = BTreeSet::new();
    for round in 0..12_u64 {
        let tickets: Vec<_> = (1..=10)
            .map(|n| {
                a.ticket(
                    &grant,
                    round * 10 + n,
                    &format!("buyer-{}", n % 7),
                    &format!("key-{round}-{n}"),
                    1,
                )
            })
            .collect();
        let mut tasks = JoinSet::new();
        for resolved in b.store.settle(tickets).await.expect("settles") {
            let Some(order) = resolved.order else { continue };
            orders.insert(order.id);
            change_concurrently([&a, &b], &order, &mut tasks);
        }
        if round % 4 == 3 {
            a.clock.advance(HOLD_MS);
            b.clock.advance(HOLD_MS);
            let store = b.store.clone();
            tasks.spawn(async move { drop(store.expire_due(100).await.expect("writes")) });
        }
        tasks.join_all().await;
    }
    done.store(true, Ordering::SeqCst);
    let mut read = Vec::new();
    for reader in readers {
        read.push(reader.await.expect("runs"));
    }
    let second = read.pop().expect("two readers");
    assert_eq!(read[0], second, "each reader must read the same events in the same order");
    check_events(&a.store, &orders, &read[0]).await;
    let events = session(&database)
        .await
        .query_one("SELECT count(*) FROM event", &[])
        .await
        .expect("a query");
    assert_eq!(events.get::<_, i64>(0), read[0].len() as i64);
    a.check_invariants().await;
    for fixture in [a, b] {
        fixture.store.close().await;
    }
    assert_eq!(deadlocks(&database).await, 0);
}

/// Asserts that the changes of each order were read once, in a permitted sequence, up to the
/// current state. Asserts that each captured payment belongs to its order or has one refund.
async fn check_events(store: &Store, orders: &BTreeSet<TicketId>, read: &[StoredEvent]) {
    let mut changes: BTreeMap<TicketId, Vec<(EventType, Order)>> = BTreeMap::new();
    for stored in read {
        if let Subject::Order(order) = &stored.event.subject {
            changes.entry(order.id).or_default().push((stored.event.what, order.clone()));
        }
    }
    assert_eq!(changes.keys().copied().collect::<BTreeSet<_>>(), *orders);
    for (id, changes) in &changes {
        assert_eq!(changes[0].0, EventType::OrderReserved);
        for pair in changes.windows(2) {
            let may_follow = match (pair[0].1.state, pair[1].0) {
                (OrderState::Reserved, what) => {
                    what != EventType::OrderReserved && what != EventType::OrderRefunded
                }
                (OrderState::Paid, what) => what == EventType::OrderRefunded,
                (OrderState::Cancelled | OrderState::Expired, what) => what == EventType::OrderPaid,
                (OrderState::Refunded, _) => false,
            };
            assert!(may_follow, "{pair:?}");
        }
        let now = store.order(*id).await.expect("reads").expect("an order");
        assert_eq!(changes.last().map(|(_, order)| order), Some(&now));
        let of = MoneyQuery { order: Some(id.to_string()), limit: 9, ..MoneyQuery::default() };
        let payments = store.payments(of.clone()).await.expect("reads").rows;
        let refunds = store.refunds(of).await.expect("reads").rows;
        assert_eq!(payments.len(), 2, "each payment must be recorded once");
        assert_eq!(payments.len() - refunds.len(), usize::from(now.state == OrderState::Paid));
    }
}

#[tokio::test]
async fn another_node_is_notified_of_events() {
    let (a, b, _) = two().await;
    let appended = |all: &[doorbuster_store::Committed]| all.iter().any(|commit| commit.events);
    let grant = a.slot(10, 10, 4).await;
    wait(&b, KNOWN_WITHIN, appended).await;
    b.commits.forget();
    // The payment names an order that this store does not have. The store refunds the payment, and
    // no units move.
    a.store.capture(message("nothing of ours", 1, "evt_1", "pay_1"), false).await.expect("writes");
    wait(&b, KNOWN_WITHIN, appended).await;
    assert!(a.commits.take().iter().any(|committed| committed.events));
    // The acknowledgement of a grant appends no event.
    b.store.acknowledge_init(grant.id).await.expect("writes");
    b.store.refill(grant.id, 0, doorbuster_core::Counter::A).await.expect("writes");
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}
