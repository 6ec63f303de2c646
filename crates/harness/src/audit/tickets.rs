//! Every ticket has one verdict (I8): each number of a grant belongs to one order or one returned
//! ticket, and ids say so.

use std::collections::{HashMap, HashSet};

use super::findings::{Findings, format_optional};
use super::order_id;
use super::snapshot::{Order, Resolution, Snapshot};

/// Numbers resolved under one grant.
#[derive(Debug, Default)]
struct ResolvedNumbers {
    seen: HashSet<i64>,
    most: i64,
}

/// Checks numbers, verdicts, ids and dead letters.
pub(super) fn check(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    let mut numbers: HashMap<i64, ResolvedNumbers> = HashMap::new();
    let orders = snapshot.orders.iter().map(|order| (order.grant, Some(order.n), &*order.id));
    let returned = snapshot.resolutions.iter().map(|row| (row.grant, row.n, &*row.ticket));
    // A number in line is taken while its place waits.
    for entry in &snapshot.waitlist {
        let line =
            snapshot.grants.values().find(|grant| grant.is_waitlist() && grant.item == entry.item);
        if let Some(line) = line {
            let numbers = numbers.entry(line.id).or_default();
            numbers.most = numbers.most.max(entry.n);
        }
    }
    for (grant, n, ticket) in orders.chain(returned) {
        let Some(n) = n else { continue };
        let numbers = numbers.entry(grant).or_default();
        numbers.most = numbers.most.max(n);
        if !numbers.seen.insert(n) {
            let item = snapshot.grants.get(&grant).map_or(0, |grant| grant.item);
            findings.item(
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
            findings.store("I8", format!("ticket {} was returned twice", row.ticket));
        }
    }
    for letter in snapshot.dead_letters.iter().filter(|letter| !tickets.contains(&*letter.ticket)) {
        findings.item(
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
            findings.item(
                "I8",
                grant.item,
                format!(
                    "grant {} says {} tickets resolved up to number {}; there are {count} up to {}",
                    grant.id, grant.resolved, grant.max_n, found.most
                ),
            );
        }
    }
}

/// An order's id carries grant, number and units of its ticket, and when the verdict was due: none
/// is consumed later.
fn check_order_id(snapshot: &Snapshot, order: &Order, findings: &mut Findings<'_>) {
    let Some(parts) = order_id::read(&order.id) else {
        findings.item("I8", order.item, format!("order {} has an id that is none", order.id));
        return;
    };
    if (parts.grant, parts.n, parts.units) != (order.grant, order.n, order.units) {
        findings.item(
            "I8",
            order.item,
            format!(
                "order {} is of grant {} number {} with {} units, its id says {}, {}, {}",
                order.id, order.grant, order.n, order.units, parts.grant, parts.n, parts.units
            ),
        );
    }
    // In line there is no telling when.
    if order.reserved_at > parts.decide_by && !snapshot.is_waitlist(order.grant) {
        let late = order.reserved_at - parts.decide_by;
        findings.item(
            "I8",
            order.item,
            format!("order {} was made {late} ms after its verdict was due", order.id),
        );
    }
}

fn check_returned_ticket(snapshot: &Snapshot, row: &Resolution, findings: &mut Findings<'_>) {
    let Resolution { ticket, grant, verdict, .. } = row;
    let Some(known) = snapshot.grants.get(grant) else {
        findings.store(
            "I8",
            format!("ticket {ticket} was returned under grant {grant}, which does not exist"),
        );
        return;
    };
    let item = known.item;
    if snapshot.order(ticket).is_some() {
        findings.item("I8", item, format!("ticket {ticket} was consumed and returned"));
    }
    match order_id::read(ticket) {
        None => findings.item("I8", item, format!("ticket {ticket} has an id that is none")),
        Some(parts) if parts.grant != *grant || row.n.is_some_and(|n| n != parts.n) => {
            let detail = format!(
                "ticket {ticket} was returned as number {} of grant {grant}, its id says {} of {}",
                format_optional(row.n),
                parts.n,
                parts.grant
            );
            findings.item("I8", item, detail);
        }
        Some(_) => {}
    }
    match (&**verdict, row.order.as_deref()) {
        ("order", Some(order)) => {
            if snapshot.order(order).is_none_or(|order| order.item != item) {
                findings.item(
                    "I3",
                    item,
                    format!("ticket {ticket} was told of order {order}, which is not there"),
                );
            }
        }
        ("key_reused" | "limit_reached" | "unavailable", None) => {}
        (_, order) => {
            let detail = format!(
                "ticket {ticket} has the verdict {verdict} for the order {}",
                format_optional(order)
            );
            findings.item("I8", item, detail);
        }
    }
}
