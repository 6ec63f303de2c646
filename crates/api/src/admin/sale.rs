//! A sale as operators see it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::front_door::FrontDoor;
use crate::sale::{Fact, Phase, Picture};
use crate::value::{Money, Stock, Text, Time};

/// A sale with all its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "spring", "title": "Spring drop", "phase": "draft", "starts_at": "2026-11-20T10:00:00.000Z",
    "ends_at": null,
    "items": [{"id": "phone", "title": "Phone", "price": {"amount_minor": 10, "currency": "CNY"}, "stock": 100,
               "limit_per_buyer": 10, "hold_secs": 900, "description": "", "image": null, "list_price": null}],
    "front_door": {"pass": "off", "challenge": "off", "pow_effort": 5000, "members_only": false, "min_level": 0, "access_codes": "off",
                   "waiting_room": "off", "rooms": "sale", "limits": {}}
})))]
pub struct AdminSale {
    /// The sale's name.
    pub id: String,
    /// The title on the page.
    pub title: Text,
    /// The sale's phase.
    pub phase: Phase,
    /// When the sale opens; `null` if no time is set.
    #[schema(required = true)]
    pub starts_at: Option<Time>,
    /// When the sale closes; `null` if no time is set.
    #[schema(required = true)]
    pub ends_at: Option<Time>,
    /// The items on sale.
    pub items: Vec<AdminItem>,
    /// What the sale requires of its buyers.
    pub front_door: FrontDoor,
}

/// An item with all its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminItem {
    /// The item's name within its sale.
    pub id: String,
    /// The title on the page.
    pub title: Text,
    /// Price of one unit.
    pub price: Money,
    /// All units, including adjustments.
    pub stock: Stock,
    /// The largest number of units that one buyer may have.
    #[schema(minimum = 1)]
    pub limit_per_buyer: u32,
    /// How long reserved units are held for payment, in seconds.
    #[schema(minimum = 1)]
    pub hold_secs: u32,
    /// The description of the item, possibly empty.
    pub description: Text,
    /// URL of a picture.
    #[schema(required = true)]
    pub image: Option<String>,
    /// Further pictures, shown after `image`; absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub gallery: Vec<Picture>,
    /// Facts about the product, shown as a table; absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub facts: Vec<Fact>,
    /// A price for comparison, such as the usual price.
    #[schema(required = true)]
    pub list_price: Option<Money>,
}

/// A page of sales.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminSaleList {
    /// The sales of this page.
    pub sales: Vec<AdminSale>,
    /// The `cursor` of the next page; `null` on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}
