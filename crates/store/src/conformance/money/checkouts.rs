//! Checkouts: an order keeps one, and its units wait for the provider's word, but not for ever.
use doorbuster_core::event::By;
use doorbuster_core::limits::{EXTEND_MS_MAX, PROVIDER_ASK_WITHIN_MS, PROVIDER_GRACE_MS};
use doorbuster_core::money::{Captured, Checkout, CheckoutKept};
use doorbuster_core::order::{Changed, Ending};
use doorbuster_core::{Millis, Order, OrderState, TicketId};

use super::{PROVIDER, capture, later, message, now};
use crate::conformance::{HOLD_MS, Rig, id_of};
use crate::contract::PutOff;

fn checkout(rig: &Rig, order: TicketId, session: &str) -> Checkout {
    Checkout {
        order,
        provider: PROVIDER.to_owned(),
        session: session.to_owned(),
        url: format!("https://pay.example/{session}"),
        expires_at: later(rig, HOLD_MS),
        open: true,
        at: rig.clock.now(),
        asked_at: None,
    }
}

async fn keep(rig: &Rig, order: &Order, session: &str) -> CheckoutKept {
    rig.store.keep_checkout(checkout(rig, order.id, session)).await.expect("writes")
}

async fn close(rig: &Rig, order: &Order, session: &str) -> bool {
    rig.store.close_checkout(order.id, session.to_owned()).await.expect("writes")
}

async fn to_close(rig: &Rig) -> Vec<String> {
    let due = rig.store.checkouts_to_close(100).await.expect("reads");
    due.into_iter().map(|(checkout, _)| checkout.session).collect()
}

async fn cancel(rig: &Rig, order: &Order) -> Changed {
    rig.store.end_order(order.id, Ending::Cancel, By::BUYER.clone()).await.expect("writes")
}

fn put_off(order: &Order, session: &str, ms: i64, in_vain: bool) -> PutOff {
    PutOff { order: order.id, session: session.to_owned(), ms, in_vain }
}

/// Notes that its provider was asked in vain; whether it keeps that session, open.
async fn ask_in_vain(rig: &Rig, order: &Order, session: &str) -> bool {
    rig.store.put_off_checkouts(vec![put_off(order, session, 300, true)]).await.expect("writes")
        == 1
}

async fn asked_at(rig: &Rig, order: &Order) -> Option<Millis> {
    rig.store.checkout(order.id).await.expect("reads").expect("it is kept").asked_at
}

async fn next_due(rig: &Rig) -> Option<Millis> {
    rig.store.next_due().await.expect("reads")
}

async fn expire(rig: &Rig) -> Vec<TicketId> {
    rig.store.expire_due(100).await.expect("writes").into_iter().map(|order| order.id).collect()
}

/// An order keeps the checkout that came first until it is closed, then another.
pub async fn an_order_keeps_one_checkout(rig: Rig) {
    let grant = rig.slot(10, 10, 4).await;
    let order = rig.reserve(&grant, 1, "anna", 2).await;
    assert_eq!(rig.store.checkout(order.id).await.expect("reads"), None);
    let first = checkout(&rig, order.id, "one");
    assert_eq!(keep(&rig, &order, "one").await, CheckoutKept::Kept(first.clone()));
    rig.clock.pass(1);
    assert_eq!(
        keep(&rig, &order, "two").await,
        CheckoutKept::Kept(first.clone()),
        "there is one already"
    );
    assert_eq!(rig.store.checkout(order.id).await.expect("reads"), Some(first.clone()));
    assert!(!close(&rig, &order, "two").await, "that one was not kept");
    assert!(close(&rig, &order, "one").await);
    assert!(close(&rig, &order, "one").await, "repeating it is harmless");
    let closed = Checkout { open: false, ..first };
    assert_eq!(rig.store.checkout(order.id).await.expect("reads"), Some(closed));
    let third = checkout(&rig, order.id, "three");
    assert_eq!(keep(&rig, &order, "three").await, CheckoutKept::Kept(third.clone()));
    assert_eq!(rig.store.checkout(order.id).await.expect("reads"), Some(third));
    // Other orders have their own; what is no order has none.
    let other = rig.reserve(&grant, 2, "bert", 2).await;
    assert!(
        matches!(keep(&rig, &other, "four").await, CheckoutKept::Kept(kept) if kept.session == "four")
    );
    let none = id_of(&rig.ticket(&grant, 1, "anna", "another", 2));
    let kept = rig.store.keep_checkout(checkout(&rig, none, "five")).await.expect("writes");
    assert_eq!(kept, CheckoutKept::NotFound);
    assert_eq!(rig.store.checkout(none).await.expect("reads"), None);
    assert!(!rig.store.close_checkout(none, "three".to_owned()).await.expect("writes"));
    assert!(matches!(cancel(&rig, &other).await, Changed::Done(_)));
    let ended = now(&rig, &other).await;
    assert_eq!(keep(&rig, &other, "six").await, CheckoutKept::WrongState(ended));
    rig.adds_up().await;
}

/// A hold with an open checkout ends when its provider took no money, or could not say so for long; no other waits for that.
pub async fn expiry_waits_for_the_provider(rig: Rig) {
    let grant = rig.slot(10, 10, 4).await;
    let mut orders = Vec::new();
    for n in 1..=4 {
        orders.push(rig.reserve(&grant, n, &format!("buyer-{n}"), 1).await);
        rig.clock.pass(1);
    }
    let [asked, silent, plain, closed] = &orders[..] else { panic!("four") };
    for (order, session) in [(asked, "asked"), (silent, "silent"), (closed, "closed")] {
        keep(&rig, order, session).await;
    }
    close(&rig, closed, "closed").await;
    assert_eq!(rig.store.next_due().await.expect("reads"), Some(plain.pay_by));
    assert_eq!(to_close(&rig).await, [""; 0]);
    rig.clock.pass(HOLD_MS - 1);
    assert_eq!(
        rig.store.expire_due(1).await.expect("writes")[0].id,
        plain.id,
        "those that wait do not stand before it"
    );
    assert_eq!(expire(&rig).await, [closed.id]);
    assert_eq!(expire(&rig).await, []);
    assert_eq!(next_due(&rig).await, Some(asked.pay_by.plus(PROVIDER_ASK_WITHIN_MS)));
    let ending =
        rig.store.end_order(asked.id, Ending::Expire, By::ENGINE.clone()).await.expect("writes");
    assert_eq!(ending, Changed::WrongState(asked.clone()), "its provider was not asked");
    let due = rig.store.checkouts_to_close(100).await.expect("reads");
    let found: Vec<_> =
        due.iter().map(|(checkout, order)| (checkout.session.as_str(), order)).collect();
    assert_eq!(found, [("asked", asked), ("silent", silent)]);
    assert_eq!(rig.store.checkouts_to_close(1).await.expect("reads").len(), 1);
    close(&rig, asked, "asked").await;
    assert_eq!(to_close(&rig).await, ["silent"]);
    assert_eq!(expire(&rig).await, [asked.id]);
    rig.clock.pass(PROVIDER_GRACE_MS);
    assert_eq!(expire(&rig).await, [], "nobody could ask yet");
    assert!(ask_in_vain(&rig, silent, "silent").await);
    rig.clock.pass(PROVIDER_GRACE_MS - 1);
    assert_eq!(expire(&rig).await, []);
    rig.clock.pass(1);
    assert_eq!(expire(&rig).await, [silent.id], "not for ever");
    assert_eq!(to_close(&rig).await, ["silent"], "it may still take money, and that would be late");
    assert_eq!(next_due(&rig).await, None);
    rig.expect_units(grant.slot.item, 4, 6, 0, 0).await;
}

/// How long an order waits for its provider: a while from the first question in vain since it is due, and never longer than if nobody asked.
pub async fn a_question_in_vain_begins_the_grace(rig: Rig) {
    let grant = rig.slot(10, 10, 4).await;
    let order = rig.reserve(&grant, 1, "anna", 2).await;
    keep(&rig, &order, "one").await;
    assert_eq!(next_due(&rig).await, Some(order.pay_by.plus(PROVIDER_ASK_WITHIN_MS)));
    assert!(ask_in_vain(&rig, &order, "one").await);
    assert_eq!(asked_at(&rig, &order).await, None, "it is not due");
    rig.clock.pass(300);
    assert_eq!(to_close(&rig).await, [""; 0], "nor is its checkout to be closed yet");
    rig.clock.pass(HOLD_MS);
    assert!(!ask_in_vain(&rig, &order, "two").await, "it keeps another");
    assert_eq!(asked_at(&rig, &order).await, None);
    let first = rig.clock.now();
    for _ in 0..3 {
        assert!(ask_in_vain(&rig, &order, "one").await);
        assert_eq!(asked_at(&rig, &order).await, Some(first), "the first question counts");
        assert_eq!(to_close(&rig).await, [""; 0], "and each puts off the next");
        assert_eq!(next_due(&rig).await, Some(first.plus(PROVIDER_GRACE_MS)));
        rig.clock.pass(300);
        assert_eq!(to_close(&rig).await, ["one"]);
    }
    // More time: it is asked about anew.
    let pay_by = later(&rig, 5_000);
    let extended =
        rig.store.extend_order(order.id, pay_by, By::ENGINE.clone()).await.expect("writes");
    assert!(matches!(extended, Changed::Done(_)), "{extended:?}");
    assert_eq!((asked_at(&rig, &order).await, to_close(&rig).await.len()), (None, 0));
    assert_eq!(next_due(&rig).await, Some(pay_by.plus(PROVIDER_ASK_WITHIN_MS)));
    rig.clock.pass(5_000 + PROVIDER_ASK_WITHIN_MS - 10);
    assert!(ask_in_vain(&rig, &order, "one").await);
    assert_eq!(
        next_due(&rig).await,
        Some(pay_by.plus(PROVIDER_ASK_WITHIN_MS)),
        "no question makes it wait longer"
    );
    assert_eq!(expire(&rig).await, []);
    // Another session knows of no question.
    close(&rig, &order, "one").await;
    assert_eq!(next_due(&rig).await, Some(pay_by));
    keep(&rig, &order, "two").await;
    assert_eq!(asked_at(&rig, &order).await, None);
    assert!(!ask_in_vain(&rig, &order, "one").await, "that one is closed");
    assert_eq!(next_due(&rig).await, Some(pay_by.plus(PROVIDER_ASK_WITHIN_MS)));
    rig.clock.pass(9);
    assert_eq!(expire(&rig).await, []);
    rig.clock.pass(1);
    assert_eq!(expire(&rig).await, [order.id], "nobody could ask for long");
    rig.expect_units(grant.slot.item, 2, 8, 0, 0).await;
}

/// A page of checkouts is put off in one transaction, whatever became of their orders meanwhile.
pub async fn a_page_of_checkouts_is_put_off(rig: Rig) {
    let grants = [rig.slot(10, 10, 4).await, rig.slot(10, 10, 4).await];
    let mut orders = Vec::new();
    for n in 1..=6 {
        let order = rig.reserve(&grants[n % 2], n as u64, &format!("buyer-{n}"), 1).await;
        keep(&rig, &order, &format!("session-{n}")).await;
        orders.push(order);
    }
    cancel(&rig, &orders[1]).await;
    close(&rig, &orders[2], "session-3").await;
    rig.clock.pass(HOLD_MS);
    assert_eq!(to_close(&rig).await.len(), 5);
    let now = rig.clock.now();
    // The same grant and number, another request.
    let none = id_of(&rig.ticket(&grants[0], 2, "anna", "another", 1));
    // Backwards: whoever locks their grants does so in one order.
    let mut all: Vec<_> = (0..6)
        .rev()
        .map(|at| put_off(&orders[at], &format!("session-{}", at + 1), 700, at != 4))
        .collect();
    all.push(put_off(&orders[0], "session-9", 1, true));
    all.push(PutOff { order: none, session: "session-2".to_owned(), ms: 1, in_vain: true });
    assert_eq!(rig.store.put_off_checkouts(all).await.expect("writes"), 5, "one was closed");
    let mut asked = Vec::new();
    for order in &orders {
        asked.push(asked_at(&rig, order).await);
    }
    assert_eq!(
        asked,
        [Some(now), None, None, Some(now), None, Some(now)],
        "one ended, one is closed, one nobody could ask"
    );
    assert_eq!(to_close(&rig).await, [""; 0]);
    rig.clock.pass(699);
    assert_eq!(to_close(&rig).await, [""; 0]);
    rig.clock.pass(1);
    assert_eq!(to_close(&rig).await.len(), 5);
    assert_eq!(expire(&rig).await, [orders[2].id]);
    rig.clock.pass(PROVIDER_GRACE_MS - 700);
    let mut expired = expire(&rig).await;
    expired.sort_unstable();
    let mut wanted = [0, 3, 5].map(|at: usize| orders[at].id);
    wanted.sort_unstable();
    assert_eq!(expired, wanted);
    assert_eq!(next_due(&rig).await, Some(orders[4].pay_by.plus(PROVIDER_ASK_WITHIN_MS)));
    assert_eq!(rig.store.put_off_checkouts(Vec::new()).await.expect("writes"), 0);
    rig.adds_up().await;
}

/// What waits for no payment any more has its checkout closed; one that cannot be is put off.
pub async fn checkouts_of_what_ended_are_to_be_closed(rig: Rig) {
    let grant = rig.slot(10, 10, 4).await;
    let mut orders = Vec::new();
    for n in 1..=3 {
        let order = rig.reserve(&grant, n, &format!("buyer-{n}"), 1).await;
        keep(&rig, &order, &format!("session-{n}")).await;
        orders.push(order);
    }
    assert_eq!(to_close(&rig).await, [""; 0], "all wait for their payment");
    cancel(&rig, &orders[1]).await;
    assert_eq!(to_close(&rig).await, ["session-2"]);
    assert!(matches!(capture(&rig, &message(&orders[0], "e", "p")).await, Captured::Paid(_)));
    let mut due = to_close(&rig).await;
    due.sort();
    assert_eq!(due, ["session-1", "session-2"]);
    let put_off = async |order: &Order, session: &str| ask_in_vain(&rig, order, session).await;
    assert!(put_off(&orders[1], "session-2").await);
    assert!(!put_off(&orders[1], "session-1").await);
    assert_eq!(to_close(&rig).await, ["session-1"]);
    rig.clock.pass(300);
    assert_eq!(to_close(&rig).await.len(), 2);
    close(&rig, &orders[0], "session-1").await;
    close(&rig, &orders[1], "session-2").await;
    assert!(!put_off(&orders[1], "session-2").await, "it is closed");
    assert_eq!(to_close(&rig).await, [""; 0]);
    // One that was put off is due again when its order ends.
    assert!(put_off(&orders[2], "session-3").await);
    cancel(&rig, &orders[2]).await;
    assert_eq!(to_close(&rig).await, ["session-3"]);
    rig.adds_up().await;
}

/// More time is given to what waits for its payment, and expiry knows.
pub async fn an_order_gets_more_time(rig: Rig) {
    let grant = rig.slot(10, 10, 4).await;
    let order = rig.reserve(&grant, 1, "anna", 2).await;
    keep(&rig, &order, "session").await;
    let extend = async |pay_by| {
        rig.store.extend_order(order.id, pay_by, By::ENGINE.clone()).await.expect("writes")
    };
    let later_by = order.pay_by.plus(500);
    rig.told.forget();
    let Changed::Done(extended) = extend(later_by).await else { panic!("it is later") };
    assert_eq!(extended, Order { pay_by: later_by, ..order.clone() });
    assert_eq!(now(&rig, &order).await, extended);
    assert!(
        rig.told.take().iter().any(|t| t.events && t.orders == [extended.clone()]),
        "the buyer's page hears of it"
    );
    assert_eq!(extend(later_by).await, Changed::Already(extended.clone()));
    assert_eq!(extend(order.pay_by).await, Changed::WrongState(extended.clone()), "not less");
    let too_late = later(&rig, EXTEND_MS_MAX + 1);
    assert_eq!(extend(too_late).await, Changed::WrongState(extended.clone()), "not for ever");
    rig.clock.pass(HOLD_MS);
    assert_eq!((expire(&rig).await, to_close(&rig).await), (vec![], vec![]));
    assert_eq!(next_due(&rig).await, Some(later_by.plus(PROVIDER_ASK_WITHIN_MS)));
    rig.clock.pass(500);
    assert_eq!(to_close(&rig).await, ["session"]);
    let Changed::Done(_) = extend(later(&rig, EXTEND_MS_MAX)).await else {
        panic!("it was not expired yet")
    };
    assert_eq!(to_close(&rig).await, [""; 0], "it waits for its payment again");
    assert!(matches!(cancel(&rig, &order).await, Changed::Done(_)));
    let Changed::WrongState(ended) = extend(later(&rig, EXTEND_MS_MAX - 1)).await else {
        panic!("it ended")
    };
    assert_eq!(ended.state, OrderState::Cancelled);
    let none = id_of(&rig.ticket(&grant, 9, "anna", "another", 2));
    let extended =
        rig.store.extend_order(none, later_by, By::ENGINE.clone()).await.expect("writes");
    assert_eq!(extended, Changed::NotFound);
    rig.adds_up().await;
}
