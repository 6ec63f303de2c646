//! Histories: each order's events begin with its reservation, follow the allowed steps, and end at
//! what the order is now.

use super::findings::{Findings, format_time};
use super::snapshot::{Event, Order, Snapshot};

/// The steps that change an order's state.
const ALLOWED_STEPS: [(&str, &str); 7] = [
    ("reserved", "reserved"),
    ("reserved", "paid"),
    ("reserved", "cancelled"),
    ("reserved", "expired"),
    ("cancelled", "paid"),
    ("expired", "paid"),
    ("paid", "refunded"),
];

/// Checks the history of every order.
pub(super) fn check(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    // Orders of the version that kept no histories were all made before the first one that has one.
    let kept_since = snapshot
        .events
        .iter()
        .filter(|event| event.kind == "order.reserved")
        .map(|event| event.at)
        .min();
    let (mut before, mut example) = (0_u64, None);
    for order in &snapshot.orders {
        let mut events = snapshot
            .history((order.grant, order.n))
            .filter(|event| event.state().is_some())
            .peekable();
        let begins = events.peek().is_some_and(|event| event.kind == "order.reserved");
        let is_old = !begins && kept_since.is_none_or(|since| order.reserved_at < since);
        if is_old {
            before += 1;
            example.get_or_insert(&*order.id);
            if events.peek().is_none() {
                continue;
            }
        }
        check_order_history(order, is_old, events, findings);
    }
    for event in snapshot
        .events
        .iter()
        .filter(|event| event.order.is_some_and(|at| snapshot.order_by_number(at).is_none()))
    {
        findings.store(
            "history",
            format!("event {} ({}) is of an order that is not there", event.seq, event.kind),
        );
    }
    check_money_events(snapshot, findings);
    if before > 0 {
        let detail = format!(
            "{before} orders have no whole history: they were made before histories were kept"
        );
        findings.add_notice("history", example, detail);
    }
}

/// Follows an order's events to what it is now.
fn check_order_history<'e>(
    order: &Order,
    is_old: bool,
    events: impl Iterator<Item = &'e Event>,
    findings: &mut Findings<'_>,
) {
    let Order { id, item, .. } = order;
    let mut last: Option<&Event> = None;
    for event in events {
        // Only called with events that name a state.
        let (from, to) = (last.and_then(Event::state), event.state().unwrap_or_default());
        let allowed = match from {
            // The first event makes the order; a second reservation is none, more time is.
            None => is_old || event.kind == "order.reserved",
            Some(from) => ALLOWED_STEPS.contains(&(from, to)) && event.kind != "order.reserved",
        };
        if !allowed {
            let from = from.unwrap_or("nothing");
            findings.item(
                "history",
                *item,
                format!("order {id} went from {from} to {to} (event {})", event.seq),
            );
        }
        last = Some(event);
    }
    let Some(last) = last else {
        findings.item(
            "history",
            *item,
            format!("order {id} is {:?}, and nothing is told of it", order.state),
        );
        return;
    };
    if last.state() != Some(&*order.state) {
        let told = last.state().unwrap_or_default();
        findings.item(
            "history",
            *item,
            format!("order {id} is {:?}, its last event says {told:?}", order.state),
        );
    }
    let (is, told) = (
        (Some(order.pay_by), order.paid_at, order.ended_at),
        (last.pay_by, last.paid_at, last.ended_at),
    );
    if is != told {
        let say = |(pay_by, paid_at, ended_at)| {
            format!(
                "pay by {}, paid {}, ended {}",
                format_time(pay_by),
                format_time(paid_at),
                format_time(ended_at)
            )
        };
        let detail = format!("order {id}: {}; its last event says: {}", say(is), say(told));
        findings.item("history", *item, detail);
    }
}

/// Money that goes back without an operator is told of, once each.
fn check_money_events(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    let told = snapshot.events.iter().filter(|event| event.kind == "payment.refunded").count();
    let due = snapshot.refunds.iter().filter(|refund| refund.cause != "operator").count();
    if told != due {
        findings.store(
            "history",
            format!("{due} payments go back by themselves, {told} of them are told of"),
        );
    }
}
