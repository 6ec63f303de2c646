//! A buyer's session on the pages.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::value::Time;

/// A buyer's session on the pages. The values come from the buyer's token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "buyer": "alice", "member": true, "level": 2, "expires_at": "2026-11-20T11:00:00.000Z"
})))]
pub struct BuyerSession {
    /// The buyer.
    pub buyer: String,
    /// Whether the buyer is a member.
    pub member: bool,
    /// The buyer's level.
    pub level: u8,
    /// When the token expires.
    pub expires_at: Time,
}
