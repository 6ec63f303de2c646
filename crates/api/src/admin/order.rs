//! An order as operators see it, with its history.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::payments::Payment;
use crate::order::{HistoryEntry, Order, QueuedOrder, RefusedOrder, WaitingOrder};

/// An order with everything that is known of it.
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
    /// The order itself; its members stand beside the other two.
    #[serde(flatten)]
    pub order: Order,
    /// Its life so far, oldest first.
    pub history: Vec<HistoryEntry>,
    /// Money that came for it, oldest first.
    pub payments: Vec<Payment>,
}

/// Whatever an order's id stands for now, as operators see it; `state` tells which. What is queued
/// at another node is not found: without its buyer an id proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum AnyOrderDetail {
    /// It became an order.
    Order(OrderDetail),
    /// The verdict is still to come.
    Queued(QueuedOrder),
    /// The verdict was no.
    Refused(RefusedOrder),
    /// A waitlist entry.
    Waiting(WaitingOrder),
}
