//! Endpoints for payments.

use super::buyers::BUYER_ENDPOINT;
use super::operators::{OPERATOR_ENDPOINT, VIEWER_ENDPOINT};
use super::response::ok;
use super::{Auth, Endpoint, EndpointGroup, Method, Param, json_body};
use crate::admin::payments::{Extension, PaymentList, Reason, RefundList};
use crate::order::{History, Order};
use crate::payment::{Checkout, OrderLink, PaymentEvent, PaymentEventResult, StripeEvent};
use crate::problem::Code;

/// An endpoint for a provider's messages, which are authenticated by their signatures.
const PROVIDER_ENDPOINT: Endpoint = Endpoint {
    method: Method::Post,
    group: EndpointGroup::Service,
    auth: Auth::Public,
    responses: &[ok::<PaymentEventResult>(
        "The server has processed this message now or at an earlier delivery, or the message has \
        no effect. The provider does not need to send the message again.",
    )],
    ..BUYER_ENDPOINT
};

endpoints!(
    open_checkout = Endpoint {
        method: Method::Post,
        path: "/v1/orders/{order}/checkout",
        summary: "Get the checkout of an order",
        description: "The order must be reserved. While a checkout accepts payment, a repeated \
            request returns the same checkout. For one order, the limit for new \
            checkouts is a burst of 10 and then 10 a minute. For one buyer in a sale, the limit \
            is a burst of 60 and then 60 a minute.",
        responses: &[ok::<Checkout>("The page for the buyer's browser.")],
        codes: &[Code::WrongState, Code::RateLimited, Code::Unavailable],
        ..BUYER_ENDPOINT
    },
    get_order_link = Endpoint {
        path: "/v1/orders/{order}/link",
        summary: "Get a link that opens the order without the buyer's token",
        description: "The order must be reserved. Anyone who has the link can read the order and \
            pay for it, and can do nothing else. The link works while the order can be paid, and \
            for one hour after the order ended.",
        responses: &[ok::<OrderLink>("The link.")],
        codes: &[Code::WrongState],
        ..BUYER_ENDPOINT
    },
    get_linked_order = Endpoint {
        path: "/v1/linked-orders/{order}",
        auth: Auth::Public,
        summary: "Read an order by its link",
        description: "The key of the link replaces the buyer's token.",
        params: &[Param::OrderKey],
        responses: &[ok::<Order>("The order.")],
        ..BUYER_ENDPOINT
    },
    open_linked_checkout = Endpoint {
        method: Method::Post,
        path: "/v1/linked-orders/{order}/checkout",
        auth: Auth::Public,
        summary: "Get the checkout of an order by its link",
        description: "The request works like the buyer's own request for a checkout, with the same \
            limits.",
        params: &[Param::OrderKey],
        responses: &[ok::<Checkout>("The page for the payer's browser.")],
        codes: &[Code::WrongState, Code::RateLimited, Code::Unavailable],
        ..BUYER_ENDPOINT
    },
    get_history = Endpoint {
        path: "/v1/orders/{order}/history",
        auth: Auth::BuyerOrOperator,
        summary: "Read the changes of an order, each with its time, actor and reason",
        description: "Lists the oldest change first. A buyer reads the history of the buyer's own \
            orders. For a change by an operator, the buyer sees only `operator`.",
        responses: &[ok::<History>("The history.")],
        ..BUYER_ENDPOINT
    },
    take_sandbox_message = Endpoint {
        path: "/v1/payments/sandbox/webhook",
        summary: "Receive a message of the sandbox provider",
        description: "The message is signed by the rules of Standard Webhooks, with three headers: \
            `webhook-id` (at most 256 visible ASCII characters), `webhook-timestamp` (whole \
            seconds) and `webhook-signature` (the server checks only the first 16 signatures). A \
            message that is unsigned, forged or too old gets `401` and has no effect. A signed \
            message with invalid content gets `400`, and the server does not record it. The server \
            handles each `webhook-id` and each payment once.",
        body: json_body::<PaymentEvent>(),
        codes: &[Code::MalformedRequest, Code::Unauthenticated, Code::NotFound, Code::Unavailable],
        ..PROVIDER_ENDPOINT
    },
    take_stripe_message = Endpoint {
        path: "/v1/payments/stripe/webhook",
        summary: "Receive a message of Stripe",
        description: "The header `Stripe-Signature` contains Stripe's signature of the message. If \
            `payment.provider` is not `stripe`, the response is `404`.",
        body: json_body::<StripeEvent>(),
        codes: &[Code::MalformedRequest, Code::Unauthenticated, Code::NotFound, Code::Unavailable],
        ..PROVIDER_ENDPOINT
    },
    list_payments = Endpoint {
        path: "/v1/admin/payments",
        summary: "List payments",
        description: "Lists payments, newest first, including payments for unknown orders.",
        params: &[Param::Order, Param::Cursor, Param::Limit],
        responses: &[ok::<PaymentList>("A page of payments.")],
        ..VIEWER_ENDPOINT
    },
    list_refunds = Endpoint {
        path: "/v1/admin/refunds",
        summary: "List refunds",
        description: "Lists refunds, newest first, including refunds of payments for unknown \
            orders.",
        params: &[Param::Order, Param::Cursor, Param::Limit],
        responses: &[ok::<RefundList>("A page of refunds.")],
        ..VIEWER_ENDPOINT
    },
    refund_any_order = Endpoint {
        method: Method::Post,
        path: "/v1/admin/orders/{order}/refund",
        summary: "Refund a paid order",
        description: "The order is `refunded` at once, and its units go back on sale. The refund \
            is `pending` until the provider reports that the money arrived. A repeated request \
            changes nothing.",
        body: json_body::<Reason>(),
        may_lack_body: true,
        responses: &[ok::<Order>("The order, refunded.")],
        codes: &[Code::WrongState],
        ..OPERATOR_ENDPOINT
    },
    extend_any_order = Endpoint {
        method: Method::Post,
        path: "/v1/admin/orders/{order}/extend",
        summary: "Give an unpaid order more time",
        description: "The new time is at most 30 days from now. A repeated request with the same \
            `pay_by` changes nothing. A repeated request with `secs` adds the seconds again.",
        body: json_body::<Extension>(),
        responses: &[ok::<Order>("The order, with its new `pay_by`.")],
        codes: &[Code::WrongState],
        ..OPERATOR_ENDPOINT
    },
);
