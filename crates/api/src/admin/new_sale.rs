//! A sale to be made.

use serde::Serialize;
use utoipa::ToSchema;

use super::sale::FrontDoor;
use crate::value::{Money, Stock, Time};

/// A sale to be made; it begins as a draft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({
    "id": "spring", "title": "Spring drop", "starts_at": "2026-11-20T10:00:00.000Z", "ends_at": null,
    "items": [{"id": "phone", "title": "Phone", "price": {"amount_minor": 10, "currency": "CNY"}, "stock": 100,
               "limit_per_buyer": 10, "hold_secs": 900, "description": "", "image": null, "list_price": null}]
})))]
pub struct NewSale {
    /// The sale's name, for good.
    #[schema(schema_with = super::schema::name)]
    pub id: String,
    /// What it is called on the page.
    #[schema(schema_with = super::schema::title)]
    pub title: String,
    /// When it opens.
    #[schema(default = json!(null))]
    pub starts_at: Option<Time>,
    /// When it closes; after `starts_at`.
    #[schema(default = json!(null))]
    pub ends_at: Option<Time>,
    /// What is on sale; no two items with the same id.
    #[schema(min_items = 1, max_items = 100)]
    pub items: Vec<NewItem>,
    /// What buyers have to bring; everything is off in this version.
    #[schema(schema_with = super::schema::front_door, required = false)]
    pub front_door: FrontDoor,
}

/// An item of a sale to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewItem {
    /// The item's name within its sale, for good.
    #[schema(schema_with = super::schema::name)]
    pub id: String,
    /// What it is called on the page.
    #[schema(schema_with = super::schema::title)]
    pub title: String,
    /// Price of one unit.
    #[schema(schema_with = super::schema::price)]
    pub price: Money,
    /// How many units there are.
    pub stock: Stock,
    /// Most units that one buyer may have.
    #[schema(minimum = 1, maximum = 1_000_000, default = 1, required = false)]
    pub limit_per_buyer: u32,
    /// How long reserved units are held for payment, in seconds.
    #[schema(minimum = 1, maximum = 86_400, default = 900, required = false)]
    pub hold_secs: u32,
    /// A longer text.
    #[schema(schema_with = super::schema::description, required = false)]
    pub description: String,
    /// Address of a picture.
    #[schema(schema_with = super::schema::image, required = false)]
    pub image: Option<String>,
    /// What it costs elsewhere, to compare.
    #[schema(schema_with = super::schema::nullable_price, required = false)]
    pub list_price: Option<Money>,
}
