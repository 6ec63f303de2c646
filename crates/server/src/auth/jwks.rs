//! Verifies tokens that are signed with a private key of the shop (RS256, ES256, EdDSA). The public
//! keys come from a JSON Web Key Set in a file or at a URL.
//!
//! The key decides the algorithm, and the token never does. The server reads the key set at its
//! start and then every [`REFRESH_EVERY`]. If a token names an unknown key, the server reads the
//! set earlier, but at most once in [`REFRESH_AT_MOST_EVERY`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::AuthenticationError;
use super::claims::{Claims, ExpectedClaims, VerifiedBuyer};
use crate::outgoing::OutgoingClient;

/// How often the set is read again.
pub(super) const REFRESH_EVERY: Duration = Duration::from_secs(600);
/// Shortest time between two reads, even if tokens name unknown keys.
const REFRESH_AT_MOST_EVERY: Duration = Duration::from_secs(10);
/// Longest wait for the answer of the URL.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum size of a key set, in bytes. The server refuses a larger set.
const SET_BYTES_MAX: usize = 256 * 1024;
/// The maximum number of keys that the server reads from a set. It ignores further keys.
const KEYS_MAX: usize = 64;

/// The source of a key set.
#[derive(Clone, Debug)]
pub(super) enum JwksSource {
    File(PathBuf),
    Url(String),
}

/// The reason why a key set could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the public keys from {from}: {why}")]
pub struct JwksError {
    from: String,
    why: String,
}

struct JwksKey {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// The shop's public keys.
pub(super) struct Jwks {
    source: JwksSource,
    client: OutgoingClient,
    keys: ArcSwap<Vec<JwksKey>>,
    read_at: Mutex<Option<Instant>>,
}

#[derive(Deserialize)]
struct TokenHeader {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct JwksSet {
    keys: Vec<serde_json::Value>,
}

impl Jwks {
    pub(super) fn new(source: JwksSource) -> Self {
        let client = OutgoingClient::new(|| {
            let builder = reqwest::Client::builder().timeout(FETCH_TIMEOUT);
            builder.redirect(reqwest::redirect::Policy::none()).build()
        });
        Self { source, client, keys: ArcSwap::default(), read_at: Mutex::default() }
    }

    /// Returns the buyer that `token` names, if its signature and claims are valid.
    /// [`AuthenticationError::Unknown`] means that the set does not have the token's key.
    pub(super) fn check(
        &self,
        token: &str,
        expected: &ExpectedClaims,
        now_secs: i64,
    ) -> Result<VerifiedBuyer, AuthenticationError> {
        Claims::verify(&self.signed_claims(token)?, expected, now_secs)
    }

    /// Returns the claims of a token as JSON, if the token's signature is valid. The caller must
    /// check the claims.
    pub(super) fn signed_claims(&self, token: &str) -> Result<Vec<u8>, AuthenticationError> {
        const SHAPE: AuthenticationError =
            AuthenticationError::Bad("the token is not three base64url parts separated by dots");
        let (message, signature) = token.rsplit_once('.').ok_or(SHAPE)?;
        let (header, claims) = message.split_once('.').ok_or(SHAPE)?;
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| SHAPE)?;
        let header: TokenHeader = serde_json::from_slice(&header)
            .map_err(|_| AuthenticationError::Bad("the token's header cannot be read"))?;
        if header.crit.is_some() {
            return Err(AuthenticationError::Bad("the token requires an unknown extension"));
        }
        let algorithm = match header.alg.as_str() {
            "RS256" => Algorithm::RS256,
            "ES256" => Algorithm::ES256,
            "EdDSA" => Algorithm::EdDSA,
            _ => {
                return Err(AuthenticationError::Bad(
                    "the token is not signed with RS256, ES256 or EdDSA",
                ));
            }
        };
        let keys = self.keys.load();
        let mut fitting = keys
            .iter()
            .filter(|key| {
                key.algorithm == algorithm && (header.kid.is_none() || key.kid == header.kid)
            })
            .peekable();
        if fitting.peek().is_none() {
            return Err(AuthenticationError::Unknown);
        }
        let holds = fitting.any(|key| {
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.key, algorithm)
                .is_ok_and(|holds| holds)
        });
        if !holds {
            return Err(AuthenticationError::Bad("the token's signature is not valid"));
        }
        URL_SAFE_NO_PAD.decode(claims).map_err(|_| SHAPE)
    }

    /// Returns the number of keys in use.
    pub(super) fn len(&self) -> usize {
        self.keys.load().len()
    }

    /// Returns whether no set has been loaded yet.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.load().is_empty()
    }

    /// Reads the set again at once, with the system's current TLS certificates.
    pub(super) async fn reload(&self) -> Result<(), JwksError> {
        self.client.renew();
        *self.read_at.lock().await = None;
        self.refresh().await
    }

    /// Reads the set again if the last read was at least [`REFRESH_AT_MOST_EVERY`] ago. Concurrent
    /// callers wait for the same read.
    pub(super) async fn refresh(&self) -> Result<(), JwksError> {
        self.refresh_at(Instant::now()).await
    }

    async fn refresh_at(&self, now: Instant) -> Result<(), JwksError> {
        let mut read_at = self.read_at.lock().await;
        if read_at.is_some_and(|at| now.saturating_duration_since(at) < REFRESH_AT_MOST_EVERY) {
            return Ok(());
        }
        // A failed read also counts as a read. Otherwise every call would request a URL that is
        // down.
        *read_at = Some(now);
        let (from, read) = match &self.source {
            JwksSource::File(path) => (path.display().to_string(), read_file(path).await),
            JwksSource::Url(url) => (url.clone(), self.fetch(url).await),
        };
        let keys =
            read.and_then(|bytes| parse_keys(&bytes)).map_err(|why| JwksError { from, why })?;
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    async fn fetch(&self, url: &str) -> Result<Vec<u8>, String> {
        let why = |error: reqwest::Error| error.without_url().to_string();
        let client = self.client.get().map_err(why)?;
        let mut answer = client
            .get(url)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .map_err(why)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(why)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > SET_BYTES_MAX {
                return Err(format!("the set is larger than {SET_BYTES_MAX} bytes"));
            }
        }
        Ok(bytes)
    }
}

async fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || read_blocking(&path))
        .await
        .map_err(|error| error.to_string())?
}

fn read_blocking(path: &Path) -> Result<Vec<u8>, String> {
    let why = |error: std::io::Error| error.to_string();
    if std::fs::metadata(path).map_err(why)?.len() > SET_BYTES_MAX as u64 {
        return Err(format!("the set is larger than {SET_BYTES_MAX} bytes"));
    }
    std::fs::read(path).map_err(why)
}

/// Checks that a file contains a usable key set.
///
/// # Errors
///
/// If the file contains no usable key set. The error is the reason.
pub(crate) fn check_file(path: &Path) -> Result<(), String> {
    read_blocking(path).and_then(|bytes| parse_keys(&bytes)).map(drop)
}

/// Returns the usable keys of a set. Skips a key that is invalid or for another use.
fn parse_keys(bytes: &[u8]) -> Result<Vec<JwksKey>, String> {
    let set: JwksSet = serde_json::from_slice(bytes)
        .map_err(|error| format!("the content is not a JSON Web Key Set: {error}"))?;
    let keys: Vec<JwksKey> = set.keys.into_iter().filter_map(parse_key).take(KEYS_MAX).collect();
    if keys.is_empty() {
        return Err("the set contains no key for RS256, ES256 or EdDSA".to_owned());
    }
    Ok(keys)
}

/// The y coordinates of the Ed25519 points whose order divides 8, in little-endian form and without
/// the sign bit. The last two entries are alternative encodings of 0 and 1. Source:
/// <https://datatracker.ietf.org/doc/html/rfc8032#section-5.1> and the list in libsodium.
const LOW_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    first_byte(1),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    below_field(0xec),
    below_field(0xed),
    below_field(0xee),
];

const fn first_byte(byte: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = byte;
    bytes
}

/// Returns the encoding of a number near 2^255 − 19, the size of the field. `first` is the lowest
/// byte of the number.
const fn below_field(first: u8) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[0] = first;
    bytes[31] = 0x7f;
    bytes
}

/// Returns whether an Ed25519 public key is a point of low order. Anyone can forge signatures for a
/// key of low order.
fn is_low_order(x: &str) -> bool {
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(x) else { return false };
    let Ok(mut point) = <[u8; 32]>::try_from(bytes) else { return false };
    point[31] &= 0x7f;
    LOW_ORDER.contains(&point)
}

fn parse_key(value: serde_json::Value) -> Option<JwksKey> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(of) if of.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(of) if of.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        _ => return None,
    };
    let said = jwk.common.key_algorithm.map(|said| said.to_string());
    let fits = said.is_none_or(|said| said == format!("{algorithm:?}"));
    let signs = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
    if let AlgorithmParameters::OctetKeyPair(pair) = &jwk.algorithm
        && is_low_order(&pair.x)
    {
        tracing::warn!(
            kid = jwk.common.key_id,
            event = "auth.weak_key_ignored",
            "ignored a weak public key, because anyone can forge its signatures"
        );
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    (fits && signs).then_some(JwksKey { kid: jwk.common.key_id, algorithm, key })
}

#[cfg(test)]
mod tests;
