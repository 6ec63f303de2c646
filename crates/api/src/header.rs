//! Parses the request headers that have a meaning in the API.

mod accept;
mod etag;
mod prefer;

pub use accept::{accepts, accepts_explicitly};
pub use etag::{if_match, if_none_match};
pub use prefer::Prefer;

pub use doorbuster_types::PresentedKey;

use crate::limits::{HEADER_ELEMENTS_MAX, KEY_MAX};
use crate::problem::{Fault, FaultLocation};

/// The header that carries a purchase pass.
pub const PURCHASE_PASS: &str = "Purchase-Pass";

/// The header that carries the key from an order's link.
pub const ORDER_KEY: &str = "Order-Key";

/// The header that carries the request key. With the same key, a client can safely repeat a
/// request.
pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// Pattern of an `Idempotency-Key`, for the OpenAPI document.
pub const KEY_PATTERN: &str = "^[!-~]{1,64}$";

/// Parses the `Idempotency-Key`: 1 to 64 visible ASCII characters, in exactly one header.
///
/// # Errors
/// A fault if there is not exactly one valid key.
pub fn idempotency_key<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<PresentedKey<'a>, Fault> {
    let fault = |detail: &'static str| Fault::new(FaultLocation::Header(IDEMPOTENCY_KEY), detail);
    let mut values = values.into_iter();
    let Some(value) = values.next() else {
        return Err(fault(
            "is missing; choose a new key for each request; if you repeat a request, send its key \
             again",
        ));
    };
    if values.next().is_some() {
        return Err(fault("is sent twice"));
    }
    if value.is_empty() {
        return Err(fault("is empty"));
    }
    if value.len() > KEY_MAX {
        return Err(fault("is longer than 64 characters"));
    }
    let key = std::str::from_utf8(value).ok().and_then(PresentedKey::new);
    key.ok_or_else(|| fault("must contain only visible ASCII characters, without spaces"))
}

/// Media types of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyType {
    /// `application/json`.
    Json,
    /// `application/json` or `application/merge-patch+json`.
    MergePatch,
}

impl BodyType {
    /// The media types that the body may have.
    #[must_use]
    pub const fn media_types(self) -> &'static [&'static str] {
        match self {
            Self::Json => &["application/json"],
            Self::MergePatch => &["application/json", "application/merge-patch+json"],
        }
    }

    /// Whether `value` is an accepted `Content-Type`. If `value` names a charset, the charset must
    /// be UTF-8.
    #[must_use]
    pub fn matches(self, value: &[u8]) -> bool {
        // This comparison is fast, and nearly every client sends exactly this value.
        if value == b"application/json" {
            return true;
        }
        let mut parts = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let media = parts.next().unwrap_or_default();
        let known =
            self.media_types().iter().any(|known| media.eq_ignore_ascii_case(known.as_bytes()));
        known && parts.all(|parameter| !is_foreign_charset(parameter))
    }
}

fn is_foreign_charset(parameter: &[u8]) -> bool {
    let (name, value) = split_trimmed(parameter, b'=');
    name.eq_ignore_ascii_case(b"charset") && !unquote(value).eq_ignore_ascii_case(b"utf-8")
}

/// The comma-separated elements of all `values`, without empty elements. Returns at most
/// [`HEADER_ELEMENTS_MAX`] elements.
fn elements<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    values
        .into_iter()
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
        .take(HEADER_ELEMENTS_MAX)
}

/// Returns the text before and the text after the first `mark`, both without surrounding spaces.
/// Without a `mark`, the second text is empty.
fn split_trimmed(text: &[u8], mark: u8) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| *byte == mark).unwrap_or(text.len());
    let after = text.get(end + 1..).unwrap_or_default();
    (text[..end].trim_ascii(), after.trim_ascii())
}

fn unquote(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_to_sixty_four_visible_characters_sent_once() {
        let check = |values: &[&[u8]], expected: Result<&str, &str>| {
            let found = idempotency_key(values.iter().copied());
            let found =
                found.as_ref().map(|key| key.as_str()).map_err(|fault| fault.detail.as_ref());
            match expected {
                Ok(key) => assert_eq!(found, Ok(key)),
                Err(word) => {
                    assert!(found.is_err_and(|detail| detail.contains(word)), "{values:?}")
                }
            }
        };
        let long = [b'k'; 65];
        check(&[b"k1"], Ok("k1"));
        check(&[b"!~"], Ok("!~"));
        check(&[&long[..64]], Ok(std::str::from_utf8(&long[..64]).expect("ASCII")));
        check(&[], Err("missing"));
        check(&[b""], Err("empty"));
        check(&[&long], Err("longer"));
        check(&[b"a b"], Err("visible"));
        check(&["clé".as_bytes()], Err("visible"));
        check(&[b"a\xFF"], Err("visible"));
        check(&[b"a", b"a"], Err("twice"));
    }

    #[test]
    fn a_body_is_json_when_its_content_type_says_so() {
        let check = |kind: BodyType, value: &str, expected: bool| {
            assert_eq!(kind.matches(value.as_bytes()), expected, "{value:?}");
        };
        check(BodyType::Json, "application/json", true);
        check(BodyType::Json, "Application/JSON; charset=UTF-8", true);
        check(BodyType::Json, "application/json;charset=\"utf-8\"", true);
        check(BodyType::Json, "application/json; charset=latin1", false);
        check(BodyType::Json, "application/merge-patch+json", false);
        check(BodyType::Json, "application/jsonx", false);
        check(BodyType::Json, "text/plain", false);
        check(BodyType::Json, "", false);
        check(BodyType::MergePatch, "application/merge-patch+json", true);
        check(BodyType::MergePatch, "application/json", true);
    }
}
