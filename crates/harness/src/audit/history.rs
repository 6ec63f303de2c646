//! Checks the history of each order. The order's events must begin with the reservation, use only
//! allowed steps, and end in the order's present state.

use super::findings::{Findings, format_time};
use super::snapshot::{Event, Order, Snapshot};

/// The allowed steps of an order: the state before an event and the state after the event. The step
/// from `reserved` to `reserved` extends the payment window.
const ALLOWED_STEPS: [(&str, &str); 7] = [
    ("reserved", "reserved"),
    ("reserved", "paid"),
    ("reserved", "cancelled"),
    ("reserved", "expired"),
    ("cancelled", "paid"),
    ("expired", "paid"),
    ("paid", "refunded"),
];

pub(super) fn check(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    // Old versions of the server recorded no events of orders. So an order that is older than the
    // first event of a reservation may have an incomplete history.
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
        findings.add_store_finding(
            "history",
            format!("event {} ({}) names an order that does not exist", event.seq, event.kind),
        );
    }
    check_money_events(snapshot, findings);
    if before > 0 {
        let detail = format!(
            "{before} orders have no complete history: they are older than the \
             first recorded history"
        );
        findings.add_notice("history", example, detail);
    }
}

fn check_order_history<'e>(
    order: &Order,
    is_old: bool,
    events: impl Iterator<Item = &'e Event>,
    findings: &mut Findings<'_>,
) {
    let Order { id, item, .. } = order;
    let mut last: Option<&Event> = None;
    for event in events {
        // The caller passes only events that have a state of the order, so `state` is never `None`.
        let (from, to) = (last.and_then(Event::state), event.state().unwrap_or_default());
        let allowed = match from {
            // A complete history must begin with a reservation, and no later event may be a
            // reservation. An extension (`order.extended`) also has the state `reserved`, so the
            // check reads the event's type.
            None => is_old || event.kind == "order.reserved",
            Some(from) => ALLOWED_STEPS.contains(&(from, to)) && event.kind != "order.reserved",
        };
        if !allowed {
            let from = from.unwrap_or("nothing");
            findings.add_item_finding(
                "history",
                *item,
                format!("order {id} must not change from {from} to {to} (event {})", event.seq),
            );
        }
        last = Some(event);
    }
    let Some(last) = last else {
        findings.add_item_finding(
            "history",
            *item,
            format!("order {id} is {:?}, but has no event", order.state),
        );
        return;
    };
    if last.state() != Some(&*order.state) {
        let event_state = last.state().unwrap_or_default();
        findings.add_item_finding(
            "history",
            *item,
            format!("order {id} is {:?}, but its last event says {event_state:?}", order.state),
        );
    }
    let (stored, published) = (
        (Some(order.pay_by), order.paid_at, order.ended_at),
        (last.pay_by, last.paid_at, last.ended_at),
    );
    if stored != published {
        let format_times = |(pay_by, paid_at, ended_at)| {
            format!(
                "payment due {}, paid {}, ended {}",
                format_time(pay_by),
                format_time(paid_at),
                format_time(ended_at)
            )
        };
        let detail = format!(
            "order {id}: {}; its last event says: {}",
            format_times(stored),
            format_times(published)
        );
        findings.add_item_finding("history", *item, detail);
    }
}

/// Checks that there is one `payment.refunded` event for each automatic refund. For refunds with
/// the cause `unknown_order`, events may be missing: these events have no order, and the server
/// deletes old events without an order.
fn check_money_events(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    let mut check = |has_order: bool, order: &str| {
        let published = snapshot
            .events
            .iter()
            .filter(|event| event.kind == "payment.refunded" && event.order.is_some() == has_order)
            .count();
        let due = snapshot
            .refunds
            .iter()
            .filter(|refund| refund.cause != "operator")
            .filter(|refund| (refund.cause != "unknown_order") == has_order)
            .count();
        if published > due || (has_order && published < due) {
            findings.add_store_finding(
                "history",
                format!(
                    "there are {due} automatic refunds of {order}, but {published} \
                     payment.refunded events"
                ),
            );
        }
    };
    check(true, "known orders");
    check(false, "unknown orders");
}
