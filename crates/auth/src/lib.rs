//! Authenticates buyers by the shop's tokens, and operators by their keys.

mod bearer;
mod buyers;
mod claims;
mod hs256;
mod issue;
mod jwks;
mod oidc;
mod operators;

pub use bearer::{BUYER_COOKIE, PAGE_HEADER, bearer, buyer_token, cookie};
pub use buyers::{BuyerTokenVerifier, JwksError};
pub use claims::{BuyerName, ExpectedClaims, VerifiedBuyer};
pub use issue::{NewToken, token};
pub use oidc::{Oidc, OidcError, SignInAttempt, SignedIn};
pub use operators::{CONFIGURED_KEY, Operator, OperatorKeyVerifier};

/// The reason why authentication failed. Its text is for people and contains no secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationError {
    /// The request has no token or key.
    Missing,
    /// The token or key is invalid.
    Bad(&'static str),
    /// The token cannot be verified now, because the public key for this token is not loaded.
    Unknown,
}
