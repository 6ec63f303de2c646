//! Responses and their bodies. Nearly every response is JSON or a problem.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::response::IntoResponse;
use bytes::Bytes;
use doorbuster_api::problem::{Code, MEDIA_TYPE, Problem};
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use serde::Serialize;

use super::failure::FailureCause;

/// The body of a response: plain bytes, or a body from the router.
#[derive(Debug)]
pub enum ReplyBody {
    /// The whole body. The first poll takes the bytes, so only `None` remains.
    Bytes(Option<Bytes>),
    /// A body from the router.
    Routed(axum::body::Body),
}

/// An answer from this server.
pub type Reply = Response<ReplyBody>;

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.get_mut() {
            Self::Bytes(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Routed(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_none(),
            Self::Routed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Bytes(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Routed(body) => body.size_hint(),
        }
    }
}

pub(crate) fn rendered(status: StatusCode, media_type: &'static str, bytes: Bytes) -> Reply {
    let mut reply = Response::new(ReplyBody::Bytes(Some(bytes)));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.reserve(6);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    let bytes = serde_json::to_vec(value).expect("API types serialise into memory");
    rendered(status, "application/json", bytes.into())
}

pub(crate) fn ok(value: &impl Serialize) -> HandlerResult {
    Ok(json(StatusCode::OK, value))
}

/// Marks the reply to an operator's request that changed nothing although its method is `POST`,
/// such as a dry run. Such a request is not logged as a change.
#[derive(Clone, Copy)]
pub(crate) struct NothingChanged;

/// Returns a reply as [`ok`] does, with the mark [`NothingChanged`].
pub(crate) fn ok_unchanged(value: &impl Serialize) -> HandlerResult {
    let mut reply = json(StatusCode::OK, value);
    reply.extensions_mut().insert(NothingChanged);
    Ok(reply)
}

pub(crate) fn no_store(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

pub(crate) fn csv_reply(name: &str, body: axum::body::Body) -> Reply {
    let mut reply = Response::new(ReplyBody::Routed(body));
    let headers = reply.headers_mut();
    headers
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present"));
    let name = format!("attachment; filename=\"{name}.csv\"");
    let name = HeaderValue::from_str(&name).expect("a plain word between quotes");
    headers.insert(CONTENT_DISPOSITION, name);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(ReplyBody::Bytes(None));
    *reply.status_mut() = status;
    reply
}

/// Returns the response for a problem, with the headers that the problem's code requires.
pub(crate) fn problem(problem: &Problem) -> Reply {
    let status = StatusCode::from_u16(problem.status()).expect("every code has a valid status");
    let mut reply = rendered(status, MEDIA_TYPE, problem.to_json().into());
    problem_headers(reply.headers_mut(), problem);
    reply
}

fn problem_headers(headers: &mut HeaderMap, problem: &Problem) {
    if let Some(seconds) = problem.retry_after() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    if problem.code() == Code::RateLimited {
        // No cache may keep this response, because it is valid only for this caller at this moment.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if problem.code() == Code::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"doorbuster\""));
    }
}

pub(crate) type HandlerResult = Result<Reply, HandlerError>;

/// A problem that a handler returns. For an internal failure, `cause` is the reason of the failure.
#[derive(Debug)]
pub(crate) struct HandlerError {
    pub problem: Box<Problem>,
    pub cause: Option<FailureCause>,
}

impl From<Problem> for HandlerError {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), cause: None }
    }
}

impl HandlerError {
    pub(crate) fn reply(self) -> Reply {
        let mut reply = problem(&self.problem);
        if let Some(cause) = self.cause {
            reply.extensions_mut().insert(cause);
        }
        reply
    }
}

impl IntoResponse for HandlerError {
    fn into_response(self) -> axum::response::Response {
        routed(self.reply())
    }
}

pub(crate) fn routed(reply: Reply) -> axum::response::Response {
    reply.map(axum::body::Body::new)
}

/// Returns the problem for a buyer's or an operator's request to a node without the role `api`.
pub(crate) fn not_served() -> Problem {
    Problem::not_found("this node does not have the role api; send the request to another node")
}
