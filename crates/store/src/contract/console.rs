//! The data of the console: sessions, operators' keys, nodes, and the statistics of a sale.
use doorbuster_core::{Millis, NodeId};

pub use doorbuster_types::Role;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The owner of a session at the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionOwner {
    /// The key with this hash. The session is not valid after the key is removed.
    Key(Hash),
    /// A person whom another system signed in.
    Person(Person),
}

/// A person whom another system signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The person's id. This id is recorded as the author of the person's actions.
    pub id: String,
    /// The person's name, for display.
    pub name: String,
    /// What the person may do.
    pub role: Role,
}

/// An operator's key, without the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminKey {
    /// The key's id, which begins with `key_`.
    pub id: String,
    /// The key's name, for display.
    pub name: String,
    /// What the key permits.
    pub role: Role,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// When the key was created.
    pub created_at: Millis,
}

impl SessionOwner {
    /// Returns the hash of the key. For a person, returns a hash that no key has.
    pub(crate) fn key_hash(&self) -> Hash {
        match self {
            Self::Key(hash) => *hash,
            Self::Person(_) => [0; 32],
        }
    }

    pub(crate) fn person(&self) -> Option<&Person> {
        match self {
            Self::Key(_) => None,
            Self::Person(person) => Some(person),
        }
    }
}

/// A node, as it described itself at the last renewal of its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// The node.
    pub node: NodeId,
    /// When its lease expires.
    pub lease_until: Millis,
    /// Whether the node has the leader's lease.
    pub leader: bool,
    /// The node's description of itself, as JSON.
    pub about: String,
}

/// The statistics that one node counted for a sale in one time step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaleSeriesRow {
    /// The sale.
    pub sale: String,
    /// The length of the step.
    pub step: PointStep,
    /// When the time step starts. This time is a multiple of the step's length.
    pub at: Millis,
    /// The node.
    pub node: NodeId,
    /// The statistics, as JSON.
    pub point: String,
}

/// The length of a time step for which statistics are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PointStep {
    /// One second. The row is deleted after a day.
    Second,
    /// One minute. The row is deleted 30 days after its sale closed.
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
    /// The lower bound: each step starts at this time or later.
    pub from: Millis,
    /// The upper bound: each step starts before this time.
    pub to: Millis,
}

/// The database server of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreServer {
    /// The kind of the database server: `sqlite` or `postgres`.
    pub kind: &'static str,
    /// The version of the database server.
    pub version: String,
}
