//! Lines: who waits for a unit that comes back. A place ends once, as an order or as a refusal, by turn; and the item says how many wait.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::findings::{Findings, or_none, when};
use super::order_id;
use super::rows::{Grant, Place, Truth};

/// Checks every place, every line's grant, and what names one of them.
pub(super) fn check(truth: &Truth, findings: &mut Findings<'_>) {
    let lines = grants(truth, findings);
    let refused: HashMap<(i64, i64), &str> = truth
        .resolutions
        .iter()
        .filter_map(|row| Some(((row.grant, row.n?), &*row.ticket)))
        .filter(|((grant, _), _)| truth.is_line(*grant))
        .collect();
    let mut known = HashSet::new();
    for place in &truth.places {
        let Some(grant) = lines.get(&place.item).copied() else {
            findings.item(
                "line",
                place.item,
                format!("place {} is of a line that has no grant", place.id),
            );
            continue;
        };
        known.insert((grant, place.n));
        names(place, grant, findings);
        end(truth, place, grant, refused.get(&(grant, place.n)).copied(), findings);
    }
    waiting(truth, findings);
    turns(truth, findings);
    for order in truth.orders.iter().filter(|order| truth.is_line(order.grant)) {
        if !known.contains(&(order.grant, order.n)) {
            findings.item(
                "line",
                order.item,
                format!("order {} came out of a line, and nobody stood there", order.id),
            );
        }
    }
    for (at, ticket) in refused.iter().filter(|(at, _)| !known.contains(*at)) {
        findings.store(
            "line",
            format!("{ticket} was refused a unit of line {}, and nobody stood there", at.0),
        );
    }
}

/// The grant of each item's line: one, never open, with nothing that it did not give away.
fn grants(truth: &Truth, findings: &mut Findings<'_>) -> BTreeMap<i64, i64> {
    let mut lines = BTreeMap::new();
    for grant in truth.grants.values().filter(|grant| grant.is_line()) {
        let Grant { id, item, granted, settled, feed_len, .. } = *grant;
        if let Some(other) = lines.insert(item, id) {
            findings.item("line", item, format!("grants {other} and {id} are both its line's"));
        }
        let was_open = grant.open || grant.closed_cause.as_deref() != Some("line") || feed_len != 0;
        if was_open || granted != settled {
            let detail = format!(
                "grant {id} is its line's: open {}, closed for {}, feed {feed_len}, settled {settled} of {granted}",
                grant.open,
                or_none(grant.closed_cause.as_deref())
            );
            findings.item("line", item, detail);
        }
    }
    lines
}

/// The id of a place says whose turn it is, for one unit.
fn names(place: &Place, grant: i64, findings: &mut Findings<'_>) {
    let Place { id, item, n, .. } = place;
    match order_id::read(id) {
        Some(parts) if (parts.grant, parts.n, parts.units) == (grant, *n, 1) => {}
        Some(parts) => {
            let said = format!("{} of line {}, {} units", parts.n, parts.grant, parts.units);
            findings.item(
                "line",
                *item,
                format!("place {id} is {n} of line {grant}, its id says {said}"),
            );
        }
        None => findings.item("line", *item, format!("place {id} has an id that is none")),
    }
}

/// A place that waits is nothing yet; one that was served is an order of that buyer; any other was refused.
fn end(
    truth: &Truth,
    place: &Place,
    grant: i64,
    refused: Option<&str>,
    findings: &mut Findings<'_>,
) {
    let Place { id, item, n, .. } = place;
    let order = truth.order_at((grant, *n));
    let is_timed = place.ended_at.is_some() == (place.state != "waiting");
    let right = match &*place.state {
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
            place.state,
            when(place.ended_at),
            refused.unwrap_or("none")
        );
        findings.item("line", *item, detail);
    }
    if let Some(order) = order.filter(|order| !order.is_erased())
        && (&order.buyer, &order.key) != (&place.buyer, &place.key)
    {
        findings.item(
            "line",
            *item,
            format!("place {id} is of {}, its order of {}", place.key, order.key),
        );
    }
}

/// One place for each buyer, and as many as the item says.
fn waiting(truth: &Truth, findings: &mut Findings<'_>) {
    let mut waiting: HashMap<i64, i64> = HashMap::new();
    let mut buyers = HashSet::new();
    for place in truth.places.iter().filter(|place| place.state == "waiting") {
        *waiting.entry(place.item).or_default() += 1;
        if !buyers.insert((place.item, &*place.buyer)) {
            findings.item(
                "line",
                place.item,
                format!("place {} is its buyer's second one", place.id),
            );
        }
    }
    for item in truth.items.values() {
        let found = waiting.remove(&item.id).unwrap_or(0);
        if found != item.waiting {
            findings.item(
                "line",
                item.id,
                format!("waiting says {}, {found} places wait", item.waiting),
            );
        }
    }
    for (item, places) in waiting {
        findings
            .store("line", format!("{places} places wait for item {item}, which does not exist"));
    }
}

/// First come, first served: nobody still waits who stood before somebody whose turn it was.
fn turns(truth: &Truth, findings: &mut Findings<'_>) {
    let mut last: HashMap<i64, &Place> = HashMap::new();
    for place in
        truth.places.iter().filter(|place| matches!(&*place.state, "served" | "passed_over"))
    {
        let known = last.entry(place.item).or_insert(place);
        if place.n > known.n {
            *known = place;
        }
    }
    for place in truth.places.iter().filter(|place| place.state == "waiting") {
        if let Some(later) = last.get(&place.item).filter(|later| later.n > place.n) {
            let detail = format!(
                "place {} still waits, and {} behind it is {}",
                place.id, later.id, later.state
            );
            findings.item("line", place.item, detail);
        }
    }
}
