//! Bytes that are rendered once and sent many times.

use bytes::Bytes;
use http::HeaderValue;
use serde::Serialize;

/// Rendered bytes, and their `ETag`.
#[derive(Clone, Debug)]
pub(crate) struct Rendered {
    pub bytes: Bytes,
    pub etag: HeaderValue,
}

impl Rendered {
    /// Renders a value as JSON.
    pub(crate) fn new(value: &impl Serialize) -> Self {
        Self::from_bytes(serde_json::to_vec(value).expect("API types serialise into memory").into())
    }

    pub(crate) fn from_bytes(bytes: Bytes) -> Self {
        let hash = blake3::hash(&bytes);
        Self::with_hash(bytes, hash.as_bytes())
    }

    pub(crate) fn with_hash(bytes: Bytes, hash: &[u8; 32]) -> Self {
        let tag: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let etag = HeaderValue::from_str(&format!("\"{tag}\""))
            .expect("hexadecimal digits between quotes");
        Self { bytes, etag }
    }
}
