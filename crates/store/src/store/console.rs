//! The data of the console beside sales and orders: actions, sessions, nodes, and a sale's
//! statistics for each second.
use doorbuster_core::{Millis, NodeId};

use crate::contract::{ActionQuery, ActionRow, Hash, NodeRow, PointQuery, SalePoint, StoreServer};

use super::{Store, StoreResult};

/// Actions, sessions, nodes, and statistics for each second.
impl Store {
    /// Operators' actions, newest first. [`crate::recorded`] records them.
    pub async fn actions(&self, query: ActionQuery) -> StoreResult<Vec<ActionRow>> {
        match self {
            Self::Sqlite(s) => s.actions(query).await,
            Self::Postgres(s) => Box::pin(s.actions(query)).await,
        }
    }

    /// Adds a sign-in with a key, and deletes expired ones. Records the caller's action.
    pub async fn insert_session(&self, hash: Hash, key: Hash, until: Millis) -> StoreResult<()> {
        match self {
            Self::Sqlite(s) => s.insert_session(hash, key, until).await,
            Self::Postgres(s) => Box::pin(s.insert_session(hash, key, until)).await,
        }
    }

    /// Returns the hash of the key that made a session, and when the session expires. Returns
    /// `None` if the session does not exist or has expired.
    pub async fn session(&self, hash: Hash) -> StoreResult<Option<(Hash, Millis)>> {
        match self {
            Self::Sqlite(s) => s.session(hash).await,
            Self::Postgres(s) => Box::pin(s.session(hash)).await,
        }
    }

    /// Ends a session. Returns false if there is no such session. Records the caller's action.
    pub async fn delete_session(&self, hash: Hash) -> StoreResult<bool> {
        match self {
            Self::Sqlite(s) => s.delete_session(hash).await,
            Self::Postgres(s) => Box::pin(s.delete_session(hash)).await,
        }
    }

    /// Returns every node whose lease has not expired, by number.
    pub async fn nodes(&self) -> StoreResult<Vec<NodeRow>> {
        match self {
            Self::Sqlite(s) => s.nodes().await,
            Self::Postgres(s) => Box::pin(s.nodes()).await,
        }
    }

    /// Returns the kind and the version of the database server.
    pub async fn server(&self) -> StoreResult<StoreServer> {
        match self {
            Self::Sqlite(s) => s.server().await,
            Self::Postgres(s) => Box::pin(s.server()).await,
        }
    }

    /// Takes or renews the node's own lease for `lease_ms` from now, by the store's time. `about`
    /// is the node's description of itself, as JSON.
    pub async fn renew_node_lease(
        &self,
        node: NodeId,
        lease_ms: i64,
        about: &str,
    ) -> StoreResult<()> {
        match self {
            Self::Sqlite(s) => s.renew_node_lease(node, lease_ms, about).await,
            Self::Postgres(s) => Box::pin(s.renew_node_lease(node, lease_ms, about)).await,
        }
    }

    /// Adds the statistics of past steps. If the node has already added a step, its statistics
    /// stay.
    pub async fn insert_points(&self, points: Vec<SalePoint>) -> StoreResult<()> {
        match self {
            Self::Sqlite(s) => s.insert_points(points).await,
            Self::Postgres(s) => Box::pin(s.insert_points(points)).await,
        }
    }

    /// Returns the statistics of all nodes, by time and node.
    pub async fn points(&self, query: PointQuery) -> StoreResult<Vec<SalePoint>> {
        match self {
            Self::Sqlite(s) => s.points(query).await,
            Self::Postgres(s) => Box::pin(s.points(query)).await,
        }
    }
}
