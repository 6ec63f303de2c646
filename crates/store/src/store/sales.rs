//! Sales and their items: the catalogue, and changes of descriptions and of stock.
use std::sync::{Mutex, PoisonError};

use doorbuster_core::sale::Phase;
use doorbuster_core::{GrantId, ItemId, Millis, PartitionChoice, Spread, Stock};

use crate::contract::{
    CatalogueRows, DeleteOutcome, ItemRow, NewItem, NewSale, PatchOutcome, SalePatch, SaleRow,
};
use crate::failure::{Done, Failure};
use crate::sql::{Row, Statement, locking, statement, values};
use crate::transaction::{RetryUnknown, Transaction};
use crate::{actions, rows};

use super::{Store, StoreResult, room};

/// Selects one row for each item of a sale. A sale without items has one row. SQLite does not store
/// `draining_until`, because only one process uses such a store.
macro_rules! sale_columns {
    ($draining_until:literal) => {
        concat!(
            "SELECT s.id, s.title, s.phase, s.starts_at, s.ends_at, s.front_door, s.version,
                 s.created_at, s.opened_at, s.closed_at, s.page, ",
            $draining_until,
            ", i.id, i.name, i.title, i.description, i.image, i.price_minor, i.currency,
                 i.list_price_minor, i.limit_per_buyer, i.hold_ms, i.page, i.total IS NOT NULL,
                 CAST(i.partitions AS bigint), i.partitions_auto, i.choose, i.spread_initial,
                 i.spread_threshold, i.spread_refill"
        )
    };
}
/// The number of columns of [`sale_columns`].
const SALE_COLUMNS: usize = 30;
macro_rules! sale {
    ($draining_until:literal) => {
        concat!(
            sale_columns!($draining_until),
            " FROM sale s LEFT JOIN item i ON i.sale_id = s.id WHERE s.id = $1 ORDER BY i.id"
        )
    };
}
const SALE: Statement = Statement { sqlite: sale!("NULL"), postgres: sale!("s.draining_until") };
const LOCK_SALE: Statement = locking!("SELECT 1 FROM sale WHERE id = $1", "FOR UPDATE");
/// The catalogue's version: the database's timeline, and the id of the transaction that last
/// changed the catalogue. The timeline is needed, because a promoted standby may use a transaction
/// id again. Each change locks the row of `catalogue`, so no version repeats.
macro_rules! version {
    () => {
        "left(pg_walfile_name(pg_current_wal_lsn()), 8) || '/' || k.changed::text FROM catalogue k"
    };
}
const VERSION: Statement =
    Statement { sqlite: "SELECT ''", postgres: concat!("SELECT ", version!()) };
/// Selects all sales, newest first, each row with the catalogue's version. If there are no sales,
/// PostgreSQL returns one row with only the version.
const CATALOGUE: Statement = Statement {
    sqlite: concat!(
        sale_columns!("NULL"),
        ", '' FROM sale s LEFT JOIN item i ON i.sale_id = s.id ORDER BY s.seq DESC, i.id"
    ),
    postgres: concat!(
        sale_columns!("s.draining_until"),
        ", ",
        version!(),
        " LEFT JOIN sale s ON true LEFT JOIN item i ON i.sale_id = s.id ORDER BY s.seq DESC, i.id"
    ),
};
const INSERT_SALE: Statement = statement(
    "INSERT INTO sale (id, title, phase, starts_at, ends_at, front_door, page, version, created_at)
     VALUES ($1, $2, 'draft', $3, $4, $5, $6, 1, $7) ON CONFLICT (id) DO NOTHING",
);
const INSERT_ITEM: Statement = statement(
    "INSERT INTO item (sale_id, name, title, description, image, price_minor, currency,
         list_price_minor, limit_per_buyer, hold_ms, initial_total, total, pool, partitions,
         choose, spread_initial, spread_threshold, spread_refill, partitions_auto, page)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11,
         coalesce(CAST($11 AS bigint), 0), $12, $13, $14, $15, $16, $17, $18)",
);
const UPDATE_SALE: Statement = statement(
    "UPDATE sale SET title = $2, starts_at = $3, ends_at = $4, front_door = $5, page = $6,
     version = version + 1 WHERE id = $1",
);
const UPDATE_ITEM: Statement = statement(
    "UPDATE item SET title = $3, description = $4, image = $5, price_minor = $6, currency = $7,
     list_price_minor = $8, limit_per_buyer = $9, hold_ms = $10, page = $11
     WHERE sale_id = $1 AND id = $2",
);
const STOCK_OF_SALE: Statement =
    statement("SELECT name, total FROM item WHERE sale_id = $1 ORDER BY id");
const GRANTS_OF_SALE: Statement = statement(
    "SELECT slot_grant.id FROM slot_grant JOIN item ON item.id = slot_grant.item_id
     WHERE item.sale_id = $1",
);
const DELETE_GRANTS: [Statement; 3] = [
    statement(
        "DELETE FROM feed WHERE grant_id IN (SELECT slot_grant.id FROM slot_grant
         JOIN item ON item.id = slot_grant.item_id WHERE item.sale_id = $1)",
    ),
    statement(
        "DELETE FROM recall WHERE grant_id IN (SELECT slot_grant.id FROM slot_grant
         JOIN item ON item.id = slot_grant.item_id WHERE item.sale_id = $1)",
    ),
    statement("DELETE FROM slot_grant WHERE item_id IN (SELECT id FROM item WHERE sale_id = $1)"),
];
const DELETE_SALE: Statement = statement("DELETE FROM sale WHERE id = $1");
const DELETE_ROOMS: Statement = statement("DELETE FROM waiting_room WHERE sale_id = $1");
const DELETE_VISITORS: Statement = statement("DELETE FROM waiting_room_visitor WHERE sale_id = $1");
const DELETE_POINTS: Statement = statement("DELETE FROM sale_point WHERE sale_id = $1");
fn sale_row(row: Row<'_>) -> Done<SaleRow> {
    Ok(SaleRow {
        id: row.get(0)?,
        title: row.get(1)?,
        phase: row.parse(2, "phase", Phase::parse)?,
        starts_at: row.time(3)?,
        ends_at: row.time(4)?,
        front_door: row.get(5)?,
        version: row.number(6)?,
        created_at: Millis(row.get(7)?),
        opened_at: row.time(8)?,
        closed_at: row.time(9)?,
        page: row.get(10)?,
        draining_until: row.time(11)?,
        items: Vec::new(),
    })
}

fn item_row(row: Row<'_>) -> Done<Option<ItemRow>> {
    let Some(id) = row.get::<Option<i64>>(12)? else { return Ok(None) };
    Ok(Some(ItemRow {
        id: ItemId(id),
        name: row.get(13)?,
        title: row.get(14)?,
        description: row.get(15)?,
        image: row.get(16)?,
        price_minor: row.get(17)?,
        currency: row.get(18)?,
        list_price_minor: row.get(19)?,
        limit: row.number_u32(20, "limit")?,
        hold_ms: row.get(21)?,
        page: row.get(22)?,
        counted: row.get(23)?,
        spread: Spread {
            partitions: row.number_u32(24, "number of partitions")?,
            auto: row.get(25)?,
            choose: row.parse(26, "way to choose a slot", PartitionChoice::parse)?,
            initial: row.number(27)?,
            threshold: row.number(28)?,
            refill: row.number(29)?,
        },
    }))
}

fn pair(row: Row<'_>) -> Done<(SaleRow, Option<ItemRow>)> {
    Ok((sale_row(row)?, item_row(row)?))
}

fn item_stock(row: Row<'_>) -> Done<(String, Stock)> {
    Ok((row.get(0)?, rows::stock(row, 1)?))
}

/// Groups rows by their sale. In `pairs`, the rows of one sale must come directly after each other.
fn group_by_sale(pairs: impl IntoIterator<Item = (SaleRow, Option<ItemRow>)>) -> Vec<SaleRow> {
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

fn read_sale(tx: &mut Transaction<'_, '_>, id: &str) -> Done<Option<SaleRow>> {
    Ok(group_by_sale(tx.all(SALE, &values![id], pair)?).pop())
}

pub(super) fn lock_sale(tx: &mut Transaction<'_, '_>, id: &str) -> Done<Option<SaleRow>> {
    match tx.exists(LOCK_SALE, &values![id])? {
        true => read_sale(tx, id),
        false => Ok(None),
    }
}

/// Records how the sale differs from `before`, and returns the sale's current row.
pub(super) fn recorded_change(
    tx: &mut Transaction<'_, '_>,
    before: &SaleRow,
) -> Done<Option<SaleRow>> {
    let after = read_sale(tx, &before.id)?;
    tx.record(&actions::changed_sale(Some(before), after.as_ref()))?;
    Ok(after)
}

fn create(tx: &mut Transaction<'_, '_>, new: &NewSale) -> Done<Option<SaleRow>> {
    tx.change_catalogue()?;
    let NewSale { id, title, starts_at, ends_at, front_door, page, .. } = new;
    let values = values![id, title, *starts_at, *ends_at, front_door, page, tx.now()];
    if tx.run(INSERT_SALE, &values)? == 0 {
        return Ok(None);
    }
    for item in &new.items {
        create_item(tx, id, item)?;
    }
    let made = read_sale(tx, id)?;
    for item in made.iter().flat_map(|sale| &sale.items) {
        tx.publish_counts(item.id);
    }
    let mut changes = actions::changed_sale(None, made.as_ref());
    for item in &new.items {
        changes.push(actions::changed_stock(&item.name, None, Some(item.stock)));
    }
    tx.record(&changes)?;
    Ok(made)
}

fn create_item(tx: &mut Transaction<'_, '_>, sale: &str, item: &NewItem) -> Done<()> {
    let spread = &item.spread;
    let values = values![
        sale,
        &item.name,
        &item.title,
        &item.description,
        item.image.as_deref(),
        item.price_minor,
        &item.currency,
        item.list_price_minor,
        item.limit,
        item.hold_ms,
        rows::total(item.stock),
        spread.partitions,
        spread.choose.as_str(),
        spread.initial,
        spread.threshold,
        spread.refill,
        spread.auto,
        &item.page,
    ];
    tx.run(INSERT_ITEM, &values).map(drop)
}

fn patch(
    tx: &mut Transaction<'_, '_>,
    id: &str,
    if_version: Option<u64>,
    patch: &Mutex<Option<SalePatch>>,
) -> Done<PatchOutcome> {
    let Some(before) = lock_sale(tx, id)? else { return Ok(PatchOutcome::NotFound) };
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
    tx.change_catalogue()?;
    let SaleRow { title, starts_at, ends_at, front_door, page, .. } = &after;
    tx.run(UPDATE_SALE, &values![id, title, *starts_at, *ends_at, front_door, page])?;
    room::open_if_auto(tx, id, &before.front_door, front_door)?;
    for item in after.items.iter().filter(|item| !before.items.contains(item)) {
        let values = values![
            id,
            item.id,
            &item.title,
            &item.description,
            item.image.as_deref(),
            item.price_minor,
            &item.currency,
            item.list_price_minor,
            item.limit,
            item.hold_ms,
            &item.page,
        ];
        tx.run(UPDATE_ITEM, &values)?;
    }
    let sale = recorded_change(tx, &before)?;
    Ok(sale.map_or(PatchOutcome::NotFound, PatchOutcome::Done))
}

fn delete(tx: &mut Transaction<'_, '_>, id: &str, if_version: Option<u64>) -> Done<DeleteOutcome> {
    let Some(sale) = lock_sale(tx, id)? else { return Ok(DeleteOutcome::NotFound) };
    if if_version.is_some_and(|wanted| wanted != sale.version) {
        return Ok(DeleteOutcome::VersionMismatch(sale.version));
    }
    if sale.phase != Phase::Draft {
        return Ok(DeleteOutcome::WrongState(sale.phase));
    }
    let mut changes = actions::changed_sale(Some(&sale), None);
    for (item, stock) in tx.all(STOCK_OF_SALE, &values![id], item_stock)? {
        changes.push(actions::changed_stock(&item, Some(stock), None));
    }
    tx.change_catalogue()?;
    delete_grants(tx, id)?;
    // The deletion of the rooms waits for buyers who are entering a room now, so that the deletion
    // of the visitors finds these buyers.
    for table in [DELETE_ROOMS, DELETE_VISITORS, DELETE_POINTS, DELETE_SALE] {
        tx.run(table, &values![id])?;
    }
    tx.record(&changes)?;
    Ok(DeleteOutcome::Done)
}

/// Deletes the grants of a draft. A draft has grants if it was scheduled earlier. These grants are
/// closed and have no tickets.
fn delete_grants(tx: &mut Transaction<'_, '_>, sale: &str) -> Done<()> {
    let grants = tx.all(GRANTS_OF_SALE, &values![sale], |row| Ok(GrantId(row.number(0)?)))?;
    if grants.is_empty() {
        return Ok(());
    }
    tx.lock_grants(&grants)?;
    for table in DELETE_GRANTS {
        tx.run(table, &values![sale])?;
    }
    Ok(())
}

impl Store {
    /// Returns every sale, newest first.
    pub async fn sales(&self) -> StoreResult<Vec<SaleRow>> {
        Ok(self.catalogue().await?.sales)
    }

    /// Returns every sale, with the version of the catalogue.
    pub async fn catalogue(&self) -> StoreResult<CatalogueRows> {
        let read = |row: Row<'_>| {
            let sale = row.text_opt(0, "sale id")?.map(|_| pair(row)).transpose()?;
            Ok((sale, row.get::<String>(SALE_COLUMNS)?))
        };
        let found = self.all(CATALOGUE, [], read).await?;
        let version = found.first().map_or(String::new(), |(_, version)| version.clone());
        let sales = group_by_sale(found.into_iter().filter_map(|(sale, _)| sale));
        Ok(CatalogueRows { version, sales })
    }

    /// Returns the version that [`Store::catalogue`] would return, but reads only one row.
    pub async fn catalogue_version(&self) -> StoreResult<String> {
        Ok(self.one(VERSION, [], |row| row.get(0)).await?.unwrap_or_default())
    }

    /// Returns the sale with this id.
    pub async fn sale(&self, id: &str) -> StoreResult<Option<SaleRow>> {
        Ok(group_by_sale(self.all(SALE, values![id.to_owned()], pair).await?).pop())
    }

    /// Creates a draft. All stock is in the pools of its items. Returns `None` if the id is in use.
    pub async fn create_sale(&self, sale: NewSale) -> StoreResult<Option<SaleRow>> {
        self.job(RetryUnknown::Never, move |tx| create(tx, &sale)).await
    }

    /// Changes a sale's description. The version increases if anything changed.
    pub async fn patch_sale(
        &self,
        id: &str,
        if_version: Option<u64>,
        patch: SalePatch,
    ) -> StoreResult<PatchOutcome> {
        // A patch can run only once. Because the transaction locks the sale first, no conflict can
        // make a second run necessary, only a lost connection could.
        let (id, once) = (id.to_owned(), Mutex::new(Some(patch)));
        self.job(RetryUnknown::Never, move |tx| self::patch(tx, &id, if_version, &once)).await
    }

    /// Deletes a draft.
    pub async fn delete_sale(
        &self,
        id: &str,
        if_version: Option<u64>,
    ) -> StoreResult<DeleteOutcome> {
        let id = id.to_owned();
        self.job(RetryUnknown::Never, move |tx| delete(tx, &id, if_version)).await
    }
}
