//! Webhooks: the shop's endpoints, the failed deliveries, and the dead letters.

use super::operators::{OPERATOR_ENDPOINT, VIEWER_ENDPOINT};
use super::response::{created, json, no_content, ok};
use super::{Auth, Endpoint, Method, Param, SuccessResponse, json_body, merge_patch_body};
use crate::admin::dead_letters::{
    BulkDeadLetterResolution, DeadLetterDetail, DeadLetterList, DeadLetterResolution, Discard,
    ManyToDiscard, ManyToRetry,
};
use crate::admin::keys::Role;
use crate::admin::webhooks::{
    CreatedWebhookEndpoint, DeliveryList, NewWebhookEndpoint, Redelivery, SecretRotation,
    WebhookEndpoint, WebhookEndpointList, WebhookEndpointPatch,
};
use crate::problem::Code;

const ADMIN_ENDPOINT: Endpoint = Endpoint { auth: Auth::Operator(Role::Admin), ..VIEWER_ENDPOINT };

endpoints!(
    list_webhook_endpoints = Endpoint {
        path: "/v1/admin/webhook-endpoints",
        summary: "List the endpoints that receive events",
        description: "Lists endpoints with their progress, oldest first. The secrets are not in \
            the list.",
        responses: &[ok::<WebhookEndpointList>("The endpoints.")],
        ..VIEWER_ENDPOINT
    },
    create_webhook_endpoint = Endpoint {
        method: Method::Post,
        path: "/v1/admin/webhook-endpoints",
        summary: "Add an endpoint",
        description: "The endpoint receives the events that happen after this request. A webhook \
            gets messages that are signed as Standard Webhooks. A broker gets CloudEvents. Only \
            this response shows a webhook's secret. The server refuses a URL that it is not \
            allowed to call. At most 50 endpoints can exist.",
        body: json_body::<NewWebhookEndpoint>(),
        responses: &[created::<CreatedWebhookEndpoint>("The endpoint, with its secret.")],
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
        description: "The change applies to every event that has not been delivered yet.",
        body: merge_patch_body::<WebhookEndpointPatch>(),
        responses: &[ok::<WebhookEndpoint>("The endpoint, changed.")],
        ..ADMIN_ENDPOINT
    },
    delete_webhook_endpoint = Endpoint {
        method: Method::Delete,
        path: "/v1/admin/webhook-endpoints/{endpoint}",
        summary: "Remove an endpoint",
        description: "The server removes the endpoint together with its undelivered events.",
        responses: &[no_content("The endpoint was removed.")],
        ..ADMIN_ENDPOINT
    },
    rotate_webhook_secret = Endpoint {
        method: Method::Post,
        path: "/v1/admin/webhook-endpoints/{endpoint}/rotate-secret",
        summary: "Give an endpoint a new secret",
        description: "The server signs with the new secret at once. For some time, it continues \
            to sign with the earlier secrets. Only this response shows the new secret. The server \
            signs with at most five secrets, and removes the oldest secret first. A broker has no \
            secret.",
        body: json_body::<SecretRotation>(),
        may_lack_body: true,
        responses: &[ok::<CreatedWebhookEndpoint>("The endpoint, with its new secret.")],
        codes: &[Code::WrongState],
        ..ADMIN_ENDPOINT
    },
    list_deliveries = Endpoint {
        path: "/v1/admin/webhook-endpoints/{endpoint}/deliveries",
        summary: "List the deliveries that an endpoint did not accept at the first attempt",
        description: "Lists deliveries, newest event first. Deliveries that succeeded at the first \
            attempt are not listed.",
        params: &[Param::DeliveryState, Param::Cursor, Param::Limit],
        responses: &[ok::<DeliveryList>("A page of deliveries.")],
        ..VIEWER_ENDPOINT
    },
    redeliver = Endpoint {
        method: Method::Post,
        path: "/v1/admin/webhook-endpoints/{endpoint}/deliveries",
        summary: "Deliver one event to an endpoint again",
        description: "The first attempt to deliver the event must be over. An event \
            that was already delivered can be sent again. Later events about the same order wait \
            for this event.",
        body: json_body::<Redelivery>(),
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
        description: "Lists events that an endpoint did not accept, then refunds that a provider \
            did not make, then tickets that the server could not settle. Within each kind, the \
            newest dead letter is first.",
        params: &[Param::DeadLetterKind, Param::Cursor, Param::Limit],
        responses: &[ok::<DeadLetterList>("A page of dead letters.")],
        ..VIEWER_ENDPOINT
    },
    get_dead_letter = Endpoint {
        path: "/v1/admin/dead-letters/{letter}",
        summary: "Read a dead letter with its content",
        description: "The content depends on what the dead letter is about. For an event, it is \
            the undelivered message; for a refund, the payment and the amount; for a ticket, the \
            request.",
        responses: &[ok::<DeadLetterDetail>("The dead letter.")],
        ..VIEWER_ENDPOINT
    },
    retry_dead_letter = Endpoint {
        method: Method::Post,
        path: "/v1/admin/dead-letters/{letter}/retry",
        summary: "Retry a dead letter",
        description: "The server tries again, and counts the attempts from 0. A ticket cannot \
            be retried, because its units were returned and its buyer got the refusal.",
        responses: &[ok::<DeadLetterResolution>("The server retries the dead letter.")],
        codes: &[Code::WrongState],
        ..OPERATOR_ENDPOINT
    },
    discard_dead_letter = Endpoint {
        method: Method::Post,
        path: "/v1/admin/dead-letters/{letter}/discard",
        summary: "Discard a dead letter",
        description: "The dead letter leaves the list, and the server keeps the reason. Without a \
            body, the reason is `none given`.",
        body: json_body::<Discard>(),
        may_lack_body: true,
        responses: &[ok::<DeadLetterResolution>("The dead letter is discarded.")],
        ..OPERATOR_ENDPOINT
    },
    retry_dead_letters = Endpoint {
        method: Method::Post,
        path: "/v1/admin/dead-letters/retry",
        summary: "Retry many dead letters",
        description: "Retries the dead letters of one endpoint, or all dead letters, newest first. \
            One request handles at most `limit` dead letters. To continue, send `next_cursor` as \
            `cursor`.",
        params: &[Param::DeadLetterKind, Param::Cursor, Param::Limit],
        body: json_body::<ManyToRetry>(),
        responses: &[ok::<BulkDeadLetterResolution>("The number of retried dead letters.")],
        codes: &[Code::NotFound],
        ..OPERATOR_ENDPOINT
    },
    discard_dead_letters = Endpoint {
        method: Method::Post,
        path: "/v1/admin/dead-letters/discard",
        summary: "Discard many dead letters",
        description: "Discards the dead letters of one endpoint, or all dead letters. The server \
            stores `reason` with each of them.",
        params: &[Param::DeadLetterKind, Param::Cursor, Param::Limit],
        body: json_body::<ManyToDiscard>(),
        responses: &[ok::<BulkDeadLetterResolution>("The number of discarded dead letters.")],
        codes: &[Code::NotFound],
        ..OPERATOR_ENDPOINT
    },
);
