//! The id of a request, with which an operator can find the request in the log.

use http::{HeaderMap, HeaderValue};

/// The header with the request's id. A client may choose the id. The server adds this header to the
/// response if the request failed, or if the request is an operator's change.
pub(crate) const REQUEST_ID: &str = "x-request-id";
const REQUEST_ID_BYTES_MAX: usize = 64;

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
