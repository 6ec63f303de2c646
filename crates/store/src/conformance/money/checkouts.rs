//! Checkouts: an order keeps one, and its units wait for the provider's word, but not for ever.
use doorbuster_core::event::By;
use doorbuster_core::limits::{EXTEND_MS_MAX, PROVIDER_GRACE_MS};
use doorbuster_core::money::{Captured, Checkout, CheckoutKept};
use doorbuster_core::order::{Changed, Ending};
use doorbuster_core::{Order, OrderState, TicketId};

use super::{PROVIDER, capture, later, message, now};
use crate::conformance::{HOLD_MS, Rig, id_of};

fn checkout(rig: &Rig, order: TicketId, session: &str) -> Checkout {
    Checkout {
        order,
        provider: PROVIDER.to_owned(),
        session: session.to_owned(),
        url: format!("https://pay.example/{session}"),
        expires_at: later(rig, HOLD_MS),
        open: true,
        at: rig.clock.now(),
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
    assert_eq!(keep(&rig, &order, "two").await, CheckoutKept::Kept(first.clone()), "there is one already");
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
    assert!(matches!(keep(&rig, &other, "four").await, CheckoutKept::Kept(kept) if kept.session == "four"));
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
    assert_eq!(rig.store.next_due().await.expect("reads"), Some(asked.pay_by.plus(PROVIDER_GRACE_MS)));
    let ending = rig.store.end_order(asked.id, Ending::Expire, By::ENGINE.clone()).await.expect("writes");
    assert_eq!(ending, Changed::WrongState(asked.clone()), "its provider was not asked");
    let due = rig.store.checkouts_to_close(100).await.expect("reads");
    let found: Vec<_> = due.iter().map(|(checkout, order)| (checkout.session.as_str(), order)).collect();
    assert_eq!(found, [("asked", asked), ("silent", silent)]);
    assert_eq!(rig.store.checkouts_to_close(1).await.expect("reads").len(), 1);
    close(&rig, asked, "asked").await;
    assert_eq!(to_close(&rig).await, ["silent"]);
    assert_eq!(expire(&rig).await, [asked.id]);
    rig.clock.pass(PROVIDER_GRACE_MS);
    assert_eq!(expire(&rig).await, [silent.id], "not for ever");
    assert_eq!(to_close(&rig).await, ["silent"], "it may still take money, and that would be late");
    assert_eq!(rig.store.next_due().await.expect("reads"), None);
    rig.expect_units(grant.slot.item, 4, 6, 0, 0).await;
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
    let put_off = async |order: &Order, session: &str| {
        rig.store.put_off_checkout(order.id, session.to_owned(), 300).await.expect("writes")
    };
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
    let extend = async |pay_by| rig.store.extend_order(order.id, pay_by, By::ENGINE.clone()).await.expect("writes");
    let later_by = order.pay_by.plus(500);
    rig.told.forget();
    let Changed::Done(extended) = extend(later_by).await else { panic!("it is later") };
    assert_eq!(extended, Order { pay_by: later_by, ..order.clone() });
    assert_eq!(now(&rig, &order).await, extended);
    assert!(rig.told.take().iter().any(|t| t.events && t.orders == [extended.clone()]), "the buyer's page hears of it");
    assert_eq!(extend(later_by).await, Changed::Already(extended.clone()));
    assert_eq!(extend(order.pay_by).await, Changed::WrongState(extended.clone()), "not less");
    let too_late = later(&rig, EXTEND_MS_MAX + 1);
    assert_eq!(extend(too_late).await, Changed::WrongState(extended.clone()), "not for ever");
    rig.clock.pass(HOLD_MS);
    assert_eq!((expire(&rig).await, to_close(&rig).await), (vec![], vec![]));
    assert_eq!(rig.store.next_due().await.expect("reads"), Some(later_by.plus(PROVIDER_GRACE_MS)));
    rig.clock.pass(500);
    assert_eq!(to_close(&rig).await, ["session"]);
    let Changed::Done(_) = extend(later(&rig, EXTEND_MS_MAX)).await else { panic!("it was not expired yet") };
    assert_eq!(to_close(&rig).await, [""; 0], "it waits for its payment again");
    assert!(matches!(cancel(&rig, &order).await, Changed::Done(_)));
    let Changed::WrongState(ended) = extend(later(&rig, EXTEND_MS_MAX - 1)).await else { panic!("it ended") };
    assert_eq!(ended.state, OrderState::Cancelled);
    let none = id_of(&rig.ticket(&grant, 9, "anna", "another", 2));
    let extended = rig.store.extend_order(none, later_by, By::ENGINE.clone()).await.expect("writes");
    assert_eq!(extended, Changed::NotFound);
    rig.adds_up().await;
}
