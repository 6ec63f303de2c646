//! The audit report.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::value::Time;

/// Something that breaks an invariant; the sale is paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// Which invariant, such as `I2`.
    pub rule: String,
    /// The sale concerned, if it is one.
    #[schema(required = true)]
    pub sale: Option<String>,
    /// The item concerned, if it is one.
    #[schema(required = true)]
    pub item: Option<String>,
    /// What does not add up, with the numbers.
    pub detail: String,
}

/// Something that others did wrong and that was dealt with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Notice {
    /// What kind of thing.
    pub kind: String,
    /// The order concerned, if it is one.
    #[schema(required = true)]
    pub order: Option<String>,
    /// What happened.
    pub detail: String,
}

/// Where the units of one item are: `total = pool + in_slots + held + paid`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditItem {
    /// The sale.
    pub sale: String,
    /// The item.
    pub item: String,
    /// All units; `null` for unlimited stock.
    #[schema(required = true)]
    pub total: Option<u64>,
    /// Units in the pool; `null` for unlimited stock.
    #[schema(required = true)]
    pub pool: Option<u64>,
    /// Units in slots; `null` for unlimited stock.
    #[schema(required = true)]
    pub in_slots: Option<u64>,
    /// Units reserved and unpaid.
    pub held: u64,
    /// Units paid.
    pub paid: u64,
}

/// What the audit came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "ok": true, "checked_at": "2026-11-20T10:05:00.000Z", "repairs": 0, "findings": [], "notices": [],
    "items": [{"sale": "spring", "item": "phone", "total": 100, "pool": 0, "in_slots": 0, "held": 90, "paid": 10}]
})))]
pub struct Audit {
    /// Whether there is no finding.
    pub ok: bool,
    /// When the numbers were read.
    pub checked_at: Time,
    /// Grants closed for cause since the store was made.
    pub repairs: u64,
    /// What breaks an invariant.
    pub findings: Vec<Finding>,
    /// What others did wrong.
    pub notices: Vec<Notice>,
    /// Where every unit is.
    pub items: Vec<AuditItem>,
}
