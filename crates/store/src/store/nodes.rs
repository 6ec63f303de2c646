//! Nodes that share a store: rate limits, and how often a node polls for commits.
use std::time::Duration;

use doorbuster_core::gate::shared_limit::{LimitAnswer, LimitCall};

use crate::contract::StoreError;

use super::{Store, StoreResult};

impl Store {
    /// Applies these calls to the rate limits that all nodes share. Each call comes with the hash
    /// of its limit's key. For an embedded store, this function returns an error, because such a
    /// store shares no limits.
    ///
    /// If the outcome is unknown, the calls may have taken effect, so a limit may allow fewer
    /// requests for a while. A crash of the database resets every limit.
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

    /// Deletes at most `most` unused rate limits, and returns their number. A limit is unused if
    /// its full number of requests has been available for longer than
    /// [`crate::limits::RATE_LIMIT_KEPT_US`].
    pub async fn delete_unused_limits(&self, most: usize) -> StoreResult<usize> {
        match self {
            Self::Sqlite(_) => Ok(0),
            Self::Postgres(s) => Box::pin(s.delete_unused_limits(most)).await,
        }
    }

    /// Sets the shortest time between two polls. This time applies to commits of other nodes and to
    /// large settled batches of this node. Other commits of this node cause a poll at once. Does
    /// nothing for an embedded store.
    pub fn set_refresh_interval(&self, apart: Duration) {
        if let Self::Postgres(s) = self {
            s.shared().set_refresh_interval(apart);
        }
    }
}
