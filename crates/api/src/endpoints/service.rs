//! Service endpoints for load balancers, monitoring and developers: health, readiness, metrics,
//! documentation.

use super::operators::VIEWER_ENDPOINT;
use super::response::{NOT_MODIFIED, ok};
use super::{Auth, Content, Endpoint, EndpointGroup, Param, ResponseHeader, SuccessResponse};
use crate::health::Health;
use crate::problem::Code;

const SERVICE_ENDPOINT: Endpoint =
    Endpoint { group: EndpointGroup::Service, auth: Auth::Public, ..VIEWER_ENDPOINT };

endpoints!(
    health = Endpoint {
        path: "/healthz",
        summary: "Check whether the process is alive",
        responses: &[ok::<Health>("The process is alive.")],
        ..SERVICE_ENDPOINT
    },
    readiness = Endpoint {
        path: "/readyz",
        summary: "Check whether the process is ready for requests",
        description: "While the store is unreachable, and after the process got a signal to stop, \
            the response is `503` with `reasons`.",
        responses: &[ok::<Health>("The process is ready.")],
        codes: &[Code::Unavailable],
        ..SERVICE_ENDPOINT
    },
    metrics = Endpoint {
        path: "/metrics",
        summary: "Read the metrics, as Prometheus text",
        responses: &[SuccessResponse::new(200, Content::Metrics, "The metrics.")],
        ..SERVICE_ENDPOINT
    },
    openapi = Endpoint {
        path: "/openapi.json",
        summary: "Read this document",
        params: &[Param::IfNoneMatch],
        responses: &[
            SuccessResponse::new(200, Content::OpenApi, "OpenAPI 3.1.")
                .headers(&[ResponseHeader::ETag, ResponseHeader::CacheControl]),
            NOT_MODIFIED,
        ],
        ..SERVICE_ENDPOINT
    },
    docs = Endpoint {
        path: "/docs",
        summary: "Read this document as a page",
        params: &[Param::IfNoneMatch],
        responses: &[
            SuccessResponse::new(200, Content::Html, "A self-contained page.")
                .headers(&[ResponseHeader::ETag, ResponseHeader::CacheControl]),
            NOT_MODIFIED,
        ],
        ..SERVICE_ENDPOINT
    },
);
