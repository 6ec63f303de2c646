//! Erasing a buyer.
use doorbuster_core::BuyerId;

use crate::contract::{BuyerTraces, Erased};

use super::{Store, StoreResult};

/// Erasure.
impl Store {
    /// Returns the rows that name this buyer, and which of them can be erased now.
    pub async fn traces(&self, buyer: &BuyerId) -> StoreResult<BuyerTraces> {
        match self {
            Self::Sqlite(s) => s.traces(buyer).await,
            Self::Postgres(s) => Box::pin(s.traces(buyer)).await,
        }
    }

    /// Replaces this buyer by [`doorbuster_core::IdKey::erased_buyer`] in some of the rows that can
    /// be erased now, and also replaces their request keys. One call changes at most
    /// [`crate::limits::ERASE_ROWS_MAX`] rows of each table. Call it until it replaces nothing.
    pub async fn erase_batch(&self, buyer: &BuyerId) -> StoreResult<Erased> {
        match self {
            Self::Sqlite(s) => s.erase_batch(buyer).await,
            Self::Postgres(s) => Box::pin(s.erase_batch(buyer)).await,
        }
    }
}
