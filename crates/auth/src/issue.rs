//! Issues a buyer's token as a shop does. The command line and the guests of a demonstration use
//! such tokens.

use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

/// The claims of a new token.
#[derive(Clone, Debug, Serialize)]
pub struct NewToken<'a> {
    /// The buyer.
    pub sub: &'a str,
    /// When the token expires, in seconds since 1970.
    pub exp: i64,
    /// The issuer, if one is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<&'a str>,
    /// The audience, if one is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<&'a str>,
    /// Whether the buyer is a member.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub member: bool,
    /// The buyer's level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<u8>,
}

impl<'a> NewToken<'a> {
    /// Returns claims for the buyer `sub`, valid for `ttl` from `now_secs` on.
    #[must_use]
    pub fn new(sub: &'a str, now_secs: i64, ttl: Duration) -> Self {
        let ttl_secs = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        Self {
            sub,
            exp: now_secs.saturating_add(ttl_secs),
            iss: None,
            aud: None,
            member: false,
            level: None,
        }
    }
}

/// Signs a token with the shop's `secret`.
#[must_use]
pub fn token(secret: &[u8], claims: &NewToken<'_>) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(secret))
        .expect("the claims can be serialised, and a secret of any length can sign")
}
