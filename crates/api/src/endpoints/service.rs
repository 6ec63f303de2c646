//! What machines around the server use: health, readiness, metrics, documentation.

use super::answer::{UNCHANGED, ok};
use super::{Answer, AnswerHeader, Auth, Chapter, Content, Endpoint, Method, Param};
use crate::health::Health;
use crate::problem::Code;

const SERVICE: Endpoint = Endpoint {
    method: Method::Get,
    path: "",
    id: "",
    chapter: Chapter::Service,
    auth: Auth::Nobody,
    summary: "",
    description: "",
    params: &[],
    body: None,
    may_lack_body: false,
    answers: &[],
    codes: &[],
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        path: "/healthz",
        id: "health",
        summary: "Tell whether the process is alive",
        answers: &[ok::<Health>("It is.")],
        ..SERVICE
    },
    Endpoint {
        path: "/readyz",
        id: "readiness",
        summary: "Tell whether the process is to be sent requests",
        description: "`503` with `reasons` while the truth store is away, or once the process was asked to stop and gives notice of it.",
        answers: &[ok::<Health>("It is.")],
        codes: &[Code::Unavailable],
        ..SERVICE
    },
    Endpoint {
        path: "/metrics",
        id: "metrics",
        summary: "Read the metrics, as Prometheus text",
        answers: &[Answer::new(200, Content::Metrics, "The metrics.")],
        ..SERVICE
    },
    Endpoint {
        path: "/openapi.json",
        id: "openapi",
        summary: "Read this document",
        params: &[Param::IfNoneMatch],
        answers: &[
            Answer::new(200, Content::OpenApi, "OpenAPI 3.1.")
                .headers(&[AnswerHeader::ETag, AnswerHeader::CacheControl]),
            UNCHANGED,
        ],
        ..SERVICE
    },
    Endpoint {
        path: "/docs",
        id: "docs",
        summary: "Read this document as a page",
        params: &[Param::IfNoneMatch],
        answers: &[
            Answer::new(200, Content::Html, "A page that needs nothing from elsewhere.")
                .headers(&[AnswerHeader::ETag, AnswerHeader::CacheControl]),
            UNCHANGED,
        ],
        ..SERVICE
    },
];
