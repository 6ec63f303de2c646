//! Orders one by one: whose, of what, in which state, and when.

use std::collections::HashSet;

use super::findings::{Findings, format_time};
use super::snapshot::{Order, Sale, Snapshot};

/// Whoever was served out of a line has so long to pay, or as long as everybody if that is shorter.
const WAITLIST_HOLD_MS_MAX: i64 = 300_000;

/// Checks that each request has one order, and each order a story that can be true.
pub(super) fn check(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    let mut ids = HashSet::with_capacity(snapshot.orders.len());
    let mut requests = HashSet::with_capacity(snapshot.orders.len());
    let mut clock = i64::MIN;
    let mut back = None;
    for order in &snapshot.orders {
        if !ids.insert(&*order.id) {
            findings.item("I8", order.item, format!("two orders have the id {}", order.id));
        }
        if !requests.insert((&*order.buyer, &*order.key)) {
            let detail = format!(
                "{}'s request {:?} has two orders, one is {}",
                order.buyer, order.key, order.id
            );
            findings.item("I8", order.item, detail);
        }
        check_ids(snapshot, order, findings);
        check_times(order, findings);
        // After a clock that went back, a time says nothing about the opening any more.
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
            format!("reserved {by} ms before an earlier order: the clock went back"),
        );
    }
}

/// Item, grant and sale of an order fit together.
fn check_ids(snapshot: &Snapshot, order: &Order, findings: &mut Findings<'_>) {
    let Order { id, item, .. } = order;
    if snapshot.grants.get(&order.grant).is_none_or(|grant| grant.item != *item) {
        findings.item(
            "I2",
            *item,
            format!(
                "order {id} was settled under grant {}, which is not one of its item",
                order.grant
            ),
        );
    }
    let Some(known) = snapshot.items.get(item) else {
        findings.item("I2", *item, format!("order {id} is of item {item}, which does not exist"));
        return;
    };
    // An operator may have given it more time since.
    let told =
        |kind: &str| snapshot.history((order.grant, order.n)).find(|event| event.kind == kind);
    let pay_by = told("order.reserved").and_then(|event| event.pay_by).unwrap_or(order.pay_by);
    // Of one without a whole history only the present end is known.
    let is_known = told("order.reserved").is_some() || told("order.extended").is_none();
    let window = if snapshot.is_waitlist(order.grant) {
        known.hold_ms.min(WAITLIST_HOLD_MS_MAX)
    } else {
        known.hold_ms
    };
    if is_known && pay_by.checked_sub(order.reserved_at) != Some(window) {
        let detail = format!(
            "order {id}: from {} to {pay_by} is not the {window} ms it has to be paid in",
            order.reserved_at
        );
        findings.item("order", *item, detail);
    }
    if let Some(sale) = snapshot.sales.get(&known.sale) {
        check_ending(order, sale, findings);
    }
}

/// Nothing is sold before the opening.
fn check_opening(snapshot: &Snapshot, order: &Order, findings: &mut Findings<'_>) {
    let Order { id, item, reserved_at, .. } = order;
    let sale = snapshot.items.get(item).and_then(|item| snapshot.sales.get(&item.sale));
    if let Some(opened) = sale.and_then(|sale| sale.opened_at).filter(|opened| reserved_at < opened)
    {
        let early = opened - reserved_at;
        findings.item(
            "phase",
            *item,
            format!("order {id} was made {early} ms before the sale opened"),
        );
    }
}

/// Nothing is sold in a sale that never opened, or after its end.
fn check_ending(order: &Order, sale: &Sale, findings: &mut Findings<'_>) {
    let Order { id, item, reserved_at, .. } = order;
    if sale.opened_at.is_none() {
        findings.item(
            "phase",
            *item,
            format!("order {id} of a sale that never opened (phase {:?})", sale.phase),
        );
    }
    if let Some(closed) = sale.closed_at.filter(|closed| reserved_at > closed) {
        findings.item(
            "phase",
            *item,
            format!("order {id} was made {} ms after the sale closed", reserved_at - closed),
        );
    }
}

/// The times of an order are those of its state.
fn check_times(order: &Order, findings: &mut Findings<'_>) {
    let Order { id, item, units, .. } = order;
    if *units < 1 {
        findings.item("order", *item, format!("order {id} is of {units} units"));
    }
    let right = match (&*order.state, order.paid_at, order.ended_at) {
        ("reserved", None, None)
        | ("paid", Some(_), None)
        | ("cancelled", None, Some(_))
        | ("refunded", Some(_), Some(_)) => true,
        ("expired", None, Some(ended)) => {
            if ended < order.pay_by {
                let early = order.pay_by - ended;
                findings.item(
                    "order",
                    *item,
                    format!("order {id} expired {early} ms before it had to be paid"),
                );
            }
            true
        }
        _ => false,
    };
    if !right {
        findings.item(
            "order",
            *item,
            format!(
                "order {id} is {}, paid {}, ended {}",
                order.state,
                format_time(order.paid_at),
                format_time(order.ended_at)
            ),
        );
    }
    // Only a clock that went back can do this; it harms no stock.
    let steps = [Some(order.reserved_at), order.paid_at, order.ended_at];
    if !steps.into_iter().flatten().is_sorted() {
        findings.add_notice(
            "clock",
            Some(id),
            "it was paid or ended before what came before: the clock went back".into(),
        );
    }
}
