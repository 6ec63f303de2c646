//! Tests rows that the previous version wrote. If an order waits for its payment provider, that
//! version writes a due time that is too early. When that due time comes, this version must not
//! expire the order, but must correct the due time.
use doorbuster_core::TicketId;
use doorbuster_core::limits::{PROVIDER_CHECK_WITHIN_MS, PROVIDER_GRACE_MS};
use doorbuster_core::money::{Checkout, CheckoutOutcome};
use doorbuster_store::CheckoutDeferral;
use doorbuster_store::conformance::{Fixture, HOLD_MS};

use crate::cluster;
use crate::fixture::{Dir, open, open_postgres};

const SESSION: &str = "session";

async fn expire(fixture: &Fixture) -> Vec<TicketId> {
    fixture.store.expire_due(9).await.expect("writes").into_iter().map(|order| order.id).collect()
}

async fn record_unanswered(fixture: &Fixture, order: TicketId) {
    let it = CheckoutDeferral { order, session: SESSION.to_owned(), ms: 300, unanswered: true };
    assert_eq!(fixture.store.defer_checkouts(vec![it]).await.expect("writes"), 1);
}

/// Tests the correction of a due time. `run` executes SQL on another connection.
async fn is_rewritten(fixture: Fixture, run: impl Fn(&str)) {
    let next_due = async || fixture.store.next_due().await.expect("reads");
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 1).await;
    let checkout = Checkout {
        order: order.id,
        provider: "paybank".to_owned(),
        session: SESSION.to_owned(),
        url: "https://pay.example/session".to_owned(),
        expires_at: order.pay_by,
        open: true,
        at: fixture.clock.now(),
        asked_at: None,
    };
    assert!(matches!(fixture.store.keep_checkout(checkout).await, Ok(CheckoutOutcome::Kept(_))));
    run("UPDATE orders SET ask_ms = 120000");
    assert_eq!(next_due().await, Some(order.pay_by.plus(PROVIDER_GRACE_MS)));
    fixture.clock.advance(HOLD_MS + PROVIDER_GRACE_MS);
    assert_eq!(expire(&fixture).await, [], "the order must not expire before a query was sent");
    assert_eq!(
        next_due().await,
        Some(order.pay_by.plus(PROVIDER_CHECK_WITHIN_MS)),
        "expiry must not find the order again before its new due time"
    );
    record_unanswered(&fixture, order.id).await;
    assert_eq!(next_due().await, Some(fixture.clock.now().plus(PROVIDER_GRACE_MS)));
    // When the previous version extends a payment window, it does not delete the record of an
    // unanswered query. This version must ignore that record.
    let pay_by = fixture.clock.now().plus(60_000);
    run(&format!("UPDATE orders SET pay_by = {}", pay_by.0));
    fixture.clock.advance(60_000 + 2 * PROVIDER_GRACE_MS);
    assert_eq!(expire(&fixture).await, []);
    assert_eq!(next_due().await, Some(pay_by.plus(PROVIDER_CHECK_WITHIN_MS)));
    record_unanswered(&fixture, order.id).await;
    fixture.clock.advance(PROVIDER_GRACE_MS - 1);
    assert_eq!(expire(&fixture).await, []);
    fixture.clock.advance(1);
    assert_eq!(expire(&fixture).await, [order.id]);
    fixture.check_invariants().await;
    fixture.store.close().await;
}

#[tokio::test]
async fn in_sqlite_a_wait_of_the_previous_version_is_rewritten() {
    let dir = Dir::new();
    let fixture = open(dir.path());
    is_rewritten(fixture, |sql| dir.shell().execute_batch(sql).expect("a change")).await;
}

#[tokio::test]
async fn in_postgresql_a_wait_of_the_previous_version_is_rewritten() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let fixture = open_postgres(&cluster.url(&database), 1).await;
    is_rewritten(fixture, |sql| drop(cluster.psql(&database, sql).expect("a change"))).await;
}
