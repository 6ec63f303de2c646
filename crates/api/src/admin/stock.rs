//! Where the units of a sale are, and adjustments of how many there are.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::body::{self, read};
use crate::limits::STOCK_MAX;
use crate::problem::Problem;

/// More or fewer units for an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"units": 50, "reason": "recount"}), json!({"units": -20, "reason": "damaged"})))]
pub struct Adjustment {
    /// Units to add, or with a minus to take away; not 0.
    #[schema(schema_with = crate::admin::schema::adjustment_units)]
    pub units: i64,
    /// Why, for the ledger.
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
                body.fault("units", "must not be 0");
            }
            let reason = body.required("reason", read::title);
            Some(Self { units: units?, reason: reason? })
        })
    }
}

/// Where the units of one item are: `total = pool + in_slots + held + paid`, at every instant;
/// those that are kept lie in the pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({"item": "phone", "total": 100, "pool": 40, "in_slots": 20, "held": 30, "paid": 10, "kept": 0, "waiting": 0})))]
pub struct StockRow {
    /// The item.
    pub item: String,
    /// All units; `null` for unlimited stock.
    #[schema(required = true)]
    pub total: Option<u64>,
    /// Units not yet given to a slot; `null` for unlimited stock.
    #[schema(required = true)]
    pub pool: Option<u64>,
    /// Units that a slot may still hand out, and tickets not yet settled; `null` for unlimited
    /// stock.
    #[schema(required = true)]
    pub in_slots: Option<u64>,
    /// Units reserved and unpaid.
    pub held: u64,
    /// Units paid.
    pub paid: u64,
    /// Units of the pool that are kept for those in line; their orders follow at once while the
    /// sale is open.
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

/// Which of a partition's two counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Counter {
    /// The first.
    A,
    /// The second.
    B,
}

/// What a slot may still hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Available {
    /// A slot with one counter.
    One(u64),
    /// A slot with two.
    Two {
        /// Units in the first.
        a: u64,
        /// Units in the second.
        b: u64,
    },
}

/// One slot: a small counter close to the crowd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "slot": "node-1:spring:phone", "item": "phone", "partition": 0, "epoch": 3, "granted": 100, "settled": 40,
    "open": true, "active": null, "available": 60, "refills": 2, "recalls": 0
})))]
pub struct SlotRow {
    /// The slot's name.
    pub slot: String,
    /// The item it hands out.
    pub item: String,
    /// Which partition of the item's stock it is.
    pub partition: u32,
    /// Its present epoch; grows when it is begun anew.
    pub epoch: u64,
    /// Units given to it under its present grant.
    pub granted: u64,
    /// Units of these that became orders.
    pub settled: u64,
    /// Whether the grant is open.
    pub open: bool,
    /// Which counter hands out; `null` for a slot with one.
    #[schema(required = true)]
    pub active: Option<Counter>,
    /// What it may still hand out; `null` while it cannot be asked.
    #[schema(required = true)]
    pub available: Option<Available>,
    /// Times that units of the pool were added, under its present grant.
    #[serde(default)]
    #[schema(required = true)]
    pub refills: u64,
    /// Times that it was asked for units back and answered, under its present grant.
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
