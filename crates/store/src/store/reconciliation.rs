//! Reconciliation: movements of units, and the totals of units and money.
use crate::contract::{
    DifferenceKind, LedgerPage, OpeningStock, OrderTransition, Reconciliation, StockAdjustment,
};

use super::{Store, StoreResult};

/// Reconciliation.
impl Store {
    /// Adds up units and money of a sale, or of all sales, in one snapshot, and lists the
    /// differences. It reads every order, so use it only for reports. `after` is
    /// [`Reconciliation::more`] of an earlier report. With it, the report lists only further
    /// differences of those kinds.
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

    /// Returns the initial stock of each item of a sale, or of all sales, by item.
    pub async fn opening_stocks(&self, sale: Option<String>) -> StoreResult<Vec<OpeningStock>> {
        match self {
            Self::Sqlite(s) => s.opening_stocks(sale).await,
            Self::Postgres(s) => Box::pin(s.opening_stocks(sale)).await,
        }
    }

    /// Returns a page of the operators' changes of totals, oldest first. `after` is 0 in the first
    /// call.
    pub async fn stock_adjustments(
        &self,
        sale: Option<String>,
        after: i64,
        limit: usize,
    ) -> StoreResult<LedgerPage<StockAdjustment>> {
        match self {
            Self::Sqlite(s) => s.stock_adjustments(sale, after, limit).await,
            Self::Postgres(s) => Box::pin(s.stock_adjustments(sale, after, limit)).await,
        }
    }

    /// Returns a page of the state changes of orders, by the positions of their events. `after` is
    /// 0 in the first call. Events without a position ([`Store::sequence_events`]) are not
    /// included.
    pub async fn order_transitions(
        &self,
        sale: Option<String>,
        after: i64,
        limit: usize,
    ) -> StoreResult<LedgerPage<OrderTransition>> {
        match self {
            Self::Sqlite(s) => s.order_transitions(sale, after, limit).await,
            Self::Postgres(s) => Box::pin(s.order_transitions(sale, after, limit)).await,
        }
    }
}
