//! A sale as operators see it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::front_door::FrontDoor;
use crate::sale::Phase;
use crate::value::{Money, Stock, Time};

/// A sale with everything that operators set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "spring", "title": "Spring drop", "phase": "draft", "starts_at": "2026-11-20T10:00:00.000Z",
    "ends_at": null,
    "items": [{"id": "phone", "title": "Phone", "price": {"amount_minor": 10, "currency": "CNY"}, "stock": 100,
               "limit_per_buyer": 10, "hold_secs": 900, "description": "", "image": null, "list_price": null}],
    "front_door": {"pass": "off", "challenge": "off", "pow_effort": 5000, "members_only": false, "min_level": 0, "access_codes": "off",
                   "waiting_room": "off", "limits": {}}
})))]
pub struct AdminSale {
    /// The sale's name.
    pub id: String,
    /// What it is called on the page.
    pub title: String,
    /// Where it stands.
    pub phase: Phase,
    /// When it opens, if that is fixed.
    #[schema(required = true)]
    pub starts_at: Option<Time>,
    /// When it closes, if that is fixed.
    #[schema(required = true)]
    pub ends_at: Option<Time>,
    /// What is on sale.
    pub items: Vec<AdminItem>,
    /// What buyers have to bring.
    pub front_door: FrontDoor,
}

/// An item with everything that operators set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminItem {
    /// The item's name within its sale.
    pub id: String,
    /// What it is called on the page.
    pub title: String,
    /// Price of one unit.
    pub price: Money,
    /// All units there are now, adjustments included.
    pub stock: Stock,
    /// Most units that one buyer may have.
    #[schema(minimum = 1)]
    pub limit_per_buyer: u32,
    /// How long reserved units are held for payment, in seconds.
    #[schema(minimum = 1)]
    pub hold_secs: u32,
    /// A longer text, maybe empty.
    pub description: String,
    /// Address of a picture.
    #[schema(required = true)]
    pub image: Option<String>,
    /// What it costs elsewhere, to compare.
    #[schema(required = true)]
    pub list_price: Option<Money>,
}

/// A page of sales.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminSaleList {
    /// The sales of this page.
    pub sales: Vec<AdminSale>,
    /// Give it as `cursor` to read on; `null` at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}
