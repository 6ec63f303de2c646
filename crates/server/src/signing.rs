//! Standard Webhooks: how a message between two servers proves who sent it, incoming and outgoing
//! alike.
//!
//! Three headers: `webhook-id` (the same for every attempt to deliver one message),
//! `webhook-timestamp` (seconds, of the attempt) and `webhook-signature`: one `v1,<base64 of
//! HMAC-SHA256>` for each secret that signs, separated by spaces, over `id.timestamp.body`. A
//! secret is written `whsec_` and base64. While a secret is replaced both sign, and a message is
//! good if one of them fits.
use aws_lc_rs::hmac;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
pub use doorbuster_core::Millis;
use http::{HeaderMap, HeaderValue};

/// The header that names the message.
pub const ID_HEADER: &str = "webhook-id";
/// The header that says when it was sent.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header that proves it.
pub const SIGNATURE_HEADER: &str = "webhook-signature";
/// How far a message's time may be from ours, either way.
pub const TOLERANCE_MS: i64 = 300_000;
/// Characters of a message's id; a longer one is no id.
pub const ID_MAX: usize = 256;
/// Digits of a message's time in seconds; milliseconds have more.
const TIME_DIGITS_MAX: usize = 12;
/// Bytes of a secret, before base64.
pub const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What every secret begins with.
const PREFIX: &str = "whsec_";
/// What every signature of the kind that is known here begins with.
const VERSION: &str = "v1,";
/// Signatures of one message that are looked at; more secrets than this are never live at once.
const SIGNATURES_MAX: usize = 16;

/// Base64 as others write it: with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A secret that signs and verifies. It shows nothing of itself.
#[derive(Clone, Debug)]
pub struct SigningKey(hmac::Key);

impl SigningKey {
    /// Reads `whsec_` and 24 to 64 bytes in base64. `None`: it is something else.
    #[must_use]
    pub fn parse(secret: &str) -> Option<Self> {
        let bytes = BASE64.decode(secret.strip_prefix(PREFIX)?).ok()?;
        SECRET_BYTES.contains(&bytes.len()).then(|| Self::new(&bytes))
    }

    /// A key of these bytes, however many.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Whether `proof` is this key's over `message`. Takes as long whichever byte is wrong.
    #[must_use]
    pub fn verifies(&self, message: &[u8], proof: &[u8]) -> bool {
        hmac::verify(&self.0, message, proof).is_ok()
    }
}

/// A secret of these bytes as it is written.
#[must_use]
pub fn format_secret(bytes: &[u8]) -> String {
    format!("{PREFIX}{}", BASE64.encode(bytes))
}

/// The value of `webhook-signature`: a signature by each key, in their order.
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

/// Why a message was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A header is missing, empty, or there twice.
    #[error(
        "the headers webhook-id, webhook-timestamp and webhook-signature are needed, once each"
    )]
    Headers,
    /// The id is longer than [`ID_MAX`].
    #[error("webhook-id is too long: it must have at most {} characters", ID_MAX)]
    LongId,
    /// The id holds something else than visible ASCII.
    #[error("webhook-id must be visible ASCII, without spaces")]
    OddId,
    /// The time is written in some other way.
    #[error(
        "webhook-timestamp must be whole seconds since 1970, in digits alone: no milliseconds, no \
         fraction, no date"
    )]
    Time,
    /// Its time is further from ours than is tolerated.
    #[error("webhook-timestamp is too old or too new")]
    Stale,
    /// No signature fits.
    #[error("no signature fits")]
    Forged,
}

/// Looks whether one of `keys` signed this message at about this time, and gives its id. Takes as
/// long whichever byte is wrong.
///
/// # Errors When there is any doubt.
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
    // Digits alone: `+5`, ` 5` and `5e0` are times to some parsers and would be signed as they are
    // written.
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
    // What is no ASCII fits nothing.
    let offered = signatures.to_str().unwrap_or_default().split(' ').take(SIGNATURES_MAX);
    let mut proofs =
        offered.filter_map(|signature| BASE64.decode(signature.strip_prefix(VERSION)?).ok());
    let is_good =
        proofs.any(|proof| keys.iter().any(|key| hmac::verify(&key.0, &message, &proof).is_ok()));
    if is_good { Ok(id) } else { Err(SignatureError::Forged) }
}

/// A header that is there once and is not empty.
fn single<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h HeaderValue, SignatureError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => Ok(value),
        _ => Err(SignatureError::Headers),
    }
}

#[cfg(test)]
mod tests;
