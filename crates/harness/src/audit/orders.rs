//! Checks orders: the buyer, item, state and times of each order.

use std::collections::HashSet;

use super::findings::{Findings, format_time};
use super::snapshot::{Order, Sale, Snapshot};

/// The longest payment window of an order from the waitlist. If the item's own window is shorter,
/// the item's window applies.
const WAITLIST_HOLD_MS_MAX: i64 = 300_000;

/// Checks that no two orders have the same id or the same request, and that the values of each
/// order are possible.
pub(super) fn check(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    let mut ids = HashSet::with_capacity(snapshot.orders.len());
    let mut requests = HashSet::with_capacity(snapshot.orders.len());
    let mut clock = i64::MIN;
    let mut back = None;
    for order in &snapshot.orders {
        if !ids.insert(&*order.id) {
            findings.add_item_finding(
                "I8",
                order.item,
                format!("two orders have the id {}", order.id),
            );
        }
        if !requests.insert((&*order.buyer, &*order.key)) {
            let detail = format!(
                "{}'s request {:?} has two orders, one of them is {}",
                order.buyer, order.key, order.id
            );
            findings.add_item_finding("I8", order.item, detail);
        }
        check_ids(snapshot, order, findings);
        check_times(order, findings);
        // An order whose time is before the time of an earlier order shows that the clock went
        // back. Its time can be before the opening of its sale, so the opening is not checked.
        if order.reserved_at >= clock {
            check_opening(snapshot, order, findings);
        }
        back = back.or((order.reserved_at < clock).then_some((order, clock)));
        clock = clock.max(order.reserved_at);
    }
    if let Some((order, clock)) = back {
        let by = clock - order.reserved_at;
        findings.add_notice(
            "clock",
            Some(&order.id),
            format!(
                "the order's time is {by} ms before the time of an order that was stored earlier: \
                 the clock went back"
            ),
        );
    }
}

/// Checks that the item, the grant, the sale and the payment window of an order fit together.
fn check_ids(snapshot: &Snapshot, order: &Order, findings: &mut Findings<'_>) {
    let Order { id, item, .. } = order;
    if snapshot.grants.get(&order.grant).is_none_or(|grant| grant.item != *item) {
        findings.add_item_finding(
            "I2",
            *item,
            format!(
                "order {id} was settled under grant {}, which does not belong to item {item}",
                order.grant
            ),
        );
    }
    let Some(known) = snapshot.items.get(item) else {
        findings.add_item_finding(
            "I2",
            *item,
            format!("order {id} names item {item}, which does not exist"),
        );
        return;
    };
    // An operator may have extended the payment window. So the check uses the window's end at the
    // reservation.
    let first =
        |kind: &str| snapshot.history((order.grant, order.n)).find(|event| event.kind == kind);
    let pay_by = first("order.reserved").and_then(|event| event.pay_by).unwrap_or(order.pay_by);
    // Without the event of the reservation, only the present end of the payment window is known. If
    // the window was never extended, the present end is also the first end.
    let is_known = first("order.reserved").is_some() || first("order.extended").is_none();
    let window = if snapshot.is_waitlist(order.grant) {
        known.hold_ms.min(WAITLIST_HOLD_MS_MAX)
    } else {
        known.hold_ms
    };
    if is_known && pay_by.checked_sub(order.reserved_at) != Some(window) {
        let detail = format!(
            "order {id}: its payment window from {} to {pay_by} is not {window} ms long",
            order.reserved_at
        );
        findings.add_item_finding("order", *item, detail);
    }
    if let Some(sale) = snapshot.sales.get(&known.sale) {
        check_ending(order, sale, findings);
    }
}

/// Checks that the order was not reserved before its sale opened.
fn check_opening(snapshot: &Snapshot, order: &Order, findings: &mut Findings<'_>) {
    let Order { id, item, reserved_at, .. } = order;
    let sale = snapshot.items.get(item).and_then(|item| snapshot.sales.get(&item.sale));
    if let Some(opened) = sale.and_then(|sale| sale.opened_at).filter(|opened| reserved_at < opened)
    {
        let early = opened - reserved_at;
        findings.add_item_finding(
            "phase",
            *item,
            format!("order {id} was reserved {early} ms before the sale opened"),
        );
    }
}

/// Checks that the order's sale opened, and that the order was not reserved after the sale closed.
fn check_ending(order: &Order, sale: &Sale, findings: &mut Findings<'_>) {
    let Order { id, item, reserved_at, .. } = order;
    if sale.opened_at.is_none() {
        findings.add_item_finding(
            "phase",
            *item,
            format!("order {id} belongs to a sale that never opened (phase {:?})", sale.phase),
        );
    }
    if let Some(closed) = sale.closed_at.filter(|closed| reserved_at > closed) {
        findings.add_item_finding(
            "phase",
            *item,
            format!("order {id} was reserved {} ms after the sale closed", reserved_at - closed),
        );
    }
}

/// Checks that the order has the times of its state, and no other times.
fn check_times(order: &Order, findings: &mut Findings<'_>) {
    let Order { id, item, units, .. } = order;
    if *units < 1 {
        findings.add_item_finding("order", *item, format!("order {id} has {units} units"));
    }
    let right = match (&*order.state, order.paid_at, order.ended_at) {
        ("reserved", None, None)
        | ("paid", Some(_), None)
        | ("cancelled", None, Some(_))
        | ("refunded", Some(_), Some(_)) => true,
        ("expired", None, Some(ended)) => {
            if ended < order.pay_by {
                let early = order.pay_by - ended;
                findings.add_item_finding(
                    "order",
                    *item,
                    format!("order {id} expired {early} ms before its payment window ended"),
                );
            }
            true
        }
        _ => false,
    };
    if !right {
        findings.add_item_finding(
            "order",
            *item,
            format!(
                "order {id} has times that do not fit its state: it is {}, paid {}, ended {}",
                order.state,
                format_time(order.paid_at),
                format_time(order.ended_at)
            ),
        );
    }
    // The times are out of sequence only if a clock went back. The stock is not affected, so this
    // is only a notice.
    let steps = [Some(order.reserved_at), order.paid_at, order.ended_at];
    if !steps.into_iter().flatten().is_sorted() {
        findings.add_notice(
            "clock",
            Some(id),
            "the times of the order do not ascend: the clock went back".into(),
        );
    }
}
