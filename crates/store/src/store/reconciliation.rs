//! Reconciliation: movements of units, and the totals of units and money.
use doorbuster_core::ItemId;

use crate::contract::{
    Difference, DifferenceKind, MoneyTotals, OpeningStock, OrderTransition, Page, Reconciliation,
    StockAdjustment,
};
use crate::failure::Done;
use crate::limits::{DIFFERENCES_MAX, PAGE_ROWS_MAX};
use crate::reconciliation::{
    ITEMS, ItemRow, MONEY, OPENING_STOCKS, STOCK_ADJUSTMENTS, TRANSITIONS, assemble, cut_page,
    kinds_to_read,
};
use crate::rows::reconciliation::{
    item, keyed_difference, money, opening, order_transitions, stock_adjustments,
};
use crate::sql::{Row, Statement, as_limit, values};

use super::{Store, StoreResult};

#[derive(Default)]
struct ReportRows {
    items: Vec<ItemRow>,
    money: Vec<(Option<ItemId>, MoneyTotals)>,
    /// The differences, sorted by kind, each with its position.
    differences: Vec<(i64, Difference)>,
}

impl Store {
    /// In one snapshot, adds up the units and the money of one sale or of all sales, and lists the
    /// differences. The call reads every order, so use it only for reports. To get further
    /// differences, pass [`Reconciliation::more`] of the last report as `after`.
    pub async fn reconcile(
        &self,
        sale: Option<String>,
        after: Option<Vec<(DifferenceKind, i64)>>,
    ) -> StoreResult<Reconciliation> {
        let kinds = kinds_to_read(after.as_deref());
        let mut queries = vec![
            (ITEMS, Vec::from(values![sale.clone()])),
            (MONEY, Vec::from(values![sale.clone()])),
        ];
        queries.extend(kinds.iter().map(|(_, sql, place)| {
            (*sql, Vec::from(values![sale.clone(), *place, as_limit(DIFFERENCES_MAX + 1)]))
        }));
        let add = move |report: &mut ReportRows, at: usize, row: Row<'_>| {
            match at {
                0 => report.items.push(item(row)?),
                1 => report.money.push(money(row)?),
                _ => report.differences.push(keyed_difference(kinds[at - 2].0, row)?),
            }
            Done::Ok(())
        };
        let ReportRows { items, money, differences } = self.in_snapshot(queries, add).await?;
        let (mut found, mut more) = (Vec::new(), Vec::new());
        for rows in differences.chunk_by(|(_, a), (_, b)| a.kind == b.kind) {
            let (page, next) = cut_page(rows.to_vec());
            more.extend(page.last().map(|last| last.kind).zip(next));
            found.extend(page);
        }
        Ok(assemble(items, money, found, more, after.is_none()))
    }

    /// Returns the initial stock of each item of a sale, or of all sales, sorted by item.
    pub async fn opening_stocks(&self, sale: Option<String>) -> StoreResult<Vec<OpeningStock>> {
        self.all(OPENING_STOCKS, values![sale], opening).await
    }

    /// Returns a page of the operators' changes of totals, oldest first. `after` is the number of
    /// the previous page's last change, and 0 in the first call.
    pub async fn stock_adjustments(
        &self,
        sale: Option<String>,
        after: i64,
        limit: usize,
    ) -> StoreResult<Page<StockAdjustment>> {
        self.ledger_page(STOCK_ADJUSTMENTS, sale, after, limit, stock_adjustments).await
    }

    /// Returns a page of the state changes of orders, sorted by the positions of their events.
    /// `after` is 0 in the first call. Events without a position ([`Store::sequence_events`]) are
    /// not included.
    pub async fn order_transitions(
        &self,
        sale: Option<String>,
        after: i64,
        limit: usize,
    ) -> StoreResult<Page<OrderTransition>> {
        self.ledger_page(TRANSITIONS, sale, after, limit, order_transitions).await
    }

    /// Returns a page of rows whose first column is their position.
    async fn ledger_page<T: Send + 'static>(
        &self,
        sql: Statement,
        sale: Option<String>,
        after: i64,
        limit: usize,
        read: fn(Row<'_>) -> Done<(i64, T)>,
    ) -> StoreResult<Page<T>> {
        let limit = limit.min(PAGE_ROWS_MAX);
        let found = self.all(sql, values![sale, after, as_limit(limit)], read).await?;
        let next = found.last().filter(|_| found.len() == limit).map(|(position, _)| *position);
        Ok(Page { rows: found.into_iter().map(|(_, row)| row).collect(), next })
    }
}
