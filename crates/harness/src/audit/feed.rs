//! Checks the feeds of grants. The rows of each feed must be in sequence and without a gap. No
//! ticket may be credited twice. The feed of an open grant must credit each returned ticket, and
//! must return the quota of each ended order.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::findings::Findings;
use super::snapshot::{FeedRow, Grant, Snapshot};

pub(super) fn check(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    let mut feeds: BTreeMap<i64, Vec<&FeedRow>> = BTreeMap::new();
    for row in &snapshot.feed {
        feeds.entry(row.grant).or_default().push(row);
    }
    for id in feeds.keys().filter(|id| !snapshot.grants.contains_key(id)) {
        findings.add_store_finding(
            "I6",
            format!("there are feed rows of grant {id}, which does not exist"),
        );
    }
    let returned: HashMap<&str, i64> =
        snapshot.resolutions.iter().map(|row| (&*row.ticket, row.grant)).collect();
    let recalled = recalled_units(snapshot);
    for grant in snapshot.grants.values() {
        let rows = feeds.get(&grant.id).map_or(&[][..], Vec::as_slice);
        check_sequence(grant, rows, findings);
        for row in rows {
            check_row(grant, row, findings);
        }
        check_credits(grant, rows, &returned, findings);
        check_recalls(grant, rows, recalled.get(&grant.id).copied().unwrap_or_default(), findings);
    }
    check_complete(snapshot, &feeds, findings);
}

/// Returns the units that finished recalls moved into each grant.
fn recalled_units(snapshot: &Snapshot) -> HashMap<i64, i128> {
    let mut sums = HashMap::new();
    for recall in snapshot.recalls.iter().filter(|recall| recall.done) {
        if let Some(target) = recall.target {
            *sums.entry(target).or_default() += i128::from(recall.taken);
        }
    }
    sums
}

fn check_sequence(grant: &Grant, rows: &[&FeedRow], findings: &mut Findings<'_>) {
    let (id, len) = (grant.id, grant.feed_len);
    if i64::try_from(rows.len()) != Ok(len) {
        findings.add_item_finding(
            "I6",
            grant.item,
            format!("the feed of grant {id} has {} rows, but the grant counts {len}", rows.len()),
        );
    }
    if let Some((row, turn)) = rows.iter().zip(1_i64..).find(|(row, turn)| row.seq != *turn) {
        findings.add_item_finding(
            "I6",
            grant.item,
            format!("the feed of grant {id} has row {} where row {turn} belongs", row.seq),
        );
    }
}

fn check_row(grant: &Grant, row: &FeedRow, findings: &mut Findings<'_>) {
    let FeedRow { units, quota_delta, .. } = *row;
    let (ticket, buyer) = (row.ticket.is_some(), row.buyer.is_some());
    let right = match &*row.cause {
        "refill" | "recalled" => {
            grant.counted && units > 0 && quota_delta == 0 && !ticket && !buyer
        }
        "returned" if grant.counted => ticket && buyer && units > 0 && quota_delta == -units,
        "returned" => ticket && buyer && units == 0 && quota_delta < 0,
        "order_ended" => buyer && units == 0 && quota_delta < 0,
        "order_revived" => buyer && units == 0 && quota_delta > 0,
        _ => false,
    };
    if !right {
        findings.add_item_finding(
            "I6",
            grant.item,
            format!(
                "the feed of grant {} has an invalid row {}: {:?}, {units} units, quota change \
                 {quota_delta}",
                grant.id, row.seq, row.cause
            ),
        );
    }
}

/// Checks that the feed credits each ticket at most once, and that each credited ticket was
/// returned under this grant.
fn check_credits(
    grant: &Grant,
    rows: &[&FeedRow],
    returned: &HashMap<&str, i64>,
    findings: &mut Findings<'_>,
) {
    let mut seen = HashSet::new();
    for row in rows.iter().filter(|row| row.cause == "returned") {
        let Some(ticket) = row.ticket.as_deref() else { continue };
        if !seen.insert(ticket) {
            findings.add_item_finding(
                "I6",
                grant.item,
                format!("ticket {ticket} is credited twice to grant {}", grant.id),
            );
        }
        if returned.get(ticket) != Some(&grant.id) {
            findings.add_item_finding(
                "I6",
                grant.item,
                format!(
                    "ticket {ticket} is credited to grant {}, but was not returned under this grant",
                    grant.id
                ),
            );
        }
    }
}

/// Checks that the feed adds the units of all finished recalls that move units into this grant.
/// `meant` is the sum of these units. The feed of an open grant must add exactly `meant` units. The
/// feed of a grant that was closed before a recall was finished may add fewer.
fn check_recalls(grant: &Grant, rows: &[&FeedRow], meant: i128, findings: &mut Findings<'_>) {
    let brought: i128 =
        rows.iter().filter(|row| row.cause == "recalled").map(|row| i128::from(row.units)).sum();
    if brought > meant || (grant.open && brought != meant) {
        let detail = format!(
            "finished recalls must add {meant} units to grant {}, but the grant's feed adds \
             {brought} units",
            grant.id
        );
        findings.add_item_finding("I2", grant.item, detail);
    }
}

/// Checks that the feed of each open grant credits each returned ticket, and returns the quota of
/// each ended order.
fn check_complete(
    snapshot: &Snapshot,
    feeds: &BTreeMap<i64, Vec<&FeedRow>>,
    findings: &mut Findings<'_>,
) {
    let is_open = |id: i64| snapshot.grants.get(&id).is_some_and(|grant| grant.open);
    let mut credited: HashSet<&str> = HashSet::new();
    let mut shares: HashMap<(i64, &str), i128> = HashMap::new();
    for row in feeds.values().flatten().filter(|row| is_open(row.grant)) {
        credited.extend(row.ticket.as_deref());
        if let (Some(buyer), "order_ended" | "order_revived") = (row.buyer.as_deref(), &*row.cause)
        {
            *shares.entry((row.grant, buyer)).or_default() += i128::from(row.quota_delta);
        }
    }
    for row in snapshot
        .resolutions
        .iter()
        .filter(|row| is_open(row.grant) && !credited.contains(&*row.ticket))
    {
        let item = snapshot.grants[&row.grant].item;
        findings.add_item_finding(
            "I6",
            item,
            format!(
                "ticket {} was returned, but grant {} has no credit for it",
                row.ticket, row.grant
            ),
        );
    }
    for order in snapshot.orders.iter().filter(|order| !order.is_active() && is_open(order.grant)) {
        *shares.entry((order.grant, &order.buyer)).or_default() += i128::from(order.units);
    }
    let mut wrong: Vec<_> = shares.into_iter().filter(|(_, left)| *left != 0).collect();
    wrong.sort_unstable();
    for ((grant, buyer), left) in wrong {
        let (item, way) =
            (snapshot.grants[&grant].item, if left > 0 { "too few" } else { "too many" });
        let detail = format!(
            "the feed of grant {grant} returns {} units {way} to the quota of {buyer}",
            left.abs()
        );
        findings.add_item_finding("I6", item, detail);
    }
}
