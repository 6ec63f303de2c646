//! Verifies tokens that are signed with a private key of the shop (RS256, ES256, EdDSA). The public
//! keys come from a JSON Web Key Set in a file or at a URL.
//!
//! Each public key verifies only signatures of its own algorithm. A token's header cannot choose
//! another algorithm for a key, because an attacker can write any header. The server reads the key
//! set at its start and then every [`REFRESH_INTERVAL`]. A token with an unknown key makes the
//! server read the set earlier, but at most once in each [`MIN_REFRESH_INTERVAL`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorbuster_base::key_set::{self, PublicKey};
use doorbuster_base::outgoing::OutgoingClient;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::AuthenticationError;
use super::claims::{Claims, ExpectedClaims, VerifiedBuyer};

pub(super) const REFRESH_INTERVAL: Duration = Duration::from_secs(600);
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// If a read was interrupted, the next read starts at least this long after the start of the
/// interrupted read.
const UNFINISHED_READ_INTERVAL: Duration = Duration::from_secs(1);
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

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

#[derive(Default)]
struct LastRead {
    started_at: Option<Instant>,
    /// `false` if the read was interrupted, because the client that waited for the read
    /// disconnected.
    has_ended: bool,
}

pub(super) struct Jwks {
    source: JwksSource,
    client: Arc<OutgoingClient>,
    keys: ArcSwap<Vec<PublicKey>>,
    last_read: Mutex<LastRead>,
    /// Whether the last completed read found keys.
    is_current: AtomicBool,
}

#[derive(Deserialize)]
struct TokenHeader {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

impl Jwks {
    pub(super) fn new(source: JwksSource) -> Self {
        let client = OutgoingClient::new(|| {
            let builder = reqwest::Client::builder().timeout(FETCH_TIMEOUT);
            builder.redirect(reqwest::redirect::Policy::none()).build()
        });
        Self::with_client(source, Arc::new(client))
    }

    /// `client` must not follow redirects.
    pub(super) fn with_client(source: JwksSource, client: Arc<OutgoingClient>) -> Self {
        Self {
            source,
            client,
            keys: ArcSwap::default(),
            last_read: Mutex::default(),
            is_current: AtomicBool::new(false),
        }
    }

    /// Checks a token's signature and claims. The error [`AuthenticationError::Unknown`] means that
    /// the loaded set does not have the token's key.
    pub(super) fn check(
        &self,
        token: &str,
        expected: &ExpectedClaims,
        now_secs: i64,
    ) -> Result<VerifiedBuyer, AuthenticationError> {
        Claims::verify(&self.signed_claims(token)?, expected, now_secs)
    }

    /// Returns the claims as JSON, if the signature is valid. The caller must check the claims.
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

    pub(super) fn len(&self) -> usize {
        self.keys.load().len()
    }

    /// Returns whether the last completed read of the set found keys. If not, the shop may already
    /// sign tokens with a key that is not loaded.
    pub(super) fn is_current(&self) -> bool {
        self.is_current.load(Ordering::Acquire)
    }

    /// Reads the set again at once, with the system's current TLS certificates.
    pub(super) async fn reload(&self) -> Result<(), JwksError> {
        self.client.renew();
        self.read_now().await
    }

    /// Reads the set again, even if the last read was a short time ago. A call of [`Self::refresh`]
    /// during this read waits until the read ends, and starts no other read.
    pub(super) async fn read_now(&self) -> Result<(), JwksError> {
        let mut last = self.last_read.lock().await;
        self.read(&mut last, Instant::now()).await
    }

    /// Reads the set again if the last read was at least [`MIN_REFRESH_INTERVAL`] ago. Concurrent
    /// callers wait for the same read.
    pub(super) async fn refresh(&self) -> Result<(), JwksError> {
        self.refresh_at(Instant::now()).await
    }

    async fn refresh_at(&self, now: Instant) -> Result<(), JwksError> {
        let mut last = self.last_read.lock().await;
        let started_at = match (last.started_at, last.has_ended) {
            (Some(at), true) if now.saturating_duration_since(at) < MIN_REFRESH_INTERVAL => {
                return Ok(());
            }
            (Some(at), false) => {
                let next = now.max(at + UNFINISHED_READ_INTERVAL);
                tokio::time::sleep(next.saturating_duration_since(now)).await;
                next
            }
            _ => now,
        };
        self.read(&mut last, started_at).await
    }

    async fn read(&self, last: &mut LastRead, started_at: Instant) -> Result<(), JwksError> {
        *last = LastRead { started_at: Some(started_at), has_ended: false };
        let (from, read) = match &self.source {
            JwksSource::File(path) => (path.display().to_string(), read_file(path).await),
            JwksSource::Url(url) => (shown_url(url), self.fetch(url).await),
        };
        // A failed read also counts as ended, so `MIN_REFRESH_INTERVAL` must pass before the next
        // read. Otherwise every token with an unknown key would cause a request while the URL is
        // down.
        last.has_ended = true;
        let keys = read.and_then(|bytes| key_set::parse(&bytes));
        let is_current = keys.as_ref().is_ok_and(|keys| !keys.is_empty());
        self.is_current.store(is_current, Ordering::Release);
        self.keys.store(Arc::new(keys.map_err(|why| JwksError { from, why })?));
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
            if bytes.len() > key_set::BYTES_MAX {
                return Err(key_set::too_large());
            }
        }
        Ok(bytes)
    }
}

/// Returns the URL without its user name, password, query and fragment, because these parts may
/// contain secrets.
fn shown_url(url: &str) -> String {
    let Ok(mut url) = reqwest::Url::parse(url) else { return "an invalid URL".to_owned() };
    let is_removed = url.set_username("").is_ok() && url.set_password(None).is_ok();
    url.set_query(None);
    url.set_fragment(None);
    if is_removed { url.into() } else { "a URL without a host".to_owned() }
}

async fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || key_set::read_file(&path))
        .await
        .map_err(|error| error.to_string())?
}

#[cfg(test)]
mod tests;
