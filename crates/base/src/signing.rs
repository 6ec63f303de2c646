//! Standard Webhooks: the signatures of the webhooks that the server sends and receives.
//!
//! Each webhook has three headers:
//! - `webhook-id` is the same for every attempt to deliver the webhook.
//! - `webhook-timestamp` is the time of the attempt in seconds.
//! - `webhook-signature` has one `v1,<base64 of HMAC-SHA256>` for each secret, separated by spaces.
//!   The HMAC covers `id.timestamp.body`.
//!
//! A secret is `whsec_` and base64. While a new secret replaces an old secret, both secrets sign.
//! The receiver accepts the webhook if one signature matches.
use aws_lc_rs::hmac;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
pub use doorbuster_core::Millis;
use http::{HeaderMap, HeaderValue};

/// The header that names the message.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the time of the delivery attempt, in seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with the signatures.
pub const SIGNATURE_HEADER: &str = "webhook-signature";
/// Largest allowed difference between a message's time and this server's time, in milliseconds.
pub const TOLERANCE_MS: i64 = 300_000;
/// Longest id of a message, in characters. A longer id is invalid.
pub const ID_MAX: usize = 256;
/// The largest number of digits of a time in seconds. A time in milliseconds has more, and is
/// rejected.
const TIME_DIGITS_MAX: usize = 12;
/// The allowed number of bytes of a secret, before its encoding in base64.
pub const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

const PREFIX: &str = "whsec_";
const VERSION: &str = "v1,";
/// The server checks at most this many signatures of one message. A message has one signature for
/// each secret, and the server never has this many secrets.
const SIGNATURES_MAX: usize = 16;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A secret that signs and verifies. Its debug output does not show the secret.
#[derive(Clone, Debug)]
pub struct SigningKey(hmac::Key);

impl SigningKey {
    /// Parses `whsec_` and 24 to 64 bytes in base64. Returns `None` if the text has another form.
    #[must_use]
    pub fn parse(secret: &str) -> Option<Self> {
        let bytes = BASE64.decode(secret.strip_prefix(PREFIX)?).ok()?;
        SECRET_BYTES.contains(&bytes.len()).then(|| Self::new(&bytes))
    }

    /// Creates a key from the bytes of a secret. Any number of bytes is allowed.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Returns whether `proof` is this key's signature of `message`. Compares in constant time.
    #[must_use]
    pub fn verifies(&self, message: &[u8], proof: &[u8]) -> bool {
        hmac::verify(&self.0, message, proof).is_ok()
    }
}

/// Returns the text form of a secret.
#[must_use]
pub fn format_secret(bytes: &[u8]) -> String {
    format!("{PREFIX}{}", BASE64.encode(bytes))
}

/// Returns the value of `webhook-signature`: one signature for each key, in the order of `keys`.
#[must_use]
pub fn sign(id: &str, at_secs: i64, body: &[u8], keys: &[SigningKey]) -> String {
    let at = at_secs.to_string();
    let each = keys.iter().map(|key| {
        let mut context = hmac::Context::with_key(&key.0);
        for part in [id.as_bytes(), b".", at.as_bytes(), b".", body] {
            context.update(part);
        }
        format!("{VERSION}{}", BASE64.encode(context.sign().as_ref()))
    });
    each.collect::<Vec<_>>().join(" ")
}

/// The reason why a message was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A header is missing, empty or repeated.
    #[error(
        "the headers webhook-id, webhook-timestamp and webhook-signature are required, once each"
    )]
    Headers,
    /// The id is longer than [`ID_MAX`].
    #[error("webhook-id is too long: it must have at most {} characters", ID_MAX)]
    LongId,
    /// The id contains characters other than visible ASCII.
    #[error("webhook-id must be visible ASCII, without spaces")]
    OddId,
    /// The time is not a whole number of seconds.
    #[error(
        "webhook-timestamp must be whole seconds since 1970, in digits alone: no milliseconds, no \
         fraction, no date"
    )]
    Time,
    /// The time differs from this server's time by more than [`TOLERANCE_MS`].
    #[error("webhook-timestamp is too old or too new")]
    Stale,
    /// No signature matches.
    #[error("no signature matches")]
    Forged,
}

/// Checks that one of `keys` signed this message, and that the message's time is within the
/// tolerance. Compares signatures in constant time. Returns the message's id.
///
/// # Errors
///
/// If a header is missing or malformed, if the time is outside the tolerance, or if no signature
/// matches.
pub fn verify<'h>(
    headers: &'h HeaderMap,
    body: &[u8],
    keys: &[SigningKey],
    now: Millis,
    tolerance_ms: i64,
) -> Result<&'h str, SignatureError> {
    let (id, timestamp) = (single(headers, ID_HEADER)?, single(headers, TIMESTAMP_HEADER)?);
    let signatures = single(headers, SIGNATURE_HEADER)?;
    if id.len() > ID_MAX {
        return Err(SignatureError::LongId);
    }
    let id = id
        .to_str()
        .ok()
        .filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic()))
        .ok_or(SignatureError::OddId)?;
    // Only digits are allowed. Some parsers also read `+5`, ` 5` and `5e0` as 5. But the signature
    // covers the text of the header, so each time must have exactly one valid spelling.
    let is_time = |text: &&str| {
        text.len() <= TIME_DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let timestamp = timestamp.to_str().ok().filter(is_time).ok_or(SignatureError::Time)?;
    let at_secs: i64 = timestamp.parse().map_err(|_| SignatureError::Time)?;
    if now.0.abs_diff(at_secs * 1_000) > tolerance_ms.unsigned_abs() {
        return Err(SignatureError::Stale);
    }
    let mut message = Vec::with_capacity(id.len() + timestamp.len() + 2 + body.len());
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        message.extend_from_slice(part);
    }
    // A header that is not ASCII becomes an empty text, and then no signature matches.
    let offered = signatures.to_str().unwrap_or_default().split(' ').take(SIGNATURES_MAX);
    let mut proofs =
        offered.filter_map(|signature| BASE64.decode(signature.strip_prefix(VERSION)?).ok());
    let is_good =
        proofs.any(|proof| keys.iter().any(|key| hmac::verify(&key.0, &message, &proof).is_ok()));
    if is_good { Ok(id) } else { Err(SignatureError::Forged) }
}

fn single<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h HeaderValue, SignatureError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => Ok(value),
        _ => Err(SignatureError::Headers),
    }
}

#[cfg(test)]
mod tests;
