//! Reconciliation: movements of units, and the totals of units and money.
use crate::contract::{
    DifferenceKind, LedgerPage, OpeningStock, OrderTransition, Reconciliation, StockAdjustment,
};

use super::{Store, StoreResult};

/// Reconciliation.
impl Store {
    /// Adds up units and money of a sale, or of all sales, in one snapshot, and lists the
    /// differences. It reads every order, so it is meant for reports. With `after`, the
    /// [`Reconciliation::more`] of an earlier report, it lists only further differences of those
    /// kinds.
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

    /// The initial stock of each item of a sale, or of all sales, by item.
    pub async fn opening_stocks(&self, sale: Option<String>) -> StoreResult<Vec<OpeningStock>> {
        match self {
            Self::Sqlite(s) => s.opening_stocks(sale).await,
            Self::Postgres(s) => Box::pin(s.opening_stocks(sale)).await,
        }
    }

    /// A page of the operators' changes of totals, oldest first (`after`: 0 at first).
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

    /// A page of the state changes of orders, by the positions of their events (`after`: 0 at
    /// first). Events without a position ([`Store::sequence_events`]) are not included.
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
