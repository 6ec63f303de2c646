//! Checks waitlists. Each entry must end once, as an order or as a refusal. If an entry was served
//! or passed over, no earlier entry of the waitlist may still wait. The item's counter of waiting
//! entries must be correct.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::findings::{Findings, format_optional, format_time};
use super::order_id;
use super::snapshot::{Grant, Snapshot, WaitlistEntry};

pub(super) fn check(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    let grants = check_grants(snapshot, findings);
    let refused: HashMap<(i64, i64), &str> = snapshot
        .resolutions
        .iter()
        .filter_map(|row| Some(((row.grant, row.n?), &*row.ticket)))
        .filter(|((grant, _), _)| snapshot.is_waitlist(*grant))
        .collect();
    let mut known = HashSet::new();
    for entry in &snapshot.waitlist {
        let Some(grant) = grants.get(&entry.item).copied() else {
            findings.add_item_finding(
                "waitlist",
                entry.item,
                format!("entry {} is in a waitlist that has no grant", entry.id),
            );
            continue;
        };
        known.insert((grant, entry.n));
        check_id(entry, grant, findings);
        check_end(snapshot, entry, grant, refused.get(&(grant, entry.n)).copied(), findings);
    }
    check_waiting(snapshot, findings);
    check_turns(snapshot, findings);
    for order in snapshot.orders.iter().filter(|order| snapshot.is_waitlist(order.grant)) {
        if !known.contains(&(order.grant, order.n)) {
            findings.add_item_finding(
                "waitlist",
                order.item,
                format!("order {} has a waitlist grant, but no waitlist entry", order.id),
            );
        }
    }
    for (at, ticket) in refused.iter().filter(|(at, _)| !known.contains(*at)) {
        findings.add_store_finding(
            "waitlist",
            format!("ticket {ticket} was returned under waitlist grant {}, but has no entry", at.0),
        );
    }
}

/// Checks the grants of waitlists, and returns the grant of each item's waitlist. An item must have
/// at most one such grant. The grant must never have been open, and all its units must be settled.
fn check_grants(snapshot: &Snapshot, findings: &mut Findings<'_>) -> BTreeMap<i64, i64> {
    let mut waitlist_grants = BTreeMap::new();
    for grant in snapshot.grants.values().filter(|grant| grant.is_waitlist()) {
        let Grant { id, item, granted, settled, feed_len, .. } = *grant;
        if let Some(other) = waitlist_grants.insert(item, id) {
            findings.add_item_finding(
                "waitlist",
                item,
                format!("the item has two waitlist grants, {other} and {id}"),
            );
        }
        let was_open =
            grant.open || grant.closed_cause.as_deref() != Some("waitlist") || feed_len != 0;
        if was_open || granted != settled {
            let detail = format!(
                "waitlist grant {id} must be closed and settled: open {}, close cause {}, feed \
                 length {feed_len}, settled {settled} of {granted}",
                grant.open,
                format_optional(grant.closed_cause.as_deref())
            );
            findings.add_item_finding("waitlist", item, detail);
        }
    }
    waitlist_grants
}

fn check_id(entry: &WaitlistEntry, grant: i64, findings: &mut Findings<'_>) {
    let WaitlistEntry { id, item, n, .. } = entry;
    match order_id::read(id) {
        Some(parts) if (parts.grant, parts.n, parts.units) == (grant, *n, 1) => {}
        Some(parts) => {
            let claimed =
                format!("number {} of grant {}, {} units", parts.n, parts.grant, parts.units);
            findings.add_item_finding(
                "waitlist",
                *item,
                format!("entry {id} is number {n} of grant {grant}, but its id says {claimed}"),
            );
        }
        None => {
            findings.add_item_finding("waitlist", *item, format!("entry {id} has an invalid id"))
        }
    }
}

/// Checks that the entry's state matches its order or its refusal. A waiting entry must have
/// neither an order nor a refusal. A served entry must have an order with the entry's id. Any other
/// entry must have a refusal.
fn check_end(
    snapshot: &Snapshot,
    entry: &WaitlistEntry,
    grant: i64,
    refused: Option<&str>,
    findings: &mut Findings<'_>,
) {
    let WaitlistEntry { id, item, n, .. } = entry;
    let order = snapshot.order_by_number((grant, *n));
    let is_timed = entry.ended_at.is_some() == (entry.state != "waiting");
    let right = match &*entry.state {
        "waiting" => order.is_none() && refused.is_none(),
        "served" => {
            order.is_some_and(|order| order.id == *id && order.item == *item) && refused.is_none()
        }
        "left" | "passed_over" => order.is_none() && refused == Some(id),
        _ => false,
    };
    if !right || !is_timed {
        let order = order.map_or("none", |order| &order.id);
        let detail = format!(
            "entry {id} is {} and ended {}, which does not fit its order {order} and its refusal \
             {}",
            entry.state,
            format_time(entry.ended_at),
            refused.unwrap_or("none")
        );
        findings.add_item_finding("waitlist", *item, detail);
    }
    // While an erasure runs, the buyer's name may already be replaced in the entry, but not yet in
    // the entry's order.
    let is_erased = entry.buyer.starts_with("erased:");
    if let Some(order) = order.filter(|order| !order.is_erased() && !is_erased)
        && (&order.buyer, &order.key) != (&entry.buyer, &entry.key)
    {
        findings.add_item_finding(
            "waitlist",
            *item,
            format!("entry {id} has request key {}, but its order has {}", entry.key, order.key),
        );
    }
}

/// Checks that each buyer has at most one waiting entry for an item, and that the item's counter of
/// waiting entries is correct.
fn check_waiting(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    let mut waiting: HashMap<i64, i64> = HashMap::new();
    let mut buyers = HashSet::new();
    for entry in snapshot.waitlist.iter().filter(|entry| entry.state == "waiting") {
        *waiting.entry(entry.item).or_default() += 1;
        if !buyers.insert((entry.item, &*entry.buyer)) {
            findings.add_item_finding(
                "waitlist",
                entry.item,
                format!("entry {} is the second waiting entry of its buyer", entry.id),
            );
        }
    }
    for item in snapshot.items.values() {
        let found = waiting.remove(&item.id).unwrap_or(0);
        if found != item.waiting {
            findings.add_item_finding(
                "waitlist",
                item.id,
                format!("the waiting counter is {}, but {found} entries wait", item.waiting),
            );
        }
    }
    for (item, waitlist) in waiting {
        findings.add_store_finding(
            "waitlist",
            format!("{waitlist} entries wait for item {item}, which does not exist"),
        );
    }
}

fn check_turns(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    let mut last: HashMap<i64, &WaitlistEntry> = HashMap::new();
    for entry in
        snapshot.waitlist.iter().filter(|entry| matches!(&*entry.state, "served" | "passed_over"))
    {
        let known = last.entry(entry.item).or_insert(entry);
        if entry.n > known.n {
            *known = entry;
        }
    }
    for entry in snapshot.waitlist.iter().filter(|entry| entry.state == "waiting") {
        if let Some(later) = last.get(&entry.item).filter(|later| later.n > entry.n) {
            let detail = format!(
                "entry {} still waits, but a later entry is {} ({})",
                entry.id, later.state, later.id
            );
            findings.add_item_finding("waitlist", entry.item, detail);
        }
    }
}
