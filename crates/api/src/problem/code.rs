//! The closed set of problem codes, with the status, title and properties of each.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const TYPE_PREFIX: &str = "/docs#";

/// The stable code of a problem.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The body is not UTF-8 JSON, or not an object.
    MalformedRequest,
    /// The token or key is missing or invalid.
    Unauthenticated,
    /// The caller is known, but is not allowed to make this request.
    Forbidden,
    /// The buyer does not meet a requirement of the sale.
    NotEligible,
    /// The sale requires a purchase pass.
    PassRequired,
    /// The pass is forged, or for another buyer, sale or item.
    PassInvalid,
    /// The pass has expired.
    PassExpired,
    /// A challenge must be solved first.
    ChallengeRequired,
    /// The answer to the challenge was wrong, and the challenge is used up.
    ChallengeFailed,
    /// The waiting room has not admitted this buyer.
    WaitingRoom,
    /// The object does not exist, or this caller is not allowed to see it.
    NotFound,
    /// The path does not accept this method.
    MethodNotAllowed,
    /// The caller accepts no media type that the path serves.
    NotAcceptable,
    /// The body is too large.
    BodyTooLarge,
    /// The content type of the body is not JSON.
    UnsupportedMediaType,
    /// Fewer units are free than requested.
    SoldOut,
    /// Units are available, so there is no waitlist to join.
    NotHeldOut,
    /// The waitlist is full.
    WaitlistFull,
    /// The request exceeds the buyer's limit.
    LimitReached,
    /// The sale opens later.
    NotStarted,
    /// The sale is paused.
    Paused,
    /// The sale has ended.
    Ended,
    /// The request is not possible in the present state.
    WrongState,
    /// An object with this name already exists.
    AlreadyExists,
    /// The version of the object differs from `If-Match`.
    PreconditionFailed,
    /// Members, headers or parameters are invalid. The problem lists each of them.
    InvalidRequest,
    /// The `Idempotency-Key` belongs to a request with other content.
    IdempotencyKeyReused,
    /// Too many requests.
    RateLimited,
    /// The server does not know a transfer coding of the request.
    NotImplemented,
    /// The server has too many requests.
    Overloaded,
    /// A required service is unavailable.
    Unavailable,
    /// An internal fault of the server.
    Internal,
}

impl Code {
    /// Every code, by status.
    pub const ALL: [Code; 32] = [
        Self::MalformedRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotEligible,
        Self::PassRequired,
        Self::PassInvalid,
        Self::PassExpired,
        Self::ChallengeRequired,
        Self::ChallengeFailed,
        Self::WaitingRoom,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::SoldOut,
        Self::NotHeldOut,
        Self::WaitlistFull,
        Self::LimitReached,
        Self::NotStarted,
        Self::Paused,
        Self::Ended,
        Self::WrongState,
        Self::AlreadyExists,
        Self::PreconditionFailed,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidRequest,
        Self::IdempotencyKeyReused,
        Self::RateLimited,
        Self::Internal,
        Self::NotImplemented,
        Self::Overloaded,
        Self::Unavailable,
    ];

    /// Returns the `type` of RFC 9457, the HTTP status, and the title.
    const fn facts(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::MalformedRequest => ("/docs#malformed_request", 400, "Malformed request"),
            Self::Unauthenticated => ("/docs#unauthenticated", 401, "Not signed in"),
            Self::Forbidden => ("/docs#forbidden", 403, "Not allowed"),
            Self::NotEligible => ("/docs#not_eligible", 403, "Not eligible"),
            Self::PassRequired => ("/docs#pass_required", 403, "Pass required"),
            Self::PassInvalid => ("/docs#pass_invalid", 403, "Pass invalid"),
            Self::PassExpired => ("/docs#pass_expired", 403, "Pass expired"),
            Self::ChallengeRequired => ("/docs#challenge_required", 403, "Challenge required"),
            Self::ChallengeFailed => ("/docs#challenge_failed", 403, "Challenge failed"),
            Self::WaitingRoom => ("/docs#waiting_room", 403, "Waiting room"),
            Self::NotFound => ("/docs#not_found", 404, "Not found"),
            Self::MethodNotAllowed => ("/docs#method_not_allowed", 405, "Method not allowed"),
            Self::NotAcceptable => ("/docs#not_acceptable", 406, "Not acceptable"),
            Self::SoldOut => ("/docs#sold_out", 409, "Sold out"),
            Self::NotHeldOut => ("/docs#not_held_out", 409, "Not held out"),
            Self::WaitlistFull => ("/docs#waitlist_full", 409, "Waitlist full"),
            Self::LimitReached => ("/docs#limit_reached", 409, "Limit reached"),
            Self::NotStarted => ("/docs#not_started", 409, "Not started"),
            Self::Paused => ("/docs#paused", 409, "Paused"),
            Self::Ended => ("/docs#ended", 409, "Ended"),
            Self::WrongState => ("/docs#wrong_state", 409, "Wrong state"),
            Self::AlreadyExists => ("/docs#already_exists", 409, "Already exists"),
            Self::PreconditionFailed => ("/docs#precondition_failed", 412, "Precondition failed"),
            Self::BodyTooLarge => ("/docs#body_too_large", 413, "Body too large"),
            Self::UnsupportedMediaType => {
                ("/docs#unsupported_media_type", 415, "Unsupported media type")
            }
            Self::InvalidRequest => ("/docs#invalid_request", 422, "Invalid request"),
            Self::IdempotencyKeyReused => ("/docs#idempotency_key_reused", 422, "Key reused"),
            Self::RateLimited => ("/docs#rate_limited", 429, "Too many requests"),
            Self::Internal => ("/docs#internal", 500, "Internal error"),
            Self::NotImplemented => ("/docs#not_implemented", 501, "Not implemented"),
            Self::Overloaded => ("/docs#overloaded", 503, "Overloaded"),
            Self::Unavailable => ("/docs#unavailable", 503, "Unavailable"),
        }
    }

    /// The code's name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.type_ref().split_at(TYPE_PREFIX.len()).1
    }

    /// The HTTP status of the code.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.facts().1
    }

    /// A short title for a person, which depends only on the code.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.facts().2
    }

    /// Whether the same request may succeed later, without a change of the request or the sale.
    #[must_use]
    pub const fn retryable(self) -> bool {
        matches!(self.status(), 429 | 500 | 503)
    }

    /// Whether every response with this code has `Retry-After`.
    #[must_use]
    pub const fn has_retry_after(self) -> bool {
        matches!(self.status(), 429 | 503)
    }

    /// The `type` of RFC 9457: a reference into the server's own documentation.
    #[must_use]
    pub const fn type_ref(self) -> &'static str {
        self.facts().0
    }

    /// The code with this name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == word)
    }
}
