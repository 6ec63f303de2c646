//! Reconciliation in SQLite: each report in one snapshot, on a reader's thread.
use rusqlite::{Row, params};

use doorbuster_core::{ItemId, Millis, OrderState, Stock, TicketId};

use crate::contract::{
    Difference, DifferenceKind, ItemTotals, LedgerPage, MoneyTotals, OpeningStock, OrderTransition,
    Reconciliation, StockAdjustment,
};
use crate::limits::{DIFFERENCES_MAX, PAGE_ROWS_MAX};
use crate::reconciliation::{
    self, ITEMS, ItemRow, MONEY, OPENING_STOCKS, STOCK_ADJUSTMENTS, TRANSITIONS_BY_SEQ, state_after,
};
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
    let books = ItemTotals {
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
    Ok(ItemRow { books, expected: (count(row, 11)?, count(row, 12)?) })
}

fn money(row: &Row<'_>) -> Done<(Option<ItemId>, MoneyTotals)> {
    let sum = |at| Done::Ok(reconciliation::sum(row.get(at)?, row.get(at + 1)?));
    let sums = MoneyTotals {
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

/// Returns a difference with its position.
fn keyed_difference(kind: DifferenceKind, row: &Row<'_>) -> Done<(i64, Difference)> {
    Ok((row.get(4)?, difference(kind, row)?))
}

fn reconcile(
    sql: &mut Reader<'_>,
    sale: Option<&str>,
    after: Option<&[(DifferenceKind, i64)]>,
) -> Done<Reconciliation> {
    let items = sql.all(ITEMS, params![sale], item)?;
    let sums = sql.all(MONEY, params![sale], money)?;
    let (mut found, mut more) = (Vec::new(), Vec::new());
    for (kind, text, place) in reconciliation::kinds_to_read(after) {
        let rows = sql.all(text, params![sale, place, as_limit(DIFFERENCES_MAX + 1)], |row| {
            keyed_difference(kind, row)
        })?;
        let (named, on) = reconciliation::cut_page(rows);
        found.extend(named);
        more.extend(on.map(|place| (kind, place)));
    }
    Ok(reconciliation::assemble(items, sums, found, more, after.is_none()))
}

fn opening(row: &Row<'_>) -> Done<OpeningStock> {
    Ok(OpeningStock { item: ItemId(row.get(0)?), total: total(row, 1)?, at: Millis(row.get(2)?) })
}

fn stock_adjustments(row: &Row<'_>) -> Done<(i64, StockAdjustment)> {
    let stock_adjustments = StockAdjustment {
        item: ItemId(row.get(1)?),
        units: row.get(2)?,
        reason: row.get(3)?,
        at: Millis(row.get(4)?),
    };
    Ok((row.get(0)?, stock_adjustments))
}

fn state(row: &Row<'_>, at: usize) -> Done<Option<OrderState>> {
    Ok(row.get_ref(at)?.as_str_or_null().ok().flatten().and_then(state_after))
}

fn order_transitions(row: &Row<'_>) -> Done<(i64, OrderTransition)> {
    let wrong = |what: &str| Failure::Row(format!("event of an order has no valid {what}"));
    let order_transitions = OrderTransition {
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
    Ok((row.get(0)?, order_transitions))
}

/// Returns a page of rows whose first column is their position.
fn page<T>(
    sql: &mut Reader<'_>,
    text: &'static str,
    (sale, after, limit): (Option<&str>, i64, usize),
    read: impl Fn(&Row<'_>) -> Done<(i64, T)>,
) -> Done<LedgerPage<T>> {
    let limit = limit.min(PAGE_ROWS_MAX);
    let found = sql.all(text, params![sale, after, as_limit(limit)], read)?;
    let next = found.last().filter(|_| found.len() == limit).map(|(position, _)| *position);
    Ok(LedgerPage { rows: found.into_iter().map(|(_, row)| row).collect(), next })
}

impl Sqlite {
    pub(crate) async fn reconcile(
        &self,
        sale: Option<String>,
        after: Option<Vec<(DifferenceKind, i64)>>,
    ) -> StoreResult<Reconciliation> {
        self.read(move |sql| reconcile(sql, sale.as_deref(), after.as_deref())).await
    }

    pub(crate) async fn opening_stocks(
        &self,
        sale: Option<String>,
    ) -> StoreResult<Vec<OpeningStock>> {
        self.read(move |sql| sql.all(OPENING_STOCKS, params![sale], opening)).await
    }

    pub(crate) async fn stock_adjustments(
        &self,
        sale: Option<String>,
        after: i64,
        limit: usize,
    ) -> StoreResult<LedgerPage<StockAdjustment>> {
        self.read(move |sql| {
            page(sql, STOCK_ADJUSTMENTS, (sale.as_deref(), after, limit), stock_adjustments)
        })
        .await
    }

    pub(crate) async fn order_transitions(
        &self,
        sale: Option<String>,
        after: i64,
        limit: usize,
    ) -> StoreResult<LedgerPage<OrderTransition>> {
        self.read(move |sql| {
            page(sql, TRANSITIONS_BY_SEQ, (sale.as_deref(), after, limit), order_transitions)
        })
        .await
    }
}
