//! What shops are told: the body of every message that goes out, and the document that says so.

mod document;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::payments::{Payment, Refund};
use crate::order::{Order, RefusedOrder};
use crate::value::Time;

pub use document::document;

/// The word for every type, also those that come later.
pub const ALL_TYPES: &str = "*";

/// What an event's id looks like.
pub(crate) const EVENT_ID_PATTERN: &str = "^evt_[0-9]{16}$";

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// An order exists.
    OrderReserved,
    /// It was paid.
    OrderPaid,
    /// It was given up.
    OrderCancelled,
    /// It was not paid in time.
    OrderExpired,
    /// It was paid and its money goes back.
    OrderRefunded,
    /// An operator gave it more time.
    OrderExtended,
    /// A queued request was refused.
    OrderRefused,
    /// Money that pays for no order goes back.
    PaymentRefunded,
    /// A sale began to sell.
    SaleOpened,
    /// A sale ended.
    SaleClosed,
    /// Every unit of an item is paid for.
    ItemSoldOut,
}

impl EventType {
    /// Every type.
    pub const ALL: &[Self] = &[
        Self::OrderReserved,
        Self::OrderPaid,
        Self::OrderCancelled,
        Self::OrderExpired,
        Self::OrderRefunded,
        Self::OrderExtended,
        Self::OrderRefused,
        Self::PaymentRefunded,
        Self::SaleOpened,
        Self::SaleClosed,
        Self::ItemSoldOut,
    ];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrderReserved => "order.reserved",
            Self::OrderPaid => "order.paid",
            Self::OrderCancelled => "order.cancelled",
            Self::OrderExpired => "order.expired",
            Self::OrderRefunded => "order.refunded",
            Self::OrderExtended => "order.extended",
            Self::OrderRefused => "order.refused",
            Self::PaymentRefunded => "payment.refunded",
            Self::SaleOpened => "sale.opened",
            Self::SaleClosed => "sale.closed",
            Self::ItemSoldOut => "item.sold_out",
        }
    }

    /// The type that `word` names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|what| what.as_str() == word)
    }
}

/// A message: what happened, once, however often it is delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message<'a> {
    /// The event's id, which is also `webhook-id`: the same for each attempt and each endpoint.
    pub id: &'a str,
    /// What happened.
    #[serde(rename = "type")]
    pub what: &'static str,
    /// When it happened.
    pub timestamp: Time,
    /// What it happened to.
    pub data: Data,
}

/// What something happened to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Data {
    /// An order, as it was after the change.
    Order(OrderData),
    /// A request that was refused.
    Refused(RefusedData),
    /// A payment whose money goes back.
    Payment(PaymentData),
    /// An item.
    Item(ItemData),
    /// A sale.
    Sale(SaleData),
}

/// Data of `order.reserved`, `order.paid`, `order.cancelled`, `order.expired`, `order.refunded` and `order.extended`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderData {
    /// The order as it was after the change, as `GET /v1/orders/{order}` showed it then.
    pub order: Order,
}

/// Data of `order.refused`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedData {
    /// The request, as `GET /v1/orders/{order}` shows it.
    pub order: RefusedOrder,
}

/// Data of `payment.refunded`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PaymentData {
    /// The payment.
    pub payment: Payment,
    /// Its refund, as it was when it was decided.
    pub refund: Refund,
}

/// Data of `item.sold_out`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ItemData {
    /// The sale.
    pub sale: String,
    /// The item.
    pub item: String,
}

/// Data of `sale.opened` and `sale.closed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SaleData {
    /// The sale.
    pub sale: String,
}

/// An event's id, from its position.
#[must_use]
pub fn event_id(position: i64) -> String {
    format!("evt_{position:016}")
}

/// The position that an event's id stands for.
#[must_use]
pub fn event_position(id: &str) -> Option<i64> {
    let digits =
        id.strip_prefix("evt_").filter(|digits| digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok().filter(|position| *position > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_its_position() {
        assert_eq!(event_id(42), "evt_0000000000000042");
        assert_eq!(event_position(&event_id(42)), Some(42));
        assert_eq!(event_position(&event_id(9_999_999_999_999_999)), Some(9_999_999_999_999_999));
        for wrong in [
            "",
            "evt_42",
            "evt_0000000000000000",
            "evt_+000000000000042",
            "evt_00000000000000042",
            "ord_0000000000000042",
        ] {
            assert_eq!(event_position(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_document_of_events_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/events.md");
        let written = std::fs::read_to_string(path).expect("docs/events.md is in the repository");
        assert!(written == document(), "docs/events.md is not what the code says: run `cargo xtask events`");
    }
}
