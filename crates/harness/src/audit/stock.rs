//! Where every unit of an item is (I1, I2), and how its total came to be.

use super::findings::{Findings, format_optional};
use super::snapshot::{Item, Snapshot};

/// Checks every item by itself.
pub(super) fn check(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    for item in snapshot.items.values() {
        if !snapshot.sales.contains_key(&item.sale) {
            findings.item("I2", item.id, format!("its sale {:?} does not exist", item.sale));
        }
        check_counters(snapshot, item, findings);
        match (item.total, item.initial_total) {
            (Some(total), Some(initial)) => {
                check_counted(snapshot, item, total, findings);
                check_ledger(snapshot, item, initial, total, findings);
            }
            (None, None) => check_unlimited(snapshot, item, findings),
            (total, initial) => findings.item(
                "I2",
                item.id,
                format!(
                    "counted and unlimited at once: total {}, initial total {}",
                    format_optional(total),
                    format_optional(initial)
                ),
            ),
        }
    }
}

/// The counters beside the orders are sums of the orders.
fn check_counters(snapshot: &Snapshot, item: &Item, findings: &mut Findings<'_>) {
    let sums = snapshot.item_totals(item.id);
    if i128::from(item.paid) != sums.paid {
        findings.item(
            "I2",
            item.id,
            format!("paid says {}, paid orders have {} units", item.paid, sums.paid),
        );
    }
    if i128::from(item.ended) != sums.ended {
        findings.item(
            "I2",
            item.id,
            format!("ended says {}, ended orders have {} units", item.ended, sums.ended),
        );
    }
}

fn check_counted(snapshot: &Snapshot, item: &Item, total: i64, findings: &mut Findings<'_>) {
    let sums = snapshot.item_totals(item.id);
    if sums.active() > total.into() {
        let over = sums.active() - i128::from(total);
        findings.item(
            "I1",
            item.id,
            format!("oversold by {over}: {} units sold of {total}", sums.active()),
        );
    }
    let found = i128::from(item.pool) + sums.in_slots + sums.active();
    if found != total.into() {
        findings.item(
            "I2",
            item.id,
            format!(
                "total {total} is not pool {} + in slots {} + held {} + paid {} = {found}",
                item.pool, sums.in_slots, sums.held, sums.paid
            ),
        );
    }
    for (what, units) in
        [("total", i128::from(total)), ("pool", item.pool.into()), ("in slots", sums.in_slots)]
    {
        if units < 0 {
            findings.item("I2", item.id, format!("{what} is {units}"));
        }
    }
}

/// The total is what it began with and every adjustment since.
fn check_ledger(
    snapshot: &Snapshot,
    item: &Item,
    initial: i64,
    total: i64,
    findings: &mut Findings<'_>,
) {
    let mut sum = i128::from(initial);
    for (at, adjustment) in
        snapshot.adjustments.iter().filter(|row| row.item == item.id).enumerate()
    {
        sum += i128::from(adjustment.units);
        if sum != adjustment.total_after.into() || sum < 0 {
            let (turn, told) = (at + 1, adjustment.total_after);
            findings.item(
                "I2",
                item.id,
                format!("adjustment {turn} says total {told}, the ledger adds up to {sum}"),
            );
        }
    }
    if sum != total.into() {
        findings.item(
            "I2",
            item.id,
            format!("total {total} is not {initial} and its adjustments, which make {sum}"),
        );
    }
}

fn check_unlimited(snapshot: &Snapshot, item: &Item, findings: &mut Findings<'_>) {
    if item.pool != 0 {
        findings.item("I2", item.id, format!("unlimited, with {} units in the pool", item.pool));
    }
    if snapshot.adjustments.iter().any(|row| row.item == item.id) {
        findings.item("I2", item.id, "unlimited, and its total was adjusted".into());
    }
}
