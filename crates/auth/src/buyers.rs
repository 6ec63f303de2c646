//! Authenticates buyers by the shop's tokens.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use doorbuster_config::BuyerKeys;
use secrecy::{ExposeSecret, SecretString};

use super::AuthenticationError;
use super::bearer::{TOKEN_BYTES_MAX, TOKEN_TOO_LONG};
use super::claims::{ExpectedClaims, VerifiedBuyer};
use super::hs256::Hs256;
use super::jwks::{Jwks, JwksSource, REFRESH_INTERVAL};

pub use super::jwks::JwksError;

/// Verifies buyers' tokens.
pub struct BuyerTokenVerifier {
    by: TokenVerifier,
    expected: ExpectedClaims,
    accepted: AtomicBool,
}

enum TokenVerifier {
    Secret(Box<Hs256>),
    Keys(Jwks),
}

impl BuyerTokenVerifier {
    /// Creates a verifier with a shared secret.
    #[must_use]
    pub fn with_secret(secret: &SecretString, expected: ExpectedClaims) -> Self {
        Self {
            by: TokenVerifier::Secret(Box::new(Hs256::new(secret.expose_secret().as_bytes()))),
            expected,
            accepted: AtomicBool::new(false),
        }
    }

    /// Creates a verifier for `keys`. If `keys` is a file, the file must be readable now. If `keys`
    /// is a URL that cannot be read now, the call succeeds, and the server reads the URL again
    /// later.
    ///
    /// # Errors
    /// When the file cannot be read, or contains no usable keys.
    pub async fn with_keys(keys: &BuyerKeys, expected: ExpectedClaims) -> Result<Self, JwksError> {
        let (source, needed) = match keys {
            BuyerKeys::Secret(secret) => return Ok(Self::with_secret(secret, expected)),
            BuyerKeys::JwksFile(path) => (JwksSource::File(path.clone()), true),
            BuyerKeys::JwksUrl(url) => (JwksSource::Url(url.clone()), false),
        };
        let jwks = Jwks::new(source);
        match jwks.refresh().await {
            Err(error) if needed => return Err(error),
            Err(error) => {
                tracing::warn!(
                    %error,
                    event = "auth.keys_unread",
                    "failed to read the buyers' public keys; buyers cannot sign in until a read \
                     succeeds"
                )
            }
            Ok(()) => {}
        }
        Ok(Self { by: TokenVerifier::Keys(jwks), expected, accepted: AtomicBool::new(false) })
    }

    /// Checks `token` with the loaded keys, and returns the buyer that the token names. The error
    /// [`AuthenticationError::Unknown`] means that the token's key is not loaded. Then call
    /// [`BuyerTokenVerifier::check_with_fresh_keys`].
    ///
    /// # Errors
    ///
    /// If the token is rejected. The error is the reason.
    pub fn check(&self, token: &str, now_secs: i64) -> Result<VerifiedBuyer, AuthenticationError> {
        // Only the length of a token in `Authorization` or in the cookie was checked before. A
        // token can also come from another place, such as the subprotocol of a WebSocket.
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TOKEN_TOO_LONG);
        }
        let verdict = match &self.by {
            TokenVerifier::Secret(secret) => secret.check(token, &self.expected, now_secs),
            TokenVerifier::Keys(keys) => keys.check(token, &self.expected, now_secs),
        };
        // A flag that is already set is not written again, because each write slows down other
        // threads that read the flag.
        if verdict.is_ok() && !self.has_accepted_token() {
            self.accepted.store(true, Ordering::Relaxed);
        }
        verdict
    }

    /// Returns whether this node has accepted a token since the node started.
    #[must_use]
    pub fn has_accepted_token(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Reads the public keys again, and then checks `token`. Call this function after
    /// [`Self::check`] has returned [`AuthenticationError::Unknown`].
    ///
    /// # Errors
    /// If the token is rejected. [`AuthenticationError::Unknown`] means that the token's key is not
    /// loaded and the last read of the keys failed, so the token may be valid.
    pub async fn check_with_fresh_keys(
        &self,
        token: &str,
        now_secs: i64,
    ) -> Result<VerifiedBuyer, AuthenticationError> {
        let TokenVerifier::Keys(keys) = &self.by else { return self.check(token, now_secs) };
        if let Err(error) = keys.refresh().await {
            tracing::warn!(
                %error,
                event = "auth.keys_refresh_failed",
                "failed to refresh the buyers' public keys; will retry"
            );
        }
        match self.check(token, now_secs) {
            Err(AuthenticationError::Unknown) if keys.is_current() => {
                Err(AuthenticationError::Bad("the token is signed with an unknown key"))
            }
            verdict => verdict,
        }
    }

    /// Returns the number of public keys in use. `None` means that tokens are signed with a secret.
    #[must_use]
    pub fn public_keys(&self) -> Option<usize> {
        match &self.by {
            TokenVerifier::Secret(_) => None,
            TokenVerifier::Keys(keys) => Some(keys.len()),
        }
    }

    /// Reads the public keys again at once, with the system's current TLS certificates. Does
    /// nothing if tokens are signed with a secret.
    ///
    /// # Errors
    /// If the keys could not be read. The previous keys stay in use.
    pub async fn reload_keys(&self) -> Result<(), JwksError> {
        match &self.by {
            TokenVerifier::Secret(_) => Ok(()),
            TokenVerifier::Keys(keys) => keys.reload().await,
        }
    }

    /// Reads the public keys again at intervals, so that the server rejects tokens of a key that
    /// the shop has removed. Runs until the program ends.
    pub async fn run_key_refresh(&self) {
        let TokenVerifier::Keys(keys) = &self.by else { return std::future::pending().await };
        loop {
            tokio::time::sleep(REFRESH_INTERVAL).await;
            if let Err(error) = keys.read_now().await {
                tracing::warn!(
                    %error,
                    event = "auth.keys_refresh_failed",
                    "failed to refresh the buyers' public keys; will retry"
                );
            }
        }
    }
}

impl fmt::Debug for BuyerTokenVerifier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match &self.by {
            TokenVerifier::Secret(_) => "a secret",
            TokenVerifier::Keys(_) => "public keys",
        };
        out.debug_struct("BuyerTokenVerifier")
            .field("by", &by)
            .field("expected", &self.expected)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_that_is_too_long_is_rejected() {
        let secret = SecretString::from("0123456789012345678901234567890123456789");
        let buyers = BuyerTokenVerifier::with_secret(&secret, ExpectedClaims::default());
        let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
        let token = |padding: usize| {
            let claims = json!({"sub": "anna", "exp": 9_999, "more": "x".repeat(padding)});
            jsonwebtoken::encode(&Header::default(), &claims, &key).expect("claims serialise")
        };
        let (long, too_long) = (token(2_950), token(3_000));
        assert!((4_000..=TOKEN_BYTES_MAX).contains(&long.len()), "{}", long.len());
        assert!(buyers.check(&long, 1_000).is_ok());
        assert!(too_long.len() > TOKEN_BYTES_MAX, "{}", too_long.len());
        assert_eq!(buyers.check(&too_long, 1_000).err(), Some(TOKEN_TOO_LONG));
    }
}
