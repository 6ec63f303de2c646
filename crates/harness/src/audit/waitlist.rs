//! Lines: who waits for a unit that comes back. A place ends once, as an order or as a refusal, by
//! turn; and the item says how many wait.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::findings::{Findings, format_optional, format_time};
use super::order_id;
use super::snapshot::{Grant, Snapshot, WaitlistEntry};

/// Checks every place, every line's grant, and what names one of them.
pub(super) fn check(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    let lines = check_grants(snapshot, findings);
    let refused: HashMap<(i64, i64), &str> = snapshot
        .resolutions
        .iter()
        .filter_map(|row| Some(((row.grant, row.n?), &*row.ticket)))
        .filter(|((grant, _), _)| snapshot.is_waitlist(*grant))
        .collect();
    let mut known = HashSet::new();
    for entry in &snapshot.waitlist {
        let Some(grant) = lines.get(&entry.item).copied() else {
            findings.item(
                "waitlist",
                entry.item,
                format!("place {} is of a line that has no grant", entry.id),
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
            findings.item(
                "waitlist",
                order.item,
                format!("order {} came out of a line, and nobody stood there", order.id),
            );
        }
    }
    for (at, ticket) in refused.iter().filter(|(at, _)| !known.contains(*at)) {
        findings.store(
            "waitlist",
            format!("{ticket} was refused a unit of line {}, and nobody stood there", at.0),
        );
    }
}

/// The grant of each item's line: one, never open, with nothing that it did not give away.
fn check_grants(snapshot: &Snapshot, findings: &mut Findings<'_>) -> BTreeMap<i64, i64> {
    let mut lines = BTreeMap::new();
    for grant in snapshot.grants.values().filter(|grant| grant.is_waitlist()) {
        let Grant { id, item, granted, settled, feed_len, .. } = *grant;
        if let Some(other) = lines.insert(item, id) {
            findings.item("waitlist", item, format!("grants {other} and {id} are both its line's"));
        }
        let was_open =
            grant.open || grant.closed_cause.as_deref() != Some("waitlist") || feed_len != 0;
        if was_open || granted != settled {
            let detail = format!(
                "grant {id} is its line's: open {}, closed for {}, feed {feed_len}, settled \
                 {settled} of {granted}",
                grant.open,
                format_optional(grant.closed_cause.as_deref())
            );
            findings.item("waitlist", item, detail);
        }
    }
    lines
}

/// The id of a place says whose turn it is, for one unit.
fn check_id(entry: &WaitlistEntry, grant: i64, findings: &mut Findings<'_>) {
    let WaitlistEntry { id, item, n, .. } = entry;
    match order_id::read(id) {
        Some(parts) if (parts.grant, parts.n, parts.units) == (grant, *n, 1) => {}
        Some(parts) => {
            let said = format!("{} of line {}, {} units", parts.n, parts.grant, parts.units);
            findings.item(
                "waitlist",
                *item,
                format!("place {id} is {n} of line {grant}, its id says {said}"),
            );
        }
        None => findings.item("waitlist", *item, format!("place {id} has an id that is none")),
    }
}

/// A place that waits is nothing yet; one that was served is an order of that buyer; any other was
/// refused.
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
            "place {id} is {}, ended {}; its order is {order}, its refusal {}",
            entry.state,
            format_time(entry.ended_at),
            refused.unwrap_or("none")
        );
        findings.item("waitlist", *item, detail);
    }
    if let Some(order) = order.filter(|order| !order.is_erased())
        && (&order.buyer, &order.key) != (&entry.buyer, &entry.key)
    {
        findings.item(
            "waitlist",
            *item,
            format!("place {id} is of {}, its order of {}", entry.key, order.key),
        );
    }
}

/// One place for each buyer, and as many as the item says.
fn check_waiting(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    let mut waiting: HashMap<i64, i64> = HashMap::new();
    let mut buyers = HashSet::new();
    for entry in snapshot.waitlist.iter().filter(|entry| entry.state == "waiting") {
        *waiting.entry(entry.item).or_default() += 1;
        if !buyers.insert((entry.item, &*entry.buyer)) {
            findings.item(
                "waitlist",
                entry.item,
                format!("place {} is its buyer's second one", entry.id),
            );
        }
    }
    for item in snapshot.items.values() {
        let found = waiting.remove(&item.id).unwrap_or(0);
        if found != item.waiting {
            findings.item(
                "waitlist",
                item.id,
                format!("waiting says {}, {found} places wait", item.waiting),
            );
        }
    }
    for (item, waitlist) in waiting {
        findings.store(
            "waitlist",
            format!("{waitlist} places wait for item {item}, which does not exist"),
        );
    }
}

/// First come, first served: nobody still waits who stood before somebody whose turn it was.
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
                "place {} still waits, and {} behind it is {}",
                entry.id, later.id, later.state
            );
            findings.item("waitlist", entry.item, detail);
        }
    }
}
