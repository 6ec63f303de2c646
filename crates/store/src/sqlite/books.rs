//! The books in SQLite: each in one snapshot, on a reader's thread.
use rusqlite::{Row, params};

use doorbuster_core::{ItemId, Millis, OrderState, Stock, TicketId};

use crate::books::{self, ADJUSTED, ITEMS, ItemRow, MONEY, MOVED_BY_SEQ, OPENINGS, state_after};
use crate::contract::{
    Adjusted, BookPage, Books, Difference, DifferenceKind, ItemBooks, MoneySums, Opening,
    OrderMoved,
};
use crate::limits::{DIFFERENCES_MAX, PAGE_ROWS_MAX};
use crate::store::StoreResult;

use super::Sqlite;
use super::failure::Failure;
use super::read::{Reader, as_limit};

type Done<T> = Result<T, Failure>;

fn count(row: &Row<'_>, at: usize) -> Done<u64> {
    Ok(row.get::<_, i64>(at)?.cast_unsigned())
}

fn total(row: &Row<'_>, at: usize) -> Done<Stock> {
    Ok(row
        .get::<_, Option<i64>>(at)?
        .map_or(Stock::Unlimited, |units| Stock::Counted(units.cast_unsigned())))
}

fn item(row: &Row<'_>) -> Done<ItemRow> {
    let books = ItemBooks {
        item: ItemId(row.get(0)?),
        sale: row.get(1)?,
        name: row.get(2)?,
        total: total(row, 3)?,
        pool: count(row, 4)?,
        in_slots: count(row, 5)?,
        held: count(row, 6)?,
        paid: count(row, 7)?,
        ended: count(row, 8)?,
        price_minor: row.get(9)?,
        currency: row.get(10)?,
        money: Vec::new(),
    };
    Ok(ItemRow { books, noted: (count(row, 11)?, count(row, 12)?) })
}

fn money(row: &Row<'_>) -> Done<(Option<ItemId>, MoneySums)> {
    let sum = |at| Done::Ok(books::sum(row.get(at)?, row.get(at + 1)?));
    let sums = MoneySums {
        currency: row.get(1)?,
        captured: sum(2)?,
        standing: sum(4)?,
        refunded: sum(6)?,
        pending: sum(8)?,
        failed: sum(10)?,
    };
    Ok((row.get::<_, Option<i64>>(0)?.map(ItemId), sums))
}

fn difference(kind: DifferenceKind, row: &Row<'_>) -> Done<Difference> {
    let item = row.get::<_, Option<i64>>(0)?.map(ItemId);
    Ok(Difference { kind, item, order: row.get(1)?, payment: row.get(2)?, detail: row.get(3)? })
}

/// A difference with its place.
fn placed(kind: DifferenceKind, row: &Row<'_>) -> Done<(i64, Difference)> {
    Ok((row.get(4)?, difference(kind, row)?))
}

fn books(
    sql: &mut Reader<'_>,
    sale: Option<&str>,
    after: Option<&[(DifferenceKind, i64)]>,
) -> Done<Books> {
    let items = sql.all(ITEMS, params![sale], item)?;
    let sums = sql.all(MONEY, params![sale], money)?;
    let (mut found, mut more) = (Vec::new(), Vec::new());
    for (kind, text, place) in books::wanted(after) {
        let rows = sql.all(text, params![sale, place, as_limit(DIFFERENCES_MAX + 1)], |row| {
            placed(kind, row)
        })?;
        let (named, on) = books::cut(rows);
        found.extend(named);
        more.extend(on.map(|place| (kind, place)));
    }
    Ok(books::bind(items, sums, found, more, after.is_none()))
}

fn opening(row: &Row<'_>) -> Done<Opening> {
    Ok(Opening { item: ItemId(row.get(0)?), total: total(row, 1)?, at: Millis(row.get(2)?) })
}

fn adjusted(row: &Row<'_>) -> Done<(i64, Adjusted)> {
    let adjusted = Adjusted {
        item: ItemId(row.get(1)?),
        units: row.get(2)?,
        reason: row.get(3)?,
        at: Millis(row.get(4)?),
    };
    Ok((row.get(0)?, adjusted))
}

fn state(row: &Row<'_>, at: usize) -> Done<Option<OrderState>> {
    Ok(row.get_ref(at)?.as_str_or_null().ok().flatten().and_then(state_after))
}

fn moved(row: &Row<'_>) -> Done<(i64, OrderMoved)> {
    let wrong = |what: &str| Failure::Row(format!("what happened to an order has no {what}"));
    let moved = OrderMoved {
        order: TicketId::parse(row.get_ref(1)?.as_str().unwrap_or_default())
            .ok_or_else(|| wrong("order"))?,
        item: ItemId(row.get(2)?),
        units: count(row, 3)?,
        before: state(row, 8)?,
        after: state(row, 4)?.ok_or_else(|| wrong("state"))?,
        at: Millis(row.get(5)?),
        by: row.get(6)?,
        why: row.get(7)?,
    };
    Ok((row.get(0)?, moved))
}

/// A page of rows that begin with their position.
fn page<T>(
    sql: &mut Reader<'_>,
    text: &'static str,
    (sale, after, limit): (Option<&str>, i64, usize),
    read: impl Fn(&Row<'_>) -> Done<(i64, T)>,
) -> Done<BookPage<T>> {
    let limit = limit.min(PAGE_ROWS_MAX);
    let found = sql.all(text, params![sale, after, as_limit(limit)], read)?;
    let next = found.last().filter(|_| found.len() == limit).map(|(position, _)| *position);
    Ok(BookPage { rows: found.into_iter().map(|(_, row)| row).collect(), next })
}

impl Sqlite {
    pub(crate) async fn books(
        &self,
        sale: Option<String>,
        after: Option<Vec<(DifferenceKind, i64)>>,
    ) -> StoreResult<Books> {
        self.read(move |sql| books(sql, sale.as_deref(), after.as_deref())).await
    }

    pub(crate) async fn openings(&self, sale: Option<String>) -> StoreResult<Vec<Opening>> {
        self.read(move |sql| sql.all(OPENINGS, params![sale], opening)).await
    }

    pub(crate) async fn adjusted(
        &self,
        sale: Option<String>,
        after: i64,
        limit: usize,
    ) -> StoreResult<BookPage<Adjusted>> {
        self.read(move |sql| page(sql, ADJUSTED, (sale.as_deref(), after, limit), adjusted)).await
    }

    pub(crate) async fn moved(
        &self,
        sale: Option<String>,
        after: i64,
        limit: usize,
    ) -> StoreResult<BookPage<OrderMoved>> {
        self.read(move |sql| page(sql, MOVED_BY_SEQ, (sale.as_deref(), after, limit), moved)).await
    }
}
