//! Telling others: the shop's endpoints, what they were not told at once, what was given up.

use super::operators::{OPERATOR_ENDPOINT, VIEWER_ENDPOINT};
use super::response::{json, ok};
use super::{Auth, Body, Content, Endpoint, JsonType, Method, Param, SuccessResponse};
use crate::admin::dead_letters::{
    BulkDiscardBody, BulkRetryBody, DeadLetterDetail, DeadLetterList, Discard, ManySeenTo, SeenTo,
};
use crate::admin::keys::Role;
use crate::admin::webhooks::{
    CreatedWebhookEndpoint, DeliveryList, NewWebhookEndpoint, Redelivery, SecretRotation,
    WebhookEndpoint, WebhookEndpointList, WebhookEndpointPatch,
};
use crate::header::BodyType;
use crate::problem::Code;

/// What only an `admin` may change.
const ADMIN_ENDPOINT: Endpoint = Endpoint { auth: Auth::Operator(Role::Admin), ..VIEWER_ENDPOINT };

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        path: "/v1/admin/webhook-endpoints",
        id: "list_webhook_endpoints",
        summary: "List the endpoints that are told what happens",
        description: "Oldest first, with how far each one is, and never with a secret.",
        responses: &[ok::<WebhookEndpointList>("The endpoints.")],
        ..VIEWER_ENDPOINT
    },
    Endpoint {
        method: Method::Post,
        path: "/v1/admin/webhook-endpoints",
        id: "create_webhook_endpoint",
        summary: "Add an endpoint",
        description: "It is told of what happens from now on: a webhook signed as Standard Webhooks, a broker in CloudEvents' envelope. A webhook's secret is \
            shown in this answer and never again. An address that may not be gone to is refused here already. There are at most 50.",
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
    Endpoint {
        path: "/v1/admin/webhook-endpoints/{endpoint}",
        id: "get_webhook_endpoint",
        summary: "Read an endpoint, and how far it is",
        responses: &[ok::<WebhookEndpoint>("The endpoint.")],
        ..VIEWER_ENDPOINT
    },
    Endpoint {
        method: Method::Patch,
        path: "/v1/admin/webhook-endpoints/{endpoint}",
        id: "change_webhook_endpoint",
        summary: "Change an endpoint by a JSON merge patch",
        description: "Holds for everything that it was not told yet.",
        body: Some(Body {
            media: BodyType::MergePatch,
            json_type: JsonType::for_type::<WebhookEndpointPatch>(),
        }),
        responses: &[ok::<WebhookEndpoint>("The endpoint, changed.")],
        ..ADMIN_ENDPOINT
    },
    Endpoint {
        method: Method::Delete,
        path: "/v1/admin/webhook-endpoints/{endpoint}",
        id: "delete_webhook_endpoint",
        summary: "Remove an endpoint",
        description: "With everything that it was not told.",
        responses: &[SuccessResponse::new(204, Content::None, "The endpoint is gone.")],
        ..ADMIN_ENDPOINT
    },
    Endpoint {
        method: Method::Post,
        path: "/v1/admin/webhook-endpoints/{endpoint}/rotate-secret",
        id: "rotate_webhook_secret",
        summary: "Give an endpoint a new secret",
        description: "Messages are signed by the new one at once, and by those before it as well for a while. The new one is shown in this \
            answer and never again. At most five sign at once; the oldest goes. A broker has none.",
        body: Some(Body {
            media: BodyType::Json,
            json_type: JsonType::for_type::<SecretRotation>(),
        }),
        may_lack_body: true,
        responses: &[ok::<CreatedWebhookEndpoint>("The endpoint, with its new secret.")],
        codes: &[Code::WrongState],
        ..ADMIN_ENDPOINT
    },
    Endpoint {
        path: "/v1/admin/webhook-endpoints/{endpoint}/deliveries",
        id: "list_deliveries",
        summary: "List what an endpoint did not take at once",
        description: "Newest event first. What it took at once leaves no trace here.",
        params: &[Param::DeliveryState, Param::Cursor, Param::Limit],
        responses: &[ok::<DeliveryList>("A page of deliveries.")],
        ..VIEWER_ENDPOINT
    },
    Endpoint {
        method: Method::Post,
        path: "/v1/admin/webhook-endpoints/{endpoint}/deliveries",
        id: "redeliver",
        summary: "Tell an endpoint of one event once more",
        description: "Whatever became of it before. Later events about the same order wait for it.",
        body: Some(Body { media: BodyType::Json, json_type: JsonType::for_type::<Redelivery>() }),
        responses: &[SuccessResponse::new(202, json::<Redelivery>(), "It will be told.")],
        codes: &[Code::WrongState],
        ..OPERATOR_ENDPOINT
    },
    Endpoint {
        path: "/v1/admin/dead-letters",
        id: "list_dead_letters",
        summary: "List what was given up and not seen to",
        description: "Events that an endpoint did not take, refunds that a provider did not make, requests that could not be decided: in this \
            order, each newest first.",
        params: &[Param::DeadKind, Param::Cursor, Param::Limit],
        responses: &[ok::<DeadLetterList>("A page of dead letters.")],
        ..VIEWER_ENDPOINT
    },
    Endpoint {
        path: "/v1/admin/dead-letters/{letter}",
        id: "get_dead_letter",
        summary: "Read a dead letter with what it holds",
        description: "Of an event the message that the endpoint did not take, of a refund its payment and amount, of a ticket its request.",
        responses: &[ok::<DeadLetterDetail>("The dead letter.")],
        ..VIEWER_ENDPOINT
    },
    Endpoint {
        method: Method::Post,
        path: "/v1/admin/dead-letters/{letter}/retry",
        id: "retry_dead_letter",
        summary: "Try it again",
        description: "From the first try on. A ticket cannot be: its units went back, and its buyer heard so.",
        responses: &[ok::<SeenTo>("It is tried again.")],
        codes: &[Code::WrongState],
        ..OPERATOR_ENDPOINT
    },
    Endpoint {
        method: Method::Post,
        path: "/v1/admin/dead-letters/{letter}/discard",
        id: "discard_dead_letter",
        summary: "Let it be",
        description: "It is not listed any more; why is kept. Without a body the reason is `none given`.",
        body: Some(Body { media: BodyType::Json, json_type: JsonType::for_type::<Discard>() }),
        may_lack_body: true,
        responses: &[ok::<SeenTo>("It is let be.")],
        ..OPERATOR_ENDPOINT
    },
    Endpoint {
        method: Method::Post,
        path: "/v1/admin/dead-letters/retry",
        id: "retry_dead_letters",
        summary: "Try many again",
        description: "Those of one endpoint, or all, newest first: at most `limit` are looked at in one call, and `next_cursor` goes on from there.",
        params: &[Param::DeadKind, Param::Cursor, Param::Limit],
        body: Some(Body {
            media: BodyType::Json,
            json_type: JsonType::for_type::<BulkRetryBody>(),
        }),
        responses: &[ok::<ManySeenTo>("How many are tried again.")],
        codes: &[Code::NotFound],
        ..OPERATOR_ENDPOINT
    },
    Endpoint {
        method: Method::Post,
        path: "/v1/admin/dead-letters/discard",
        id: "discard_dead_letters",
        summary: "Let many be",
        description: "As the above, and `reason` is kept with each.",
        params: &[Param::DeadKind, Param::Cursor, Param::Limit],
        body: Some(Body {
            media: BodyType::Json,
            json_type: JsonType::for_type::<BulkDiscardBody>(),
        }),
        responses: &[ok::<ManySeenTo>("How many are let be.")],
        codes: &[Code::NotFound],
        ..OPERATOR_ENDPOINT
    },
];
