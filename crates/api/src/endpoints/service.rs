//! What machines around the server use: health, readiness, metrics, documentation.

use super::response::{NOT_MODIFIED, ok};
use super::{Auth, Chapter, Content, Endpoint, Method, Param, ResponseHeader, SuccessResponse};
use crate::health::Health;
use crate::problem::Code;

const SERVICE_ENDPOINT: Endpoint = Endpoint {
    method: Method::Get,
    path: "",
    id: "",
    chapter: Chapter::Service,
    auth: Auth::Public,
    summary: "",
    description: "",
    params: &[],
    body: None,
    may_lack_body: false,
    responses: &[],
    codes: &[],
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        path: "/healthz",
        id: "health",
        summary: "Tell whether the process is alive",
        responses: &[ok::<Health>("It is.")],
        ..SERVICE_ENDPOINT
    },
    Endpoint {
        path: "/readyz",
        id: "readiness",
        summary: "Tell whether the process is to be sent requests",
        description: "`503` with `reasons` while the truth store is away, or once the process was asked to stop and gives notice of it.",
        responses: &[ok::<Health>("It is.")],
        codes: &[Code::Unavailable],
        ..SERVICE_ENDPOINT
    },
    Endpoint {
        path: "/metrics",
        id: "metrics",
        summary: "Read the metrics, as Prometheus text",
        responses: &[SuccessResponse::new(200, Content::Metrics, "The metrics.")],
        ..SERVICE_ENDPOINT
    },
    Endpoint {
        path: "/openapi.json",
        id: "openapi",
        summary: "Read this document",
        params: &[Param::IfNoneMatch],
        responses: &[
            SuccessResponse::new(200, Content::OpenApi, "OpenAPI 3.1.")
                .headers(&[ResponseHeader::ETag, ResponseHeader::CacheControl]),
            NOT_MODIFIED,
        ],
        ..SERVICE_ENDPOINT
    },
    Endpoint {
        path: "/docs",
        id: "docs",
        summary: "Read this document as a page",
        params: &[Param::IfNoneMatch],
        responses: &[
            SuccessResponse::new(200, Content::Html, "A page that needs nothing from elsewhere.")
                .headers(&[ResponseHeader::ETag, ResponseHeader::CacheControl]),
            NOT_MODIFIED,
        ],
        ..SERVICE_ENDPOINT
    },
];
