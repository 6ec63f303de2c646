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

/// An order's id as a provider may write it: any text without control characters.
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

/// One parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Param {
    /// Path: the sale's name.
    PathSale,
    /// Path: the item's name.
    PathItem,
    /// Path: the order's id.
    PathOrder,
    /// Path: the operator key's id.
    PathKey,
    /// Path: the block's id.
    PathBlock,
    /// Path: the id of an endpoint that receives events.
    PathEndpoint,
    /// Path: the dead letter's id.
    PathLetter,
    /// Path: the buyer's id.
    PathBuyer,
    /// Path: the first characters of access codes, or a whole code.
    PathPrefix,
    /// Query: only actions of this operator.
    By,
    /// Query: only actions with this name, such as `sale.opened`.
    Action,
    /// Query: only actions on this subject.
    Subject,
    /// Query: only sales with this text in a title.
    Search,
    /// Query: the start of the time series.
    From,
    /// Query: the end of the time series.
    To,
    /// Query: the length of a step of the time series.
    Step,
    /// Query: only objects of this sale.
    Sale,
    /// Query: only objects of this item.
    Item,
    /// Query: the item whose waiting room is requested.
    RoomItem,
    /// Query: only objects of this buyer.
    Buyer,
    /// Query: only payments or refunds that name this order.
    Order,
    /// Query: only orders in this state.
    State,
    /// Query: only deliveries in this state.
    DeliveryState,
    /// Query: only dead letters of this kind.
    DeadLetterKind,
    /// Query: only sales in this phase.
    Phase,
    /// Query: the cursor of the requested page.
    Cursor,
    /// Query: the largest number of entries to return.
    Limit,
    /// Query: a sale whose status the stream sends; may be repeated.
    Follow,
    /// Header: the key that a client sends again when it repeats a request.
    IdempotencyKey,
    /// Header: how long to wait for the verdict.
    Prefer,
    /// Header: the purchase pass.
    PurchasePass,
    /// Header: the key in the link to an order.
    OrderKey,
    /// Header: the server makes the change only if the object still has this `ETag`.
    IfMatch,
    /// Header: the server sends the object only if the object no longer has this `ETag`.
    IfNoneMatch,
    /// Header: the id of the last event that the client received.
    LastEventId,
}

impl Param {
    /// The path parameter with this name.
    #[must_use]
    pub fn from_path_name(name: &str) -> Option<Self> {
        const ALL: [Param; 9] = [
            Param::PathSale,
            Param::PathItem,
            Param::PathOrder,
            Param::PathKey,
            Param::PathBlock,
            Param::PathEndpoint,
            Param::PathLetter,
            Param::PathBuyer,
            Param::PathPrefix,
        ];
        ALL.into_iter().find(|param| param.name() == name)
    }

    /// The name in the request.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PathSale | Self::Sale | Self::Follow => "sale",
            Self::PathItem | Self::Item | Self::RoomItem => "item",
            Self::PathOrder | Self::Order => "order",
            Self::PathKey => "key",
            Self::PathBlock => "block",
            Self::PathEndpoint => "endpoint",
            Self::PathLetter => "letter",
            Self::PathPrefix => "prefix",
            Self::By => "by",
            Self::Action => "action",
            Self::Subject => "subject",
            Self::Search => "q",
            Self::From => "from",
            Self::To => "to",
            Self::Step => "step",
            Self::PathBuyer | Self::Buyer => "buyer",
            Self::State | Self::DeliveryState => "state",
            Self::DeadLetterKind => "kind",
            Self::Phase => "phase",
            Self::Cursor => "cursor",
            Self::Limit => "limit",
            Self::IdempotencyKey => IDEMPOTENCY_KEY,
            Self::Prefer => "Prefer",
            Self::PurchasePass => PURCHASE_PASS,
            Self::OrderKey => ORDER_KEY,
            Self::IfMatch => "If-Match",
            Self::IfNoneMatch => "If-None-Match",
            Self::LastEventId => "Last-Event-ID",
        }
    }

    /// The part of the request that has the parameter.
    #[must_use]
    pub const fn location(self) -> ParamLocation {
        match self {
            Self::PathSale
            | Self::PathItem
            | Self::PathOrder
            | Self::PathKey
            | Self::PathBlock
            | Self::PathEndpoint
            | Self::PathLetter
            | Self::PathBuyer
            | Self::PathPrefix => ParamLocation::Path,
            Self::IdempotencyKey
            | Self::Prefer
            | Self::PurchasePass
            | Self::OrderKey
            | Self::IfMatch
            | Self::IfNoneMatch
            | Self::LastEventId => ParamLocation::Header,
            _ => ParamLocation::Query,
        }
    }

    /// Whether the parameter is required.
    #[must_use]
    pub const fn is_required(self) -> bool {
        matches!(self.location(), ParamLocation::Path)
            || matches!(self, Self::IdempotencyKey | Self::OrderKey)
    }

    /// Whether the server answers an invalid value with `422`. The server does so for query
    /// parameters and for the header `Idempotency-Key`. Invalid values of other headers never cause
    /// a `422`. The answer to an invalid path is `404`.
    #[must_use]
    pub const fn can_be_invalid(self) -> bool {
        matches!(self.location(), ParamLocation::Query) || matches!(self, Self::IdempotencyKey)
    }

    /// The parameter's description in the OpenAPI document.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::PathSale => "The sale's name.",
            Self::PathItem => "The item's name within its sale.",
            Self::PathOrder => "The id in the response to the purchase.",
            Self::PathKey => "The key's id, not the key itself.",
            Self::PathBlock => "The block's id.",
            Self::PathEndpoint => "The endpoint's id.",
            Self::PathLetter => "The dead letter's id.",
            Self::PathBuyer => "The buyer's id.",
            Self::PathPrefix => "The first 1 to 4 characters of the codes, or a whole code.",
            Self::By => "Only actions with this value of `by`, such as the id of a key.",
            Self::Action => "Only this action.",
            Self::Subject => "Only actions on this subject.",
            Self::Search => {
                "Only sales with this text in the title of the sale or of an item. The search ignores case."
            }
            Self::From => "The start of the time series. The default is one hour before `to`.",
            Self::To => "The end of the time series. The default is the present time.",
            Self::Step => "The length of a step of the time series, in seconds.",
            Self::Sale => "Only objects of this sale.",
            Self::Item => "Only objects of this item.",
            Self::RoomItem => {
                "The item whose waiting room is requested. Required if each item of the sale has a waiting room."
            }
            Self::Buyer => "Only objects of this buyer.",
            Self::Order => "Only payments or refunds that name this order.",
            Self::State => "Only orders in this state.",
            Self::DeliveryState => "Only deliveries in this state.",
            Self::DeadLetterKind => "Only dead letters of this kind.",
            Self::Phase => "Only sales in this phase.",
            Self::Cursor => "The `next_cursor` of the previous page.",
            Self::Limit => "The largest number of entries to return.",
            Self::Follow => "A sale whose status the stream sends. May be repeated.",
            Self::IdempotencyKey => {
                "A key of 1 to 64 visible ASCII characters. Choose a new key for each purchase or change, and \
                 send the same key when you repeat a request. Send this header only once."
            }
            Self::Prefer => {
                "`wait=N`: wait up to N seconds, 0 to 30, for the verdict; 2 by default. `respond-async`: do not \
                 wait. The server ignores other values."
            }
            Self::PurchasePass => {
                "A pass for this buyer, sale and item, required if the sale requires a pass. A pass names its \
                 buyer, so you may leave `Authorization` out. If you send both headers, they must name the \
                 same buyer."
            }
            Self::OrderKey => {
                "The key in the link to the order. With another key, the response is `404`."
            }
            Self::IfMatch => {
                "The server makes the change only if the object still has this `ETag`."
            }
            Self::IfNoneMatch => "The server answers `304` if the object still has this `ETag`.",
            Self::LastEventId => {
                "The id of the last event that the client received before it reconnected. The stream sends \
                 the later events about the buyer's own orders that the node still keeps."
            }
        }
    }

    /// An example of a value.
    #[must_use]
    pub fn example(self) -> serde_json::Value {
        match self {
            Self::PathSale | Self::Sale => "spring".into(),
            Self::Follow => ["spring"].into(),
            Self::PathItem | Self::Item | Self::RoomItem => "phone".into(),
            Self::PathOrder | Self::Order => EXAMPLE_ORDER.into(),
            Self::PathKey => "key_8Qm2Zr".into(),
            Self::PathBlock => "blk_0c9d8e7a65b1".into(),
            Self::PathEndpoint => "end_8Qm2Zr0aT1kP".into(),
            Self::PathLetter => "dlv_7".into(),
            Self::PathBuyer | Self::Buyer => "alice".into(),
            Self::PathPrefix => "7K2M".into(),
            Self::By => "key_8Qm2Zr".into(),
            Self::Action => "sale.opened".into(),
            Self::Subject => "sale:spring".into(),
            Self::Search => "phone".into(),
            Self::From => "2026-11-20T10:00:00.000Z".into(),
            Self::To => "2026-11-20T11:00:00.000Z".into(),
            Self::Step => 1.into(),
            Self::State => "reserved".into(),
            Self::DeliveryState => "pending".into(),
            Self::DeadLetterKind => "delivery".into(),
            Self::Phase => "open".into(),
            Self::Cursor => "b3JkXzE".into(),
            Self::Limit => PAGE_DEFAULT.into(),
            Self::IdempotencyKey => "5b1f6f0e-press-1".into(),
            Self::Prefer => "wait=2".into(),
            Self::PurchasePass => "AfPcAaH7hTgAAaH7hqyAAQdhbm5h0n8m0B2sT9zjzqTb3rT3Qw".into(),
            Self::OrderKey => "0f1e2d3c4b5a69788796a5b4c3d2e1f0".into(),
            Self::IfMatch | Self::IfNoneMatch => "\"3\"".into(),
            Self::LastEventId => "1795000000000042".into(),
        }
    }

    /// The schema of the parameter's value. A query value may also be empty. An empty value counts
    /// as absent.
    #[must_use]
    pub fn schema(self) -> Schema {
        let empty = || ObjectBuilder::new().schema_type(Type::String).max_length(Some(0));
        match (self, self.location()) {
            (Self::Follow, _) => {
                let item = OneOfBuilder::new().item(self.value_schema()).item(empty());
                ArrayBuilder::new()
                    .items(RefOr::T(item.into()))
                    .max_items(Some(EVENT_SALES_MAX))
                    .into()
            }
            (_, ParamLocation::Query) => {
                OneOfBuilder::new().item(self.value_schema()).item(empty()).into()
            }
            _ => self.value_schema(),
        }
    }

    /// The schema of one value that is not empty.
    fn value_schema(self) -> Schema {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let name = || text().pattern(Some(NAME_PATTERN));
        match self {
            Self::PathSale
            | Self::PathItem
            | Self::Sale
            | Self::Item
            | Self::RoomItem
            | Self::Buyer
            | Self::PathBuyer
            | Self::Follow => name().into(),
            Self::PathPrefix => text().pattern(Some("^[0-9A-Za-z -]{1,64}$")).into(),
            Self::By | Self::Action | Self::Subject => {
                text().pattern(Some("^[!-~]+$")).max_length(Some(ACTION_FILTER_BYTES_MAX)).into()
            }
            Self::Search => {
                text().pattern(Some(ORDER_TEXT_PATTERN)).max_length(Some(SEARCH_CHARS_MAX)).into()
            }
            Self::From | Self::To => {
                text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).into()
            }
            Self::Step => ObjectBuilder::new()
                .schema_type(Type::Integer)
                .enum_values(Some(SERIES_STEPS))
                .default(Some(SERIES_STEPS[0].into()))
                .into(),
            Self::PathOrder => text().pattern(Some("^ord_[A-Za-z0-9_-]{1,64}$")).into(),
            Self::Order => text()
                .pattern(Some(ORDER_TEXT_PATTERN))
                .max_length(Some(ORDER_TEXT_CHARS_MAX))
                .into(),
            Self::PathKey => text().pattern(Some("^key_[A-Za-z0-9_-]{1,64}$")).into(),
            Self::PathBlock => text().pattern(Some("^blk_[0-9a-f]{12}$")).into(),
            Self::PathEndpoint => text().pattern(Some("^end_[A-Za-z0-9_-]{1,64}$")).into(),
            Self::PathLetter => text().pattern(Some("^(dlv|ref|ord)_[A-Za-z0-9_-]{1,64}$")).into(),
            Self::DeliveryState => {
                text().enum_values(Some(DeliveryState::ALL.map(DeliveryState::as_str))).into()
            }
            Self::DeadLetterKind => {
                text().enum_values(Some(DeadLetterKind::ALL.map(DeadLetterKind::as_str))).into()
            }
            Self::State => text().enum_values(Some(OrderState::ALL.map(OrderState::as_str))).into(),
            Self::Phase => text().enum_values(Some(Phase::ALL.map(Phase::as_str))).into(),
            Self::Cursor => {
                text().pattern(Some("^[!-~]+$")).max_length(Some(CURSOR_BYTES_MAX)).into()
            }
            Self::Limit => ObjectBuilder::new()
                .schema_type(Type::Integer)
                .minimum(Some(1))
                .maximum(Some(PAGE_MAX))
                .default(Some(PAGE_DEFAULT.into()))
                .into(),
            Self::IdempotencyKey => text().pattern(Some(KEY_PATTERN)).into(),
            Self::PurchasePass => text().pattern(Some("^[A-Za-z0-9_-]+$")).into(),
            Self::OrderKey => text().pattern(Some("^[0-9a-f]{32}$")).into(),
            Self::Prefer | Self::IfMatch | Self::IfNoneMatch | Self::LastEventId => text().into(),
        }
    }
}

/// The order id of every example.
pub(crate) const EXAMPLE_ORDER: &str = "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa";
