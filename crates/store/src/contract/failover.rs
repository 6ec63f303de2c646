//! A store's reports about a failover of its database, and about the database's standbys.
use doorbuster_core::{Millis, NodeId};

use super::PausedSale;

/// What a node did and found after the database's history changed, for example after a failover.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryReaction {
    /// The sales that the node paused.
    pub paused: Vec<PausedSale>,
    /// Acknowledged orders that the database lacks. `None` if no order is missing.
    pub lost: Option<LostOrders>,
}

/// Orders that a node confirmed, and that the database lacks after a failover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostOrders {
    /// The node.
    pub node: NodeId,
    /// The fencing number of the database's new history, which lacks these orders.
    pub fence: i64,
    /// When the node compared its orders with the database.
    pub at: Millis,
    /// The number of orders that the node compared.
    pub acknowledged: u64,
    /// The number of compared orders that the database lacks or has in an earlier state.
    pub lost: u64,
    /// The ids of some of the lost orders.
    pub sample: Vec<String>,
}

/// Whether commits wait for standbys, and which standbys confirm the commits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replication {
    /// The value of `synchronous_commit`.
    pub synchronous_commit: String,
    /// The value of `synchronous_standby_names`.
    pub standby_names: String,
    /// How many standbys must confirm a commit. 0 if commits wait for no standby.
    pub required: u64,
    /// How many connected standbys confirm commits synchronously. `None` if the database user lacks
    /// the role `pg_monitor`, and therefore cannot see the standbys.
    pub synchronous: Option<u64>,
    /// The standbys in `synchronous_standby_names` that are not connected.
    pub missing: Vec<String>,
    /// One text for an operator about each connected standby in `synchronous_standby_names`: its
    /// state, and when it last answered the primary.
    pub standbys: Vec<String>,
}

impl Replication {
    /// Returns whether commits wait for standbys.
    #[must_use]
    pub fn is_synchronous(&self) -> bool {
        self.required > 0
    }

    /// Returns whether commits wait for standbys that this database user cannot see.
    #[must_use]
    pub fn hides_standbys(&self) -> bool {
        self.is_synchronous() && self.synchronous.is_none()
    }

    /// Returns whether commits wait for more standbys than are connected.
    #[must_use]
    pub fn lacks_standbys(&self) -> bool {
        self.synchronous.is_some_and(|there| there < self.required)
    }
}
