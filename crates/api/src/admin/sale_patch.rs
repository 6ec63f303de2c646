//! Changes to a sale, as a JSON merge patch (RFC 7396): a member left out stays, `null` clears, a value replaces.

use utoipa::ToSchema;

use super::sale::FrontDoor;
use crate::value::{Money, Stock, Time};

/// What a merge patch says of one member that may also be cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// Left out: it stays.
    #[default]
    Keep,
    /// `null`: it is cleared.
    Clear,
    /// A value: it is replaced.
    Set(T),
}

impl<T> Change<T> {
    /// The value after the change, given the one before it.
    pub fn apply(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Keep => before,
            Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }

    /// Whether it changes nothing.
    pub const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }
}

/// Changes to a sale. Titles, times and texts may change at any time, prices and limits before the sale opens.
#[derive(Clone, Debug, Default, PartialEq, Eq, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(
    json!({"title": "Spring drop, again"}),
    json!({"ends_at": null, "items": [{"id": "phone", "price": {"amount_minor": 12, "currency": "CNY"}}]})
))]
pub struct SalePatch {
    /// What it is called on the page.
    #[schema(schema_with = super::schema::title, required = false)]
    pub title: Option<String>,
    /// When it opens.
    #[schema(value_type = Option<Time>, required = false)]
    pub starts_at: Change<Time>,
    /// When it closes; after `starts_at`.
    #[schema(value_type = Option<Time>, required = false)]
    pub ends_at: Change<Time>,
    /// Changes to items, found by their ids. Items not named here stay as they are.
    #[schema(min_items = 1, max_items = 100, required = false)]
    pub items: Vec<ItemPatch>,
    /// What buyers have to bring; everything is off in this version. `null` turns everything off.
    #[schema(schema_with = super::schema::nullable_front_door, required = false)]
    pub front_door: Option<FrontDoor>,
}

/// Changes to the item called `id`.
#[derive(Clone, Debug, Default, PartialEq, Eq, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemPatch {
    /// Which item.
    #[schema(schema_with = super::schema::name)]
    pub id: String,
    /// What it is called on the page.
    #[schema(schema_with = super::schema::title, required = false)]
    pub title: Option<String>,
    /// A longer text; `null` makes it empty.
    #[schema(schema_with = super::schema::nullable_description, required = false)]
    pub description: Option<String>,
    /// Address of a picture.
    #[schema(schema_with = super::schema::image, required = false)]
    pub image: Change<String>,
    /// Price of one unit; before the sale opens.
    #[schema(schema_with = super::schema::price, required = false)]
    pub price: Option<Money>,
    /// What it costs elsewhere, to compare; before the sale opens.
    #[schema(schema_with = super::schema::nullable_price, required = false)]
    pub list_price: Change<Money>,
    /// Most units that one buyer may have; before the sale opens.
    #[schema(minimum = 1, maximum = 1_000_000, required = false)]
    pub limit_per_buyer: Option<u32>,
    /// How long reserved units are held for payment, in seconds; before the sale opens.
    #[schema(minimum = 1, maximum = 86_400, required = false)]
    pub hold_secs: Option<u32>,
    /// Only the stock it already has: stock is changed by an adjustment.
    #[schema(value_type = Stock, required = false)]
    pub stock: Option<Stock>,
}

impl SalePatch {
    /// Whether it changes nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
