//! Nodes that share a store: rate limits, and how often a node polls for commits.
use std::time::Duration;

use doorbuster_core::gate::shared_limit::{LimitAnswer, LimitCall};

use crate::contract::StoreError;

use super::{Store, StoreResult};

/// The store's methods for nodes that share a store.
impl Store {
    /// Applies calls to rate limits that nodes share. Each call comes with the hash of the key to
    /// which the limit applies. An embedded store has only one node and shares no limits, so the
    /// call returns an error.
    ///
    /// If the outcome is unknown, the calls may have taken effect. Then a limit allows fewer
    /// requests for a while. A crash of the database deletes the state of the limits. Then every
    /// limit allows its full number of requests again.
    pub async fn apply_limit_calls(
        &self,
        calls: Vec<(u64, LimitCall)>,
    ) -> StoreResult<Vec<LimitAnswer>> {
        match self {
            Self::Sqlite(_) => {
                Err(StoreError::Unexpected("an embedded store has no shared limits".to_owned()))
            }
            Self::Postgres(s) => Box::pin(s.apply_limit_calls(calls)).await,
        }
    }

    /// Deletes at most `most` unused rate limits. A limit is unused if it has allowed its full
    /// number of requests for longer than [`crate::limits::RATE_LIMIT_KEPT_US`]. Returns the number
    /// of deleted limits.
    pub async fn delete_unused_limits(&self, most: usize) -> StoreResult<usize> {
        match self {
            Self::Sqlite(_) => Ok(0),
            Self::Postgres(s) => Box::pin(s.delete_unused_limits(most)).await,
        }
    }

    /// Sets the shortest time between two polls whose cause is a commit of another node or a large
    /// batch of this node. Does nothing for an embedded store.
    pub fn set_refresh_interval(&self, apart: Duration) {
        if let Self::Postgres(s) = self {
            s.shared().set_refresh_interval(apart);
        }
    }
}
