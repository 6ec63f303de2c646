//! Checks the buyer, item, state and times of each order.

use std::collections::{HashMap, HashSet};

use super::findings::{Findings, format_time};
use super::snapshot::{Order, Snapshot};

/// The longest payment window of an order from the waitlist. If the item's own window is shorter,
/// the item's window applies to the order.
const WAITLIST_HOLD_MS_MAX: i64 = 300_000;

pub(super) fn check(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    let mut ids = HashSet::with_capacity(snapshot.orders.len());
    let mut requests = HashSet::with_capacity(snapshot.orders.len());
    let mut clock = ClockSteps::new(snapshot);
    let (mut back, mut outside) = (None, Vec::new());
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
                "{}'s request {:?} has two orders; one of them is {}",
                order.buyer, order.key, order.id
            );
            findings.add_item_finding("I8", order.item, detail);
        }
        check_ids(snapshot, order, findings);
        check_times(order, findings);
        let is_excused = check_phase(snapshot, order, &clock, findings);
        if order.reserved_at < clock.latest {
            back = back.or(Some((order, clock.latest)));
        } else if is_excused {
            outside.push(&*order.id);
        }
        clock.latest = clock.latest.max(order.reserved_at);
    }
    if let Some((order, latest)) = back {
        let by = latest - order.reserved_at;
        findings.add_notice(
            "clock",
            Some(&order.id),
            format!(
                "the order's time is {by} ms before the time of an order that was stored earlier: \
                 the clock went back"
            ),
        );
    }
    if let Some(first) = outside.first().copied() {
        let count = outside.len();
        findings.add_notice(
            "clock",
            Some(first),
            format!("{count} orders have a time outside of their sale: the clock went back"),
        );
    }
}

/// Signs in the store that a clock went back. These signs explain orders whose time is outside of
/// their sale.
struct ClockSteps<'a> {
    /// For each sale: the number of the event that opened it.
    opened: HashMap<&'a str, i64>,
    /// For each sale: the number of the event that closed it.
    closed: HashMap<&'a str, i64>,
    /// Sales that, according to their times, were closed before they were opened, and sales that
    /// have a grant with such times. The times of orders in these sales are not reliable.
    reversed: HashSet<&'a str>,
    /// The latest time among the orders that were stored before the checked order.
    latest: i64,
}

impl<'a> ClockSteps<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        let numbers = |kind: &str| -> HashMap<&'a str, i64> {
            let events = snapshot.events.iter().filter(|event| event.kind == kind);
            events.filter_map(|event| Some((event.sale.as_deref()?, event.seq))).collect()
        };
        let sales = snapshot.sales.iter().filter(|(_, sale)| {
            sale.opened_at.zip(sale.closed_at).is_some_and(|(opened, closed)| closed < opened)
        });
        let grants = snapshot
            .grants
            .values()
            .filter(|grant| grant.closed_at.is_some_and(|closed| closed < grant.opened_at));
        let of_grants = grants.filter_map(|grant| Some(&*snapshot.items.get(&grant.item)?.sale));
        Self {
            opened: numbers("sale.opened"),
            closed: numbers("sale.closed"),
            reversed: sales.map(|(id, _)| &**id).chain(of_grants).collect(),
            latest: i64::MIN,
        }
    }

    /// Returns whether the order was stored after its sale opened, although the order's time is
    /// before the opening. `reserved` is the number of the order's first event.
    fn is_after_opening(&self, sale: &str, order: &Order, reserved: Option<i64>) -> bool {
        let opened = self.opened.get(sale).copied();
        // If the order's time is before the time of an order that was stored earlier, the clock
        // went back.
        order.reserved_at < self.latest
            || self.reversed.contains(sale)
            || opened.zip(reserved).is_some_and(|(opened, reserved)| opened < reserved)
    }

    /// Returns whether the order was stored before its sale closed, although the order's time is
    /// after the close. `reserved` is the number of the order's first event.
    fn is_before_closing(&self, sale: &str, reserved: Option<i64>) -> bool {
        let closed = self.closed.get(sale).copied();
        self.reversed.contains(sale)
            || closed.zip(reserved).is_some_and(|(closed, reserved)| reserved < closed)
    }
}

/// Checks that the item, the grant and the payment window of an order fit together.
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
    // An operator may have extended the payment window later. The event of the reservation has the
    // first end of the window, so the check uses this event.
    let first =
        |kind: &str| snapshot.history((order.grant, order.n)).find(|event| event.kind == kind);
    let pay_by = first("order.reserved").and_then(|event| event.pay_by).unwrap_or(order.pay_by);
    // If the event of the reservation is missing, the first end is known only if no event extended
    // the window, because the order then still has the first end.
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
}

/// Adds a finding if the order's time is outside of its sale. If a clock that went back explains
/// the time, adds no finding and returns true.
fn check_phase(
    snapshot: &Snapshot,
    order: &Order,
    clock: &ClockSteps<'_>,
    findings: &mut Findings<'_>,
) -> bool {
    let Order { id, item, reserved_at, .. } = order;
    let known = snapshot.items.get(item);
    let Some((name, sale)) = known.and_then(|item| snapshot.sales.get_key_value(&item.sale)) else {
        return false;
    };
    let mut history = snapshot.history((order.grant, order.n));
    let reserved = history.find(|event| event.kind == "order.reserved").map(|event| event.seq);
    let mut is_excused = false;
    if sale.opened_at.is_none() {
        findings.add_item_finding(
            "phase",
            *item,
            format!("order {id} belongs to a sale that never opened (phase {:?})", sale.phase),
        );
    }
    if let Some(opened) = sale.opened_at.filter(|opened| reserved_at < opened) {
        is_excused = clock.is_after_opening(name, order, reserved);
        if !is_excused {
            let early = opened - reserved_at;
            findings.add_item_finding(
                "phase",
                *item,
                format!("order {id} was reserved {early} ms before the sale opened"),
            );
        }
    }
    if let Some(closed) = sale.closed_at.filter(|closed| reserved_at > closed) {
        let is_before = clock.is_before_closing(name, reserved);
        is_excused |= is_before;
        if !is_before {
            let late = reserved_at - closed;
            findings.add_item_finding(
                "phase",
                *item,
                format!("order {id} was reserved {late} ms after the sale closed"),
            );
        }
    }
    is_excused
}

/// Checks that the order has exactly the times that its state needs. For example, a paid order has
/// the time of its payment, but no time of its end.
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
    // If the times are out of sequence, a clock went back. Such times do not affect the stock, so
    // they cause only a notice.
    let steps = [Some(order.reserved_at), order.paid_at, order.ended_at];
    if !steps.into_iter().flatten().is_sorted() {
        findings.add_notice(
            "clock",
            Some(id),
            "the times of the order do not ascend: the clock went back".into(),
        );
    }
}
