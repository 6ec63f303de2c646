//! Nodes that share a store: the leader, live nodes, and how often a node refreshes.
use std::time::Duration;

use doorbuster_core::NodeId;

use super::{Store, StoreResult};

/// Nodes that share a store.
impl Store {
    /// Takes or renews the lease of the leader. Returns true if this node has the lease for
    /// `lease_ms` from now.
    pub async fn take_leader_lease(&self, node: u32, lease_ms: i64) -> StoreResult<bool> {
        match self {
            Self::Sqlite(s) => s.take_leader_lease(node, lease_ms).await,
            Self::Postgres(s) => Box::pin(s.take_leader_lease(node, lease_ms)).await,
        }
    }

    /// Returns the nodes whose lease has not expired by the store's time, by number.
    pub async fn live_nodes(&self) -> StoreResult<Vec<NodeId>> {
        match self {
            Self::Sqlite(s) => s.live_nodes().await,
            Self::Postgres(s) => Box::pin(s.live_nodes()).await,
        }
    }

    /// Sets the shortest time between two refreshes that other nodes' commits cause. It
    /// does nothing for an embedded store.
    pub fn set_refreshes_apart(&self, apart: Duration) {
        if let Self::Postgres(s) = self {
            s.set_refreshes_apart(apart);
        }
    }
}
