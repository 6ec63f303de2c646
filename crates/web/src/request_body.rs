//! Reads the bodies of requests and checks their content types. The size of a body and the time to
//! read it are limited.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use doorbuster_api::body::nothing;
use doorbuster_api::header::BodyType;
use doorbuster_api::problem::Problem;
use http::header::{CONTENT_TYPE, EXPECT};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use hyper::body::Body;

use super::limits::{BODY_TIMEOUT, DRAIN_BYTES_MAX, DRAIN_TIMEOUT};

/// Reads the whole body, at most `bytes_max` bytes.
///
/// # Errors
/// `413` if the body is larger; `400` if the body is incomplete or takes too long.
pub(crate) async fn body<B>(request: Request<B>, bytes_max: usize) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes>,
{
    let (parts, body) = request.into_parts();
    read(&parts.headers, body, bytes_max).await
}

/// Reads the body of a request that needs no body. The body may be empty or an empty JSON object.
///
/// # Errors
/// Like [`body`]; `400` or `422` if the body has content.
pub(crate) async fn no_body<B>(request: Request<B>, bytes_max: usize) -> Result<(), Problem>
where
    B: Body<Data = Bytes>,
{
    nothing(&body(request, bytes_max).await?)
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
        // A client that sent `Expect` reads the refusal before it sends its body. Other clients
        // read the answer only after they have sent their body. So the server reads and drops their
        // body first.
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
    // Nearly every body arrives in one piece, which is returned without a copy.
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Reads and drops a body that is unwanted or too large. Most clients read the answer only after
/// they have sent the whole body.
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
    // If the client sends too slowly, the server stops reading.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, reading).await;
}

/// Checks that the request declares a body of the type `wanted`.
///
/// # Errors
/// `415`.
pub(crate) fn content_type(headers: &HeaderMap, wanted: BodyType) -> Result<(), Problem> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if wanted.matches(value.as_bytes()) => Ok(()),
        _ => Err(Problem::unsupported_media_type()),
    }
}
