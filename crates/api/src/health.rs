//! What `/healthz` and `/readyz` say when all is well.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All is well; anything else is a problem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({"status": "ok"})))]
pub struct Health {
    /// Always `ok`.
    pub status: HealthStatus,
}

/// The word `"ok"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Written `"ok"`.
    #[default]
    Ok,
}
