//! The body of messages to shops, and the document that describes the events.

mod cloud_event;
mod event_docs;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use crate::event_id::event_position;

use crate::admin::payments::{Payment, Refund, Reversal};
use crate::order::{Order, RefusedOrder};
use crate::value::Time;

pub use cloud_event::CloudEvent;
pub use event_docs::document;

pub use doorbuster_types::EventType;

/// The name that selects every event type, including types that later versions add.
pub const ALL_TYPES: &str = "*";

/// Pattern of an event's id.
pub(crate) const EVENT_ID_PATTERN: &str = "^evt_[0-9]{16}(_[0-9a-f]{10})?$";

/// One event. Every delivery of an event has the same content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notification<'a> {
    /// The event's id, which is also in the header `webhook-id`. Each attempt and each endpoint
    /// gets the same id.
    pub id: &'a str,
    /// The type of the event.
    #[serde(rename = "type")]
    pub what: &'static str,
    /// When the event happened.
    pub timestamp: Time,
    /// The object that the event is about.
    pub data: NotificationData,
}

/// The object that an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum NotificationData {
    /// The order after the change.
    Order(OrderData),
    /// A request that was refused.
    Refused(RefusedData),
    /// A payment whose money goes back.
    Payment(PaymentData),
    /// A reversal: money that went back although the shop did not request it.
    Reversal(ReversalData),
    /// An item.
    Item(ItemData),
    /// A sale.
    Sale(SaleData),
}

/// Data of `order.reserved`, `order.paid`, `order.cancelled`, `order.expired`, `order.refunded` and
/// `order.extended`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderData {
    /// The order, as `GET /v1/orders/{order}` showed it just after the change.
    pub order: Order,
    /// `true` in `order.reserved` if the order is from the waitlist; absent in all other cases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_waitlist: Option<bool>,
    /// A link that opens the order without the buyer's token. Only `order.reserved` has a link.
    /// Send the link only to the buyer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// Data of `order.refused`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedData {
    /// The refused request or waitlist entry, as `GET /v1/orders/{order}` shows it.
    pub order: RefusedOrder,
}

/// Data of `payment.refunded`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PaymentData {
    /// The payment.
    pub payment: Payment,
    /// The refund of the payment, as the server created it.
    pub refund: Refund,
}

/// Data of `payment.reversed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReversalData {
    /// The provider's report.
    pub reversal: Reversal,
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

/// An event's id: the event's position and a fingerprint of its content.
///
/// A restored backup or a failover can lose the last events. New events then get the positions of
/// the lost events. The fingerprint makes the new ids different from the lost ids, so receivers do
/// not ignore the new events.
#[must_use]
pub fn event_id(position: i64, what: &str, at_ms: i64, about: &str) -> String {
    format!("{}_{:010x}", event_id_prefix(position), event_fingerprint(what, at_ms, about))
}

/// Returns the part of an event's id that the server still knows after it has deleted the event:
/// the id without its fingerprint.
#[must_use]
pub fn event_id_prefix(position: i64) -> String {
    format!("evt_{position:016}")
}

/// Whether the id `named` refers to the event `id`. An id without a fingerprint refers to any event
/// at its position.
#[must_use]
pub fn names_event(named: &str, id: &str) -> bool {
    named == id || id.strip_prefix(named).is_some_and(|mark| mark.starts_with('_'))
}

/// A 40-bit FNV-1a hash, which makes ids distinct but gives no security. The algorithm must never
/// change.
fn event_fingerprint(what: &str, at_ms: i64, about: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let bytes = what.bytes().chain([0]).chain(at_ms.to_be_bytes()).chain(about.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, step);
    (hash ^ (hash >> 40)) & 0xff_ffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_is_read_from_an_id() {
        let id = |position| event_id(position, "order.paid", 1_795_168_842_000, "ord_1");
        assert_eq!(id(42), "evt_0000000000000042_bde1001b78");
        assert_eq!(event_position(&id(42)), Some(42));
        assert_eq!(event_position(&id(9_999_999_999_999_999)), Some(9_999_999_999_999_999));
        assert_eq!(
            event_position("evt_0000000000000042"),
            Some(42),
            "an id without a fingerprint must be valid"
        );
        for wrong in [
            "",
            "evt_42",
            "evt_0000000000000000",
            "evt_+000000000000042",
            "evt_00000000000000042",
            "evt_0000000000000042_",
            "evt_0000000000000042_0123456789a",
            "evt_0000000000000042_012345678G",
            "evt_0000000000000042_0123456789_",
            "ord_0000000000000042",
        ] {
            assert_eq!(event_position(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_event_at_a_lost_event_s_position_has_another_id() {
        let id = |what, at_ms, about| event_id(1_001, what, at_ms, about);
        let lost = id("order.paid", 1_795_168_842_000, "ord_1");
        assert_eq!(
            lost,
            id("order.paid", 1_795_168_842_000, "ord_1"),
            "an event must have the same id for each attempt and endpoint"
        );
        for other in [
            id("order.reserved", 1_795_168_842_000, "ord_1"),
            id("order.paid", 1_795_168_842_001, "ord_1"),
            id("order.paid", 1_795_168_842_000, "ord_2"),
        ] {
            assert_ne!(lost, other);
            assert!(!names_event(&lost, &other));
        }
        assert!(names_event(&lost, &lost) && names_event(&event_id_prefix(1_001), &lost));
        assert!(!names_event(&event_id_prefix(1_002), &lost));
    }

    #[test]
    fn the_document_of_events_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/events.md");
        let written = std::fs::read_to_string(path).expect("docs/events.md must exist");
        assert!(
            written == document(),
            "docs/events.md differs from the code: run `cargo xtask events`"
        );
    }
}
