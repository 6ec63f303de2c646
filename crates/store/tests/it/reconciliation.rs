//! Tests on each backend that the reconciliation reports each kind of difference in units and
//! money.
use std::collections::BTreeSet;

use doorbuster_core::money::{Capture, CaptureOutcome, Money, PaymentId};
use doorbuster_store::DifferenceKind;
use doorbuster_store::conformance::Fixture;
use doorbuster_store::limits::DIFFERENCES_MAX;

use crate::cluster;
use crate::fixture::{Dir, open, open_postgres};

/// Each entry has a statement that damages the data, a statement that repairs the data, and the
/// kind of difference that the reconciliation must report.
const DAMAGES: [(&str, &str, &str); 15] = [
    ("UPDATE item SET ended = ended + 1", "UPDATE item SET ended = ended - 1", "units"),
    ("UPDATE item SET pool = pool - 1", "UPDATE item SET pool = pool + 1", "units"),
    (
        "UPDATE payment SET state = 'captured' WHERE id = 'pay_2'",
        "UPDATE payment SET state = 'refunded' WHERE id = 'pay_2'",
        "captured_without_paid_order",
    ),
    (
        "UPDATE payment SET state = 'failed' WHERE id = 'pay_1'",
        "UPDATE payment SET state = 'captured' WHERE id = 'pay_1'",
        "paid_without_payment",
    ),
    (
        "UPDATE payment SET amount_minor = 1 WHERE id = 'pay_1'",
        "UPDATE payment SET amount_minor = 3998 WHERE id = 'pay_1'",
        "wrong_amount",
    ),
    (
        "UPDATE payment SET currency = 'USD' WHERE id = 'pay_1'",
        "UPDATE payment SET currency = 'EUR' WHERE id = 'pay_1'",
        "wrong_amount",
    ),
    (
        "DROP INDEX payment_stands;
         INSERT INTO payment (id, provider, order_id, grant_id, n, amount_minor, currency, state,
         at)
         SELECT 'pay_3', provider, order_id, grant_id, n, amount_minor, currency, state, at
         FROM payment
         WHERE id = 'pay_1'",
        "DELETE FROM payment WHERE id = 'pay_3';
         CREATE UNIQUE INDEX payment_stands ON payment (grant_id, n) WHERE state = 'captured'",
        "paid_twice",
    ),
    (
        "UPDATE payment SET state = 'refunded' WHERE id = 'pay_1'",
        "UPDATE payment SET state = 'captured' WHERE id = 'pay_1'",
        "refund_missing",
    ),
    (
        "UPDATE refund SET payment_id = 'pay_1'",
        "UPDATE refund
        SET payment_id = 'pay_2'",
        "refund_unfounded",
    ),
    ("UPDATE refund SET amount_minor = 2", "UPDATE refund SET amount_minor = 1", "refund_amount"),
    // The damage is a second refund of a payment. SQLite cannot drop the unique index of `refund`,
    // so a new table without the index takes the name `refund`.
    (
        "ALTER TABLE refund RENAME TO refund_once;
         CREATE TABLE refund AS SELECT * FROM refund_once;
         INSERT INTO refund SELECT * FROM refund_once",
        "DROP TABLE refund;
         ALTER TABLE refund_once RENAME TO refund",
        "refunded_twice",
    ),
    ("UPDATE refund SET state = 'failed'", "UPDATE refund SET state = 'pending'", "refund_failed"),
    (
        "INSERT INTO reversal SELECT id, 'returned', 5, currency, state = 'captured', at FROM \
         payment",
        "DELETE FROM reversal",
        "reversed",
    ),
    (
        "INSERT INTO dispute SELECT id, 'dp_1', 5, currency, state = 'captured', at, at FROM \
         payment",
        "DELETE FROM dispute",
        "reversed",
    ),
    // Earlier versions recorded disputes without an id. Such a dispute counts only as long as the
    // payment has no dispute with an id.
    (
        "INSERT INTO reversal SELECT id, 'disputed', 5, currency, state = 'captured', at FROM \
         payment",
        "INSERT INTO dispute SELECT id, 'dp_1', 5, currency, state <> state, at, at FROM payment",
        "reversed",
    ),
];

async fn each_is_named(fixture: &Fixture, run: impl Fn(&str)) {
    let grant = fixture.slot(20, 10, 3).await;
    for (n, who, minor) in [(1, "anna", 3_998), (2, "bert", 1)] {
        let order = fixture.reserve(&grant, n, who, 2).await;
        let report = Capture {
            event: format!("evt_{n}"),
            provider: "paybank".to_owned(),
            payment: PaymentId(format!("pay_{n}")),
            order: order.id.to_string(),
            money: Money { minor, currency: "EUR".to_owned() },
        };
        let outcome = fixture.store.capture(report, true).await.expect("writes");
        assert_eq!(matches!(outcome, CaptureOutcome::Paid(_)), n == 1);
    }
    let differences = async || {
        let books = fixture.store.reconcile(Some("sale-0".to_owned()), None).await.expect("reads");
        books.differences.iter().map(|found| found.kind.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(differences().await, [""; 0]);
    for (damage, repair, kind) in DAMAGES {
        run(damage);
        let found = differences().await;
        assert!(found.contains(&kind), "{damage}: {found:?}");
        run(repair);
        assert_eq!(differences().await, [""; 0], "{repair}");
    }
    fixture.store.close().await;
}

#[tokio::test]
async fn differences_are_listed() {
    let dir = Dir::new();
    let fixture = open(dir.path());
    let shell = dir.shell();
    each_is_named(&fixture, |sql| shell.execute_batch(sql).expect("a change")).await;
}

#[tokio::test]
async fn differences_in_postgresql_are_listed() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let fixture = open_postgres(&cluster.url(&database), 1).await;
    each_is_named(&fixture, |sql| drop(cluster.psql(&database, sql).expect("a change"))).await;
}

/// The number of payments for unknown orders. These payments fill two pages and a part of a third
/// page.
const MANY: usize = 2 * DIFFERENCES_MAX + 500;

async fn each_is_named_once(fixture: &Fixture, run: impl Fn(&str)) {
    run(&format!(
        "WITH RECURSIVE numbers (place) AS (SELECT 1 UNION ALL SELECT place + 1 FROM numbers
         WHERE place < {MANY})
         INSERT INTO payment (id, provider, order_id, amount_minor, currency, state, at)
         SELECT 'pay_' || place, 'paybank', 'no order', 1, 'EUR', 'captured', 1 FROM numbers"
    ));
    let (mut after, mut named, mut pages) = (None, BTreeSet::new(), 0);
    loop {
        let books = fixture.store.reconcile(None, after).await.expect("reads");
        for found in books.differences {
            match found.kind {
                DifferenceKind::CapturedWithoutPaidOrder => {
                    assert!(
                        named.insert(found.payment.clone()),
                        "each payment must be named once: {found:?}"
                    );
                }
                other => {
                    assert_eq!(
                        (other, pages),
                        (DifferenceKind::PaidTwice, 0),
                        "the first page must list the other kinds: {found:?}"
                    )
                }
            }
        }
        pages += 1;
        assert_eq!(
            books.unattributed[0].captured, MANY as i128,
            "each report must have the full sums"
        );
        if books.more.is_empty() {
            break;
        }
        after = Some(books.more);
    }
    assert_eq!((named.len(), pages), (MANY, 3));
    fixture.store.close().await;
}

#[tokio::test]
async fn more_differences_than_one_page_are_read_in_pages() {
    let dir = Dir::new();
    let fixture = open(dir.path());
    let shell = dir.shell();
    each_is_named_once(&fixture, |sql| shell.execute_batch(sql).expect("a change")).await;
}

#[tokio::test]
async fn more_differences_than_one_page_are_read_in_pages_in_postgresql() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let fixture = open_postgres(&cluster.url(&database), 1).await;
    each_is_named_once(&fixture, |sql| drop(cluster.psql(&database, sql).expect("a change"))).await;
}
