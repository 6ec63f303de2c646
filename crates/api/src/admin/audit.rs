//! The audit report.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::value::Time;

/// A violated invariant. The server pauses the sale that violates the invariant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// The invariant's name, such as `I2`.
    pub rule: String,
    /// The sale that violates the invariant; `null` if the invariant is not about one sale.
    #[schema(required = true)]
    pub sale: Option<String>,
    /// The item that violates the invariant; `null` if the invariant is not about one item.
    #[schema(required = true)]
    pub item: Option<String>,
    /// A description of the violation, with the numbers that contradict each other.
    pub detail: String,
}

/// A notice of an unusual payment or of a change of the database. No invariant is violated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Notice {
    /// The kind of notice, such as `second` for a second payment of an order, or `store_restored`.
    pub kind: String,
    /// The order's id; `null` if the notice is not about an order.
    #[schema(required = true)]
    pub order: Option<String>,
    /// What happened.
    pub detail: String,
}

/// The units of one item by location: `total = pool + in_slots + held + paid`.
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
    /// Units of unpaid orders.
    pub held: u64,
    /// Units of paid orders.
    pub paid: u64,
}

/// The result of an audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "ok": true, "checked_at": "2026-11-20T10:05:00.000Z", "repairs": 0, "findings": [], "notices": [],
    "items": [{"sale": "spring", "item": "phone", "total": 100, "pool": 0, "in_slots": 0, "held": 90, "paid": 10}]
})))]
pub struct Audit {
    /// `true` if there are no findings.
    pub ok: bool,
    /// When the numbers were read.
    pub checked_at: Time,
    /// The number of repairs since the store was created. In a repair, the server closes a grant
    /// because the grant's slot failed.
    pub repairs: u64,
    /// The violated invariants.
    pub findings: Vec<Finding>,
    /// Notices of unusual payments and of changes of the database.
    pub notices: Vec<Notice>,
    /// The units of each item by location.
    pub items: Vec<AuditItem>,
}
