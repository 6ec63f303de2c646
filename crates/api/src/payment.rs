//! Paying for an order: where the buyer goes, and what providers send.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::value::{Money, Time};

/// Where an order is paid for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "checkout_url": "https://shop.example/sandbox/checkout/cs_9f86d081884c7d659a2feaa0c55ad015",
    "expires_at": "2026-11-20T10:15:00.123Z"
})))]
pub struct Checkout {
    /// The provider's page: the buyer's browser goes there, and comes back to the order's page.
    pub checkout_url: String,
    /// Until when it takes money.
    pub expires_at: Time,
}

/// What a message of the sandbox provider says. Members that are not known are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "type": "payment.captured", "timestamp": "2026-11-20T10:00:42.000Z",
    "data": {"payment": "pay_1", "order": "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa",
             "amount": {"amount_minor": 100, "currency": "CNY"}}
})))]
pub struct PaymentEvent {
    /// `payment.captured`, `payment.failed`, `payment.returned`, `payment.disputed`,
    /// `refund.settled` or `refund.failed`; others are ignored.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Time>,
    /// What it is about.
    pub data: PaymentEventData,
}

/// What a message of the sandbox provider is about. Which members are needed follows from its type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PaymentEventData {
    /// The provider's id of the payment; needed unless `refund` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<String>,
    /// The order that was paid for; needed for a payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// How much was paid; needed for a payment that was captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
    /// The refund that settled or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a provider's message came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The order is paid.
    Paid,
    /// The money goes back.
    Refunded,
    /// It is written down.
    Noted,
    /// The message, or its payment, was taken before; nothing was done.
    Repeated,
    /// It says nothing that is used here, or is about a payment or refund that is not known here;
    /// nothing was done.
    Ignored,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] =
        [Self::Paid, Self::Refunded, Self::Noted, Self::Repeated, Self::Ignored];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Refunded => "refunded",
            Self::Noted => "noted",
            Self::Repeated => "repeated",
            Self::Ignored => "ignored",
        }
    }
}

/// The answer to a provider's message that was believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({"outcome": "paid"})))]
pub struct Taken {
    /// What it came to.
    pub outcome: Outcome,
}
