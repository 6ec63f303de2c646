//! An order as operators see it, with its history.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::payments::Payment;
use crate::order::{HistoryEntry, Order, QueuedOrder, RefusedOrder, WaitingOrder};

/// An order with its history and payments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa", "sale": "spring", "item": "phone", "buyer": "alice", "units": 10,
    "amount": {"amount_minor": 100, "currency": "CNY"}, "state": "cancelled",
    "reserved_at": "2026-11-20T10:00:00.123Z", "pay_by": "2026-11-20T10:15:00.123Z", "paid_at": null,
    "ended_at": "2026-11-20T10:01:00.000Z",
    "history": [{"at": "2026-11-20T10:00:00.123Z", "event": "order.reserved", "state": "reserved", "by": "buyer", "why": null,
                 "pay_by": "2026-11-20T10:15:00.123Z"},
                {"at": "2026-11-20T10:01:00.000Z", "event": "order.cancelled", "state": "cancelled", "by": "operator:key_8Qm2Zr",
                 "why": "a double order", "pay_by": "2026-11-20T10:15:00.123Z"}],
    "payments": []
})))]
pub struct OrderDetail {
    /// The order. In JSON, its members and the members below are in one object.
    #[serde(flatten)]
    pub order: Order,
    /// The steps so far, oldest first.
    pub history: Vec<HistoryEntry>,
    /// The payments for the order, oldest first.
    pub payments: Vec<Payment>,
}

/// The object that an order's id refers to, in the form for operators. `state` says which kind of
/// object it is. An operator finds a queued request only at the node that queued the request. Other
/// nodes need the buyer's id to verify the request's id, and operators do not send the buyer's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum AnyOrderDetail {
    /// An order.
    Order(OrderDetail),
    /// A queued request without a verdict.
    Queued(QueuedOrder),
    /// A refused request, or a waitlist entry that ended without an order.
    Refused(RefusedOrder),
    /// A waitlist entry.
    Waiting(WaitingOrder),
}
