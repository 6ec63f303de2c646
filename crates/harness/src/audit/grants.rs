//! Checks grants and recalls. The granted and settled units of a grant must match its orders, feed
//! rows and recalls. A closed grant must have the time and the cause of its closing.

use std::collections::{BTreeMap, HashMap};

use super::findings::Findings;
use super::snapshot::{Grant, Recall, Snapshot};

/// The units of one grant, by what happened to them: sold in orders, added by feed rows, or taken
/// by finished recalls.
#[derive(Debug, Default)]
struct GrantTotals {
    sold: i128,
    fed: i128,
    recalled: i128,
}

pub(super) fn check(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    let totals = totals_by_grant(snapshot);
    let nothing = GrantTotals::default();
    for grant in snapshot.grants.values() {
        check_units(snapshot, grant, totals.get(&grant.id).unwrap_or(&nothing), findings);
        check_closing(grant, findings);
    }
    check_slots(snapshot, findings);
    for recall in &snapshot.recalls {
        check_recall(snapshot, recall, findings);
    }
}

fn totals_by_grant(snapshot: &Snapshot) -> HashMap<i64, GrantTotals> {
    let mut totals: HashMap<i64, GrantTotals> = HashMap::new();
    for order in &snapshot.orders {
        totals.entry(order.grant).or_default().sold += i128::from(order.units);
    }
    for row in snapshot.feed.iter().filter(|row| matches!(&*row.cause, "refill" | "recalled")) {
        totals.entry(row.grant).or_default().fed += i128::from(row.units);
    }
    for recall in snapshot.recalls.iter().filter(|recall| recall.done) {
        totals.entry(recall.grant).or_default().recalled += i128::from(recall.taken);
    }
    totals
}

fn check_units(
    snapshot: &Snapshot,
    grant: &Grant,
    totals: &GrantTotals,
    findings: &mut Findings<'_>,
) {
    let Grant { id, item, granted, settled, .. } = *grant;
    match snapshot.items.get(&item) {
        None => findings.add_item_finding(
            "I2",
            item,
            format!("grant {id} names item {item}, which does not exist"),
        ),
        Some(known) if known.total.is_some() != grant.counted => {
            findings.add_item_finding(
                "I2",
                item,
                format!("grant {id} and its item differ on whether stock is counted"),
            );
        }
        Some(_) => {}
    }
    if grant.counted && settled > granted {
        findings.add_item_finding(
            "I1",
            item,
            format!("grant {id} settled {settled} units, but has only {granted}"),
        );
    }
    if !grant.counted && granted != 0 {
        findings.add_item_finding(
            "I2",
            item,
            format!("grant {id} of an unlimited item has {granted} units"),
        );
    }
    if i128::from(settled) != totals.sold {
        findings.add_item_finding(
            "I2",
            item,
            format!("grant {id} settled {settled} units, but its orders have {}", totals.sold),
        );
    }
    let initial = i128::from(granted) - totals.fed + totals.recalled;
    if initial < 0 {
        findings.add_item_finding(
            "I2",
            item,
            format!(
                "grant {id} has {granted} units: too few, because its feed added {} and recalls \
                 took {}",
                totals.fed, totals.recalled
            ),
        );
    }
}

fn check_closing(grant: &Grant, findings: &mut Findings<'_>) {
    let (id, item) = (grant.id, grant.item);
    if grant.open != grant.closed_cause.is_none() || grant.open != grant.closed_at.is_none() {
        findings.add_item_finding(
            "I2",
            item,
            format!("grant {id} must be open, or closed with a time and a cause"),
        );
    }
    if grant.closed_at.is_some_and(|at| at < grant.opened_at) {
        findings.add_notice(
            "clock",
            None,
            format!("grant {id} was closed before it was opened: the clock went back"),
        );
    }
}

/// Checks the grants of each slot. A slot has at most one open grant, and this grant has the
/// highest epoch of the slot.
fn check_slots(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    let mut slots: BTreeMap<(i64, i64), Vec<&Grant>> = BTreeMap::new();
    for grant in snapshot.grants.values() {
        slots.entry((grant.item, grant.slot)).or_default().push(grant);
    }
    for ((item, slot), mut grants) in slots {
        grants.sort_by_key(|grant| grant.epoch);
        for pair in grants.windows(2) {
            let (epoch, later) = (pair[0].epoch, pair[1].epoch);
            if epoch == later {
                findings.add_item_finding(
                    "I2",
                    item,
                    format!("slot {slot} has two grants of epoch {epoch}"),
                );
            }
            if pair[0].open {
                let detail = format!(
                    "slot {slot} has an open grant of epoch {epoch} and a grant of epoch {later}"
                );
                findings.add_item_finding("I2", item, detail);
            }
        }
    }
}

fn check_recall(snapshot: &Snapshot, recall: &Recall, findings: &mut Findings<'_>) {
    let Recall { id, asked, taken, done, .. } = *recall;
    let Some(from) = snapshot.grants.get(&recall.grant) else {
        findings.add_store_finding(
            "I2",
            format!("recall {id} takes units from grant {}, which does not exist", recall.grant),
        );
        return;
    };
    let item = from.item;
    if !(0..=asked).contains(&taken) {
        findings.add_item_finding(
            "I2",
            item,
            format!("recall {id} took {taken} units, but only {asked} were requested"),
        );
    }
    if !done && taken != 0 {
        findings.add_item_finding(
            "I2",
            item,
            format!("recall {id} is not done, but took {taken} units"),
        );
    }
    if !done && !from.open {
        findings.add_item_finding(
            "I2",
            item,
            format!("recall {id} is pending on grant {}, which is closed", from.id),
        );
    }
    if let Some(target) = recall.target
        && snapshot.grants.get(&target).is_none_or(|to| to.item != item)
    {
        findings.add_item_finding(
            "I2",
            item,
            format!(
                "recall {id} gives units to grant {target}, which does not belong to item {item}"
            ),
        );
    }
}
