//! The check of all rows. It reads the orders once, in one snapshot, and compares the orders with
//! the other tables.
//!
//! The check runs on a reader's thread, and never blocks the writer. It pauses after every thousand
//! orders. Without these pauses, the check would keep one core busy, and buyers would have to wait.
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use doorbuster_core::{GrantId, ItemId, Millis, OrderState, Stock};

use crate::contract::{Check, Finding};
use crate::failure::Done;
use crate::limits::{CHECK_PAUSE, CHECK_ROWS_BETWEEN_PAUSES, FINDINGS_MAX};
use crate::sql::Row;
use crate::{rows, waitlist};

use super::read::Reader;

mod buyers;
mod money;

#[derive(Default)]
struct Sums {
    active: u64,
    paid: u64,
    ended: u64,
    /// The number of paid orders. The field `payments` is the number of captured payments of these
    /// orders.
    paid_orders: u64,
    payments: u64,
}

#[derive(Default)]
struct CheckRun {
    items: BTreeMap<ItemId, Sums>,
    settled: BTreeMap<GrantId, u64>,
    findings: Vec<Finding>,
}

impl CheckRun {
    fn report(&mut self, rule: &'static str, item: Option<ItemId>, detail: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { rule, item, detail });
        }
    }

    fn count(&mut self, order: &CountedOrder<'_>) {
        let units = order.units;
        let sums = self.items.entry(order.item).or_default();
        match order.state.is_active() {
            true => sums.active += units,
            false => sums.ended += units,
        }
        if order.state == OrderState::Paid {
            sums.paid += units;
            sums.paid_orders += 1;
        }
        *self.settled.entry(order.grant).or_default() += units;
    }
}

struct CountedOrder<'a> {
    buyer: &'a str,
    item: ItemId,
    grant: GrantId,
    state: OrderState,
    units: u64,
}

fn counted_order<'a>(row: Row<'a>) -> Done<CountedOrder<'a>> {
    Ok(CountedOrder {
        buyer: row.text(0, "buyer")?,
        item: ItemId(row.get(1)?),
        grant: GrantId(row.number(2)?),
        state: row.parse(3, "state", OrderState::parse)?,
        units: row.number(4)?,
    })
}

struct QuotaRow<'a> {
    buyer: &'a str,
    item: ItemId,
    used: u64,
}

fn quota<'a>(row: Row<'a>) -> Done<QuotaRow<'a>> {
    Ok(QuotaRow { buyer: row.text(0, "buyer")?, item: ItemId(row.get(1)?), used: row.number(2)? })
}

/// Counts rows, and pauses after every [`CHECK_ROWS_BETWEEN_PAUSES`] rows.
#[derive(Default)]
struct Pacer {
    read: usize,
}

impl Pacer {
    fn count_row(&mut self) {
        self.read += 1;
        if self.read.is_multiple_of(CHECK_ROWS_BETWEEN_PAUSES) {
            std::thread::sleep(CHECK_PAUSE);
        }
    }
}

pub(super) fn check(sql: &mut Reader<'_>, now: Millis) -> Done<Check> {
    let mut run = CheckRun::default();
    let limits = sql.all("SELECT id, limit_per_buyer FROM item", [], |row| {
        Ok((ItemId(row.get(0)?), row.get(1)?))
    })?;
    buyers(sql, &mut run, &limits.into_iter().collect())?;
    let in_slots = grants(sql, &mut run)?;
    money::check(sql, &mut run)?;
    items(sql, &mut run, &in_slots)?;
    check_waitlists(sql, &mut run)?;
    Ok(Check { checked_at: now, notices: money::notices(sql)?, findings: run.findings })
}

/// Compares buyers' orders with their quotas. Each table is read once in storage order, which is
/// several times as fast as reading each buyer separately.
///
/// Each item has two fingerprints, which must be equal: one of the units in active orders, and one
/// of the units in quotas. A fingerprint is a sum: each unit adds the keyed hash of its buyer
/// (MSet-Add-Hash: Clarke et al., Incremental Multiset Hash Functions, ASIACRYPT 2003). The key is
/// secret and random. A check overlooks a difference with a probability of 2⁻⁶⁰.
fn buyers(sql: &mut Reader<'_>, run: &mut CheckRun, limits: &BTreeMap<ItemId, u32>) -> Done<()> {
    let conn = sql.conn();
    let key = RandomState::new();
    let fingerprint = |buyer: &str, units: u64| key.hash_one(buyer).wrapping_mul(units);
    let mut differs: BTreeMap<ItemId, u64> = BTreeMap::new();
    let mut is_over = false;
    let mut pacer = Pacer::default();
    let mut orders =
        conn.prepare_cached("SELECT buyer, item_id, grant_id, state, units FROM orders")?;
    let mut rows = orders.query([])?;
    while let Some(row) = rows.next()? {
        let order = counted_order(row.into())?;
        run.count(&order);
        if order.state.is_active() {
            let sum = differs.entry(order.item).or_default();
            *sum = sum.wrapping_add(fingerprint(order.buyer, order.units));
        }
        pacer.count_row();
    }
    let mut quotas = conn.prepare_cached("SELECT buyer, item_id, used FROM quota")?;
    let mut rows = quotas.query([])?;
    while let Some(row) = rows.next()? {
        let quota = quota(row.into())?;
        is_over |= quota.used > limits.get(&quota.item).copied().map_or(0, u64::from);
        let sum = differs.entry(quota.item).or_default();
        *sum = sum.wrapping_sub(fingerprint(quota.buyer, quota.used));
        pacer.count_row();
    }
    if is_over || differs.values().any(|sum| *sum != 0) {
        buyers::report(sql, run, limits)?;
    }
    Ok(())
}

/// Compares every grant with its orders and its feed. Returns the number of units in each item's
/// slots.
fn grants(sql: &mut Reader<'_>, run: &mut CheckRun) -> Done<BTreeMap<ItemId, u64>> {
    let mut in_slots = BTreeMap::new();
    let grants =
        sql.all(concat!("SELECT ", rows::grant_columns!(), " FROM slot_grant"), [], rows::grant)?;
    for grant in grants {
        let (item, id) = (Some(grant.slot.item), grant.id);
        let sold = run.settled.remove(&id).unwrap_or(0);
        if grant.settled != sold {
            run.report(
                "I2",
                item,
                format!("grant {id} settled {} units, but its orders have {sold}", grant.settled),
            );
        }
        if grant.counted && grant.settled > grant.granted {
            run.report(
                "I1",
                item,
                format!(
                    "grant {id} settled {} units, but has only {}",
                    grant.settled, grant.granted
                ),
            );
        }
        if grant.open && grant.counted {
            *in_slots.entry(grant.slot.item).or_default() += grant.unsettled();
        }
        let feed = sql.one(
            "SELECT count(*), coalesce(max(seq), 0) FROM feed WHERE grant_id = ?1",
            [crate::sql::to_i64(id.0)],
            |row| Ok((row.number(0)?, row.number(1)?)),
        )?;
        let len = grant.feed_len.0;
        if feed.is_some_and(|feed| feed != (len, len)) {
            run.report(
                "I6",
                item,
                format!(
                    "grant {id} says that its feed has {len} rows, but the number of rows and \
                     the number of the last row are {feed:?}"
                ),
            );
        }
    }
    for (id, units) in std::mem::take(&mut run.settled) {
        let detail =
            format!("grant {id} does not exist, but has orders with {units} units in total");
        run.report("I2", None, detail);
    }
    Ok(in_slots)
}

fn check_waitlists(sql: &mut Reader<'_>, run: &mut CheckRun) -> Done<()> {
    for (rule, text) in waitlist::CHECKS {
        let found = sql.all(text, [], |row| {
            Ok((row.get::<Option<i64>>(0)?.map(ItemId), row.get::<String>(1)?))
        })?;
        found.into_iter().for_each(|(item, detail)| run.report(rule, item, detail));
    }
    Ok(())
}

fn items(sql: &mut Reader<'_>, run: &mut CheckRun, in_slots: &BTreeMap<ItemId, u64>) -> Done<()> {
    for item in sql.all(concat!("SELECT ", rows::item_columns!(), " FROM item"), [], rows::item)? {
        let sums = run.items.remove(&item.id).unwrap_or_default();
        if (item.paid, item.ended) != (sums.paid, sums.ended) {
            let detail = format!(
                "the item's counters say {} units paid and {} ended, but its orders add up to {} \
                 and {}",
                item.paid, item.ended, sums.paid, sums.ended
            );
            run.report("I2", Some(item.id), detail);
        }
        let Stock::Counted(total) = item.total else { continue };
        if sums.active > total {
            run.report(
                "I1",
                Some(item.id),
                format!("active orders have {} units, but the total is {total}", sums.active),
            );
        }
        let in_slots = in_slots.get(&item.id).copied().unwrap_or(0);
        if item.pool + in_slots + sums.active != total {
            let detail = format!(
                "total {total} is not pool {} + in slots {in_slots} + active {}",
                item.pool, sums.active
            );
            run.report("I2", Some(item.id), detail);
        }
    }
    for (id, sums) in std::mem::take(&mut run.items) {
        let detail = format!("the item is missing, but orders have {} active units", sums.active);
        run.report("I2", Some(id), detail);
    }
    Ok(())
}
