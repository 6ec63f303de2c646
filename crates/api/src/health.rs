//! The bodies of `/healthz` and `/readyz` when the server is healthy.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The server is healthy; any other result is a problem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({"status": "ok"})))]
pub struct Health {
    /// Always `ok`.
    pub status: HealthStatus,
}

/// The status `"ok"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Written `"ok"`.
    #[default]
    Ok,
}
