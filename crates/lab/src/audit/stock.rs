//! Where every unit of an item is (I1, I2), and how its total came to be.

use super::findings::{Findings, or_none};
use super::rows::{Item, Truth};

/// Checks every item by itself.
pub(super) fn check(truth: &Truth, findings: &mut Findings<'_>) {
    for item in truth.items.values() {
        if !truth.sales.contains_key(&item.sale) {
            findings.item("I2", item.id, format!("its sale {:?} does not exist", item.sale));
        }
        counters(truth, item, findings);
        match (item.total, item.initial_total) {
            (Some(total), Some(initial)) => {
                counted(truth, item, total, findings);
                ledger(truth, item, initial, total, findings);
            }
            (None, None) => unlimited(truth, item, findings),
            (total, initial) => findings.item(
                "I2",
                item.id,
                format!(
                    "counted and unlimited at once: total {}, initial total {}",
                    or_none(total),
                    or_none(initial)
                ),
            ),
        }
    }
}

/// The counters beside the orders are sums of the orders.
fn counters(truth: &Truth, item: &Item, findings: &mut Findings<'_>) {
    let sums = truth.sums(item.id);
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

fn counted(truth: &Truth, item: &Item, total: i64, findings: &mut Findings<'_>) {
    let sums = truth.sums(item.id);
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
fn ledger(truth: &Truth, item: &Item, initial: i64, total: i64, findings: &mut Findings<'_>) {
    let mut sum = i128::from(initial);
    for (at, adjustment) in truth.adjustments.iter().filter(|row| row.item == item.id).enumerate() {
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

fn unlimited(truth: &Truth, item: &Item, findings: &mut Findings<'_>) {
    if item.pool != 0 {
        findings.item("I2", item.id, format!("unlimited, with {} units in the pool", item.pool));
    }
    if truth.adjustments.iter().any(|row| row.item == item.id) {
        findings.item("I2", item.id, "unlimited, and its total was adjusted".into());
    }
}
