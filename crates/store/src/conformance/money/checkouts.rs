//! Tests checkouts: an order has one checkout at a time. If the provider does not answer, the
//! order's units stay held for a bounded time.
use doorbuster_core::event::Attribution;
use doorbuster_core::limits::{EXTEND_MS_MAX, PROVIDER_CHECK_WITHIN_MS, PROVIDER_GRACE_MS};
use doorbuster_core::money::{CaptureOutcome, Checkout, CheckoutOutcome};
use doorbuster_core::order::{ChangeOutcome, EndReason};
use doorbuster_core::{Millis, Order, OrderState, TicketId};

use super::{PROVIDER, capture, later, message, now};
use crate::conformance::{Fixture, HOLD_MS, id_of};
use crate::contract::CheckoutDeferral;

fn checkout(fixture: &Fixture, order: TicketId, session: &str) -> Checkout {
    Checkout {
        order,
        provider: PROVIDER.to_owned(),
        session: session.to_owned(),
        url: format!("https://pay.example/{session}"),
        expires_at: later(fixture, HOLD_MS),
        open: true,
        at: fixture.clock.now(),
        asked_at: None,
    }
}

async fn keep(fixture: &Fixture, order: &Order, session: &str) -> CheckoutOutcome {
    fixture.store.keep_checkout(checkout(fixture, order.id, session)).await.expect("writes")
}

async fn close(fixture: &Fixture, order: &Order, session: &str) -> bool {
    fixture.store.close_checkout(order.id, session.to_owned()).await.expect("writes")
}

async fn to_close(fixture: &Fixture) -> Vec<String> {
    let due = fixture.store.checkouts_to_close(100).await.expect("reads");
    due.into_iter().map(|(checkout, _)| checkout.session).collect()
}

async fn cancel(fixture: &Fixture, order: &Order) -> ChangeOutcome {
    fixture
        .store
        .end_order(order.id, EndReason::Cancel, Attribution::BUYER.clone())
        .await
        .expect("writes")
}

fn put_off(order: &Order, session: &str, ms: i64, unanswered: bool) -> CheckoutDeferral {
    CheckoutDeferral { order: order.id, session: session.to_owned(), ms, unanswered }
}

/// Records that the provider did not answer a query about this session. Returns whether the session
/// is the order's open checkout.
async fn record_unanswered(fixture: &Fixture, order: &Order, session: &str) -> bool {
    fixture.store.defer_checkouts(vec![put_off(order, session, 300, true)]).await.expect("writes")
        == 1
}

async fn asked_at(fixture: &Fixture, order: &Order) -> Option<Millis> {
    fixture
        .store
        .checkout(order.id)
        .await
        .expect("reads")
        .expect("the order keeps its checkout")
        .asked_at
}

async fn next_due(fixture: &Fixture) -> Option<Millis> {
    fixture.store.next_due().await.expect("reads")
}

async fn expire(fixture: &Fixture) -> Vec<TicketId> {
    fixture.store.expire_due(100).await.expect("writes").into_iter().map(|order| order.id).collect()
}

/// An order can have another checkout only after its first checkout is closed.
pub async fn an_order_keeps_one_checkout(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 2).await;
    assert_eq!(fixture.store.checkout(order.id).await.expect("reads"), None);
    let first = checkout(&fixture, order.id, "one");
    assert_eq!(keep(&fixture, &order, "one").await, CheckoutOutcome::Kept(first.clone()));
    fixture.clock.advance(1);
    assert_eq!(
        keep(&fixture, &order, "two").await,
        CheckoutOutcome::Kept(first.clone()),
        "the first checkout must be kept"
    );
    assert_eq!(fixture.store.checkout(order.id).await.expect("reads"), Some(first.clone()));
    assert!(!close(&fixture, &order, "two").await, "an unknown session must not be closed");
    assert!(close(&fixture, &order, "one").await);
    assert!(close(&fixture, &order, "one").await, "a repeated call must succeed");
    let closed = Checkout { open: false, ..first };
    assert_eq!(fixture.store.checkout(order.id).await.expect("reads"), Some(closed));
    let third = checkout(&fixture, order.id, "three");
    assert_eq!(keep(&fixture, &order, "three").await, CheckoutOutcome::Kept(third.clone()));
    assert_eq!(fixture.store.checkout(order.id).await.expect("reads"), Some(third));
    // Other orders have their own checkouts, and an unknown order has no checkout.
    let other = fixture.reserve(&grant, 2, "bert", 2).await;
    assert!(
        matches!(keep(&fixture, &other, "four").await, CheckoutOutcome::Kept(kept) if kept.session == "four")
    );
    let none = id_of(&fixture.ticket(&grant, 1, "anna", "another", 2));
    let kept = fixture.store.keep_checkout(checkout(&fixture, none, "five")).await.expect("writes");
    assert_eq!(kept, CheckoutOutcome::NotFound);
    assert_eq!(fixture.store.checkout(none).await.expect("reads"), None);
    assert!(!fixture.store.close_checkout(none, "three".to_owned()).await.expect("writes"));
    assert!(matches!(cancel(&fixture, &other).await, ChangeOutcome::Done(_)));
    let ended = now(&fixture, &other).await;
    assert_eq!(keep(&fixture, &other, "six").await, CheckoutOutcome::WrongState(ended));
    assert_eq!(to_close(&fixture).await, ["four"], "the checkout of an ended order must be due");
    fixture.clock.advance(HOLD_MS);
    assert_eq!(to_close(&fixture).await, ["three", "four"], "the reserved order must come first");
    let one = fixture.store.checkouts_to_close(1).await.expect("reads");
    assert_eq!(one[0].0.session, "three");
    fixture.check_invariants().await;
}

/// A due hold with an open checkout expires after the checkout is closed, or after the provider has
/// not answered for a long time. Other due holds expire at once.
pub async fn expiry_waits_for_the_provider(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let mut orders = Vec::new();
    for n in 1..=4 {
        orders.push(fixture.reserve(&grant, n, &format!("buyer-{n}"), 1).await);
        fixture.clock.advance(1);
    }
    let [answered, silent, plain, closed] = &orders[..] else { panic!("expected four orders") };
    for (order, session) in [(answered, "answered"), (silent, "silent"), (closed, "closed")] {
        keep(&fixture, order, session).await;
    }
    close(&fixture, closed, "closed").await;
    assert_eq!(fixture.store.next_due().await.expect("reads"), Some(plain.pay_by));
    assert_eq!(to_close(&fixture).await, [""; 0]);
    fixture.clock.advance(HOLD_MS - 1);
    assert_eq!(
        fixture.store.expire_due(1).await.expect("writes")[0].id,
        plain.id,
        "waiting orders must not delay other orders"
    );
    assert_eq!(expire(&fixture).await, [closed.id]);
    assert_eq!(expire(&fixture).await, []);
    assert_eq!(next_due(&fixture).await, Some(answered.pay_by.plus(PROVIDER_CHECK_WITHIN_MS)));
    let ending = fixture
        .store
        .end_order(answered.id, EndReason::Expire, Attribution::ENGINE.clone())
        .await
        .expect("writes");
    assert_eq!(ending, ChangeOutcome::WrongState(answered.clone()), "the order expired too early");
    let due = fixture.store.checkouts_to_close(100).await.expect("reads");
    let found: Vec<_> =
        due.iter().map(|(checkout, order)| (checkout.session.as_str(), order)).collect();
    assert_eq!(found, [("answered", answered), ("silent", silent)]);
    assert_eq!(fixture.store.checkouts_to_close(1).await.expect("reads").len(), 1);
    close(&fixture, answered, "answered").await;
    assert_eq!(to_close(&fixture).await, ["silent"]);
    assert_eq!(expire(&fixture).await, [answered.id]);
    fixture.clock.advance(PROVIDER_GRACE_MS);
    assert_eq!(expire(&fixture).await, [], "the order must not expire before a query was sent");
    assert!(record_unanswered(&fixture, silent, "silent").await);
    fixture.clock.advance(PROVIDER_GRACE_MS - 1);
    assert_eq!(expire(&fixture).await, []);
    fixture.clock.advance(1);
    assert_eq!(expire(&fixture).await, [silent.id], "the order must expire after the longest wait");
    assert_eq!(
        to_close(&fixture).await,
        ["silent"],
        "the checkout must still be due, because a late payment is possible"
    );
    assert_eq!(next_due(&fixture).await, None);
    fixture.expect_units(grant.slot.item, 4, 6, 0, 0).await;
}

/// After its payment window, an order waits only for a bounded time for its provider to answer.
/// This time starts with the first unanswered query after the payment window.
pub async fn an_unanswered_check_starts_the_grace(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 2).await;
    keep(&fixture, &order, "one").await;
    assert_eq!(next_due(&fixture).await, Some(order.pay_by.plus(PROVIDER_CHECK_WITHIN_MS)));
    assert!(record_unanswered(&fixture, &order, "one").await);
    assert_eq!(asked_at(&fixture, &order).await, None, "a query before `pay_by` must not count");
    fixture.clock.advance(300);
    assert_eq!(to_close(&fixture).await, [""; 0], "the checkout must not be due yet");
    fixture.clock.advance(HOLD_MS);
    assert!(!record_unanswered(&fixture, &order, "two").await, "another session must not count");
    assert_eq!(asked_at(&fixture, &order).await, None);
    let first = fixture.clock.now();
    for _ in 0..3 {
        assert!(record_unanswered(&fixture, &order, "one").await);
        assert_eq!(asked_at(&fixture, &order).await, Some(first), "the first query must count");
        assert_eq!(to_close(&fixture).await, [""; 0], "each query must postpone the next query");
        assert_eq!(next_due(&fixture).await, Some(first.plus(PROVIDER_GRACE_MS)));
        fixture.clock.advance(300);
        assert_eq!(to_close(&fixture).await, ["one"]);
    }
    // An extension of the order deletes the record that its checkout had unanswered queries.
    let pay_by = later(&fixture, 5_000);
    let extended = fixture
        .store
        .extend_order(order.id, pay_by, Attribution::ENGINE.clone())
        .await
        .expect("writes");
    assert!(matches!(extended, ChangeOutcome::Done(_)), "{extended:?}");
    assert_eq!((asked_at(&fixture, &order).await, to_close(&fixture).await.len()), (None, 0));
    assert_eq!(next_due(&fixture).await, Some(pay_by.plus(PROVIDER_CHECK_WITHIN_MS)));
    fixture.clock.advance(5_000 + PROVIDER_CHECK_WITHIN_MS - 10);
    assert!(record_unanswered(&fixture, &order, "one").await);
    assert_eq!(
        next_due(&fixture).await,
        Some(pay_by.plus(PROVIDER_CHECK_WITHIN_MS)),
        "a query must never extend the time until the order expires"
    );
    assert_eq!(expire(&fixture).await, []);
    // The order gets a new session. The server has not asked the provider about this session yet.
    close(&fixture, &order, "one").await;
    assert_eq!(next_due(&fixture).await, Some(pay_by));
    keep(&fixture, &order, "two").await;
    assert_eq!(asked_at(&fixture, &order).await, None);
    assert!(!record_unanswered(&fixture, &order, "one").await, "a closed session must not count");
    assert_eq!(next_due(&fixture).await, Some(pay_by.plus(PROVIDER_CHECK_WITHIN_MS)));
    fixture.clock.advance(9);
    assert_eq!(expire(&fixture).await, []);
    fixture.clock.advance(1);
    assert_eq!(expire(&fixture).await, [order.id], "the order must expire after the longest wait");
    fixture.expect_units(grant.slot.item, 2, 8, 0, 0).await;
}

/// One transaction postpones the checks of several checkouts, even if some orders have changed.
pub async fn a_page_of_checkouts_is_postponed(fixture: Fixture) {
    let grants = [fixture.slot(10, 10, 4).await, fixture.slot(10, 10, 4).await];
    let mut orders = Vec::new();
    for n in 1..=6 {
        let order = fixture.reserve(&grants[n % 2], n as u64, &format!("buyer-{n}"), 1).await;
        keep(&fixture, &order, &format!("session-{n}")).await;
        orders.push(order);
    }
    cancel(&fixture, &orders[1]).await;
    close(&fixture, &orders[2], "session-3").await;
    fixture.clock.advance(HOLD_MS);
    assert_eq!(to_close(&fixture).await.len(), 5);
    let now = fixture.clock.now();
    // No order has this id: the order with this grant and number has another request.
    let none = id_of(&fixture.ticket(&grants[0], 2, "anna", "another", 1));
    // The call lists the orders in reverse sequence. The store must still lock the orders' grants
    // in the sequence of the grants' ids.
    let mut all: Vec<_> = (0..6)
        .rev()
        .map(|at| put_off(&orders[at], &format!("session-{}", at + 1), 700, at != 4))
        .collect();
    all.push(put_off(&orders[0], "session-9", 1, true));
    all.push(CheckoutDeferral {
        order: none,
        session: "session-2".to_owned(),
        ms: 1,
        unanswered: true,
    });
    assert_eq!(
        fixture.store.defer_checkouts(all).await.expect("writes"),
        5,
        "five of the six checkouts must still be open"
    );
    let mut times = Vec::new();
    for order in &orders {
        times.push(asked_at(&fixture, order).await);
    }
    assert_eq!(
        times,
        [Some(now), None, None, Some(now), None, Some(now)],
        "orders 1, 2 and 4 must not have a recorded query"
    );
    assert_eq!(to_close(&fixture).await, [""; 0]);
    fixture.clock.advance(699);
    assert_eq!(to_close(&fixture).await, [""; 0]);
    fixture.clock.advance(1);
    assert_eq!(to_close(&fixture).await.len(), 5);
    assert_eq!(expire(&fixture).await, [orders[2].id]);
    fixture.clock.advance(PROVIDER_GRACE_MS - 700);
    let mut expired = expire(&fixture).await;
    expired.sort_unstable();
    let mut wanted = [0, 3, 5].map(|at: usize| orders[at].id);
    wanted.sort_unstable();
    assert_eq!(expired, wanted);
    assert_eq!(next_due(&fixture).await, Some(orders[4].pay_by.plus(PROVIDER_CHECK_WITHIN_MS)));
    assert_eq!(fixture.store.defer_checkouts(Vec::new()).await.expect("writes"), 0);
    fixture.check_invariants().await;
}

/// When an order no longer waits for its payment, its checkout must be closed.
pub async fn checkouts_of_ended_orders_must_be_closed(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let mut orders = Vec::new();
    for n in 1..=3 {
        let order = fixture.reserve(&grant, n, &format!("buyer-{n}"), 1).await;
        keep(&fixture, &order, &format!("session-{n}")).await;
        orders.push(order);
    }
    assert_eq!(to_close(&fixture).await, [""; 0], "an unpaid order's checkout must stay open");
    cancel(&fixture, &orders[1]).await;
    assert_eq!(to_close(&fixture).await, ["session-2"]);
    assert!(matches!(
        capture(&fixture, &message(&orders[0], "e", "p")).await,
        CaptureOutcome::Paid(_)
    ));
    let mut due = to_close(&fixture).await;
    due.sort();
    assert_eq!(due, ["session-1", "session-2"]);
    let put_off =
        async |order: &Order, session: &str| record_unanswered(&fixture, order, session).await;
    assert!(put_off(&orders[1], "session-2").await);
    assert!(!put_off(&orders[1], "session-1").await);
    assert_eq!(to_close(&fixture).await, ["session-1"]);
    fixture.clock.advance(300);
    assert_eq!(to_close(&fixture).await.len(), 2);
    close(&fixture, &orders[0], "session-1").await;
    close(&fixture, &orders[1], "session-2").await;
    assert!(!put_off(&orders[1], "session-2").await, "a closed checkout must not be postponed");
    assert_eq!(to_close(&fixture).await, [""; 0]);
    // The check of this checkout is postponed. Nevertheless, the checkout becomes due when its
    // order ends.
    assert!(put_off(&orders[2], "session-3").await);
    cancel(&fixture, &orders[2]).await;
    assert_eq!(to_close(&fixture).await, ["session-3"]);
    fixture.check_invariants().await;
}

/// An order that waits for its payment can be extended, and then expires at the new time.
pub async fn an_order_gets_more_time(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 2).await;
    keep(&fixture, &order, "session").await;
    let extend = async |pay_by| {
        fixture
            .store
            .extend_order(order.id, pay_by, Attribution::ENGINE.clone())
            .await
            .expect("writes")
    };
    let later_by = order.pay_by.plus(500);
    fixture.commits.forget();
    let ChangeOutcome::Done(extended) = extend(later_by).await else {
        panic!("the extension must succeed")
    };
    assert_eq!(extended, Order { pay_by: later_by, ..order.clone() });
    assert_eq!(now(&fixture, &order).await, extended);
    assert!(
        fixture.commits.take().iter().any(|t| t.events && t.orders == [extended.clone()]),
        "the extension must be published"
    );
    assert_eq!(extend(later_by).await, ChangeOutcome::Already(extended.clone()));
    assert_eq!(
        extend(order.pay_by).await,
        ChangeOutcome::WrongState(extended.clone()),
        "an extension to an earlier time must be refused"
    );
    let too_late = later(&fixture, EXTEND_MS_MAX + 1);
    assert_eq!(
        extend(too_late).await,
        ChangeOutcome::WrongState(extended.clone()),
        "an extension beyond the maximum must be refused"
    );
    fixture.clock.advance(HOLD_MS);
    assert_eq!((expire(&fixture).await, to_close(&fixture).await), (vec![], vec![]));
    assert_eq!(next_due(&fixture).await, Some(later_by.plus(PROVIDER_CHECK_WITHIN_MS)));
    fixture.clock.advance(500);
    assert_eq!(to_close(&fixture).await, ["session"]);
    let ChangeOutcome::Done(_) = extend(later(&fixture, EXTEND_MS_MAX)).await else {
        panic!("the extension must succeed")
    };
    assert_eq!(to_close(&fixture).await, [""; 0], "an unpaid order's checkout must stay open");
    assert!(matches!(cancel(&fixture, &order).await, ChangeOutcome::Done(_)));
    let ChangeOutcome::WrongState(ended) = extend(later(&fixture, EXTEND_MS_MAX - 1)).await else {
        panic!("an ended order must not be extended")
    };
    assert_eq!(ended.state, OrderState::Cancelled);
    let none = id_of(&fixture.ticket(&grant, 9, "anna", "another", 2));
    let extended = fixture
        .store
        .extend_order(none, later_by, Attribution::ENGINE.clone())
        .await
        .expect("writes");
    assert_eq!(extended, ChangeOutcome::NotFound);
    fixture.check_invariants().await;
}
