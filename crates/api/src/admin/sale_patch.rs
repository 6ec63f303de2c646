//! Changes to a sale, as a JSON merge patch (RFC 7396): an absent member keeps its value, `null`
//! clears the value, and a new value replaces it.

use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::front_door::{self, FrontDoorPatch};
use super::new_sale::check_order;
use crate::body::{self, Faults, MemberPatch, Object, TextPatch, read, text};
use crate::limits::{
    HOLD_SECS_DEFAULT, HOLD_SECS_MAX, LIMIT_PER_BUYER_DEFAULT, LIMIT_PER_BUYER_MAX,
};
use crate::problem::Problem;
use crate::sale::{Fact, Picture};
use crate::value::{Money, Stock, Time};

/// Changes to a sale. Titles, times and texts may change at any time. Prices, limits and hold times
/// may change only before the sale opens.
#[derive(Clone, Debug, Default, PartialEq, Eq, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(
    json!({"title": "Spring drop, again"}),
    json!({"ends_at": null, "items": [{"id": "phone", "price": {"amount_minor": 12, "currency": "CNY"}}]})
))]
pub struct SalePatch {
    /// The title on the page.
    #[schema(schema_with = super::schema::page_title_patch, required = false)]
    pub title: Option<TextPatch>,
    /// When the sale opens.
    #[schema(value_type = Option<Time>, required = false)]
    pub starts_at: MemberPatch<Time>,
    /// When the sale closes. The time must be after `starts_at`.
    #[schema(value_type = Option<Time>, required = false)]
    pub ends_at: MemberPatch<Time>,
    /// Changes to items. Each change has the `id` of its item. Other items do not change.
    #[schema(min_items = 1, max_items = 100, required = false)]
    pub items: Vec<ItemPatch>,
    /// Changes to the front door. Absent members do not change. `"front_door": null` turns every
    /// check off and restores the default rate limits.
    #[schema(schema_with = super::schema::front_door_patch, required = false)]
    pub front_door: MemberPatch<FrontDoorPatch>,
}

/// Changes to the item with this `id`.
#[derive(Clone, Debug, Default, PartialEq, Eq, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemPatch {
    /// The item's id.
    #[schema(schema_with = super::schema::name)]
    pub id: String,
    /// The title on the page.
    #[schema(schema_with = super::schema::page_title_patch, required = false)]
    pub title: Option<TextPatch>,
    /// The description of the item; `null` makes it empty.
    #[schema(schema_with = super::schema::page_description_patch, required = false)]
    pub description: Option<TextPatch>,
    /// URL of a picture.
    #[schema(schema_with = super::schema::image, required = false)]
    pub image: MemberPatch<String>,
    /// The pictures besides `image`. The new list replaces the whole list; `null` empties the list.
    #[schema(schema_with = super::schema::nullable_gallery, required = false)]
    pub gallery: Option<Vec<Picture>>,
    /// Facts about the product. The new list replaces the whole list; `null` empties the list.
    #[schema(schema_with = super::schema::nullable_facts, required = false)]
    pub facts: Option<Vec<Fact>>,
    /// Price of one unit. It can be changed until the sale opens.
    #[schema(schema_with = super::schema::price, required = false)]
    pub price: Option<Money>,
    /// A price for comparison. It can be changed until the sale opens.
    #[schema(schema_with = super::schema::nullable_price, required = false)]
    pub list_price: MemberPatch<Money>,
    /// The largest number of units that one buyer may have. It can be changed until the sale opens.
    /// `null` restores the default, 1.
    #[schema(minimum = 1, maximum = 1_000_000, required = false)]
    pub limit_per_buyer: Option<u32>,
    /// How long reserved units are held for payment, in seconds. It can be changed until the sale
    /// opens. `null` restores the default, 900.
    #[schema(minimum = 1, maximum = 86_400, required = false)]
    pub hold_secs: Option<u32>,
    /// Must equal the present stock, because only an adjustment changes the stock.
    #[schema(value_type = Stock, required = false)]
    pub stock: Option<Stock>,
}

impl SalePatch {
    /// Whether the patch changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl SalePatch {
    /// Reads the body of `PATCH /v1/admin/sales/{sale}`.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        body::object(bytes, &["title", "starts_at", "ends_at", "items", "front_door"], |sale| {
            let title = sale.optional("title", None, read::not_null(text::title_patch));
            let starts_at = sale.patched("starts_at", read::time);
            let ends_at = sale.patched("ends_at", read::time);
            let items = sale.optional(
                "items",
                Vec::new(),
                read::distinct_list(item, |item: &ItemPatch| &item.id),
            );
            let front_door = sale.patched("front_door", front_door::read_patch);
            check_order(
                sale,
                starts_at.and_then(MemberPatch::set),
                ends_at.and_then(MemberPatch::set),
            );
            Some(Self {
                title: title?,
                starts_at: starts_at?,
                ends_at: ends_at?,
                items: items?,
                front_door: front_door?,
            })
        })
    }
}

const ITEM: &[&str] = &[
    "id",
    "title",
    "description",
    "image",
    "gallery",
    "facts",
    "price",
    "list_price",
    "limit_per_buyer",
    "hold_secs",
    "stock",
];

fn item(raw: &RawValue, pointer: &str, faults: &mut Faults) -> Option<ItemPatch> {
    let mut item = Object::open(raw, pointer.to_owned(), ITEM, faults)?;
    let id = item.required("id", read::name);
    let title = item.optional("title", None, read::not_null(text::title_patch));
    let description = item.optional("description", None, read::not_null(text::description_patch));
    let image = item.patched("image", read::image);
    let gallery = item.patched("gallery", text::gallery);
    let facts = item.patched("facts", text::facts);
    let price = item.optional("price", None, read::not_null(read::price));
    let list_price = item.patched("list_price", read::price);
    let limit_per_buyer = item.patched("limit_per_buyer", read::count(1..=LIMIT_PER_BUYER_MAX));
    let hold_secs = item.patched("hold_secs", read::count(1..=HOLD_SECS_MAX));
    let stock = item.optional("stock", None, read::not_null(read::stock));
    Some(ItemPatch {
        id: id?.into_owned(),
        title: title?,
        description: description?,
        image: image?,
        gallery: gallery?.or_cleared(Vec::new()),
        facts: facts?.or_cleared(Vec::new()),
        price: price?,
        list_price: list_price?,
        limit_per_buyer: limit_per_buyer?.or_cleared(LIMIT_PER_BUYER_DEFAULT),
        hold_secs: hold_secs?.or_cleared(HOLD_SECS_DEFAULT),
        stock: stock?,
    })
}
