//! The bodies of `/healthz` and `/readyz` when the server is healthy.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of `/healthz` and `/readyz` if the server is healthy. If the server is not healthy, the
/// body is a problem.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({"status": "ok"})))]
pub struct Health {
    /// Always `ok`.
    pub status: HealthStatus,
    /// Facts about this node. A node with warnings is still ready.
    #[serde(flatten)]
    pub facts: ReadinessFacts,
}

/// Facts about a node. `/readyz` reports these facts whether or not the node is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReadinessFacts {
    /// What is degraded, such as `synchronous_standby_missing`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub warnings: Vec<Cow<'static, str>>,
    /// The newest history of the shared database that this node knows. The database gets a new
    /// history when a standby is promoted or when the database is moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub database: Option<DatabaseFence>,
}

/// Identifies a history of the shared database. Each node compares its own history with the
/// histories that the other nodes report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DatabaseFence {
    /// The fencing number. It rises with each failover.
    pub fence: i64,
    /// A random value that distinguishes two histories with the same fencing number.
    pub token: String,
    /// The timeline of the database.
    pub timeline: i64,
    /// A position in the write-ahead log, in bytes. Every change before this position is committed.
    #[serde(default)]
    pub position: i64,
}

/// The status `"ok"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Written `"ok"`.
    #[default]
    Ok,
}
