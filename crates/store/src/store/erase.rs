//! Erasing a buyer.
use doorbuster_core::BuyerId;

use crate::contract::{Erased, Traces};

use super::{Store, StoreResult};

/// Erasure.
impl Store {
    /// What there is of this buyer, and what of it can be erased now.
    pub async fn traces(&self, buyer: &BuyerId) -> StoreResult<Traces> {
        match self {
            Self::Sqlite(s) => s.traces(buyer).await,
            Self::Postgres(s) => Box::pin(s.traces(buyer)).await,
        }
    }

    /// Puts [`doorbuster_core::IdKey::erased_buyer`] in the place of this buyer in some of what can be erased now, at most
    /// [`crate::limits::ERASE_ROWS`] rows of each table, and the like in the place of their requests' keys. To be called until it replaces nothing.
    pub async fn erase_some(&self, buyer: &BuyerId) -> StoreResult<Erased> {
        match self {
            Self::Sqlite(s) => s.erase_some(buyer).await,
            Self::Postgres(s) => Box::pin(s.erase_some(buyer)).await,
        }
    }
}
