//! Converts payments, refunds and histories of orders to the types of the API's contract.

use doorbuster_api::admin::payments::{Payment, Refund};
use doorbuster_api::order::{HistoryEntry, OrderRefund, OrderState};
use doorbuster_core::event::{Actor, Event, EventType, Subject};
use doorbuster_core::money;
use doorbuster_store::StoredEvent;

use super::{amount, time};

/// Converts a payment.
pub fn payment(row: &money::Payment) -> Payment {
    Payment {
        payment: row.id.0.clone(),
        order: row.order.clone(),
        amount: amount(row.money.minor, &row.money.currency),
        state: row.state,
        provider: row.provider.clone(),
        at: time(row.at),
    }
}

/// Converts a refund.
pub fn refund(row: &money::Refund) -> Refund {
    Refund {
        refund: row.id.0.clone(),
        payment: row.payment.0.clone(),
        order: row.order.clone(),
        amount: amount(row.money.minor, &row.money.currency),
        state: row.state,
        cause: row.cause,
        provider: row.provider.clone(),
        tries: row.tries,
        error: row.error.clone(),
        at: time(row.at),
        settled_at: row.settled_at.map(time),
    }
}

/// Converts a refund for its buyer.
pub fn order_refund(row: &money::Refund) -> OrderRefund {
    let Refund { refund, amount, state, cause, at, settled_at, .. } = refund(row);
    OrderRefund { refund, amount, state, cause, at, settled_at }
}

/// Converts the history of an order. If `for_buyer` is true, the history does not show which
/// operator changed the order, or why.
pub fn history(events: &[StoredEvent], for_buyer: bool) -> Vec<HistoryEntry> {
    let mut entries: Vec<HistoryEntry> = Vec::with_capacity(events.len());
    for StoredEvent { event, .. } in events {
        let last = entries.last();
        let (state, pay_by) = match &event.subject {
            Subject::Order(order) if event.what == EventType::OrderExtended => {
                (OrderState::Reserved, Some(time(order.pay_by)))
            }
            Subject::Order(order) => (order.state, Some(time(order.pay_by))),
            // All other events, such as a refund of a payment, leave the order unchanged. The entry
            // of such an event repeats the state and `pay_by` of the entry before it.
            _ => (
                last.map_or(OrderState::Reserved, |last| last.state),
                last.and_then(|last| last.pay_by),
            ),
        };
        entries.push(HistoryEntry {
            at: time(event.at),
            event: event.what.as_str().to_owned(),
            state,
            by: actor_name(event, for_buyer),
            why: event
                .by
                .why
                .clone()
                .filter(|_| !(for_buyer && matches!(event.by.actor, Actor::Operator(_)))),
            pay_by,
            from_waitlist: event.is_from_waitlist().then_some(true),
        });
    }
    entries
}

fn actor_name(event: &Event, for_buyer: bool) -> String {
    match &event.by.actor {
        Actor::Buyer => "buyer".into(),
        Actor::Operator(_) if for_buyer => "operator".into(),
        Actor::Operator(key) => format!("operator:{key}"),
        Actor::Provider(name) => format!("provider:{name}"),
        Actor::Engine => "engine".into(),
    }
}
