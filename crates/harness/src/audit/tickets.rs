//! Checks that every ticket has one verdict (rule I8). Each ticket number of a grant belongs to one
//! order or to one returned ticket. The id of this order or ticket contains the same number.

use std::collections::{HashMap, HashSet};

use super::findings::{Findings, format_optional};
use super::order_id;
use super::snapshot::{Order, Resolution, Snapshot};

/// The ticket numbers of one grant. `seen` has the numbers whose tickets have a verdict. `most` is
/// the highest number in use.
#[derive(Debug, Default)]
struct ResolvedNumbers {
    seen: HashSet<i64>,
    most: i64,
}

pub(super) fn check(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    let mut numbers: HashMap<i64, ResolvedNumbers> = HashMap::new();
    let orders = snapshot.orders.iter().map(|order| (order.grant, Some(order.n), &*order.id));
    let returned = snapshot.resolutions.iter().map(|row| (row.grant, row.n, &*row.ticket));
    // A waiting entry of a waitlist has no verdict yet, but it already uses a ticket number of the
    // waitlist's grant.
    for entry in &snapshot.waitlist {
        let grant =
            snapshot.grants.values().find(|grant| grant.is_waitlist() && grant.item == entry.item);
        if let Some(grant) = grant {
            let numbers = numbers.entry(grant.id).or_default();
            numbers.most = numbers.most.max(entry.n);
        }
    }
    for (grant, n, ticket) in orders.chain(returned) {
        let Some(n) = n else { continue };
        let numbers = numbers.entry(grant).or_default();
        numbers.most = numbers.most.max(n);
        if !numbers.seen.insert(n) {
            let item = snapshot.grants.get(&grant).map_or(0, |grant| grant.item);
            findings.add_item_finding(
                "I8",
                item,
                format!("number {n} of grant {grant} has two verdicts, one of them for {ticket}"),
            );
        }
    }
    check_counts(snapshot, &numbers, findings);
    for order in &snapshot.orders {
        check_order_id(snapshot, order, findings);
    }
    let mut tickets = HashSet::new();
    for row in &snapshot.resolutions {
        check_returned_ticket(snapshot, row, findings);
        if !tickets.insert(&*row.ticket) {
            findings.add_store_finding("I8", format!("ticket {} was returned twice", row.ticket));
        }
    }
    for letter in snapshot.dead_letters.iter().filter(|letter| !tickets.contains(&*letter.ticket)) {
        findings.add_item_finding(
            "I8",
            letter.item,
            format!("ticket {} is a dead letter, but was not returned", letter.ticket),
        );
    }
}

fn check_counts(
    snapshot: &Snapshot,
    numbers: &HashMap<i64, ResolvedNumbers>,
    findings: &mut Findings<'_>,
) {
    let nothing = ResolvedNumbers::default();
    for grant in snapshot.grants.values() {
        let found = numbers.get(&grant.id).unwrap_or(&nothing);
        let count = found.seen.len() as i64;
        if (grant.resolved, grant.max_n) != (count, found.most) {
            findings.add_item_finding(
                "I8",
                grant.item,
                format!(
                    "grant {} counts {} resolved tickets up to number {}, but the store has \
                     {count} up to number {}",
                    grant.id, grant.resolved, grant.max_n, found.most
                ),
            );
        }
    }
}

/// Compares an order with its id, which contains the grant, number, units and `decide_by` of the
/// order's ticket.
fn check_order_id(snapshot: &Snapshot, order: &Order, findings: &mut Findings<'_>) {
    let Some(parts) = order_id::read(&order.id) else {
        findings.add_item_finding(
            "I8",
            order.item,
            format!("order {} has an invalid id", order.id),
        );
        return;
    };
    if (parts.grant, parts.n, parts.units) != (order.grant, order.n, order.units) {
        findings.add_item_finding(
            "I8",
            order.item,
            format!(
                "order {} has grant {}, number {} and {} units, but its id says grant {}, number \
                 {} and {} units",
                order.id, order.grant, order.n, order.units, parts.grant, parts.n, parts.units
            ),
        );
    }
    // A waitlist entry may become an order long after its `decide_by`.
    if order.reserved_at > parts.decide_by && !snapshot.is_waitlist(order.grant) {
        let late = order.reserved_at - parts.decide_by;
        findings.add_item_finding(
            "I8",
            order.item,
            format!("order {} was reserved {late} ms after its decide_by", order.id),
        );
    }
}

fn check_returned_ticket(snapshot: &Snapshot, row: &Resolution, findings: &mut Findings<'_>) {
    let Resolution { ticket, grant, verdict, .. } = row;
    let Some(known) = snapshot.grants.get(grant) else {
        findings.add_store_finding(
            "I8",
            format!("ticket {ticket} was returned under grant {grant}, which does not exist"),
        );
        return;
    };
    let item = known.item;
    if snapshot.order(ticket).is_some() {
        findings.add_item_finding(
            "I8",
            item,
            format!("ticket {ticket} became an order and was also returned"),
        );
    }
    match order_id::read(ticket) {
        None => findings.add_item_finding("I8", item, format!("ticket {ticket} has an invalid id")),
        Some(parts) if parts.grant != *grant || row.n.is_some_and(|n| n != parts.n) => {
            let detail = format!(
                "ticket {ticket} was returned as number {} of grant {grant}, but its id says \
                 number {} of grant {}",
                format_optional(row.n),
                parts.n,
                parts.grant
            );
            findings.add_item_finding("I8", item, detail);
        }
        Some(_) => {}
    }
    match (&**verdict, row.order.as_deref()) {
        ("order", Some(order)) => {
            if snapshot.order(order).is_none_or(|order| order.item != item) {
                findings.add_item_finding(
                    "I3",
                    item,
                    format!(
                        "the verdict of ticket {ticket} names order {order}, which does not exist"
                    ),
                );
            }
        }
        ("key_reused" | "limit_reached" | "unavailable", None) => {}
        (_, order) => {
            let detail = format!(
                "ticket {ticket} has the invalid verdict {verdict} with order {}",
                format_optional(order)
            );
            findings.add_item_finding("I8", item, detail);
        }
    }
}
