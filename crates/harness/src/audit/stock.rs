//! Checks stock. Each unit of an item must be in exactly one of these states: in the pool, in a
//! slot, held, or paid (rules I1 and I2). The item's total must be the initial total plus all
//! adjustments.

use super::findings::{Findings, format_optional};
use super::snapshot::{Item, Snapshot};

pub(super) fn check(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    for item in snapshot.items.values() {
        if !snapshot.sales.contains_key(&item.sale) {
            findings.add_item_finding(
                "I2",
                item.id,
                format!("the item's sale {:?} does not exist", item.sale),
            );
        }
        check_counters(snapshot, item, findings);
        match (item.total, item.initial_total) {
            (Some(total), Some(initial)) => {
                check_counted(snapshot, item, total, findings);
                check_ledger(snapshot, item, initial, total, findings);
            }
            (None, None) => check_unlimited(snapshot, item, findings),
            (total, initial) => findings.add_item_finding(
                "I2",
                item.id,
                format!(
                    "only one of the item's two totals is set: total {}, initial total {}",
                    format_optional(total),
                    format_optional(initial)
                ),
            ),
        }
    }
}

/// Checks the item's stored counters. The counter of paid units must be the sum of the units in the
/// item's paid orders. The counter of ended units must be the sum of the units in its ended orders.
fn check_counters(snapshot: &Snapshot, item: &Item, findings: &mut Findings<'_>) {
    let sums = snapshot.item_totals(item.id);
    if i128::from(item.paid) != sums.paid {
        findings.add_item_finding(
            "I2",
            item.id,
            format!("the paid counter is {}, but paid orders have {} units", item.paid, sums.paid),
        );
    }
    if i128::from(item.ended) != sums.ended {
        findings.add_item_finding(
            "I2",
            item.id,
            format!(
                "the item counts {} units of ended orders, but its ended orders have {} units",
                item.ended, sums.ended
            ),
        );
    }
}

fn check_counted(snapshot: &Snapshot, item: &Item, total: i64, findings: &mut Findings<'_>) {
    let sums = snapshot.item_totals(item.id);
    if sums.active() > total.into() {
        let over = sums.active() - i128::from(total);
        findings.add_item_finding(
            "I1",
            item.id,
            format!("oversold by {over}: {} units sold of {total}", sums.active()),
        );
    }
    let found = i128::from(item.pool) + sums.in_slots + sums.active();
    if found != total.into() {
        findings.add_item_finding(
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
            findings.add_item_finding("I2", item.id, format!("{what} is negative: {units}"));
        }
    }
}

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
            let (turn, claimed) = (at + 1, adjustment.total_after);
            findings.add_item_finding(
                "I2",
                item.id,
                format!(
                    "adjustment {turn} gives total {claimed}; the total must be {sum}, and at least 0"
                ),
            );
        }
    }
    if sum != total.into() {
        findings.add_item_finding(
            "I2",
            item.id,
            format!("total {total} is not {sum}, the initial total {initial} plus its adjustments"),
        );
    }
}

fn check_unlimited(snapshot: &Snapshot, item: &Item, findings: &mut Findings<'_>) {
    if item.pool != 0 {
        findings.add_item_finding(
            "I2",
            item.id,
            format!("the item is unlimited, but its pool has {} units", item.pool),
        );
    }
    if snapshot.adjustments.iter().any(|row| row.item == item.id) {
        findings.add_item_finding(
            "I2",
            item.id,
            "the item is unlimited, but its total was adjusted".into(),
        );
    }
}
