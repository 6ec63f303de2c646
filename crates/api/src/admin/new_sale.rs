//! A sale to create.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::front_door::{self, FrontDoor};
use crate::body::{self, Faults, Object, read, text};
use crate::limits::{
    HOLD_SECS_DEFAULT, HOLD_SECS_MAX, LIMIT_PER_BUYER_DEFAULT, LIMIT_PER_BUYER_MAX,
};
use crate::problem::Problem;
use crate::sale::{Fact, Picture};
use crate::value::{Money, Stock, Text, Time};

/// A sale to create; it starts as a draft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({
    "id": "spring", "title": "Spring drop", "starts_at": "2026-11-20T10:00:00.000Z", "ends_at": null,
    "items": [{"id": "phone", "title": "Phone", "price": {"amount_minor": 10, "currency": "CNY"}, "stock": 100,
               "limit_per_buyer": 10, "hold_secs": 900, "description": "", "image": null, "list_price": null}]
})))]
pub struct NewSale {
    /// The sale's name; it cannot be changed.
    #[schema(schema_with = super::schema::new_name)]
    pub id: String,
    /// The title on the page.
    #[schema(schema_with = super::schema::title)]
    pub title: Text,
    /// When the sale opens.
    #[schema(default = json!(null))]
    pub starts_at: Option<Time>,
    /// When the sale closes. The time must be after `starts_at`.
    #[schema(default = json!(null))]
    pub ends_at: Option<Time>,
    /// The items. Two items must not have the same id.
    #[schema(min_items = 1, max_items = 100)]
    pub items: Vec<NewItem>,
    /// What the sale requires of its buyers.
    #[schema(schema_with = super::schema::front_door, required = false)]
    pub front_door: FrontDoor,
}

/// An item of a new sale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewItem {
    /// The item's name within its sale; it cannot be changed.
    #[schema(schema_with = super::schema::new_name)]
    pub id: String,
    /// The title on the page.
    #[schema(schema_with = super::schema::title)]
    pub title: Text,
    /// Price of one unit.
    #[schema(schema_with = super::schema::price)]
    pub price: Money,
    /// The number of units.
    pub stock: Stock,
    /// The largest number of units that one buyer may have.
    #[schema(minimum = 1, maximum = 1_000_000, default = 1, required = false)]
    pub limit_per_buyer: u32,
    /// How long reserved units are held for payment, in seconds.
    #[schema(minimum = 1, maximum = 86_400, default = 900, required = false)]
    pub hold_secs: u32,
    /// The description of the item.
    #[schema(schema_with = super::schema::page_description, required = false)]
    pub description: Text,
    /// URL of a picture.
    #[schema(schema_with = super::schema::image, required = false)]
    pub image: Option<String>,
    /// Further pictures, shown after `image`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(schema_with = super::schema::gallery, required = false)]
    pub gallery: Vec<Picture>,
    /// Facts about the product, shown as a table.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(schema_with = super::schema::facts, required = false)]
    pub facts: Vec<Fact>,
    /// A price for comparison, such as the usual price.
    #[schema(schema_with = super::schema::nullable_price, required = false)]
    pub list_price: Option<Money>,
}

impl NewSale {
    /// Reads the body of `POST /v1/admin/sales` and fills in the defaults.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        body::object(
            bytes,
            &["id", "title", "starts_at", "ends_at", "items", "front_door"],
            |sale| {
                let id = sale.required("id", read::new_name);
                let title = sale.required("title", text::title);
                let starts_at = sale.optional("starts_at", None, read::nullable(read::time));
                let ends_at = sale.optional("ends_at", None, read::nullable(read::time));
                let items =
                    sale.required("items", read::distinct_list(item, |item: &NewItem| &item.id));
                let front_door =
                    sale.optional("front_door", FrontDoor::default(), front_door::read);
                check_order(sale, starts_at.flatten(), ends_at.flatten());
                Some(Self {
                    id: id?.into_owned(),
                    title: title?,
                    starts_at: starts_at?,
                    ends_at: ends_at?,
                    items: items?,
                    front_door: front_door?,
                })
            },
        )
    }
}

pub(super) fn check_order(
    sale: &mut Object<'_, '_>,
    starts_at: Option<Time>,
    ends_at: Option<Time>,
) {
    if starts_at.zip(ends_at).is_some_and(|(starts_at, ends_at)| ends_at <= starts_at) {
        sale.refuse::<()>("ends_at", "must be after starts_at");
    }
}

const ITEM: &[&str] = &[
    "id",
    "title",
    "price",
    "stock",
    "limit_per_buyer",
    "hold_secs",
    "description",
    "image",
    "gallery",
    "facts",
    "list_price",
];

fn item(raw: &RawValue, pointer: &str, faults: &mut Faults) -> Option<NewItem> {
    let mut item = Object::open(raw, pointer.to_owned(), ITEM, faults)?;
    let id = item.required("id", read::new_name);
    let title = item.required("title", text::title);
    let price = item.required("price", read::price);
    let stock = item.required("stock", read::stock);
    let limit = read::count(1..=LIMIT_PER_BUYER_MAX);
    let limit_per_buyer = item.optional("limit_per_buyer", LIMIT_PER_BUYER_DEFAULT, limit);
    let hold_secs = item.optional("hold_secs", HOLD_SECS_DEFAULT, read::count(1..=HOLD_SECS_MAX));
    let description = item.optional("description", Text::default(), text::description);
    let image = item.optional("image", None, read::nullable(read::image));
    let gallery = item.optional("gallery", Vec::new(), text::gallery);
    let facts = item.optional("facts", Vec::new(), text::facts);
    let list_price = item.optional("list_price", None, read::nullable(read::price));
    Some(NewItem {
        id: id?.into_owned(),
        title: title?,
        price: price?,
        stock: stock?,
        limit_per_buyer: limit_per_buyer?,
        hold_secs: hold_secs?,
        description: description?,
        image: image?,
        gallery: gallery?,
        facts: facts?,
        list_price: list_price?,
    })
}
