//! Money: where buyers pay, what providers send, what operators see and change.

use super::buyers::BUYER_ENDPOINT;
use super::operators::{OPERATOR_ENDPOINT, VIEWER_ENDPOINT};
use super::response::ok;
use super::{Auth, Body, Chapter, Endpoint, JsonType, Method, Param};
use crate::admin::payments::{Extension, PaymentList, Reason, RefundList};
use crate::header::BodyType;
use crate::order::{History, Order};
use crate::payment::{Checkout, PaymentEvent, Taken};
use crate::problem::Code;

/// A provider's message, proved by its signature alone.
const PROVIDER_ENDPOINT: Endpoint = Endpoint {
    method: Method::Post,
    chapter: Chapter::Service,
    auth: Auth::Public,
    responses: &[ok::<Taken>(
        "Taken, now or before, or nothing that is used here. It need not be sent again.",
    )],
    ..BUYER_ENDPOINT
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::Post,
        path: "/v1/orders/{order}/checkout",
        id: "open_checkout",
        summary: "Get the address where an order is paid for",
        description: "Of an order that is reserved. Asking again gives the same address for as long as it takes money. For another one \
            the provider is asked, for one order ten times at once and in a minute, for one buyer of a sale sixty times.",
        responses: &[ok::<Checkout>("Where the buyer's browser goes.")],
        codes: &[Code::WrongState, Code::RateLimited, Code::Unavailable],
        ..BUYER_ENDPOINT
    },
    Endpoint {
        path: "/v1/orders/{order}/history",
        id: "get_history",
        auth: Auth::BuyerOrOperator,
        summary: "Read what happened to an order: when, by whom, why",
        description: "Oldest first. Buyers read of their own orders, and `operator` where an operator did it.",
        responses: &[ok::<History>("What happened so far.")],
        ..BUYER_ENDPOINT
    },
    Endpoint {
        path: "/v1/payments/sandbox/webhook",
        id: "take_sandbox_message",
        summary: "Take a message of the sandbox provider",
        description: "Signed as Standard Webhooks: `webhook-id` (at most 256 characters, visible ASCII), `webhook-timestamp` (whole seconds), \
            `webhook-signature` (the first 16 are looked at). Unsigned, forged, stale: `401`, and nothing is done. \
            Signed, but not what it must be: `400`, and it is not remembered. Each `webhook-id` is taken once, and each payment.",
        body: Some(Body { media: BodyType::Json, json_type: JsonType::for_type::<PaymentEvent>() }),
        codes: &[Code::MalformedRequest, Code::Unauthenticated, Code::NotFound, Code::Unavailable],
        ..PROVIDER_ENDPOINT
    },
    Endpoint {
        path: "/v1/payments/stripe/webhook",
        id: "take_stripe_message",
        summary: "Take a message of Stripe",
        description: "Signed as Stripe signs, in `Stripe-Signature`. Not found unless `payment.provider` is `stripe`.",
        codes: &[Code::MalformedRequest, Code::Unauthenticated, Code::NotFound, Code::Unavailable],
        ..PROVIDER_ENDPOINT
    },
    Endpoint {
        path: "/v1/admin/payments",
        id: "list_payments",
        summary: "List payments",
        description: "Newest first, also those that named an order that does not exist.",
        params: &[Param::Order, Param::Cursor, Param::Limit],
        responses: &[ok::<PaymentList>("A page of payments.")],
        ..VIEWER_ENDPOINT
    },
    Endpoint {
        path: "/v1/admin/refunds",
        id: "list_refunds",
        summary: "List refunds",
        description: "Newest first, also those of payments that named an order that does not exist.",
        params: &[Param::Order, Param::Cursor, Param::Limit],
        responses: &[ok::<RefundList>("A page of refunds.")],
        ..VIEWER_ENDPOINT
    },
    Endpoint {
        method: Method::Post,
        path: "/v1/admin/orders/{order}/refund",
        id: "refund_any_order",
        summary: "Refund a paid order",
        description: "The order is `refunded` at once, its units go back on sale; the refund is `pending` until the provider says that the money \
            arrived. Done exactly once; repeating is harmless.",
        body: Some(Body { media: BodyType::Json, json_type: JsonType::for_type::<Reason>() }),
        may_lack_body: true,
        responses: &[ok::<Order>("The order, refunded.")],
        codes: &[Code::WrongState],
        ..OPERATOR_ENDPOINT
    },
    Endpoint {
        method: Method::Post,
        path: "/v1/admin/orders/{order}/extend",
        id: "extend_any_order",
        summary: "Give an unpaid order more time",
        description: "At most 30 days from now. The same `pay_by` again changes nothing; `secs` that are sent again are added again.",
        body: Some(Body { media: BodyType::Json, json_type: JsonType::for_type::<Extension>() }),
        responses: &[ok::<Order>("The order, with its new `pay_by`.")],
        codes: &[Code::WrongState],
        ..OPERATOR_ENDPOINT
    },
];
