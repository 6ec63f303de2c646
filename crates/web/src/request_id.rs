//! The id by which a client and the log name one request.

use http::{HeaderMap, HeaderValue};

/// The header with a request's id. Clients may send this header. The server adds this header to
/// answers about failures, and to answers to operators' changes.
pub(crate) const REQUEST_ID: &str = "x-request-id";
/// Longest request id that the server accepts, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// Returns the request's own id if it is valid, else a new id.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let brought = headers.get(REQUEST_ID).filter(|id| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
            && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    brought.cloned().unwrap_or_else(|| {
        let id = format!("req_{:016x}", rand::random::<u64>());
        HeaderValue::from_str(&id).expect("hexadecimal digits")
    })
}
