//! Erasing a buyer.
use doorbuster_core::BuyerId;

use crate::contract::{BuyerTraces, Erased};

use super::{Store, StoreResult};

/// Erasure.
impl Store {
    /// What there is of this buyer, and what of it can be erased now.
    pub async fn traces(&self, buyer: &BuyerId) -> StoreResult<BuyerTraces> {
        match self {
            Self::Sqlite(s) => s.traces(buyer).await,
            Self::Postgres(s) => Box::pin(s.traces(buyer)).await,
        }
    }

    /// Puts [`doorbuster_core::IdKey::erased_buyer`] in the place of this buyer in some of what can
    /// be erased now, at most [`crate::limits::ERASE_ROWS_MAX`] rows of each table, and the like in
    /// the place of their requests' keys. To be called until it replaces nothing.
    pub async fn erase_batch(&self, buyer: &BuyerId) -> StoreResult<Erased> {
        match self {
            Self::Sqlite(s) => s.erase_batch(buyer).await,
            Self::Postgres(s) => Box::pin(s.erase_batch(buyer)).await,
        }
    }
}
