//! Finds the buyers whose orders and quota differ, after the check has found a violation of rule
//! I4.
use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, params};

use doorbuster_core::ItemId;

use crate::failure::Done;
use crate::sql::Row;

use super::super::read::Reader;
use super::{CheckRun, Pacer, counted_order, quota};

/// A buyer's units of an item, from an active order or from a quota.
struct BuyerUnits {
    buyer: String,
    item: ItemId,
    units: u64,
}

fn held(row: Row<'_>) -> Done<BuyerUnits> {
    let order = counted_order(row)?;
    let units = if order.state.is_active() { order.units } else { 0 };
    Ok(BuyerUnits { buyer: order.buyer.to_owned(), item: order.item, units })
}

fn used(row: Row<'_>) -> Done<BuyerUnits> {
    let quota = quota(row)?;
    Ok(BuyerUnits { buyer: quota.buyer.to_owned(), item: quota.item, units: quota.used })
}

/// Reads orders and quotas together, buyer by buyer, in the snapshot in which the check found the
/// difference.
pub(super) fn report(
    sql: &mut Reader<'_>,
    run: &mut CheckRun,
    limits: &BTreeMap<ItemId, u32>,
) -> Done<()> {
    let conn = sql.conn();
    let mut orders = conn.prepare_cached(
        "SELECT buyer, item_id, grant_id, state, units FROM orders ORDER BY buyer",
    )?;
    let mut quotas =
        conn.prepare_cached("SELECT buyer, item_id, used FROM quota ORDER BY buyer")?;
    let mut orders = orders.query_and_then([], |row| held(row.into()))?.peekable();
    let mut quotas = quotas.query_and_then([], |row| used(row.into()))?.peekable();
    let mut pacer = Pacer::default();
    loop {
        let order = orders.peek().and_then(|o| o.as_ref().ok()).map(|o| &o.buyer);
        let quota = quotas.peek().and_then(|q| q.as_ref().ok()).map(|q| &q.buyer);
        let buyer = [order, quota].into_iter().flatten().min().cloned();
        // For each item of this buyer: the units in active orders, and the units in the quota.
        let mut both: BTreeMap<ItemId, (u64, u64)> = BTreeMap::new();
        while let Some(order) =
            orders.next_if(|o| o.as_ref().map_or(true, |o| Some(&o.buyer) == buyer.as_ref()))
        {
            let order = order?;
            both.entry(order.item).or_default().0 += order.units;
            pacer.count_row();
        }
        while let Some(quota) =
            quotas.next_if(|q| q.as_ref().map_or(true, |q| Some(&q.buyer) == buyer.as_ref()))
        {
            let quota = quota?;
            both.entry(quota.item).or_default().1 += quota.units;
        }
        let Some(buyer) = buyer else { return Ok(()) };
        for (item, (held, used)) in both {
            let limit = limits.get(&item).copied().map_or(0, u64::from);
            if held != used || held > limit {
                // The log must not contain a buyer's id, so the finding names the buyer's newest
                // order.
                let sql =
                    "SELECT id FROM orders WHERE buyer = ?1 AND item_id = ?2 ORDER BY seq DESC
                           LIMIT 1";
                let order: Option<String> =
                    conn.query_row(sql, params![buyer, item.0], |row| row.get(0)).optional()?;
                let order = order.as_deref().unwrap_or("no order");
                let detail = format!(
                    "the buyer of {order} has {held} units in active orders, a quota of {used} \
                     and a limit of {limit}"
                );
                run.report("I4", Some(item), detail);
            }
        }
    }
}
