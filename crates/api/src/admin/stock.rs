//! The units of a sale by location, and adjustments of the stock.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::body::{self, read};
use crate::limits::STOCK_MAX;
use crate::problem::Problem;

pub use doorbuster_types::Counter;

/// A change of an item's stock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"units": 50, "reason": "recount"}), json!({"units": -20, "reason": "damaged"})))]
pub struct Adjustment {
    /// The number of units to add. A negative number removes units. 0 is invalid.
    #[schema(schema_with = crate::admin::schema::adjustment_units)]
    pub units: i64,
    /// The reason, for the ledger.
    #[schema(schema_with = crate::admin::schema::title)]
    pub reason: String,
}

impl Adjustment {
    /// Reads the body of an adjustment.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        let most = i64::from(STOCK_MAX);
        body::object(bytes, &["units", "reason"], |body| {
            let units = body.required("units", read::integer(-most..=most));
            if units == Some(0) {
                body.refuse::<()>("units", "must not be 0");
            }
            let reason = body.required("reason", read::title);
            Some(Self { units: units?, reason: reason? })
        })
    }
}

/// The units of one item by location: `total = pool + in_slots + held + paid`, at every instant.
/// Kept units are in the pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({"item": "phone", "total": 100, "pool": 40, "in_slots": 20, "held": 30, "paid": 10, "kept": 0, "waiting": 0})))]
pub struct StockRow {
    /// The item.
    pub item: String,
    /// All units; `null` for unlimited stock.
    #[schema(required = true)]
    pub total: Option<u64>,
    /// Units in the pool; `null` for unlimited stock.
    #[schema(required = true)]
    pub pool: Option<u64>,
    /// Units in slots, and units of tickets that are not settled; `null` for unlimited stock.
    #[schema(required = true)]
    pub in_slots: Option<u64>,
    /// Units of unpaid orders.
    pub held: u64,
    /// Units of paid orders.
    pub paid: u64,
    /// Units in the pool that are kept for the waitlist. While the sale is open, the server turns
    /// kept units into orders at once.
    #[serde(default)]
    #[schema(required = true)]
    pub kept: u64,
    /// Entries in the item's waitlist.
    #[serde(default)]
    #[schema(required = true)]
    pub waiting: u64,
}

/// One snapshot of a sale's stock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StockList {
    /// One row for each item.
    pub items: Vec<StockRow>,
}

/// Units that a slot still has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Available {
    /// The units of a slot with one counter.
    One(u64),
    /// The units of a slot with two counters.
    Two {
        /// Units in the first counter.
        a: u64,
        /// Units in the second counter.
        b: u64,
    },
}

/// One slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "slot": "node-1:spring:phone", "item": "phone", "partition": 0, "epoch": 3, "granted": 100, "settled": 40,
    "open": true, "leaving": false, "active": null, "available": 60, "refills": 2, "recalls": 0
})))]
pub struct SlotRow {
    /// The slot's name.
    pub slot: String,
    /// The item that the slot sells.
    pub item: String,
    /// The number of the partition.
    pub partition: u32,
    /// The present epoch. It grows with every grant.
    pub epoch: u64,
    /// Units given to the slot under its present grant.
    pub granted: u64,
    /// Units that became orders under the present grant.
    pub settled: u64,
    /// Whether the grant is open.
    pub open: bool,
    /// Whether the slot is no longer in the item's spread. The server drains such a slot and then
    /// removes it.
    #[serde(default)]
    #[schema(required = true)]
    pub leaving: bool,
    /// The active counter; `null` for a slot with one counter.
    #[schema(required = true)]
    pub active: Option<Counter>,
    /// Units that the slot still has; `null` while the slot does not answer, and for an item with
    /// unlimited stock.
    #[schema(required = true)]
    pub available: Option<Available>,
    /// Number of refills under the present grant.
    #[serde(default)]
    #[schema(required = true)]
    pub refills: u64,
    /// Number of completed recalls under the present grant.
    #[serde(default)]
    #[schema(required = true)]
    pub recalls: u64,
}

/// The slots of a sale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotList {
    /// One row for each slot.
    pub slots: Vec<SlotRow>,
}
