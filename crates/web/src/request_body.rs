//! Reads the bodies of requests, within limits of size and time, and checks their content types.

use std::pin::pin;

use axum::extract::FromRequest;
use bytes::{Bytes, BytesMut};
use doorbuster_api::body::nothing;
use doorbuster_api::header::BodyType;
use doorbuster_api::limits::ADMIN_BODY_BYTES_MAX;
use doorbuster_api::problem::Problem;
use http::header::{CONTENT_TYPE, EXPECT};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use hyper::body::Body;

use super::limits::{BODY_TIMEOUT, DRAIN_BYTES_MAX, DRAIN_TIMEOUT};
use super::reply::HandlerError;

/// A JSON body of at most `MAX` bytes.
#[derive(Debug)]
pub(crate) struct JsonBody<const MAX: usize>(pub Bytes);

/// Like [`JsonBody`], but the body may be empty. An empty body needs no `Content-Type`.
#[derive(Debug)]
pub(crate) struct OptionalJsonBody<const MAX: usize>(pub Bytes);

/// The body of an operator's `PATCH` request: a JSON merge patch.
#[derive(Debug)]
pub(crate) struct MergePatchBody(pub Bytes);

impl<S: Send + Sync, const MAX: usize> FromRequest<S> for JsonBody<MAX> {
    type Rejection = HandlerError;

    async fn from_request(request: axum::extract::Request, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(typed_body(request, MAX, BodyType::Json, false).await?))
    }
}

impl<S: Send + Sync, const MAX: usize> FromRequest<S> for OptionalJsonBody<MAX> {
    type Rejection = HandlerError;

    async fn from_request(request: axum::extract::Request, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(typed_body(request, MAX, BodyType::Json, true).await?))
    }
}

impl<S: Send + Sync> FromRequest<S> for MergePatchBody {
    type Rejection = HandlerError;

    async fn from_request(request: axum::extract::Request, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(typed_body(request, ADMIN_BODY_BYTES_MAX, BodyType::MergePatch, false).await?))
    }
}

/// Reads a body and checks its `Content-Type`. If `may_be_empty`, an empty body needs no
/// `Content-Type`.
async fn typed_body(
    request: axum::extract::Request,
    bytes_max: usize,
    wanted: BodyType,
    may_be_empty: bool,
) -> Result<Bytes, Problem> {
    let (parts, body) = request.into_parts();
    let body = read(&parts.headers, body, bytes_max).await?;
    if !(may_be_empty && body.is_empty()) {
        content_type(&parts.headers, wanted)?;
    }
    Ok(body)
}

/// Reads a body. Fails with `413` if it has more than `bytes_max` bytes, and with `400` if the body
/// is incomplete or does not arrive in time.
pub(crate) async fn body<B>(request: Request<B>, bytes_max: usize) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes>,
{
    let (parts, body) = request.into_parts();
    read(&parts.headers, body, bytes_max).await
}

/// Reads the body of a request that needs none. The body must be empty or an empty JSON object.
/// Fails like [`body`]. Two more rules apply to a body that is not empty. If its content type is
/// not JSON, fails with `415`. If it is not an empty object, fails with `400` or `422`.
pub(crate) async fn no_body<B>(request: Request<B>, bytes_max: usize) -> Result<(), Problem>
where
    B: Body<Data = Bytes>,
{
    let (parts, body) = request.into_parts();
    let bytes = read(&parts.headers, body, bytes_max).await?;
    if !bytes.is_empty() {
        content_type(&parts.headers, BodyType::Json)?;
    }
    nothing(&bytes)
}

/// Like [`body`], for a request that is already split into parts.
pub(crate) async fn read<B>(
    headers: &HeaderMap,
    body: B,
    bytes_max: usize,
) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes>,
{
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let announced = body.size_hint().lower();
    let mut body = pin!(body);
    if announced > bytes_max as u64 {
        // A client that sent `Expect: 100-continue` waits for the refusal before it sends its body.
        // Other clients send their body first, so the server reads and drops the body.
        if !headers.contains_key(EXPECT) && announced <= DRAIN_BYTES_MAX as u64 {
            drain(body).await;
        }
        return Err(Problem::body_too_large(bytes_max));
    }
    match tokio::time::timeout(BODY_TIMEOUT, collect(body.as_mut(), bytes_max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(BodyError::TooLarge)) => {
            drain(body).await;
            Err(Problem::body_too_large(bytes_max))
        }
        Ok(Err(BodyError::Off)) => Err(Problem::malformed_request("the body is incomplete")),
        Err(_) => Err(Problem::malformed_request("the body did not arrive in time")),
    }
}

enum BodyError {
    TooLarge,
    Off,
}

async fn collect<B>(mut body: std::pin::Pin<&mut B>, bytes_max: usize) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
{
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(BodyError::Off) };
        // Trailers are ignored.
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > bytes_max {
            return Err(BodyError::TooLarge);
        }
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            break;
        }
    }
    // Nearly every body arrives in one piece, which need not be copied.
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Reads and drops a body. Most clients read the response only after they have sent the whole body.
pub(crate) async fn drain<B>(mut body: std::pin::Pin<&mut B>)
where
    B: Body<Data = Bytes>,
{
    let reading = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(less) => left = less,
                None => break,
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, reading).await;
}

/// Fails with `415`.
pub(crate) fn content_type(headers: &HeaderMap, wanted: BodyType) -> Result<(), Problem> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if wanted.matches(value.as_bytes()) => Ok(()),
        _ => Err(Problem::unsupported_media_type()),
    }
}
