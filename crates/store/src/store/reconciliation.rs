//! Reconciliation: movements of units, and the totals of units and money.
use crate::contract::{
    DifferenceKind, OpeningStock, OrderTransition, Page, Reconciliation, StockAdjustment,
};
use crate::failure::Done;
use crate::limits::PAGE_ROWS_MAX;
use crate::reconciliation::{OPENING_STOCKS, STOCK_ADJUSTMENTS, TRANSITIONS};
use crate::rows::reconciliation::{opening, order_transitions, stock_adjustments};
use crate::sql::{Row, Statement, as_limit, values};

use super::{Store, StoreResult};

/// The store's methods for reconciliation.
impl Store {
    /// Adds up units and money of a sale, or of all sales, in one snapshot, and lists the
    /// differences. It reads every order, so use it only for reports. To get further differences,
    /// pass [`Reconciliation::more`] of a report as `after` of the next call. The next report lists
    /// only differences of the kinds in `after`.
    pub async fn reconcile(
        &self,
        sale: Option<String>,
        after: Option<Vec<(DifferenceKind, i64)>>,
    ) -> StoreResult<Reconciliation> {
        match self {
            Self::Sqlite(s) => s.reconcile(sale, after).await,
            Self::Postgres(s) => Box::pin(s.reconcile(sale, after)).await,
        }
    }

    /// Returns the initial stock of each item of a sale, or of all sales, sorted by item.
    pub async fn opening_stocks(&self, sale: Option<String>) -> StoreResult<Vec<OpeningStock>> {
        self.all(OPENING_STOCKS, values![sale], opening).await
    }

    /// Returns a page of the operators' changes of totals, oldest first. `after` is 0 in the first
    /// call.
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
