//! The data of the console beside sales and orders: sessions, nodes, and a sale's statistics for
//! each second.
use doorbuster_core::{Millis, NodeId};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// A node, as it described itself at the last renewal of its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// The node.
    pub node: NodeId,
    /// When its lease expires.
    pub lease_until: Millis,
    /// Whether it has the leader's lease.
    pub leader: bool,
    /// The node's description of itself, as JSON.
    pub about: String,
}

/// The statistics that one node counted for a sale in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalePoint {
    /// The sale.
    pub sale: String,
    /// The length of the step.
    pub step: PointStep,
    /// The start of the step, a multiple of its length.
    pub at: Millis,
    /// The node.
    pub node: NodeId,
    /// The statistics, as JSON.
    pub point: String,
}

/// The length of a step for which statistics are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PointStep {
    /// One second. The row is deleted after a day.
    Second,
    /// One minute. The row is deleted after 30 days.
    Minute,
}

impl PointStep {
    /// Returns the length in seconds.
    #[must_use]
    pub fn secs(self) -> i64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
        }
    }
}

/// Selects a part of a sale's statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointQuery {
    /// The sale.
    pub sale: String,
    /// The length of the steps.
    pub step: PointStep,
    /// The earliest start of a step.
    pub from: Millis,
    /// The time before which the steps start.
    pub to: Millis,
}

/// The database server of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreServer {
    /// Its kind: `sqlite` or `postgres`.
    pub kind: &'static str,
    /// Its version.
    pub version: String,
}
