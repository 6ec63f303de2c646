//! The books: movements of units, and what units and money add up to.
use crate::contract::{Adjusted, BookPage, Books, DifferenceKind, Opening, OrderMoved};

use super::{Store, StoreResult};

/// The books.
impl Store {
    /// Adds up units and money of a sale, or of all, in one snapshot, and names what does not add up. Reads every order; it is for reports.
    /// With `after`, the [`Books::more`] of books that were read before: only what else does not add up of those kinds is named.
    pub async fn books(
        &self,
        sale: Option<String>,
        after: Option<Vec<(DifferenceKind, i64)>>,
    ) -> StoreResult<Books> {
        match self {
            Self::Sqlite(s) => s.books(sale, after).await,
            Self::Postgres(s) => Box::pin(s.books(sale, after)).await,
        }
    }

    /// What each item of a sale, or of all, began with, by item.
    pub async fn openings(&self, sale: Option<String>) -> StoreResult<Vec<Opening>> {
        match self {
            Self::Sqlite(s) => s.openings(sale).await,
            Self::Postgres(s) => Box::pin(s.openings(sale)).await,
        }
    }

    /// A page of changes of totals by operators, oldest first (`after`: 0 at first).
    pub async fn adjusted(
        &self,
        sale: Option<String>,
        after: i64,
        limit: usize,
    ) -> StoreResult<BookPage<Adjusted>> {
        match self {
            Self::Sqlite(s) => s.adjusted(sale, after, limit).await,
            Self::Postgres(s) => Box::pin(s.adjusted(sale, after, limit)).await,
        }
    }

    /// A page of what happened to the units of orders, in the order of their events' positions (`after`: 0 at first). What has no position yet
    /// ([`Store::sequence_events`]) is not among them.
    pub async fn moved(
        &self,
        sale: Option<String>,
        after: i64,
        limit: usize,
    ) -> StoreResult<BookPage<OrderMoved>> {
        match self {
            Self::Sqlite(s) => s.moved(sale, after, limit).await,
            Self::Postgres(s) => Box::pin(s.moved(sale, after, limit)).await,
        }
    }
}
