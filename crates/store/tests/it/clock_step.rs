//! Tests that no order and no checkout becomes due when the database's clock is set forward.
use doorbuster_core::limits::PROVIDER_GRACE_MS;
use doorbuster_core::money::{Checkout, CheckoutOutcome};
use doorbuster_store::conformance::{Clock, CommitLog, Fixture, HOLD_MS};
use doorbuster_store::{CheckoutDeferral, PostgresOptions, Store};

use crate::cluster;
use crate::fixture::postgres_options;

/// The size of the step: longer than a payment window plus the wait for a provider.
const STEP_MS: i64 = 3 * HOLD_MS;
/// The pause before the next query about a checkout.
const PAUSE_MS: i64 = 30_000;

#[tokio::test]
async fn a_step_of_the_databases_clock_makes_no_checkout_due() {
    let cluster = cluster::shared();
    let url = cluster.url(&cluster.database());
    let (clock, monotonic, commits) = (Clock::new(), Clock::new(), CommitLog::default());
    let options = PostgresOptions {
        monotonic_clock: Some(monotonic.reader()),
        ..postgres_options(&url, 1, &clock, &commits)
    };
    let store = Store::open_postgres(options).await.expect("opens");
    let fixture = Fixture { store, clock: clock.clone(), commits };
    let advance = |ms: i64| {
        clock.advance(ms);
        monotonic.advance(ms);
    };
    let due = async || fixture.store.checkouts_to_close(9).await.expect("reads").into_iter().next();
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 1).await;
    let checkout = Checkout {
        order: order.id,
        provider: "paybank".to_owned(),
        session: "session".to_owned(),
        url: "https://pay.example/session".to_owned(),
        expires_at: order.pay_by,
        open: true,
        at: clock.now(),
        asked_at: None,
    };
    let kept = fixture.store.keep_checkout(checkout.clone()).await.expect("writes");
    assert_eq!(kept, CheckoutOutcome::Kept(checkout.clone()));
    clock.advance(STEP_MS);
    assert_eq!(due().await, None, "the checkout of an order in its payment window must stay open");
    advance(HOLD_MS);
    assert!(due().await.is_some(), "after the payment window, the checkout must be closed");
    // The pause before the next query and the grace period must follow the monotonic clock, as the
    // due times do.
    let unanswered = CheckoutDeferral {
        order: order.id,
        session: checkout.session,
        ms: PAUSE_MS,
        unanswered: true,
    };
    assert_eq!(fixture.store.defer_checkouts(vec![unanswered]).await.expect("writes"), 1);
    assert_eq!(due().await, None);
    advance(PAUSE_MS);
    assert!(due().await.is_some(), "the provider must be asked again after the pause");
    let ends = fixture.store.next_due().await.expect("reads");
    assert_eq!(ends, Some(order.pay_by.plus(PROVIDER_GRACE_MS)));
}
