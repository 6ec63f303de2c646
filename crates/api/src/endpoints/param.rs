//! Parameters of endpoints: in the path, in the query, in headers.

use utoipa::openapi::{
    ArrayBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, RefOr, Schema, SchemaFormat, Type,
};

use crate::admin::dead_letters::DeadLetterKind;
use crate::admin::webhooks::DeliveryState;
use crate::header::{IDEMPOTENCY_KEY, KEY_PATTERN, ORDER_KEY, PURCHASE_PASS};
use crate::limits::{
    ACTION_FILTER_BYTES_MAX, CURSOR_BYTES_MAX, EVENT_SALES_MAX, ORDER_TEXT_CHARS_MAX, PAGE_DEFAULT,
    PAGE_MAX, SEARCH_CHARS_MAX, SERIES_STEPS,
};
use crate::order::OrderState;
use crate::sale::Phase;
use crate::value::NAME_PATTERN;

/// An order's id as a provider may write it.
const ORDER_TEXT_PATTERN: &str = r"^[^\u0000-\u001F\u007F]+$";

/// Where a parameter is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamLocation {
    /// In the path.
    Path,
    /// In the query.
    Query,
    /// In a header.
    Header,
}

/// Defines `Param`. The description in a row is also the documentation of the row's variant.
macro_rules! params {
    ($($variant:ident($at:ident, $name:expr, $about:literal, $example:expr, $schema:expr),)+) => {
        /// One parameter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Param {
            $(#[doc = $about] $variant,)+
        }

        impl Param {
            const ALL: &[Self] = &[$(Self::$variant),+];

            fn facts(self) -> ParamFacts {
                match self {
                    $(Self::$variant => ParamFacts {
                        name: $name,
                        location: ParamLocation::$at,
                        description: $about,
                        example: || $example.into(),
                        schema: || $schema.into(),
                    },)+
                }
            }
        }
    };
}

params! {
    PathSale(Path, "sale", "The sale's name.", "spring", name()),
    PathItem(Path, "item", "The item's name within its sale.", "phone", name()),
    PathOrder(
        Path, "order", "The id in the response to the purchase.", EXAMPLE_ORDER,
        pattern("^ord_[A-Za-z0-9_-]{1,64}$")
    ),
    PathKey(
        Path, "key", "The key's id, not the key itself.", "key_8Qm2Zr",
        pattern("^key_[A-Za-z0-9_-]{1,64}$")
    ),
    PathBlock(
        Path, "block", "The block's id.", "blk_0c9d8e7a65b1", pattern("^blk_[0-9a-f]{12}$")
    ),
    PathEndpoint(
        Path, "endpoint", "The endpoint's id.", "end_8Qm2Zr0aT1kP",
        pattern("^end_[A-Za-z0-9_-]{1,64}$")
    ),
    PathLetter(
        Path, "letter", "The dead letter's id.", "dlv_7",
        pattern("^(dlv|ref|ord)_[A-Za-z0-9_-]{1,64}$")
    ),
    PathBuyer(Path, "buyer", "The buyer's id.", "alice", name()),
    PathPrefix(
        Path, "prefix", "A whole code, or the first 1 to 4 characters of several codes.", "7K2M",
        pattern("^[0-9A-Za-z -]{1,64}$")
    ),
    By(
        Query, "by", "Only actions with this value of `by`, such as the id of a key.",
        "key_8Qm2Zr", visible(ACTION_FILTER_BYTES_MAX)
    ),
    Action(
        Query, "action", "Only this action.", "sale.opened", visible(ACTION_FILTER_BYTES_MAX)
    ),
    Subject(
        Query, "subject", "Only actions on this subject.", "sale:spring",
        visible(ACTION_FILTER_BYTES_MAX)
    ),
    Search(
        Query, "q",
        "Only sales with this text in the title of the sale or of an item. The search ignores \
         case.",
        "phone", pattern(ORDER_TEXT_PATTERN).max_length(Some(SEARCH_CHARS_MAX))
    ),
    From(
        Query, "from", "The start of the time series. The default is one hour before `to`.",
        "2026-11-20T10:00:00.000Z", time()
    ),
    To(
        Query, "to", "The end of the time series. The default is the present time.",
        "2026-11-20T11:00:00.000Z", time()
    ),
    Step(
        Query, "step", "The length of a step of the time series, in seconds.", 1,
        whole_number()
            .enum_values(Some(SERIES_STEPS))
            .default(Some(SERIES_STEPS[0].into()))
    ),
    Sale(Query, "sale", "Only objects of this sale.", "spring", name()),
    Item(Query, "item", "Only objects of this item.", "phone", name()),
    RoomItem(
        Query, "item",
        "The item whose waiting room is requested. Required if each item of the sale has a \
         waiting room.",
        "phone", name()
    ),
    Buyer(Query, "buyer", "Only objects of this buyer.", "alice", name()),
    Order(
        Query, "order", "Only payments or refunds that name this order.", EXAMPLE_ORDER,
        pattern(ORDER_TEXT_PATTERN).max_length(Some(ORDER_TEXT_CHARS_MAX))
    ),
    State(
        Query, "state", "Only orders in this state.", "reserved",
        text().enum_values(Some(OrderState::ALL.map(OrderState::as_str)))
    ),
    DeliveryState(
        Query, "state", "Only deliveries in this state.", "pending",
        text().enum_values(Some(DeliveryState::ALL.map(DeliveryState::as_str)))
    ),
    DeadLetterKind(
        Query, "kind", "Only dead letters of this kind.", "delivery",
        text().enum_values(Some(DeadLetterKind::ALL.map(DeadLetterKind::as_str)))
    ),
    Phase(
        Query, "phase", "Only sales in this phase.", "open",
        text().enum_values(Some(Phase::ALL.map(Phase::as_str)))
    ),
    Cursor(
        Query, "cursor", "The `next_cursor` of the previous page.", "b3JkXzE",
        visible(CURSOR_BYTES_MAX)
    ),
    Limit(
        Query, "limit", "The largest number of entries to return.", PAGE_DEFAULT,
        whole_number()
            .minimum(Some(1))
            .maximum(Some(PAGE_MAX))
            .default(Some(PAGE_DEFAULT.into()))
    ),
    Follow(
        Query, "sale", "A sale to follow. Repeat the parameter for more sales.", ["spring"], name()
    ),
    IdempotencyKey(
        Header, IDEMPOTENCY_KEY,
        "A key of 1 to 64 visible ASCII characters. Choose a new key for each purchase or change, \
         and send the same key when you repeat a request. Send this header only once.",
        "5b1f6f0e-press-1", pattern(KEY_PATTERN)
    ),
    Prefer(
        Header, "Prefer",
        "`wait=N`: the server waits up to N seconds, 0 to 30, for the verdict; 2 by default. \
         `respond-async`: the server does not wait. The server ignores other values.",
        "wait=2", text()
    ),
    PurchasePass(
        Header, PURCHASE_PASS,
        "A pass for this buyer, sale and item, required if the sale requires a pass. A pass \
         contains its buyer's id, so you may leave `Authorization` out. If you send both headers, \
         they must be for the same buyer.",
        "AfPcAaH7hTgAAaH7hqyAAQdhbm5h0n8m0B2sT9zjzqTb3rT3Qw", pattern("^[A-Za-z0-9_-]+$")
    ),
    OrderKey(
        Header, ORDER_KEY,
        "The key in the link to the order. With any other key, the response is `404`.",
        "0f1e2d3c4b5a69788796a5b4c3d2e1f0", pattern("^[0-9a-f]{32}$")
    ),
    IfMatch(
        Header, "If-Match", "The server makes the change only if the object still has this `ETag`.",
        "\"3\"", text()
    ),
    IfNoneMatch(
        Header, "If-None-Match", "The server answers `304` if the object still has this `ETag`.",
        "\"3\"", text()
    ),
    LastEventId(
        Header, "Last-Event-ID",
        "The id of the last event that the client received before it reconnected. The stream sends \
         the later events about the buyer's own orders, if the node still has them.",
        "1795000000000042", text()
    ),
}

struct ParamFacts {
    name: &'static str,
    location: ParamLocation,
    description: &'static str,
    example: fn() -> serde_json::Value,
    /// The schema of a value that is not empty.
    schema: fn() -> Schema,
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn pattern(pattern: &str) -> ObjectBuilder {
    text().pattern(Some(pattern))
}

fn name() -> ObjectBuilder {
    pattern(NAME_PATTERN)
}

fn visible(bytes_max: usize) -> ObjectBuilder {
    pattern("^[!-~]+$").max_length(Some(bytes_max))
}

fn time() -> ObjectBuilder {
    text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
}

fn whole_number() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer)
}

impl Param {
    /// The path parameter with this name.
    #[must_use]
    pub fn from_path_name(name: &str) -> Option<Self> {
        let is_named =
            |param: &Self| param.location() == ParamLocation::Path && param.name() == name;
        Self::ALL.iter().copied().find(is_named)
    }

    /// The name in the request.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// The part of the request that contains the parameter.
    #[must_use]
    pub fn location(self) -> ParamLocation {
        self.facts().location
    }

    /// Whether the parameter is required.
    #[must_use]
    pub fn is_required(self) -> bool {
        matches!(self.location(), ParamLocation::Path)
            || matches!(self, Self::IdempotencyKey | Self::OrderKey)
    }

    /// Whether the server answers an invalid value with `422`. Of the headers, only an invalid
    /// `Idempotency-Key` gets `422`. An invalid path gets `404`.
    #[must_use]
    pub fn can_be_invalid(self) -> bool {
        matches!(self.location(), ParamLocation::Query) || matches!(self, Self::IdempotencyKey)
    }

    /// The parameter's description in the OpenAPI document.
    #[must_use]
    pub fn description(self) -> &'static str {
        self.facts().description
    }

    /// An example of a value.
    #[must_use]
    pub fn example(self) -> serde_json::Value {
        (self.facts().example)()
    }

    /// The schema of the parameter's value. An empty query value counts as absent.
    #[must_use]
    pub fn schema(self) -> Schema {
        let value = (self.facts().schema)();
        let or_empty =
            |value: Schema| OneOfBuilder::new().item(value).item(text().max_length(Some(0)));
        match self.location() {
            ParamLocation::Query if self == Self::Follow => ArrayBuilder::new()
                .items(RefOr::T(or_empty(value).into()))
                .max_items(Some(EVENT_SALES_MAX))
                .into(),
            ParamLocation::Query => or_empty(value).into(),
            ParamLocation::Path | ParamLocation::Header => value,
        }
    }
}

pub(crate) const EXAMPLE_ORDER: &str = "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa";
