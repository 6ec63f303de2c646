//! Sales and their items: the catalogue, its phases, and changes of stock.
use std::sync::{Mutex, PoisonError};

use tokio_postgres::Row;

use doorbuster_core::sale::{Phase, PhaseStep};
use doorbuster_core::stock::{self, AdjustResult};
use doorbuster_core::{ItemId, Ledger, Millis, PartitionChoice, Spread, Stock};

use crate::actions;
use crate::contract::{
    AdjustOutcome, Adjustment, CatalogueRows, DeleteOutcome, ItemRow, NewItem, NewSale,
    PatchOutcome, SalePatch, SaleRow, SpreadOutcome, StepOutcome,
};
use crate::store::StoreResult;

use super::Postgres;
use super::failure::Failure;
use super::ledger::PostgresLedger;
use super::phases;
use super::read::COUNTS;
use super::rows::{self, int};
use super::transaction::RetryUnknown;

type Done<T> = Result<T, Failure>;

macro_rules! sale_columns {
    () => {
        "s.id, s.title, s.phase, s.starts_at, s.ends_at, s.front_door, s.version, s.created_at,
         s.opened_at, s.closed_at,
         i.id, i.name, i.title, i.description, i.image, i.price_minor, i.currency,
         i.list_price_minor, i.limit_per_buyer, i.hold_ms, i.total IS NOT NULL, i.partitions,
         i.choose, i.spread_initial, i.spread_threshold, i.spread_refill, s.draining_until, \
         i.partitions_auto, s.page, i.page"
    };
}
/// The units of the adjustment with this key.
const ADJUSTED: &str = "SELECT units FROM adjustment WHERE item_id = $1 AND key = $2";
/// Selects one row for each item of a sale. A sale without items has one row.
const SALES: &str =
    concat!("SELECT ", sale_columns!(), " FROM sale s LEFT JOIN item i ON i.sale_id = s.id");
/// The version has two parts: the database's timeline, and the transaction that last changed the
/// catalogue. A promoted standby assigns transaction ids again, so the timeline is needed. Each
/// change locks this row, so no version repeats.
macro_rules! version {
    () => {
        "left(pg_walfile_name(pg_current_wal_lsn()), 8) || '/' || k.changed::text FROM catalogue k"
    };
}
const VERSION: &str = concat!("SELECT ", version!());
/// Selects all sales, newest first. Each row contains the catalogue's version.
const CATALOGUE: &str = concat!(
    "SELECT ",
    sale_columns!(),
    ", ",
    version!(),
    " LEFT JOIN sale s ON true LEFT JOIN item i ON i.sale_id = s.id ORDER BY s.seq DESC, i.id"
);
const LOCK_SALE: &str = "SELECT FROM sale WHERE id = $1 FOR UPDATE";

fn sale_row(row: &Row) -> Done<SaleRow> {
    Ok(SaleRow {
        id: row.try_get(0)?,
        title: row.try_get(1)?,
        phase: rows::parse_text(row, 2, "phase", Phase::parse)?,
        starts_at: rows::time(row, 3)?,
        ends_at: rows::time(row, 4)?,
        front_door: row.try_get(5)?,
        page: row.try_get(28)?,
        version: rows::number(row, 6)?,
        created_at: Millis(row.try_get(7)?),
        opened_at: rows::time(row, 8)?,
        closed_at: rows::time(row, 9)?,
        draining_until: rows::time(row, 26)?,
        items: Vec::new(),
    })
}

fn item_row(row: &Row) -> Done<Option<ItemRow>> {
    let Some(id) = row.try_get::<_, Option<i64>>(10)? else { return Ok(None) };
    Ok(Some(ItemRow {
        id: ItemId(id),
        name: row.try_get(11)?,
        title: row.try_get(12)?,
        description: row.try_get(13)?,
        image: row.try_get(14)?,
        price_minor: row.try_get(15)?,
        currency: row.try_get(16)?,
        list_price_minor: row.try_get(17)?,
        limit: rows::small(row, 18, "limit")?,
        hold_ms: row.try_get(19)?,
        page: row.try_get(29)?,
        counted: row.try_get(20)?,
        spread: Spread {
            partitions: u32::try_from(row.try_get::<_, i32>(21)?)
                .map_err(|_| rows::bad_row("number of partitions"))?,
            auto: row.try_get(27)?,
            choose: rows::parse_text(row, 22, "way to choose", PartitionChoice::parse)?,
            initial: rows::number(row, 23)?,
            threshold: rows::number(row, 24)?,
            refill: rows::number(row, 25)?,
        },
    }))
}

fn pair(row: &Row) -> Done<(SaleRow, Option<ItemRow>)> {
    Ok((sale_row(row)?, item_row(row)?))
}

/// Builds sales from rows. The rows of one sale follow each other.
fn group_by_sale(pairs: Vec<(SaleRow, Option<ItemRow>)>) -> Vec<SaleRow> {
    let mut sales: Vec<SaleRow> = Vec::new();
    for (sale, item) in pairs {
        if sales.last().is_none_or(|last| last.id != sale.id) {
            sales.push(sale);
        }
        if let (Some(sale), Some(item)) = (sales.last_mut(), item) {
            sale.items.push(item);
        }
    }
    sales
}

/// Returns the sale as this transaction sees it.
pub(super) fn one(ledger: &PostgresLedger<'_>, id: &str) -> Done<Option<SaleRow>> {
    let pairs = ledger.all(&format!("{SALES} WHERE s.id = $1 ORDER BY i.id"), &[&id], pair)?;
    Ok(group_by_sale(pairs).into_iter().next())
}

/// Locks the sale until this transaction ends, and returns it.
pub(super) fn lock_sale(ledger: &PostgresLedger<'_>, id: &str) -> Done<Option<SaleRow>> {
    ledger.all(LOCK_SALE, &[&id], |_| Ok(()))?;
    one(ledger, id)
}

impl Postgres {
    pub(crate) async fn catalogue(&self) -> StoreResult<CatalogueRows> {
        let mut version = String::new();
        let read = |row: &Row| {
            version = row.try_get(30)?;
            // If the store has no sales, the query still returns one row.
            row.try_get::<_, Option<&str>>(0)?.map(|_| pair(row)).transpose()
        };
        let pairs = self.all(CATALOGUE, &[], read).await?;
        Ok(CatalogueRows { version, sales: group_by_sale(pairs.into_iter().flatten().collect()) })
    }

    pub(crate) async fn catalogue_version(&self) -> StoreResult<String> {
        let versions = self.all(VERSION, &[], |row| Ok(row.try_get(0)?)).await?;
        Ok(versions.into_iter().next().unwrap_or_default())
    }

    pub(crate) async fn sale(&self, id: &str) -> StoreResult<Option<SaleRow>> {
        let pairs =
            self.all(&format!("{SALES} WHERE s.id = $1 ORDER BY i.id"), &[&id], pair).await?;
        Ok(group_by_sale(pairs).into_iter().next())
    }

    pub(crate) async fn create_sale(&self, sale: NewSale) -> StoreResult<Option<SaleRow>> {
        self.job(RetryUnknown::Never, move |ledger| create(ledger, &sale)).await
    }

    pub(crate) async fn patch_sale(
        &self,
        id: &str,
        v: Option<u64>,
        patch: SalePatch,
    ) -> StoreResult<PatchOutcome> {
        // A patch can run only once. The sale is locked first, so only a lost connection could make
        // a second run necessary.
        let (id, patch) = (id.to_owned(), Mutex::new(Some(patch)));
        self.job(RetryUnknown::Never, move |ledger| apply(ledger, &id, v, &patch)).await
    }

    pub(crate) async fn delete_sale(&self, id: &str, v: Option<u64>) -> StoreResult<DeleteOutcome> {
        let id = id.to_owned();
        self.job(RetryUnknown::Never, move |ledger| delete(ledger, &id, v)).await
    }

    pub(crate) async fn step_sale(&self, id: &str, step: PhaseStep) -> StoreResult<StepOutcome> {
        let id = id.to_owned();
        self.job(RetryUnknown::Never, move |ledger| phases::apply_step(ledger, &id, step)).await
    }

    pub(crate) async fn drain_sale(&self, id: &str, for_ms: i64) -> StoreResult<()> {
        let id = id.to_owned();
        let drain = move |ledger: &mut PostgresLedger<'_>| {
            let until = (for_ms > 0).then(|| ledger.now.plus(for_ms).0);
            ledger.run("UPDATE sale SET draining_until = $2 WHERE id = $1", &[&id, &until])?;
            ledger.catalogue = true;
            Ok(())
        };
        self.job(RetryUnknown::Allowed, drain).await
    }

    pub(crate) async fn set_spread(
        &self,
        item: ItemId,
        spread: Spread,
        if_version: Option<u64>,
    ) -> StoreResult<SpreadOutcome> {
        let change =
            move |ledger: &mut PostgresLedger<'_>| set_spread(ledger, item, &spread, if_version);
        self.job(RetryUnknown::Allowed, change).await
    }

    pub(crate) async fn adjust(&self, adjustment: Adjustment) -> StoreResult<AdjustOutcome> {
        self.job(RetryUnknown::Allowed, move |ledger| adjust(ledger, &adjustment)).await
    }

    pub(crate) async fn adjusted_units(&self, item: ItemId, key: &str) -> StoreResult<Option<i64>> {
        self.one(ADJUSTED, &[&item.0, &key], |row| Ok(row.try_get(0)?)).await
    }
}

/// Creates a draft with all its stock in the pools. Returns `None` if the id is in use.
fn create(ledger: &mut PostgresLedger<'_>, new: &NewSale) -> Done<Option<SaleRow>> {
    let made = ledger.run(
        "INSERT INTO sale (id, title, phase, starts_at, ends_at, front_door, page, version,
         created_at) VALUES ($1, $2, 'draft', $3, $4, $5, $6, 1, $7) ON CONFLICT (id) DO NOTHING",
        &[
            &new.id,
            &new.title,
            &new.starts_at.map(|t| t.0),
            &new.ends_at.map(|t| t.0),
            &new.front_door,
            &new.page,
            &ledger.now.0,
        ],
    )?;
    if made == 0 {
        return Ok(None);
    }
    for item in &new.items {
        create_item(ledger, &new.id, item)?;
    }
    ledger.catalogue = true;
    let made = one(ledger, &new.id)?;
    ledger.record(&actions::changed_sale(None, made.as_ref()))?;
    Ok(made)
}

/// Records the changes of the sale, and returns its current row.
pub(super) fn recorded_change(
    ledger: &PostgresLedger<'_>,
    before: &SaleRow,
) -> Done<Option<SaleRow>> {
    let after = one(ledger, &before.id)?;
    ledger.record(&actions::changed_sale(Some(before), after.as_ref()))?;
    Ok(after)
}

fn create_item(ledger: &PostgresLedger<'_>, sale: &str, item: &NewItem) -> Done<()> {
    let spread = &item.spread;
    ledger.run(
        "INSERT INTO item (sale_id, name, title, description, image, price_minor, currency,
         list_price_minor, limit_per_buyer, hold_ms, initial_total, total, pool, partitions,
         choose, spread_initial, spread_threshold, spread_refill, partitions_auto, page)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, coalesce($11::bigint, 0), $12,
         $13, $14, $15, $16, $17, $18)",
        &[
            &sale,
            &item.name,
            &item.title,
            &item.description,
            &item.image,
            &item.price_minor,
            &item.currency,
            &item.list_price_minor,
            &i64::from(item.limit),
            &item.hold_ms,
            &rows::total(item.stock),
            &spread.partitions.cast_signed(),
            &spread.choose.as_str(),
            &int(spread.initial),
            &int(spread.threshold),
            &int(spread.refill),
            &spread.auto,
            &item.page,
        ],
    )?;
    Ok(())
}

/// Changes texts, times, prices, limits and front door.
fn apply(
    ledger: &mut PostgresLedger<'_>,
    id: &str,
    if_version: Option<u64>,
    patch: &Mutex<Option<SalePatch>>,
) -> Done<PatchOutcome> {
    let Some(before) = lock_sale(ledger, id)? else { return Ok(PatchOutcome::NotFound) };
    if if_version.is_some_and(|wanted| wanted != before.version) {
        return Ok(PatchOutcome::VersionMismatch(before.version));
    }
    let patch = patch.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(patch) = patch else {
        return Err(Failure::NoConnection(
            "the connection was lost while a sale was being changed".to_owned(),
        ));
    };
    let mut after = before.clone();
    if let Err(refusal) = patch(&mut after) {
        return Ok(PatchOutcome::Refused(refusal));
    }
    if after == before {
        return Ok(PatchOutcome::Done(before));
    }
    ledger.run(
        "UPDATE sale SET title = $2, starts_at = $3, ends_at = $4, front_door = $5, page = $6,
         version = version + 1 WHERE id = $1",
        &[
            &id,
            &after.title,
            &after.starts_at.map(|t| t.0),
            &after.ends_at.map(|t| t.0),
            &after.front_door,
            &after.page,
        ],
    )?;
    for item in after.items.iter().filter(|item| !before.items.contains(item)) {
        ledger.run(
            "UPDATE item SET title = $3, description = $4, image = $5, price_minor = $6,
             currency = $7, list_price_minor = $8, limit_per_buyer = $9, hold_ms = $10, page = $11
             WHERE sale_id = $1 AND id = $2",
            &[
                &id,
                &item.id.0,
                &item.title,
                &item.description,
                &item.image,
                &item.price_minor,
                &item.currency,
                &item.list_price_minor,
                &i64::from(item.limit),
                &item.hold_ms,
                &item.page,
            ],
        )?;
    }
    ledger.catalogue = true;
    recorded_change(ledger, &before)
        .map(|sale| sale.map_or(PatchOutcome::NotFound, PatchOutcome::Done))
}

/// Deletes a draft with its items.
fn delete(
    ledger: &mut PostgresLedger<'_>,
    id: &str,
    if_version: Option<u64>,
) -> Done<DeleteOutcome> {
    let Some(sale) = lock_sale(ledger, id)? else { return Ok(DeleteOutcome::NotFound) };
    if if_version.is_some_and(|wanted| wanted != sale.version) {
        return Ok(DeleteOutcome::VersionMismatch(sale.version));
    }
    if sale.phase != Phase::Draft {
        return Ok(DeleteOutcome::WrongState(sale.phase));
    }
    ledger.run("DELETE FROM sale WHERE id = $1", &[&id])?;
    ledger.record(&actions::changed_sale(Some(&sale), None))?;
    ledger.catalogue = true;
    Ok(DeleteOutcome::Done)
}

/// Changes how an item's stock is divided among its slots, until its sale is closed.
fn set_spread(
    ledger: &mut PostgresLedger<'_>,
    item: ItemId,
    spread: &Spread,
    if_version: Option<u64>,
) -> Done<SpreadOutcome> {
    let id = ledger.one("SELECT sale_id FROM item WHERE id = $1", &[&item.0], |row| {
        Ok(row.try_get::<_, String>(0)?)
    })?;
    let Some(id) = id else { return Ok(SpreadOutcome::NotFound) };
    let Some(sale) = lock_sale(ledger, &id)? else { return Ok(SpreadOutcome::NotFound) };
    if sale.phase == Phase::Closed {
        return Ok(SpreadOutcome::WrongState(sale.phase));
    }
    if if_version.is_some_and(|wanted| wanted != sale.version) {
        return Ok(SpreadOutcome::VersionMismatch(sale.version));
    }
    if sale.items.iter().any(|row| row.id == item && row.spread == *spread) {
        return Ok(SpreadOutcome::Done(sale));
    }
    ledger.run(
        "UPDATE item SET partitions = $2, choose = $3, spread_initial = $4, spread_threshold = $5, \
         spread_refill = $6, partitions_auto = $7 WHERE id = $1",
        &[
            &item.0,
            &spread.partitions.cast_signed(),
            &spread.choose.as_str(),
            &int(spread.initial),
            &int(spread.threshold),
            &int(spread.refill),
            &spread.auto,
        ],
    )?;
    ledger.run("UPDATE sale SET version = version + 1 WHERE id = $1", &[&id])?;
    ledger.catalogue = true;
    recorded_change(ledger, &sale)
        .map(|sale| sale.map_or(SpreadOutcome::NotFound, SpreadOutcome::Done))
}

/// Changes an item's total and records the change, once for each key.
fn adjust(ledger: &mut PostgresLedger<'_>, adjustment: &Adjustment) -> Done<AdjustOutcome> {
    let Adjustment { item, units, reason, key } = adjustment;
    // The item is locked first. So if two calls have the same key, the second one finds the record.
    if ledger.item(*item)?.is_none() {
        return Ok(AdjustOutcome::NotFound);
    }
    let earlier = ledger.one(ADJUSTED, &[&item.0, key], |row| Ok(row.try_get::<_, i64>(0)?))?;
    let repeated = earlier.is_some();
    match earlier {
        Some(earlier) if earlier != *units => return Ok(AdjustOutcome::KeyReused),
        Some(_) => {}
        None => match stock::adjust(ledger, *item, *units, ledger.now)? {
            AdjustResult::Done(done) => {
                let total = rows::total(done.total);
                ledger.run(
                    "INSERT INTO adjustment (item_id, key, units, reason, total_after, at) VALUES \
                     ($1, $2, $3, $4, $5, $6)",
                    &[&item.0, key, units, reason, &total, &ledger.now.0],
                )?;
                if let Stock::Counted(total) = done.total {
                    ledger.record(&actions::adjusted(*units, total, reason))?;
                }
            }
            AdjustResult::NotInPool(pool) => return Ok(AdjustOutcome::NotInPool(pool)),
            AdjustResult::TooMuch => return Ok(AdjustOutcome::TooMuch),
            AdjustResult::Unlimited => return Ok(AdjustOutcome::Unlimited),
            AdjustResult::NotFound => return Ok(AdjustOutcome::NotFound),
        },
    }
    let counts = ledger.one(&format!("{COUNTS} WHERE i.id = $1"), &[&item.0], rows::counts)?;
    // The item is written at the end of the transaction. Until then, only the row cache has its
    // changes.
    let now = ledger.item(*item)?;
    let counts = counts.zip(now).map(|(mut counts, item)| {
        (counts.total, counts.pool) = (item.total, item.pool);
        counts
    });
    let outcome = if repeated { AdjustOutcome::Repeated } else { AdjustOutcome::Done };
    Ok(counts.map_or(AdjustOutcome::NotFound, outcome))
}
