//! Checks the limit for each buyer (rule I4). A buyer's quota of an item must be the sum of the
//! units in the buyer's active orders of this item. The sum must not exceed the item's limit.

use std::collections::BTreeMap;

use super::findings::Findings;
use super::snapshot::Snapshot;

pub(super) fn check(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    // The map is sorted, so that each audit of the same store lists the findings in the same
    // sequence.
    let mut holds: BTreeMap<(i64, &str), i128> = BTreeMap::new();
    for order in &snapshot.orders {
        // After an order has ended, the buyer's quota row stays, without the order's units.
        let units = if order.is_active() { i128::from(order.units) } else { 0 };
        *holds.entry((order.item, &order.buyer)).or_default() += units;
    }
    for (&(item, buyer), &units) in &holds {
        let limit = snapshot.items.get(&item).map_or(i64::MAX, |item| item.limit);
        if units > limit.into() {
            findings.add_item_finding(
                "I4",
                item,
                format!("{buyer} holds {units} units, but the limit is {limit}"),
            );
        }
    }
    for quota in &snapshot.quotas {
        let held = holds.remove(&(quota.item, &*quota.buyer)).unwrap_or(0);
        if i128::from(quota.used) != held {
            let detail = format!(
                "{}'s quota is {}, but the active orders have {held} units",
                quota.buyer, quota.used
            );
            findings.add_item_finding("I4", quota.item, detail);
        }
    }
    for ((item, buyer), units) in holds {
        findings.add_item_finding(
            "I4",
            item,
            format!("{buyer} has orders ({units} active units), but no quota row"),
        );
    }
}
