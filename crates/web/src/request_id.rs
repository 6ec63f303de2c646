//! The id by which a client and the log name one request.

use http::{HeaderMap, HeaderValue};

/// Clients may send this header. The server adds it to answers about failures, and to answers to
/// operators' changes.
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
