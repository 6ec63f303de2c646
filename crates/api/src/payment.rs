//! Payment for an order: the checkout that a buyer visits, and the messages that providers send.

use doorbuster_types::words;
use serde::{Deserialize, Serialize};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::value::{Money, Time};

/// A page where a buyer pays for an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "checkout_url": "https://shop.example/sandbox/checkout/cs_9f86d081884c7d659a2feaa0c55ad015",
    "expires_at": "2026-11-20T10:15:00.123Z"
})))]
pub struct Checkout {
    /// The provider's page for the buyer's browser. That page leads back to the order's page.
    pub checkout_url: String,
    /// The time until which the page accepts payment.
    pub expires_at: Time,
}

/// A link that opens an order without the buyer's token. With the link, a person can read and pay
/// the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({"url": "https://shop.example/order/ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa#key=0f1e2d3c4b5a69788796a5b4c3d2e1f0"})))]
pub struct OrderLink {
    /// The URL of the order's page. The URL has no host if the address of the pages is not
    /// configured.
    pub url: String,
}

/// A message of the sandbox provider. Unknown members are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "type": "payment.captured", "timestamp": "2026-11-20T10:00:42.000Z",
    "data": {"payment": "pay_1", "order": "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa",
             "amount": {"amount_minor": 100, "currency": "CNY"}}
})))]
pub struct PaymentEvent {
    /// `payment.captured`, `payment.failed`, `payment.returned`, `payment.disputed`,
    /// `refund.settled` or `refund.failed`; messages of other types are ignored.
    #[serde(rename = "type")]
    pub kind: String,
    /// When the event happened. The server does not use this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Time>,
    /// What the message is about.
    pub data: PaymentEventData,
}

/// The content of a sandbox message. The message's type decides which members are required.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PaymentEventData {
    /// The provider's id of the payment. Required in every `payment.*` message. Also required in a
    /// `refund.*` message that lacks the member `refund`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<String>,
    /// The order that the payment names. Required in `payment.captured` and `payment.failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// The paid amount. Required in `payment.captured`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
    /// The refund that settled or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund: Option<String>,
    /// Why the refund failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

words! {
    /// What the server did with a provider's message.
    PaymentEventOutcome {
        /// The order is paid.
        Paid = "paid",
        /// The payment does not pay for any order, so the server refunds the payment.
        Refunded = "refunded",
        /// The message was recorded.
        Noted = "noted",
        /// The message or its payment was handled before, so the message has no effect.
        Repeated = "repeated",
        /// The server does not use messages of this type, or does not know the payment or refund in
        /// the message.
        Ignored = "ignored",
    }
}

/// The schema of an event of Stripe. Stripe decides which members an event has.
#[derive(Clone, Copy, Debug)]
pub struct StripeEvent;

impl PartialSchema for StripeEvent {
    fn schema() -> RefOr<Schema> {
        let example = serde_json::json!({
            "id": "evt_1", "type": "checkout.session.completed", "data": {"object": {}}
        });
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("An event of Stripe. Stripe decides which members an event has."))
            .examples([example])
            .into()
    }
}

impl ToSchema for StripeEvent {}

/// The response to a provider's verified message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({"outcome": "paid"})))]
pub struct PaymentEventResult {
    /// What the server did with the message.
    pub outcome: PaymentEventOutcome,
}
