//! Values of the members that only some codes have.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use doorbuster_types::Requirement;

/// The scope of an exceeded rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RateLimitScope {
    /// The requests of this buyer.
    Buyer,
    /// The requests from this address.
    Ip,
    /// The requests of all buyers together.
    Interface,
}

impl RateLimitScope {
    /// The scope's name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buyer => "buyer",
            Self::Ip => "ip",
            Self::Interface => "interface",
        }
    }
}
