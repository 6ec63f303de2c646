//! Guests' tokens in a demonstration.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use doorbuster_api::problem::{Problem, RateLimitScope};
use doorbuster_auth::{NewToken, token};
use doorbuster_config::AuthSettings;
use secrecy::{ExposeSecret, SecretString};

use crate::limits::{GUEST_TTL, GUESTS_PER_MINUTE};

/// Issues tokens for guests of a demonstration, up to a limit per minute.
#[derive(Debug)]
pub(crate) struct GuestSignIn {
    secret: SecretString,
    issuer: Option<String>,
    audience: Option<String>,
    minute: AtomicI64,
    made: AtomicU32,
}

impl GuestSignIn {
    pub(crate) fn new(secret: SecretString, auth: &AuthSettings) -> Self {
        Self {
            secret,
            issuer: auth.issuer.clone(),
            audience: auth.audience.clone(),
            minute: AtomicI64::new(0),
            made: AtomicU32::new(0),
        }
    }

    pub(crate) fn token(&self, now_ms: i64) -> Result<String, Problem> {
        let minute = now_ms.div_euclid(60_000);
        if self.minute.swap(minute, Ordering::Relaxed) != minute {
            self.made.store(0, Ordering::Relaxed);
        }
        if self.made.fetch_add(1, Ordering::Relaxed) >= GUESTS_PER_MINUTE {
            return Err(Problem::rate_limited(RateLimitScope::Interface, 60));
        }
        let name = format!("guest-{:012x}", rand::random::<u64>() >> 16);
        let claims = NewToken {
            iss: self.issuer.as_deref(),
            aud: self.audience.as_deref(),
            ..NewToken::new(&name, now_ms.div_euclid(1_000), GUEST_TTL)
        };
        Ok(token(self.secret.expose_secret().as_bytes(), &claims))
    }
}
