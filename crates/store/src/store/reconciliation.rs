//! The books: movements of units, and what units and money add up to.
use crate::contract::{
    DifferenceKind, LedgerPage, OpeningStock, OrderTransition, Reconciliation, StockAdjustment,
};

use super::{Store, StoreResult};

/// The books.
impl Store {
    /// Adds up units and money of a sale, or of all, in one snapshot, and names what does not add
    /// up. Reads every order; it is for reports. With `after`, the [`Reconciliation::more`] of
    /// books that were read before: only what else does not add up of those kinds is named.
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

    /// What each item of a sale, or of all, began with, by item.
    pub async fn opening_stocks(&self, sale: Option<String>) -> StoreResult<Vec<OpeningStock>> {
        match self {
            Self::Sqlite(s) => s.opening_stocks(sale).await,
            Self::Postgres(s) => Box::pin(s.opening_stocks(sale)).await,
        }
    }

    /// A page of changes of totals by operators, oldest first (`after`: 0 at first).
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

    /// A page of what happened to the units of orders, in the order of their events' positions
    /// (`after`: 0 at first). What has no position yet ([`Store::sequence_events`]) is not among
    /// them.
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
