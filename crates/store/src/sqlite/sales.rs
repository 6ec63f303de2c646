//! Sales and their items: the catalogue, its phases, and changes of stock.
use rusqlite::{Row, params};

use doorbuster_core::sale::{Phase, PhaseChange, PhaseStep};
use doorbuster_core::stock::{self, AdjustResult};
use doorbuster_core::{CloseCause, ItemId, Ledger, Millis, PartitionChoice, Spread, Stock};

use crate::actions;
use crate::contract::{
    AdjustOutcome, Adjustment, DeleteOutcome, ItemRow, NewItem, NewSale, PatchOutcome, SalePatch,
    SaleRow, SpreadOutcome, StepOutcome,
};
use crate::events::sale_event;

use super::failure::Failure;
use super::ledger::SqliteLedger;
use super::read;
use super::rows::int;
use super::statements::Statements;

type Done<T> = Result<T, Failure>;

macro_rules! sale_columns {
    () => {
        "id, title, phase, starts_at, ends_at, front_door, version, created_at, opened_at, \
         closed_at, page"
    };
}
macro_rules! item_columns {
    () => {
        "id, name, title, description, image, price_minor, currency, list_price_minor, limit_per_buyer, hold_ms, total, sale_id, \
         partitions, choose, spread_initial, spread_threshold, spread_refill, partitions_auto, page"
    };
}

fn sale_row(row: &Row<'_>) -> Done<SaleRow> {
    let time = |at: usize| row.get::<_, Option<i64>>(at).map(|t| t.map(Millis));
    let phase: String = row.get(2)?;
    Ok(SaleRow {
        id: row.get(0)?,
        title: row.get(1)?,
        phase: Phase::parse(&phase)
            .ok_or_else(|| Failure::Row(format!("unknown phase {phase:?}")))?,
        starts_at: time(3)?,
        ends_at: time(4)?,
        front_door: row.get(5)?,
        page: row.get(10)?,
        version: row.get::<_, i64>(6)?.cast_unsigned(),
        created_at: Millis(row.get(7)?),
        opened_at: time(8)?,
        closed_at: time(9)?,
        // No drain is stored, because the only process that uses the store knows its own drains.
        draining_until: None,
        items: Vec::new(),
    })
}

fn item_row(row: &Row<'_>) -> Done<ItemRow> {
    let choose: String = row.get(13)?;
    let units = |at: usize| row.get::<_, i64>(at).map(i64::cast_unsigned);
    Ok(ItemRow {
        id: ItemId(row.get(0)?),
        name: row.get(1)?,
        title: row.get(2)?,
        description: row.get(3)?,
        image: row.get(4)?,
        price_minor: row.get(5)?,
        currency: row.get(6)?,
        list_price_minor: row.get(7)?,
        limit: row.get(8)?,
        hold_ms: row.get(9)?,
        page: row.get(18)?,
        counted: row.get::<_, Option<i64>>(10)?.is_some(),
        spread: Spread {
            partitions: row.get(12)?,
            auto: row.get(17)?,
            choose: PartitionChoice::parse(&choose)
                .ok_or_else(|| Failure::Row(format!("unknown way to choose a slot {choose:?}")))?,
            initial: units(14)?,
            threshold: units(15)?,
            refill: units(16)?,
        },
    })
}

/// Returns every sale, newest first.
pub(super) fn all(sql: &mut Statements<'_>) -> Done<Vec<SaleRow>> {
    let mut sales =
        sql.all(concat!("SELECT ", sale_columns!(), " FROM sale ORDER BY seq DESC"), [], sale_row)?;
    let at: std::collections::HashMap<String, usize> =
        sales.iter().enumerate().map(|(at, sale)| (sale.id.clone(), at)).collect();
    let items =
        sql.all(concat!("SELECT ", item_columns!(), " FROM item ORDER BY id"), [], |row| {
            Ok((row.get::<_, String>(11)?, item_row(row)?))
        })?;
    for (sale, item) in items {
        if let Some(at) = at.get(&sale) {
            sales[*at].items.push(item);
        }
    }
    Ok(sales)
}

/// Returns the sale of this id.
pub(super) fn one(sql: &mut Statements<'_>, id: &str) -> Done<Option<SaleRow>> {
    let sale = sql.one(
        concat!("SELECT ", sale_columns!(), " FROM sale WHERE id = ?1"),
        params![id],
        sale_row,
    )?;
    let Some(mut sale) = sale else { return Ok(None) };
    sale.items = sql.all(
        concat!("SELECT ", item_columns!(), " FROM item WHERE sale_id = ?1 ORDER BY id"),
        params![id],
        item_row,
    )?;
    Ok(Some(sale))
}

/// Creates a draft with all its stock in the pools. Returns `None` if the id is in use.
pub(super) fn create(ledger: &mut SqliteLedger<'_>, new: &NewSale) -> Done<Option<SaleRow>> {
    let (now, sql) = (ledger.now, &mut ledger.sql);
    let made = sql.run(
        "INSERT INTO sale (id, title, phase, starts_at, ends_at, front_door, page, version,
         created_at) VALUES (?1, ?2, 'draft', ?3, ?4, ?5, ?6, 1, ?7)
         ON CONFLICT (id) DO NOTHING",
        params![
            new.id,
            new.title,
            new.starts_at.map(|t| t.0),
            new.ends_at.map(|t| t.0),
            new.front_door,
            new.page,
            now.0
        ],
    )?;
    if made == 0 {
        return Ok(None);
    }
    for item in &new.items {
        create_item(sql, &new.id, item)?;
    }
    let sale = one(sql, &new.id)?;
    for item in sale.iter().flat_map(|sale| &sale.items) {
        ledger.touch(item.id);
    }
    ledger.record(&actions::changed_sale(None, sale.as_ref()))?;
    Ok(sale)
}

fn create_item(sql: &mut Statements<'_>, sale: &str, item: &NewItem) -> Done<()> {
    let total = match item.stock {
        Stock::Counted(units) => Some(int(units)),
        Stock::Unlimited => None,
    };
    sql.run(
        "INSERT INTO item (sale_id, name, title, description, image, price_minor, currency,
         list_price_minor, limit_per_buyer,
                           hold_ms, initial_total, total, pool, partitions, choose, spread_initial,
                           spread_threshold, spread_refill, partitions_auto, page)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11, coalesce(?11, 0), ?12, ?13, ?14,
         ?15, ?16, ?17, ?18)",
        params![
            sale,
            item.name,
            item.title,
            item.description,
            item.image,
            item.price_minor,
            item.currency,
            item.list_price_minor,
            item.limit,
            item.hold_ms,
            total,
            item.spread.partitions,
            item.spread.choose.as_str(),
            int(item.spread.initial),
            int(item.spread.threshold),
            int(item.spread.refill),
            item.spread.auto,
            item.page
        ],
    )?;
    Ok(())
}

/// Changes texts, times, prices, limits and front door.
pub(super) fn patch(
    ledger: &mut SqliteLedger<'_>,
    id: &str,
    if_version: Option<u64>,
    patch: SalePatch,
) -> Done<PatchOutcome> {
    let Some(before) = one(&mut ledger.sql, id)? else { return Ok(PatchOutcome::NotFound) };
    if if_version.is_some_and(|wanted| wanted != before.version) {
        return Ok(PatchOutcome::VersionMismatch(before.version));
    }
    let mut after = before.clone();
    if let Err(refusal) = patch(&mut after) {
        return Ok(PatchOutcome::Refused(refusal));
    }
    if after == before {
        return Ok(PatchOutcome::Done(before));
    }
    // Cached items must be dropped, because they have the old limits.
    ledger.flush()?;
    ledger.reset();
    let sql = &mut ledger.sql;
    sql.run(
        "UPDATE sale SET title = ?2, starts_at = ?3, ends_at = ?4, front_door = ?5, page = ?6, \
         version = version + 1 WHERE id = ?1",
        params![
            id,
            after.title,
            after.starts_at.map(|t| t.0),
            after.ends_at.map(|t| t.0),
            after.front_door,
            after.page
        ],
    )?;
    for item in after.items.iter().filter(|item| !before.items.contains(item)) {
        sql.run(
            "UPDATE item SET title = ?3, description = ?4, image = ?5, price_minor = ?6,
             currency = ?7, list_price_minor = ?8,
                             limit_per_buyer = ?9, hold_ms = ?10, page = ?11
             WHERE sale_id = ?1 AND id = ?2",
            params![
                id,
                item.id.0,
                item.title,
                item.description,
                item.image,
                item.price_minor,
                item.currency,
                item.list_price_minor,
                item.limit,
                item.hold_ms,
                item.page
            ],
        )?;
    }
    recorded_change(ledger, &before)
        .map(|sale| sale.map_or(PatchOutcome::NotFound, PatchOutcome::Done))
}

/// Records the changes of the sale, and returns its current row.
fn recorded_change(ledger: &mut SqliteLedger<'_>, before: &SaleRow) -> Done<Option<SaleRow>> {
    let after = one(&mut ledger.sql, &before.id)?;
    ledger.record(&actions::changed_sale(Some(before), after.as_ref()))?;
    Ok(after)
}

/// Changes how an item's stock is divided among its slots, until its sale is closed.
pub(super) fn set_spread(
    ledger: &mut SqliteLedger<'_>,
    item: ItemId,
    spread: &Spread,
    if_version: Option<u64>,
) -> Done<SpreadOutcome> {
    let sql = &mut ledger.sql;
    let id = sql.one("SELECT sale_id FROM item WHERE id = ?1", params![item.0], |row| {
        Ok(row.get::<_, String>(0)?)
    })?;
    let Some(id) = id else { return Ok(SpreadOutcome::NotFound) };
    let Some(sale) = one(sql, &id)? else { return Ok(SpreadOutcome::NotFound) };
    if sale.phase == Phase::Closed {
        return Ok(SpreadOutcome::WrongState(sale.phase));
    }
    if if_version.is_some_and(|wanted| wanted != sale.version) {
        return Ok(SpreadOutcome::VersionMismatch(sale.version));
    }
    if sale.items.iter().any(|row| row.id == item && row.spread == *spread) {
        return Ok(SpreadOutcome::Done(sale));
    }
    sql.run(
        "UPDATE item SET partitions = ?2, choose = ?3, spread_initial = ?4, spread_threshold = ?5, \
         spread_refill = ?6, partitions_auto = ?7 WHERE id = ?1",
        params![
            item.0,
            spread.partitions,
            spread.choose.as_str(),
            int(spread.initial),
            int(spread.threshold),
            int(spread.refill),
            spread.auto
        ],
    )?;
    sql.run("UPDATE sale SET version = version + 1 WHERE id = ?1", params![id])?;
    recorded_change(ledger, &sale)
        .map(|sale| sale.map_or(SpreadOutcome::NotFound, SpreadOutcome::Done))
}

/// Deletes a draft with its items.
pub(super) fn delete(
    ledger: &mut SqliteLedger<'_>,
    id: &str,
    if_version: Option<u64>,
) -> Done<DeleteOutcome> {
    let Some(sale) = one(&mut ledger.sql, id)? else { return Ok(DeleteOutcome::NotFound) };
    if if_version.is_some_and(|wanted| wanted != sale.version) {
        return Ok(DeleteOutcome::VersionMismatch(sale.version));
    }
    if sale.phase != Phase::Draft {
        return Ok(DeleteOutcome::WrongState(sale.phase));
    }
    ledger.flush()?;
    ledger.reset();
    ledger.sql.run("DELETE FROM sale WHERE id = ?1", params![id])?;
    ledger.record(&actions::changed_sale(Some(&sale), None))?;
    Ok(DeleteOutcome::Done)
}

/// Moves a sale to its next phase, and records when it first opened and when it closed.
pub(super) fn step(ledger: &mut SqliteLedger<'_>, id: &str, step: PhaseStep) -> Done<StepOutcome> {
    let now = ledger.now;
    let Some(sale) = one(&mut ledger.sql, id)? else { return Ok(StepOutcome::NotFound) };
    let phase = match step.apply(sale.phase) {
        PhaseChange::To(phase) => phase,
        PhaseChange::Already => return Ok(StepOutcome::Done { sale, changed: false }),
        PhaseChange::WrongState => return Ok(StepOutcome::WrongState(sale.phase)),
    };
    let closing = match phase {
        Phase::Draft | Phase::Paused => Some(CloseCause::Rolled),
        Phase::Closed => Some(CloseCause::Ended),
        Phase::Scheduled | Phase::Open => None,
    };
    if let Some(cause) = closing {
        for item in &sale.items {
            stock::close_item_grants(ledger, item.id, cause)?;
        }
    }
    let sql = &mut ledger.sql;
    sql.run(
        "UPDATE sale SET phase = ?2, version = version + 1,
                         opened_at = CASE WHEN ?2 = 'open' THEN coalesce(opened_at,
                         ?3) ELSE opened_at END,
                         closed_at = CASE WHEN ?2 = 'closed' THEN ?3 ELSE closed_at END
         WHERE id = ?1",
        params![id, phase.as_str(), now.0],
    )?;
    if let Some(event) = sale_event(&sale, phase, now) {
        ledger.append_event(&event)?;
    }
    recorded_change(ledger, &sale).map(|sale| {
        sale.map_or(StepOutcome::NotFound, |sale| StepOutcome::Done { sale, changed: true })
    })
}

/// Returns the units of the adjustment with this key.
pub(super) fn adjusted_units(
    sql: &mut Statements<'_>,
    item: ItemId,
    key: &str,
) -> Done<Option<i64>> {
    let found = "SELECT units FROM adjustment WHERE item_id = ?1 AND key = ?2";
    sql.one(found, params![item.0, key], |row| Ok(row.get::<_, i64>(0)?))
}

/// Changes an item's total and records the change, once for each key.
pub(super) fn adjust(
    ledger: &mut SqliteLedger<'_>,
    adjustment: &Adjustment,
) -> Done<AdjustOutcome> {
    let Adjustment { item, units, reason, key } = adjustment;
    let earlier = adjusted_units(&mut ledger.sql, *item, key)?;
    let repeated = earlier.is_some();
    match earlier {
        Some(earlier) if earlier != *units => return Ok(AdjustOutcome::KeyReused),
        Some(_) => {}
        None => match stock::adjust(ledger, *item, *units, ledger.now)? {
            AdjustResult::Done(done) => {
                let Stock::Counted(total) = done.total else {
                    return Err(Failure::Row("an adjusted item has no total".to_owned()));
                };
                let now = ledger.now;
                ledger.sql.run(
                    "INSERT INTO adjustment (item_id, key, units, reason, total_after, at) VALUES \
                     (?1, ?2, ?3, ?4, ?5, ?6)",
                    params![item.0, key, units, reason, int(total), now.0],
                )?;
                ledger.flush()?;
                ledger.record(&actions::adjusted(*units, total, reason))?;
            }
            AdjustResult::NotInPool(pool) => return Ok(AdjustOutcome::NotInPool(pool)),
            AdjustResult::TooMuch => return Ok(AdjustOutcome::TooMuch),
            AdjustResult::Unlimited => return Ok(AdjustOutcome::Unlimited),
            AdjustResult::NotFound => return Ok(AdjustOutcome::NotFound),
        },
    }
    let counts = ledger.sql.one(read::COUNTS_OF_ITEM, params![item.0], read::counts_row)?;
    let outcome = if repeated { AdjustOutcome::Repeated } else { AdjustOutcome::Done };
    Ok(counts.map_or(AdjustOutcome::NotFound, outcome))
}
