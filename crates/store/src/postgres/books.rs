//! The books in PostgreSQL: sums in one snapshot, movements by the positions of their events.
use tokio_postgres::Row;

use doorbuster_core::{ItemId, Millis, Stock, TicketId};

use crate::books::{
    self, ADJUSTED, ITEMS, ItemRow, MONEY, MOVED_BY_POSITION, OPENINGS, state_after,
};
use crate::contract::{
    Adjusted, BookPage, Books, Difference, DifferenceKind, ItemBooks, MoneySums, Opening,
    OrderMoved,
};
use crate::limits::{DIFFERENCES_MAX, PAGE_ROWS_MAX, PG_CHECK_WAIT};
use crate::store::StoreResult;

use super::Postgres;
use super::check::snapshot;
use super::failure::Failure;
use super::read::as_limit;
use super::rows::number;
use super::run::{Again, Tries};
use super::shared::Shared;

type Done<T> = Result<T, Failure>;

fn total(row: &Row, at: usize) -> Done<Stock> {
    Ok(row
        .try_get::<_, Option<i64>>(at)?
        .map_or(Stock::Unlimited, |units| Stock::Counted(units.cast_unsigned())))
}

fn item(row: &Row) -> Done<ItemRow> {
    let books = ItemBooks {
        item: ItemId(row.try_get(0)?),
        sale: row.try_get(1)?,
        name: row.try_get(2)?,
        total: total(row, 3)?,
        pool: number(row, 4)?,
        in_slots: number(row, 5)?,
        held: number(row, 6)?,
        paid: number(row, 7)?,
        ended: number(row, 8)?,
        price_minor: row.try_get(9)?,
        currency: row.try_get(10)?,
        money: Vec::new(),
    };
    Ok(ItemRow { books, noted: (number(row, 11)?, number(row, 12)?) })
}

fn money(row: &Row) -> Done<(Option<ItemId>, MoneySums)> {
    let sum = |at| Done::Ok(books::sum(row.try_get(at)?, row.try_get(at + 1)?));
    let sums = MoneySums {
        currency: row.try_get(1)?,
        captured: sum(2)?,
        standing: sum(4)?,
        refunded: sum(6)?,
        pending: sum(8)?,
        failed: sum(10)?,
    };
    Ok((row.try_get::<_, Option<i64>>(0)?.map(ItemId), sums))
}

fn difference(kind: DifferenceKind, row: &Row) -> Done<Difference> {
    let item = row.try_get::<_, Option<i64>>(0)?.map(ItemId);
    Ok(Difference {
        kind,
        item,
        order: row.try_get(1)?,
        payment: row.try_get(2)?,
        detail: row.try_get(3)?,
    })
}

/// A difference with its place.
fn placed(kind: DifferenceKind, row: &Row) -> Done<(i64, Difference)> {
    Ok((row.try_get(4)?, difference(kind, row)?))
}

async fn books(
    shared: &Shared,
    sale: &Option<String>,
    after: Option<&[(DifferenceKind, i64)]>,
) -> Done<Books> {
    snapshot(shared, async |client| {
        client
            .batch_execute(&format!("SET LOCAL statement_timeout = {}", PG_CHECK_WAIT.as_millis()))
            .await?;
        let items =
            client.query(ITEMS, &[sale]).await?.iter().map(item).collect::<Done<Vec<_>>>()?;
        let sums =
            client.query(MONEY, &[sale]).await?.iter().map(money).collect::<Done<Vec<_>>>()?;
        let (mut found, mut more) = (Vec::new(), Vec::new());
        for (kind, text, place) in books::wanted(after) {
            let rows = client.query(text, &[sale, &place, &as_limit(DIFFERENCES_MAX + 1)]).await?;
            let rows = rows.iter().map(|row| placed(kind, row)).collect::<Done<Vec<_>>>()?;
            let (named, on) = books::cut(rows);
            found.extend(named);
            more.extend(on.map(|place| (kind, place)));
        }
        Ok(books::bind(items, sums, found, more, after.is_none()))
    })
    .await
}

fn opening(row: &Row) -> Done<Opening> {
    Ok(Opening {
        item: ItemId(row.try_get(0)?),
        total: total(row, 1)?,
        at: Millis(row.try_get(2)?),
    })
}

fn adjusted(row: &Row) -> Done<(i64, Adjusted)> {
    let (item, at) = (ItemId(row.try_get(1)?), Millis(row.try_get(4)?));
    Ok((row.try_get(0)?, Adjusted { item, units: row.try_get(2)?, reason: row.try_get(3)?, at }))
}

fn moved(row: &Row) -> Done<(i64, OrderMoved)> {
    let wrong = |what: &str| Failure::Row(format!("what happened to an order has no {what}"));
    let moved = OrderMoved {
        order: TicketId::parse(row.try_get(1)?).ok_or_else(|| wrong("order"))?,
        item: ItemId(row.try_get(2)?),
        units: number(row, 3)?,
        before: row.try_get::<_, Option<&str>>(8)?.and_then(state_after),
        after: state_after(row.try_get(4)?).ok_or_else(|| wrong("state"))?,
        at: Millis(row.try_get(5)?),
        by: row.try_get(6)?,
        why: row.try_get(7)?,
    };
    Ok((row.try_get(0)?, moved))
}

impl Postgres {
    pub(crate) async fn books(
        &self,
        sale: Option<String>,
        after: Option<Vec<(DifferenceKind, i64)>>,
    ) -> StoreResult<Books> {
        let shared = self.shared();
        shared.gate()?;
        let mut tries = Tries::new();
        loop {
            match books(shared, &sale, after.as_deref()).await {
                Ok(books) => return Ok(books),
                Err(failure) => {
                    tries.again(shared, failure, Again::Safe).await.map_err(|f| shared.judge(f))?
                }
            }
        }
    }

    pub(crate) async fn openings(&self, sale: Option<String>) -> StoreResult<Vec<Opening>> {
        self.all(OPENINGS, &[&sale], opening).await
    }

    pub(crate) async fn adjusted(
        &self,
        sale: Option<String>,
        after: i64,
        limit: usize,
    ) -> StoreResult<BookPage<Adjusted>> {
        self.book_page(ADJUSTED, (sale, after, limit), adjusted).await
    }

    pub(crate) async fn moved(
        &self,
        sale: Option<String>,
        after: i64,
        limit: usize,
    ) -> StoreResult<BookPage<OrderMoved>> {
        self.book_page(MOVED_BY_POSITION, (sale, after, limit), moved).await
    }

    /// A page of rows that begin with their position.
    async fn book_page<T>(
        &self,
        sql: &str,
        (sale, after, limit): (Option<String>, i64, usize),
        read: impl Fn(&Row) -> Done<(i64, T)>,
    ) -> StoreResult<BookPage<T>> {
        let limit = limit.min(PAGE_ROWS_MAX);
        let found = self.all(sql, &[&sale, &after, &as_limit(limit)], read).await?;
        let next = found.last().filter(|_| found.len() == limit).map(|(position, _)| *position);
        Ok(BookPage { rows: found.into_iter().map(|(_, row)| row).collect(), next })
    }
}
