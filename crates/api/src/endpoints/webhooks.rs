//! Webhooks: the shop's endpoints, the failed deliveries, and the dead letters.

use super::operators::{OPERATOR_ENDPOINT, VIEWER_ENDPOINT};
use super::response::{json, ok};
use super::{Auth, Body, Content, Endpoint, JsonType, Method, Param, SuccessResponse};
use crate::admin::dead_letters::{
    BulkDeadLetterResolution, BulkDiscardBody, BulkRetryBody, DeadLetterDetail, DeadLetterList,
    DeadLetterResolution, Discard,
};
use crate::admin::keys::Role;
use crate::admin::webhooks::{
    CreatedWebhookEndpoint, DeliveryList, NewWebhookEndpoint, Redelivery, SecretRotation,
    WebhookEndpoint, WebhookEndpointList, WebhookEndpointPatch,
};
use crate::header::BodyType;
use crate::problem::Code;

/// An endpoint that only an `admin` may call.
const ADMIN_ENDPOINT: Endpoint = Endpoint { auth: Auth::Operator(Role::Admin), ..VIEWER_ENDPOINT };

endpoints!(
    list_webhook_endpoints = Endpoint {
        path: "/v1/admin/webhook-endpoints",
        summary: "List the endpoints that receive events",
        description: "Lists the oldest endpoint first, each with its progress and without its secret.",
        responses: &[ok::<WebhookEndpointList>("The endpoints.")],
        ..VIEWER_ENDPOINT
    },
    create_webhook_endpoint = Endpoint {
        method: Method::Post,
        path: "/v1/admin/webhook-endpoints",
        summary: "Add an endpoint",
        description: "The endpoint receives the events from now on: a webhook signed as Standard Webhooks, a \
            broker in a CloudEvents envelope. The server shows a webhook's secret in this response and \
            never again. A URL that the server may not call is refused. At most 50 endpoints can exist.",
        body: Some(Body {
            media: BodyType::Json,
            json_type: JsonType::for_type::<NewWebhookEndpoint>(),
        }),
        responses: &[SuccessResponse::new(
            201,
            json::<CreatedWebhookEndpoint>(),
            "The endpoint, with its secret.",
        )],
        codes: &[Code::WrongState],
        ..ADMIN_ENDPOINT
    },
    get_webhook_endpoint = Endpoint {
        path: "/v1/admin/webhook-endpoints/{endpoint}",
        summary: "Read an endpoint and its progress",
        responses: &[ok::<WebhookEndpoint>("The endpoint.")],
        ..VIEWER_ENDPOINT
    },
    change_webhook_endpoint = Endpoint {
        method: Method::Patch,
        path: "/v1/admin/webhook-endpoints/{endpoint}",
        summary: "Change an endpoint by a JSON merge patch",
        description: "The change applies to every event that was not delivered yet.",
        body: Some(Body {
            media: BodyType::MergePatch,
            json_type: JsonType::for_type::<WebhookEndpointPatch>(),
        }),
        responses: &[ok::<WebhookEndpoint>("The endpoint, changed.")],
        ..ADMIN_ENDPOINT
    },
    delete_webhook_endpoint = Endpoint {
        method: Method::Delete,
        path: "/v1/admin/webhook-endpoints/{endpoint}",
        summary: "Remove an endpoint",
        description: "The endpoint's undelivered events are removed too.",
        responses: &[SuccessResponse::new(204, Content::None, "The endpoint was removed.")],
        ..ADMIN_ENDPOINT
    },
    rotate_webhook_secret = Endpoint {
        method: Method::Post,
        path: "/v1/admin/webhook-endpoints/{endpoint}/rotate-secret",
        summary: "Give an endpoint a new secret",
        description: "The new secret signs at once; the earlier ones still sign for a while. The \
            new one is shown in this response and never again. At most five sign at once; the \
            oldest is removed. A broker has no secret.",
        body: Some(Body {
            media: BodyType::Json,
            json_type: JsonType::for_type::<SecretRotation>(),
        }),
        may_lack_body: true,
        responses: &[ok::<CreatedWebhookEndpoint>("The endpoint, with its new secret.")],
        codes: &[Code::WrongState],
        ..ADMIN_ENDPOINT
    },
    list_deliveries = Endpoint {
        path: "/v1/admin/webhook-endpoints/{endpoint}/deliveries",
        summary: "List the deliveries that an endpoint did not accept at the first attempt",
        description: "Lists the newest event first. Deliveries that succeeded at the first attempt are not listed.",
        params: &[Param::DeliveryState, Param::Cursor, Param::Limit],
        responses: &[ok::<DeliveryList>("A page of deliveries.")],
        ..VIEWER_ENDPOINT
    },
    redeliver = Endpoint {
        method: Method::Post,
        path: "/v1/admin/webhook-endpoints/{endpoint}/deliveries",
        summary: "Deliver one event to an endpoint again",
        description: "The state of earlier deliveries does not matter. Later events about the same order wait for this event.",
        body: Some(Body { media: BodyType::Json, json_type: JsonType::for_type::<Redelivery>() }),
        responses: &[SuccessResponse::new(
            202,
            json::<Redelivery>(),
            "The event will be delivered.",
        )],
        codes: &[Code::WrongState],
        ..OPERATOR_ENDPOINT
    },
    list_dead_letters = Endpoint {
        path: "/v1/admin/dead-letters",
        summary: "List unresolved dead letters",
        description: "Lists events that an endpoint did not accept, refunds that a provider did not \
            make, and tickets that could not be settled: in this order, the newest of each kind first.",
        params: &[Param::DeadLetterKind, Param::Cursor, Param::Limit],
        responses: &[ok::<DeadLetterList>("A page of dead letters.")],
        ..VIEWER_ENDPOINT
    },
    get_dead_letter = Endpoint {
        path: "/v1/admin/dead-letters/{letter}",
        summary: "Read a dead letter with its content",
        description: "For an event: the undelivered message. For a refund: its payment and amount. For a ticket: its request.",
        responses: &[ok::<DeadLetterDetail>("The dead letter.")],
        ..VIEWER_ENDPOINT
    },
    retry_dead_letter = Endpoint {
        method: Method::Post,
        path: "/v1/admin/dead-letters/{letter}/retry",
        summary: "Retry a dead letter",
        description: "The server starts again with the first attempt. A ticket cannot be retried, because its \
            units were returned and its buyer got the refusal.",
        responses: &[ok::<DeadLetterResolution>("The server retries the dead letter.")],
        codes: &[Code::WrongState],
        ..OPERATOR_ENDPOINT
    },
    discard_dead_letter = Endpoint {
        method: Method::Post,
        path: "/v1/admin/dead-letters/{letter}/discard",
        summary: "Discard a dead letter",
        description: "The dead letter leaves the list, and the server keeps the reason. Without a body the reason is `none given`.",
        body: Some(Body { media: BodyType::Json, json_type: JsonType::for_type::<Discard>() }),
        may_lack_body: true,
        responses: &[ok::<DeadLetterResolution>("The dead letter is discarded.")],
        ..OPERATOR_ENDPOINT
    },
    retry_dead_letters = Endpoint {
        method: Method::Post,
        path: "/v1/admin/dead-letters/retry",
        summary: "Retry many dead letters",
        description: "Retries the dead letters of one endpoint, or all, newest first. One call handles at \
            most `limit`; `next_cursor` continues from there.",
        params: &[Param::DeadLetterKind, Param::Cursor, Param::Limit],
        body: Some(Body {
            media: BodyType::Json,
            json_type: JsonType::for_type::<BulkRetryBody>(),
        }),
        responses: &[ok::<BulkDeadLetterResolution>("The number of retried dead letters.")],
        codes: &[Code::NotFound],
        ..OPERATOR_ENDPOINT
    },
    discard_dead_letters = Endpoint {
        method: Method::Post,
        path: "/v1/admin/dead-letters/discard",
        summary: "Discard many dead letters",
        description: "Discards the dead letters of one endpoint, or all. The server stores `reason` with each.",
        params: &[Param::DeadLetterKind, Param::Cursor, Param::Limit],
        body: Some(Body {
            media: BodyType::Json,
            json_type: JsonType::for_type::<BulkDiscardBody>(),
        }),
        responses: &[ok::<BulkDeadLetterResolution>("The number of discarded dead letters.")],
        codes: &[Code::NotFound],
        ..OPERATOR_ENDPOINT
    },
);
