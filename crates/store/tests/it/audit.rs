//! Tests on each backend that the audit finds units and money that do not add up.
use std::time::{Duration, Instant};

use doorbuster_core::money::{Capture, CaptureOutcome, Money, PaymentId, RefundCause};
use doorbuster_core::{Counter, Order, OrderState, Stock};
use doorbuster_store::conformance::{Fixture, HOLD_MS};

use crate::cluster;
use crate::fixture::{Dir, open, open_postgres};

mod migrations {
    refinery::embed_migrations!("migrations");
}

fn message(order: &Order, payment: &str, minor: i64) -> Capture {
    Capture {
        event: payment.to_owned(),
        provider: "paybank".to_owned(),
        payment: PaymentId(payment.to_owned()),
        order: order.id.to_string(),
        money: Money { minor, currency: "EUR".to_owned() },
    }
}

/// Each entry has a statement that damages a row with money, a statement that repairs the row, and
/// a text that an audit finding must contain.
const DAMAGES: [(&str, &str, &str); 10] = [
    (
        "UPDATE payment SET amount_minor = 1 WHERE id = 'pay_1'",
        "UPDATE payment SET amount_minor = 3998 WHERE id = 'pay_1'",
        "pay_1",
    ),
    (
        "UPDATE payment SET currency = 'USD' WHERE id = 'pay_1'",
        "UPDATE payment SET currency = 'EUR' WHERE id = 'pay_1'",
        "pay_1",
    ),
    ("UPDATE item SET price_minor = 2000", "UPDATE item SET price_minor = 1999", "pay_1"),
    (
        "UPDATE payment SET state = 'failed' WHERE id = 'pay_1'",
        "UPDATE payment SET state = 'captured' WHERE id = 'pay_1'",
        "order ",
    ),
    (
        "UPDATE payment SET state = 'refunded' WHERE id = 'pay_1'",
        "UPDATE payment SET state = 'captured' WHERE id = 'pay_1'",
        "pay_1",
    ),
    (
        "UPDATE payment SET grant_id = 5 WHERE id = 'pay_1'",
        "UPDATE payment SET grant_id = (SELECT grant_id FROM payment WHERE id = 'pay_2') WHERE id \
         = 'pay_1'",
        "pay_1",
    ),
    (
        "UPDATE payment SET state = 'captured' WHERE id = 'pay_2'",
        "UPDATE payment SET state = 'refunded' WHERE id = 'pay_2'",
        "pay_2",
    ),
    (
        "UPDATE payment SET state = 'failed' WHERE id = 'pay_2'",
        "UPDATE payment SET state = 'refunded' WHERE id = 'pay_2'",
        "pay_2",
    ),
    ("UPDATE refund SET amount_minor = 2", "UPDATE refund SET amount_minor = 1", "pay_2"),
    ("UPDATE refund SET payment_id = 'pay_1'", "UPDATE refund SET payment_id = 'pay_2'", "pay_1"),
];

async fn one_paid_and_one_mistaken(fixture: &Fixture) {
    let grant = fixture.slot(20, 10, 3).await;
    let (paid, mistaken) =
        (fixture.reserve(&grant, 1, "anna", 2).await, fixture.reserve(&grant, 2, "bert", 1).await);
    let right = fixture.store.capture(message(&paid, "pay_1", 3_998), true).await.expect("writes");
    assert!(matches!(right, CaptureOutcome::Paid(_)));
    let wrong = fixture.store.capture(message(&mistaken, "pay_2", 1), true).await.expect("writes");
    assert!(
        matches!(wrong, CaptureOutcome::Refund(refund) if refund.cause == RefundCause::Mismatch)
    );
    fixture.check_invariants().await;
}

async fn each_is_found(fixture: &Fixture, run: impl Fn(&str)) {
    one_paid_and_one_mistaken(fixture).await;
    for (damage, repair, words) in DAMAGES {
        run(damage);
        let found = fixture.store.check().await.expect("reads").findings;
        assert!(
            found.iter().any(|f| f.rule == "I5" && f.detail.contains(words)),
            "{damage}: {found:?}"
        );
        run(repair);
        fixture.check_invariants().await;
    }
    assert_eq!(fixture.store.check().await.expect("reads").notices.len(), 1);
    fixture.store.close().await;
}

/// Each entry has a statement that damages the stock, a statement that repairs the stock, and the
/// rule that the damage breaks. Anna has two units, and Bert has one.
const UNIT_DAMAGES: [(&str, &str, &str); 9] = [
    ("UPDATE quota SET used = used + 1", "UPDATE quota SET used = used - 1", "I4"),
    ("UPDATE quota SET used = 3 - used", "UPDATE quota SET used = 3 - used", "I4"),
    (
        "UPDATE quota SET buyer = 'carl' WHERE used = 2",
        "UPDATE quota SET buyer = 'anna' WHERE used = 2",
        "I4",
    ),
    ("UPDATE item SET limit_per_buyer = 1", "UPDATE item SET limit_per_buyer = 3", "I4"),
    ("UPDATE slot_grant SET settled = 4", "UPDATE slot_grant SET settled = 3", "I2"),
    ("UPDATE item SET pool = 3", "UPDATE item SET pool = 9", "I2"),
    ("UPDATE item SET paid = 1", "UPDATE item SET paid = 0", "I2"),
    ("UPDATE item SET ended = 1", "UPDATE item SET ended = 0", "I2"),
    ("UPDATE feed SET seq = 2", "UPDATE feed SET seq = 1", "I6"),
];

async fn each_unit_is_found(fixture: &Fixture, run: impl Fn(&str)) {
    let grant = fixture.slot(20, 10, 3).await;
    let (_, bert) =
        (fixture.reserve(&grant, 1, "anna", 2).await, fixture.reserve(&grant, 2, "bert", 1).await);
    fixture.store.refill(grant.id, 1, Counter::A).await.expect("writes");
    fixture.check_invariants().await;
    for (damage, repair, rule) in UNIT_DAMAGES {
        run(damage);
        let found = fixture.store.check().await.expect("reads").findings;
        assert!(
            found.iter().any(|f| f.rule == rule && f.item == Some(grant.slot.item)),
            "{damage}: {found:?}"
        );
        let names_bert = found.iter().any(|f| f.detail.contains(&bert.id.to_string()));
        assert_eq!(names_bert, damage.starts_with("UPDATE quota SET used"), "{damage}: {found:?}");
        run(repair);
        fixture.check_invariants().await;
    }
    fixture.store.close().await;
}

/// A hold without a due time would never expire. In PostgreSQL, the due times are in a separate
/// table, so a due time may be missing or wrong.
#[tokio::test]
async fn a_missing_or_wrong_due_time_is_found() {
    let database = cluster::shared().database();
    let run = |sql: &str| drop(cluster::shared().psql(&database, sql).expect("valid SQL"));
    let fixture = open_postgres(&cluster::shared().url(&database), 1).await;
    let grant = fixture.slot(20, 10, 3).await;
    let anna = fixture.reserve(&grant, 1, "anna", 2).await;
    let again = "INSERT INTO order_due (at, seq, grant_id, n, item_id)
                 SELECT pay_by + ask_ms, seq, grant_id, n, item_id FROM orders";
    for (damage, repair) in [
        ("UPDATE order_due SET at = at + 1", "UPDATE order_due SET at = at - 1"),
        ("UPDATE order_due SET n = 7", "UPDATE order_due SET n = 1"),
        ("DELETE FROM order_due", again),
    ] {
        run(damage);
        let found = fixture.store.check().await.expect("reads").findings;
        let [finding] = &found[..] else { panic!("{damage}: {found:?}") };
        assert_eq!((finding.rule, finding.item), ("I2", Some(grant.slot.item)), "{damage}");
        assert!(finding.detail.contains(&anna.id.to_string()), "{damage}: {finding:?}");
        run(repair);
        fixture.check_invariants().await;
    }
    fixture.store.close().await;
}

#[tokio::test]
async fn units_that_do_not_add_up_are_found() {
    let dir = Dir::new();
    let fixture = open(dir.path());
    let shell = dir.shell();
    each_unit_is_found(&fixture, |sql| {
        assert!(shell.execute(sql, []).expect("a change") > 0, "{sql}")
    })
    .await;
}

#[tokio::test]
async fn units_that_do_not_add_up_in_postgresql_are_found() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let fixture = open_postgres(&cluster.url(&database), 1).await;
    each_unit_is_found(&fixture, |sql| drop(cluster.psql(&database, sql).expect("a change"))).await;
    let kept = cluster.psql(&database, "DELETE FROM orders").expect_err("orders stay");
    assert!(kept.contains("never"), "{kept}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_audit_leaves_no_open_transaction_in_postgresql() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let fixture = open_postgres(&cluster.url(&database), 1).await;
    let psql = |sql: &str| cluster.psql(&database, sql).expect("a query").trim().to_owned();
    let wait_until = |what: &str, sql: &str| {
        let began = Instant::now();
        while psql(sql) != "0" {
            assert!(began.elapsed() < Duration::from_secs(20), "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let of = database.clone();
    let lock = std::thread::spawn(move || {
        let lock = "BEGIN; LOCK TABLE refund; SELECT pg_sleep(1); COMMIT";
        cluster.psql(&of, lock).expect("the table is locked");
    });
    let is_unlocked = "SELECT 1 - count(*) FROM pg_locks
         WHERE relation = 'refund'::regclass AND mode = 'AccessExclusiveLock' AND granted";
    wait_until("the table is locked", is_unlocked);
    let checked = tokio::time::timeout(Duration::from_millis(100), fixture.store.check()).await;
    assert!(checked.is_err(), "the audit must wait for the table");
    lock.join().expect("no panic");
    // After five seconds, the database itself ends a session with an idle transaction. So the test
    // checks for such sessions during the first three seconds.
    let (began, idle) = (
        Instant::now(),
        "SELECT count(*) FROM pg_stat_activity WHERE datname =
         current_database() AND state = 'idle in transaction'
         AND clock_timestamp() - state_change > interval '1 s'",
    );
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(psql(idle), "0", "the audit must not leave a transaction open");
        std::thread::sleep(Duration::from_millis(20));
    }
    fixture.check_invariants().await;
    fixture.store.close().await;
}

#[tokio::test]
async fn money_that_does_not_add_up_is_found() {
    let dir = Dir::new();
    let fixture = open(dir.path());
    let shell = dir.shell();
    each_is_found(&fixture, |sql| assert!(shell.execute(sql, []).expect("a change") > 0, "{sql}"))
        .await;
}

#[tokio::test]
async fn money_that_does_not_add_up_in_postgresql_is_found() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let fixture = open_postgres(&cluster.url(&database), 1).await;
    each_is_found(&fixture, |sql| drop(cluster.psql(&database, sql).expect("a change"))).await;
}

#[tokio::test]
async fn an_order_is_never_paid_by_two_payments() {
    let dir = Dir::new();
    let fixture = open(dir.path());
    one_paid_and_one_mistaken(&fixture).await;
    let second = "INSERT INTO payment SELECT seq + 9, 'pay_9', provider, order_id, grant_id, n,
                  amount_minor, currency, state, at
                  FROM payment WHERE id = 'pay_1'";
    let refused = dir.shell().execute(second, []).expect_err("refused").to_string();
    assert!(refused.contains("UNIQUE"), "{refused}");
    let changed = dir
        .shell()
        .execute("UPDATE event SET type = 'order.paid'", [])
        .expect_err("refused")
        .to_string();
    assert!(changed.contains("not changed"), "{changed}");
    fixture.store.close().await;
}

/// Rows of an early version (schema 3): a sale, an item, a grant and quotas. The test adds a
/// reserved and a paid order. The early version wrote no payments.
const BEFORE: &str = "
    INSERT INTO sale (id, title, phase, front_door, version, created_at, opened_at)
    VALUES ('old', 'Old', 'open', '{}', 2, 1, 1);
    INSERT INTO item (id, sale_id, name, title, description, price_minor, currency, limit_per_buyer,
    hold_ms, initial_total, total, pool, paid)
    VALUES (1, 'old', 'phone', 'Phone', '', 1999, 'EUR', 3, 3600000, 20, 20, 10, 2);
    INSERT INTO slot_grant (id, item_id, slot, epoch, granted, settled, counted, open, acked, max_n,
    resolved, feed_len, opened_at)
    VALUES (4294967297, 1, 0, 1, 10, 3, 1, 1, 1, 2, 2, 0, 1);
    INSERT INTO quota (buyer, item_id, used) VALUES ('anna', 1, 1), ('bert', 1, 2);";

#[tokio::test]
async fn a_database_of_the_previous_version_is_migrated() {
    // The orders of the early version need valid ids, so the test creates the same orders in
    // another store with the same key, and uses their ids.
    let model = Dir::new();
    let ids = open(model.path());
    let item = ids.item(Stock::Counted(20), 3).await;
    let grant = ids.open(doorbuster_core::SlotKey { item, index: 0 }, 10).await;
    let (anna, bert) =
        (ids.reserve(&grant, 1, "anna", 1).await, ids.reserve(&grant, 2, "bert", 2).await);
    let dir = Dir::new();
    let mut shell = dir.shell();
    migrations::migrations::runner()
        .set_target(refinery::Target::Version(3))
        .run(&mut shell)
        .expect("migrates");
    shell.execute_batch(&BEFORE.replace("4294967297", &grant.id.0.to_string())).expect("rows");
    let order = "INSERT INTO orders (id, buyer, request_key, item_id, units, state, grant_id, n,
         reserved_at, pay_by, paid_at)
                 VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    for (of, state, paid_at) in
        [(&anna, "reserved", None), (&bert, "paid", Some(bert.reserved_at.0))]
    {
        let (id, units, grant, n) =
            (of.id.to_string(), of.units.get(), of.grant.0.cast_signed(), of.n.0.cast_signed());
        let row = rusqlite::params![
            id,
            of.buyer.as_str(),
            of.key.as_str(),
            units,
            state,
            grant,
            n,
            of.reserved_at.0,
            of.pay_by.0,
            paid_at
        ];
        shell.execute(order, row).expect("a row");
    }
    shell.close().expect("closes");
    let fixture = open(dir.path());
    assert_eq!(fixture.store.order(anna.id).await.expect("reads"), Some(anna.clone()));
    assert_eq!(fixture.store.next_due().await.expect("reads"), Some(anna.pay_by));
    assert_eq!(
        fixture.store.history(anna.id).await.expect("reads"),
        [],
        "an order of an early version must have no events"
    );
    fixture.expect_units(item, 10, 7, 1, 2).await;
    fixture.clock.advance(HOLD_MS);
    let expired = fixture.store.expire_due(9).await.expect("writes");
    assert_eq!(
        expired.iter().map(|o| (o.id, o.state)).collect::<Vec<_>>(),
        [(anna.id, OrderState::Expired)]
    );
    assert_eq!(fixture.store.history(anna.id).await.expect("reads").len(), 1);
    let second =
        fixture.store.capture(message(&bert, "pay_1", 3_998), false).await.expect("writes");
    assert!(
        matches!(second, CaptureOutcome::Refund(refund) if refund.cause == RefundCause::Second)
    );
    fixture.expect_units(item, 11, 7, 0, 2).await;
    fixture.store.close().await;
    ids.store.close().await;
}
