//! Tests how long an unpaid order waits for the answer of its payment provider.
use std::convert::Infallible;

use super::*;
use crate::event::Attribution;
use crate::id::IdKey;
use crate::limits::PROVIDER_CHECK_WITHIN_MS;
use crate::limits::PROVIDER_GRACE_MS;
use crate::model::Model;
use crate::order::{ChangeOutcome, EndReason};
use crate::rows::Item;
use crate::settle::settle;
use crate::stock;
use crate::ticket::Ticket;
use crate::value::{
    BuyerId, GrantId, ItemId, NodeId, RequestKey, SlotKey, Stock, TicketN, Token, Units,
};

const NOW: Millis = Millis(1_000);
const HOLD_MS: i64 = 60_000;

fn unwrap_infallible<T>(result: Result<T, Infallible>) -> T {
    let Ok(value) = result;
    value
}

fn checkout(order: TicketId, session: &str) -> Checkout {
    Checkout {
        order,
        provider: "paybank".to_owned(),
        session: session.to_owned(),
        url: "/".to_owned(),
        expires_at: NOW,
        open: true,
        at: NOW,
        asked_at: None,
    }
}

fn order_with_checkout() -> (Model, Order) {
    let (mut model, id) = (Model::default(), ItemId(1));
    let total = Stock::Counted(1);
    let item =
        Item { id, total, pool: 1, limit: 1, hold_ms: HOLD_MS, ended: 0, paid: 0, waiting: 0 };
    model.items.insert(id, item);
    let grant =
        unwrap_infallible(stock::open(&mut model, SlotKey { item: id, index: 0 }, GrantId(7), 1))
            .expect("a grant");
    let ticket = Ticket {
        token: Token(1),
        grant: grant.id,
        n: TicketN(1),
        item: id,
        buyer: BuyerId::new("anna").expect("a name"),
        key: RequestKey::new("k").expect("a key"),
        units: Units::ONE,
        decide_by: NOW,
        node: NodeId(1),
    };
    let order = unwrap_infallible(settle(&mut model, &IdKey::new([5; 32]), &ticket, NOW))
        .order
        .expect("an order");
    let new = checkout(order.id, "one");
    assert_eq!(unwrap_infallible(keep_checkout(&mut model, &new)), CheckoutOutcome::Kept(new));
    (model, order)
}

fn asked_at(model: &Model, order: &Order) -> Option<Millis> {
    model.checkouts[&order.id].asked_at
}

/// Returns true if the order can expire at the time `at`, and cannot expire one millisecond
/// earlier.
fn expires_at(model: &Model, order: &Order, at: Millis) -> bool {
    let expires = |at: Millis| {
        let ended =
            order::end(&mut model.clone(), &order.id, EndReason::Expire, Attribution::ENGINE, at);
        matches!(unwrap_infallible(ended), ChangeOutcome::Done(_))
    };
    expires(at) && !expires(at.plus(-1))
}

#[test]
fn an_order_waits_for_its_provider_from_the_first_unanswered_query() {
    let (mut model, order) = order_with_checkout();
    let due = order.pay_by;
    let ask = |model: &mut Model, at: Millis| {
        unwrap_infallible(record_unanswered_check(model, &order.id, "one", at))
    };
    assert!(
        expires_at(&model, &order, due.plus(PROVIDER_CHECK_WITHIN_MS)),
        "without a query, the order must wait for the longest time"
    );
    assert!(ask(&mut model, due.plus(-1)));
    assert_eq!(
        asked_at(&model, &order),
        None,
        "a failed query before `pay_by` must not be recorded"
    );
    assert!(
        !unwrap_infallible(record_unanswered_check(&mut model, &order.id, "two", due)),
        "a query about another session must not be recorded"
    );
    assert_eq!(asked_at(&model, &order), None);
    assert!(ask(&mut model, due.plus(700)));
    assert!(ask(&mut model, due.plus(900)));
    assert_eq!(
        asked_at(&model, &order),
        Some(due.plus(700)),
        "the time of the first failed query must stay"
    );
    assert!(expires_at(&model, &order, due.plus(700 + PROVIDER_GRACE_MS)));
    assert!(unwrap_infallible(close_checkout(&mut model, &order.id, "one")));
    assert!(
        !ask(&mut model, due.plus(1_000)),
        "a query about a closed checkout must not be recorded"
    );
    assert!(expires_at(&model, &order, due), "a closed checkout must not delay the expiry");
}

#[test]
fn a_failed_query_never_makes_an_order_wait_longer() {
    let (mut model, order) = order_with_checkout();
    let late = order.pay_by.plus(PROVIDER_CHECK_WITHIN_MS - 1);
    assert!(unwrap_infallible(record_unanswered_check(&mut model, &order.id, "one", late)));
    assert_eq!(asked_at(&model, &order), Some(late));
    assert!(expires_at(&model, &order, order.pay_by.plus(PROVIDER_CHECK_WITHIN_MS)));
    let kept = &model.checkouts[&order.id];
    assert_eq!(kept.provider_wait_ms(late.plus(-1)), PROVIDER_GRACE_MS + 1);
    assert_eq!(kept.provider_wait_ms(late), PROVIDER_GRACE_MS);
    assert_eq!(
        kept.provider_wait_ms(late.plus(1)),
        PROVIDER_CHECK_WITHIN_MS,
        "a query before `pay_by` must not count"
    );
}

#[test]
fn an_extension_starts_the_wait_for_the_provider_again() {
    let (mut model, order) = order_with_checkout();
    assert!(unwrap_infallible(record_unanswered_check(&mut model, &order.id, "one", order.pay_by)));
    let (now, pay_by) = (order.pay_by.plus(5), order.pay_by.plus(30_000));
    let extended =
        unwrap_infallible(order::extend(&mut model, &order.id, pay_by, Attribution::ENGINE, now));
    let ChangeOutcome::Done(order) = extended else { panic!("{extended:?}") };
    assert_eq!(asked_at(&model, &order), None);
    assert!(expires_at(&model, &order, pay_by.plus(PROVIDER_CHECK_WITHIN_MS)));
    assert!(unwrap_infallible(record_unanswered_check(&mut model, &order.id, "one", pay_by)));
    assert!(expires_at(&model, &order, pay_by.plus(PROVIDER_GRACE_MS)));
    // An ended order does not wait for its provider, so an unanswered query changes nothing.
    let ended = unwrap_infallible(order::end(
        &mut model,
        &order.id,
        EndReason::Cancel,
        Attribution::ENGINE,
        pay_by,
    ));
    assert!(matches!(ended, ChangeOutcome::Done(_)), "{ended:?}");
    let before = model.clone();
    assert!(unwrap_infallible(record_unanswered_check(
        &mut model,
        &order.id,
        "one",
        pay_by.plus(9)
    )));
    assert_eq!(model, before);
}
