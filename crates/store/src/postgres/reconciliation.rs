//! Reconciliation in PostgreSQL. Totals come from one snapshot. Movements are sorted by the
//! positions of their events.
use tokio_postgres::Row;

use doorbuster_core::{ItemId, Millis, Stock, TicketId};

use crate::contract::{
    Difference, DifferenceKind, ItemTotals, LedgerPage, MoneyTotals, OpeningStock, OrderTransition,
    Reconciliation, StockAdjustment,
};
use crate::limits::{DIFFERENCES_MAX, PAGE_ROWS_MAX, PG_CHECK_WAIT};
use crate::reconciliation::{
    self, ITEMS, ItemRow, MONEY, OPENING_STOCKS, STOCK_ADJUSTMENTS, TRANSITIONS_BY_POSITION,
    state_after,
};
use crate::store::StoreResult;

use super::Postgres;
use super::check::snapshot;
use super::failure::Failure;
use super::read::as_limit;
use super::rows::number;
use super::shared::Shared;
use super::transaction::{RetryState, RetryUnknown};

type Done<T> = Result<T, Failure>;

fn total(row: &Row, at: usize) -> Done<Stock> {
    Ok(row
        .try_get::<_, Option<i64>>(at)?
        .map_or(Stock::Unlimited, |units| Stock::Counted(units.cast_unsigned())))
}

fn item(row: &Row) -> Done<ItemRow> {
    let books = ItemTotals {
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
    Ok(ItemRow { books, expected: (number(row, 11)?, number(row, 12)?) })
}

fn money(row: &Row) -> Done<(Option<ItemId>, MoneyTotals)> {
    let sum = |at| Done::Ok(reconciliation::sum(row.try_get(at)?, row.try_get(at + 1)?));
    let sums = MoneyTotals {
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

/// Returns a difference with its position.
fn keyed_difference(kind: DifferenceKind, row: &Row) -> Done<(i64, Difference)> {
    Ok((row.try_get(4)?, difference(kind, row)?))
}

async fn reconcile(
    shared: &Shared,
    sale: &Option<String>,
    after: Option<&[(DifferenceKind, i64)]>,
) -> Done<Reconciliation> {
    snapshot(shared, async |client| {
        client
            .batch_execute(&format!("SET LOCAL statement_timeout = {}", PG_CHECK_WAIT.as_millis()))
            .await?;
        let items =
            client.query(ITEMS, &[sale]).await?.iter().map(item).collect::<Done<Vec<_>>>()?;
        let sums =
            client.query(MONEY, &[sale]).await?.iter().map(money).collect::<Done<Vec<_>>>()?;
        let (mut found, mut more) = (Vec::new(), Vec::new());
        for (kind, text, place) in reconciliation::kinds_to_read(after) {
            let rows = client.query(text, &[sale, &place, &as_limit(DIFFERENCES_MAX + 1)]).await?;
            let rows =
                rows.iter().map(|row| keyed_difference(kind, row)).collect::<Done<Vec<_>>>()?;
            let (named, on) = reconciliation::cut_page(rows);
            found.extend(named);
            more.extend(on.map(|place| (kind, place)));
        }
        Ok(reconciliation::assemble(items, sums, found, more, after.is_none()))
    })
    .await
}

fn opening(row: &Row) -> Done<OpeningStock> {
    Ok(OpeningStock {
        item: ItemId(row.try_get(0)?),
        total: total(row, 1)?,
        at: Millis(row.try_get(2)?),
    })
}

fn stock_adjustments(row: &Row) -> Done<(i64, StockAdjustment)> {
    let (item, at) = (ItemId(row.try_get(1)?), Millis(row.try_get(4)?));
    Ok((
        row.try_get(0)?,
        StockAdjustment { item, units: row.try_get(2)?, reason: row.try_get(3)?, at },
    ))
}

fn order_transitions(row: &Row) -> Done<(i64, OrderTransition)> {
    let wrong = |what: &str| Failure::Row(format!("event of an order has no valid {what}"));
    let order_transitions = OrderTransition {
        order: TicketId::parse(row.try_get(1)?).ok_or_else(|| wrong("order"))?,
        item: ItemId(row.try_get(2)?),
        units: number(row, 3)?,
        before: row.try_get::<_, Option<&str>>(8)?.and_then(state_after),
        after: state_after(row.try_get(4)?).ok_or_else(|| wrong("state"))?,
        at: Millis(row.try_get(5)?),
        by: row.try_get(6)?,
        why: row.try_get(7)?,
    };
    Ok((row.try_get(0)?, order_transitions))
}

impl Postgres {
    pub(crate) async fn reconcile(
        &self,
        sale: Option<String>,
        after: Option<Vec<(DifferenceKind, i64)>>,
    ) -> StoreResult<Reconciliation> {
        let shared = self.shared();
        shared.check_accepting()?;
        let mut tries = RetryState::new();
        loop {
            match reconcile(shared, &sale, after.as_deref()).await {
                Ok(books) => return Ok(books),
                Err(failure) => tries
                    .wait_to_retry(shared, failure, RetryUnknown::Allowed)
                    .await
                    .map_err(|f| shared.store_error(f))?,
            }
        }
    }

    pub(crate) async fn opening_stocks(
        &self,
        sale: Option<String>,
    ) -> StoreResult<Vec<OpeningStock>> {
        self.all(OPENING_STOCKS, &[&sale], opening).await
    }

    pub(crate) async fn stock_adjustments(
        &self,
        sale: Option<String>,
        after: i64,
        limit: usize,
    ) -> StoreResult<LedgerPage<StockAdjustment>> {
        self.ledger_page(STOCK_ADJUSTMENTS, (sale, after, limit), stock_adjustments).await
    }

    pub(crate) async fn order_transitions(
        &self,
        sale: Option<String>,
        after: i64,
        limit: usize,
    ) -> StoreResult<LedgerPage<OrderTransition>> {
        self.ledger_page(TRANSITIONS_BY_POSITION, (sale, after, limit), order_transitions).await
    }

    /// Returns a page of rows whose first column is their position.
    async fn ledger_page<T>(
        &self,
        sql: &str,
        (sale, after, limit): (Option<String>, i64, usize),
        read: impl Fn(&Row) -> Done<(i64, T)>,
    ) -> StoreResult<LedgerPage<T>> {
        let limit = limit.min(PAGE_ROWS_MAX);
        let found = self.all(sql, &[&sale, &after, &as_limit(limit)], read).await?;
        let next = found.last().filter(|_| found.len() == limit).map(|(position, _)| *position);
        Ok(LedgerPage { rows: found.into_iter().map(|(_, row)| row).collect(), next })
    }
}
