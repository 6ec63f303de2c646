//! What a buyer is told about an order: reserved and after, still queued, or refused.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::payments::{RefundCause, RefundState};
use crate::problem::Code;
use crate::value::{Money, Time};

/// State of an order that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// The units are held for the buyer until `pay_by`.
    Reserved,
    /// Paid for.
    Paid,
    /// Cancelled by the buyer or an operator before it was paid.
    Cancelled,
    /// Not paid in time.
    Expired,
    /// Paid, and the money given back.
    Refunded,
}

impl OrderState {
    /// Every state, in the order of an order's life.
    pub const ALL: [OrderState; 5] =
        [Self::Reserved, Self::Paid, Self::Cancelled, Self::Expired, Self::Refunded];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Paid => "paid",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Refunded => "refunded",
        }
    }

    /// The state that `word` names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// An order: units that are, or were, the buyer's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa", "sale": "spring", "item": "phone", "buyer": "alice", "units": 10,
    "amount": {"amount_minor": 100, "currency": "CNY"}, "state": "reserved",
    "reserved_at": "2026-11-20T10:00:00.123Z", "pay_by": "2026-11-20T10:15:00.123Z", "paid_at": null, "ended_at": null
})))]
pub struct Order {
    /// The order's id for life, the same that a `202` named.
    pub id: String,
    /// The sale it belongs to.
    pub sale: String,
    /// The item bought.
    pub item: String,
    /// The buyer.
    pub buyer: String,
    /// How many units.
    #[schema(minimum = 1)]
    pub units: u32,
    /// Price of all units together.
    pub amount: Money,
    /// Where it stands.
    pub state: OrderState,
    /// When the units were reserved.
    pub reserved_at: Time,
    /// The hold ends here unless it is paid for.
    pub pay_by: Time,
    /// When it was paid.
    #[schema(required = true)]
    pub paid_at: Option<Time>,
    /// When it was cancelled, expired or refunded.
    #[schema(required = true)]
    pub ended_at: Option<Time>,
}

/// The word `"queued"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueuedState {
    /// Written `"queued"`.
    #[default]
    Queued,
}

/// A place in the queue: no promise yet, a verdict by `decide_by`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa", "sale": "spring", "item": "phone", "buyer": "alice", "units": 10,
    "state": "queued", "decide_by": "2026-11-20T10:00:10.123Z"
})))]
pub struct QueuedOrder {
    /// The id the order will have if it becomes one.
    pub id: String,
    /// The sale asked for.
    pub sale: String,
    /// The item asked for.
    pub item: String,
    /// The buyer.
    pub buyer: String,
    /// How many units.
    #[schema(minimum = 1)]
    pub units: u32,
    /// Always `queued`.
    pub state: QueuedState,
    /// The verdict is there by then.
    pub decide_by: Time,
}

/// The word `"waiting"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitingState {
    /// Written `"waiting"`.
    #[default]
    Waiting,
}

/// A place in an item's line: the next unit that comes back after those before it had theirs
/// becomes this buyer's order, under the same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa", "sale": "spring", "item": "phone", "buyer": "alice", "units": 1,
    "state": "waiting", "ahead": 7, "joined_at": "2026-11-20T10:00:00.123Z"
})))]
pub struct WaitingOrder {
    /// The id the order will have if it becomes one.
    pub id: String,
    /// The sale.
    pub sale: String,
    /// The item.
    pub item: String,
    /// The buyer.
    pub buyer: String,
    /// How many units: a place is for one.
    #[schema(minimum = 1)]
    pub units: u32,
    /// Always `waiting`.
    pub state: WaitingState,
    /// How many stand before it.
    pub ahead: u64,
    /// When it was taken.
    pub joined_at: Time,
}

/// The word `"refused"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusedState {
    /// Written `"refused"`.
    #[default]
    Refused,
}

/// Why a queued request, or a place in line, did not become an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// Fewer units were left than asked for.
    SoldOut,
    /// The buyer's limit left too little.
    LimitReached,
    /// The sale had not opened.
    NotStarted,
    /// The sale was paused.
    Paused,
    /// The sale was over.
    Ended,
    /// The request was lost before its verdict; nothing was taken.
    Unavailable,
    /// The key already belongs to a request with other content.
    IdempotencyKeyReused,
    /// The buyer left the line.
    Left,
}

impl RefusalCode {
    /// The word on the wire: where there is a problem of the same meaning, its code.
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

/// A queued request whose verdict was no, or a place in line that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa", "sale": "spring", "item": "phone", "buyer": "alice", "units": 10,
    "state": "refused", "code": "sold_out"
})))]
pub struct RefusedOrder {
    /// The id that the `202` named, or the place's.
    pub id: String,
    /// The sale asked for.
    pub sale: String,
    /// The item asked for.
    pub item: String,
    /// The buyer.
    pub buyer: String,
    /// How many units were asked for.
    #[schema(minimum = 1)]
    pub units: u32,
    /// Always `refused`.
    pub state: RefusedState,
    /// Why.
    pub code: RefusalCode,
}

/// Whatever an order's id stands for now; `state` tells which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum AnyOrder {
    /// It became an order.
    Order(Order),
    /// The verdict is still to come.
    Queued(QueuedOrder),
    /// The verdict was no.
    Refused(RefusedOrder),
    /// It is a place in line.
    Waiting(WaitingOrder),
}

impl AnyOrder {
    /// The id, whatever it stands for.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Order(order) => &order.id,
            Self::Queued(order) => &order.id,
            Self::Refused(order) => &order.id,
            Self::Waiting(order) => &order.id,
        }
    }

    /// The sale that it is about.
    #[must_use]
    pub fn sale(&self) -> &str {
        match self {
            Self::Order(order) => &order.sale,
            Self::Queued(order) => &order.sale,
            Self::Refused(order) => &order.sale,
            Self::Waiting(order) => &order.sale,
        }
    }

    /// The word in `state`.
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

/// One step of an order's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// When.
    pub at: Time,
    /// What happened: `order.reserved`, `order.paid`, `order.extended`, `payment.refunded`,
    /// `payment.reversed` and so on.
    pub event: String,
    /// The order's state after it.
    pub state: OrderState,
    /// Who did it: `buyer`, `engine`, `provider:` and its name, `operator:` and the key's id; to
    /// buyers just `operator`.
    pub by: String,
    /// Why, as they said; `null` if they did not. To buyers also where an operator did it: what
    /// operators write is for operators.
    #[schema(required = true)]
    pub why: Option<String>,
    /// Until when it could be paid after it.
    #[schema(required = true)]
    pub pay_by: Option<Time>,
    /// At the first step of an order that a place in line became: `true`. Else it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_waitlist: Option<bool>,
}

/// What happened to an order.
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
    /// Payments for it that go back, oldest first, and how far each is.
    pub refunds: Vec<OrderRefund>,
    /// When the last payment was tried for it and did not succeed, while it waits for one: paying
    /// can be tried again. `null` if none failed.
    #[schema(required = true)]
    pub payment_failed_at: Option<Time>,
}

/// A payment for an order on its way back, as its buyer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderRefund {
    /// Its id.
    pub refund: String,
    /// How much.
    pub amount: Money,
    /// How far it is.
    pub state: RefundState,
    /// Why.
    pub cause: RefundCause,
    /// When it was decided.
    pub at: Time,
    /// When the provider said that the money arrived.
    #[schema(required = true)]
    pub settled_at: Option<Time>,
}

/// A page of orders, newest first, without queued and refused ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderList {
    /// The orders of this page.
    pub orders: Vec<Order>,
    /// Give it as `cursor` to read on; `null` at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_order_is_told_apart_by_its_members() {
        let check = |text: &str, state: &str| {
            let order: AnyOrder = serde_json::from_str(text).expect("one of the three shapes");
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
    fn the_words_of_refusals_are_those_that_serde_writes() {
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
