//! The objects that an order's id can refer to: an order with units, a queued request, a waitlist
//! entry, or a refused request.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::payments::{RefundCause, RefundState};
use crate::problem::Code;
use crate::value::{Money, Text, Time};

pub use doorbuster_types::OrderState;

/// An order: units that are or were reserved for a buyer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa", "sale": "spring", "item": "phone", "buyer": "alice", "units": 10,
    "amount": {"amount_minor": 100, "currency": "CNY"}, "state": "reserved",
    "reserved_at": "2026-11-20T10:00:00.123Z", "pay_by": "2026-11-20T10:15:00.123Z", "paid_at": null, "ended_at": null
})))]
pub struct Order {
    /// The order's id, which never changes. If the purchase was first answered with `202`, that
    /// answer had the same id.
    pub id: String,
    /// The order's sale.
    pub sale: String,
    /// The order's item.
    pub item: String,
    /// The buyer.
    pub buyer: String,
    /// The number of units.
    #[schema(minimum = 1)]
    pub units: u32,
    /// The price of all units together.
    pub amount: Money,
    /// The order's state.
    pub state: OrderState,
    /// When the units were reserved.
    pub reserved_at: Time,
    /// The time until which the order waits for payment.
    pub pay_by: Time,
    /// When the order was paid.
    #[schema(required = true)]
    pub paid_at: Option<Time>,
    /// When the order was cancelled or refunded, or when it expired.
    #[schema(required = true)]
    pub ended_at: Option<Time>,
}

/// The state `"queued"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueuedState {
    /// Written `"queued"`.
    #[default]
    Queued,
}

/// A queued request. It is not an order yet; its verdict arrives by `decide_by`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa", "sale": "spring", "item": "phone", "buyer": "alice", "units": 10,
    "state": "queued", "decide_by": "2026-11-20T10:00:10.123Z"
})))]
pub struct QueuedOrder {
    /// The id that the order will have if the request becomes an order.
    pub id: String,
    /// The requested sale.
    pub sale: String,
    /// The requested item.
    pub item: String,
    /// The buyer.
    pub buyer: String,
    /// The number of requested units.
    #[schema(minimum = 1)]
    pub units: u32,
    /// Always `queued`.
    pub state: QueuedState,
    /// The time by which the verdict is known.
    pub decide_by: Time,
}

/// The state `"waiting"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitingState {
    /// Written `"waiting"`.
    #[default]
    Waiting,
}

/// An entry in an item's waitlist. When a unit comes back, the first entry of the waitlist becomes
/// an order. The order has the same id and the same buyer as the entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa", "sale": "spring", "item": "phone", "buyer": "alice", "units": 1,
    "state": "waiting", "ahead": 7, "joined_at": "2026-11-20T10:00:00.123Z"
})))]
pub struct WaitingOrder {
    /// The id that the order will have if the entry becomes an order.
    pub id: String,
    /// The sale.
    pub sale: String,
    /// The item.
    pub item: String,
    /// The buyer.
    pub buyer: String,
    /// The number of units. It is always 1, because an entry is for one unit.
    #[schema(minimum = 1)]
    pub units: u32,
    /// Always `waiting`.
    pub state: WaitingState,
    /// The number of entries before this entry.
    pub ahead: u64,
    /// When the buyer joined.
    pub joined_at: Time,
}

/// The state `"refused"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusedState {
    /// Written `"refused"`.
    #[default]
    Refused,
}

/// Why a queued request or a waitlist entry did not become an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// Fewer units were left than the buyer requested.
    SoldOut,
    /// The buyer's limit for the item did not allow this many units.
    LimitReached,
    /// The sale was not open yet.
    NotStarted,
    /// The sale was paused.
    Paused,
    /// The sale had ended.
    Ended,
    /// The request was lost before its verdict. No units were taken.
    Unavailable,
    /// The `Idempotency-Key` already belongs to a request with other content.
    IdempotencyKeyReused,
    /// The buyer left the waitlist.
    Left,
}

impl RefusalCode {
    /// The reason's name in JSON. If a problem code has the same meaning, the name is this code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SoldOut => Code::SoldOut.as_str(),
            Self::LimitReached => Code::LimitReached.as_str(),
            Self::NotStarted => Code::NotStarted.as_str(),
            Self::Paused => Code::Paused.as_str(),
            Self::Ended => Code::Ended.as_str(),
            Self::Unavailable => Code::Unavailable.as_str(),
            Self::IdempotencyKeyReused => Code::IdempotencyKeyReused.as_str(),
            Self::Left => "left",
        }
    }
}

/// A queued request that was refused, or a waitlist entry that ended without an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa", "sale": "spring", "item": "phone", "buyer": "alice", "units": 10,
    "state": "refused", "code": "limit_reached"
})))]
pub struct RefusedOrder {
    /// The id in the request's `202`, or the waitlist entry's id.
    pub id: String,
    /// The requested sale.
    pub sale: String,
    /// The requested item.
    pub item: String,
    /// The buyer. Empty if an operator reads a refused request, because the server does not store
    /// the buyer of a refused request.
    pub buyer: String,
    /// The number of requested units.
    #[schema(minimum = 1)]
    pub units: u32,
    /// Always `refused`.
    pub state: RefusedState,
    /// The reason.
    pub code: RefusalCode,
}

/// The object that an order's id refers to. `state` says which form the object has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum AnyOrder {
    /// An order.
    Order(Order),
    /// A queued request without a verdict.
    Queued(QueuedOrder),
    /// A refused request, or a waitlist entry that ended without an order.
    Refused(RefusedOrder),
    /// A waitlist entry.
    Waiting(WaitingOrder),
}

impl AnyOrder {
    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Order(order) => &order.id,
            Self::Queued(order) => &order.id,
            Self::Refused(order) => &order.id,
            Self::Waiting(order) => &order.id,
        }
    }

    /// The sale.
    #[must_use]
    pub fn sale(&self) -> &str {
        match self {
            Self::Order(order) => &order.sale,
            Self::Queued(order) => &order.sale,
            Self::Refused(order) => &order.sale,
            Self::Waiting(order) => &order.sale,
        }
    }

    /// The value of `state`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self {
            Self::Order(order) => order.state.as_str(),
            Self::Queued(_) => "queued",
            Self::Refused(_) => "refused",
            Self::Waiting(_) => "waiting",
        }
    }
}

/// One step in an order's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// When the step happened.
    pub at: Time,
    /// What happened: `order.reserved`, `order.paid`, `order.extended`, `payment.refunded`,
    /// `payment.reversed` and so on.
    pub event: String,
    /// The order's state after this step.
    pub state: OrderState,
    /// Who made the step: `buyer`, `engine`, `provider:` followed by the provider's name, or
    /// `operator:` followed by the key's id. A buyer sees `operator` without the key's id.
    pub by: String,
    /// The reason for the step, or `null`. For an operator's step, buyers always see `null`,
    /// because operators write reasons only for other operators.
    #[schema(required = true)]
    pub why: Option<String>,
    /// The end of the payment window after this step.
    #[schema(required = true)]
    pub pay_by: Option<Time>,
    /// `true` in the first step if the order is from the waitlist; absent in all other cases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_waitlist: Option<bool>,
}

/// An order's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({"history": [
    {"at": "2026-11-20T10:00:00.123Z", "event": "order.reserved", "state": "reserved", "by": "buyer", "why": null,
     "pay_by": "2026-11-20T10:15:00.123Z"},
    {"at": "2026-11-20T10:00:42.000Z", "event": "order.paid", "state": "paid", "by": "provider:sandbox", "why": null,
     "pay_by": "2026-11-20T10:15:00.123Z"}
], "refunds": [], "payment_failed_at": null})))]
pub struct History {
    /// Each step, oldest first.
    pub history: Vec<HistoryEntry>,
    /// Refunds of the order's payments, oldest first.
    pub refunds: Vec<OrderRefund>,
    /// The time at which the last payment attempt failed. The buyer can try again. `null` if the
    /// order is not reserved, or if the last attempt did not fail.
    #[schema(required = true)]
    pub payment_failed_at: Option<Time>,
}

/// A refund of a payment for an order, as the buyer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderRefund {
    /// The refund's id.
    pub refund: String,
    /// The amount.
    pub amount: Money,
    /// The refund's state.
    pub state: RefundState,
    /// The cause.
    pub cause: RefundCause,
    /// When the server created the refund.
    pub at: Time,
    /// When the provider reported that the money arrived at the buyer; `null` until then.
    #[schema(required = true)]
    pub settled_at: Option<Time>,
}

/// The texts and the picture of an item, for a list of orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderedItem {
    /// The name of the item's sale.
    pub sale: String,
    /// The item's name within its sale.
    pub item: String,
    /// The title on the page.
    pub title: Text,
    /// URL of a picture.
    #[schema(required = true)]
    pub image: Option<String>,
}

/// A page of orders, newest first. Queued and refused requests are not in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderList {
    /// The orders of this page.
    pub orders: Vec<Order>,
    /// The items of these orders, each item once.
    #[serde(default)]
    #[schema(required = true)]
    pub items: Vec<OrderedItem>,
    /// The `cursor` of the next page; `null` on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_of_an_order_is_recognised_by_its_members() {
        let check = |text: &str, state: &str| {
            let order: AnyOrder =
                serde_json::from_str(text).expect("must be one of the four forms of an order");
            assert_eq!(order.state(), state);
            assert_eq!(order.id(), "ord_1");
            assert_eq!(serde_json::to_string(&order).expect("plain data serialises"), text);
        };
        check(
            r#"{"id":"ord_1","sale":"s","item":"i","buyer":"b","units":1,"amount":{"amount_minor":10,"currency":"CNY"},"state":"reserved","reserved_at":"2026-11-20T10:00:00.000Z","pay_by":"2026-11-20T10:15:00.000Z","paid_at":null,"ended_at":null}"#,
            "reserved",
        );
        check(
            r#"{"id":"ord_1","sale":"s","item":"i","buyer":"b","units":1,"state":"queued","decide_by":"2026-11-20T10:00:10.000Z"}"#,
            "queued",
        );
        check(
            r#"{"id":"ord_1","sale":"s","item":"i","buyer":"b","units":1,"state":"refused","code":"sold_out"}"#,
            "refused",
        );
        check(
            r#"{"id":"ord_1","sale":"s","item":"i","buyer":"b","units":1,"state":"waiting","ahead":7,"joined_at":"2026-11-20T10:00:00.000Z"}"#,
            "waiting",
        );
    }

    #[test]
    fn the_names_of_refusals_match_their_json() {
        for code in [
            RefusalCode::SoldOut,
            RefusalCode::LimitReached,
            RefusalCode::NotStarted,
            RefusalCode::Paused,
            RefusalCode::Ended,
            RefusalCode::Unavailable,
            RefusalCode::IdempotencyKeyReused,
            RefusalCode::Left,
        ] {
            assert_eq!(
                serde_json::to_string(&code).expect("a word"),
                format!("\"{}\"", code.as_str())
            );
        }
    }
}
