//! Refusals and failures as RFC 9457 problems, with a closed set of codes.
//!
//! A [`Problem`] can only be made by a constructor that asks for everything its code carries, so
//! that a `sold_out` without `may_return`, or a `429` without `Retry-After`, cannot be written.

mod body;
mod code;
mod fault;

pub use body::ProblemBody;
pub use code::Code;
pub use fault::{Fault, FaultLocation};

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::value::Time;

/// Media type of every problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What a sale asks of its buyers that this one does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Requirement {
    /// Only members may buy.
    Member,
    /// The buyer's level is too low.
    Level,
    /// An access code is needed.
    AccessCode,
}

/// Whose requests were too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// This buyer's.
    Buyer,
    /// Those from this address.
    Ip,
    /// Those of all buyers together.
    Interface,
}

impl Scope {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buyer => "buyer",
            Self::Ip => "ip",
            Self::Interface => "interface",
        }
    }
}

/// The members that some codes add.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ExtraMembers {
    Nothing,
    SoldOut { may_return: bool, available: u64 },
    Limit { limit: u32, used: u32 },
    OpensAt(Option<Time>),
    State { state: Cow<'static, str>, free: Option<u64> },
    Requirement(Requirement),
    Scope(Scope),
    Errors(Vec<Fault>),
    Reasons(Vec<Cow<'static, str>>),
}

/// One refusal or failure, ready to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    extra: ExtraMembers,
    retry_after: Option<u32>,
}

impl Problem {
    /// Which problem this is.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The HTTP status to answer with.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.code.status()
    }

    /// What happened, for a person.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Seconds for the `Retry-After` header; there is one on every `429` and `503`.
    #[must_use]
    pub const fn retry_after(&self) -> Option<u32> {
        self.retry_after
    }

    /// The faults of an `invalid_request`; empty for every other code.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        match &self.extra {
            ExtraMembers::Errors(faults) => faults,
            _ => &[],
        }
    }

    /// The JSON of the body.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.body()).expect("strings, numbers and lists serialise into memory")
    }

    fn without_members(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), extra: ExtraMembers::Nothing, retry_after: None }
    }

    fn with_members(code: Code, detail: impl Into<Cow<'static, str>>, extra: ExtraMembers) -> Self {
        Self { code, detail: detail.into(), extra, retry_after: None }
    }

    fn with_retry_after(
        code: Code,
        detail: impl Into<Cow<'static, str>>,
        extra: ExtraMembers,
        retry_after: u32,
    ) -> Self {
        Self { code, detail: detail.into(), extra, retry_after: Some(retry_after) }
    }

    /// `400`: the body is not UTF-8 JSON, or not an object.
    #[must_use]
    pub fn malformed_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::without_members(Code::MalformedRequest, detail)
    }

    /// `401`: no token or key, or one that does not hold.
    #[must_use]
    pub fn unauthenticated(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::without_members(Code::Unauthenticated, detail)
    }

    /// `403`: known, but not allowed this.
    #[must_use]
    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::without_members(Code::Forbidden, detail)
    }

    /// `403`: the sale asks for something that this buyer does not have.
    #[must_use]
    pub fn not_eligible(requirement: Requirement) -> Self {
        let detail = match requirement {
            Requirement::Member => "this sale is for members",
            Requirement::Level => "this sale requires a higher level",
            Requirement::AccessCode => "this sale requires an access code",
        };
        Self::with_members(Code::NotEligible, detail, ExtraMembers::Requirement(requirement))
    }

    /// `403`: the sale asks for a purchase pass and none was sent.
    #[must_use]
    pub fn pass_required() -> Self {
        Self::without_members(Code::PassRequired, "this sale requires a Purchase-Pass")
    }

    /// `403`: the pass is forged, or for someone or something else.
    #[must_use]
    pub fn pass_invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::without_members(Code::PassInvalid, detail)
    }

    /// `403`: the pass was good once.
    #[must_use]
    pub fn pass_expired() -> Self {
        Self::without_members(Code::PassExpired, "the Purchase-Pass has expired; get a new one")
    }

    /// `403`: a challenge has to be solved first.
    #[must_use]
    pub fn challenge_required() -> Self {
        Self::without_members(Code::ChallengeRequired, "this sale requires a solved challenge")
    }

    /// `403`: the challenge was answered wrongly and is spent.
    #[must_use]
    pub fn challenge_failed() -> Self {
        Self::without_members(
            Code::ChallengeFailed,
            "the answer was wrong; ask for a new challenge",
        )
    }

    /// `403`: the sale has a waiting room that has not called this buyer in.
    #[must_use]
    pub fn waiting_room() -> Self {
        Self::without_members(
            Code::WaitingRoom,
            "join the waiting room, and retry after it admits you",
        )
    }

    /// `404`: there is no such thing, or it is not for this caller's eyes.
    #[must_use]
    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::without_members(Code::NotFound, detail)
    }

    /// `405`: the address exists, the method does not. The `Allow` header is the router's.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::without_members(
            Code::MethodNotAllowed,
            "this path does not accept this method; see Allow",
        )
    }

    /// `406`: the caller accepts nothing that can be served.
    #[must_use]
    pub fn not_acceptable(served: &str) -> Self {
        Self::without_members(Code::NotAcceptable, format!("this path serves only {served}"))
    }

    /// `413`: the body is over `limit` bytes.
    #[must_use]
    pub fn body_too_large(limit: usize) -> Self {
        Self::without_members(
            Code::BodyTooLarge,
            format!("the body may have at most {limit} bytes"),
        )
    }

    /// `415`: the body is not said to be JSON.
    #[must_use]
    pub fn unsupported_media_type() -> Self {
        Self::without_members(
            Code::UnsupportedMediaType,
            "send the body as Content-Type: application/json",
        )
    }

    /// `409`: fewer units are free than were asked for. `available` of them are; `may_return` says
    /// whether more may become free again.
    #[must_use]
    pub fn sold_out(may_return: bool, available: u64) -> Self {
        let detail = match (may_return, available) {
            (false, 0) => "sold out",
            (true, 0) => "no units are left now; unpaid units may return",
            (_, _) => "fewer units are left than requested",
        };
        Self::with_members(Code::SoldOut, detail, ExtraMembers::SoldOut { may_return, available })
    }

    /// `409`: units are available, so there is no waitlist to join.
    #[must_use]
    pub fn not_held_out() -> Self {
        Self::without_members(Code::NotHeldOut, "units are available without waiting; buy one")
    }

    /// `409`: the waitlist is full: it has its largest size, or as many entries as units may
    /// return.
    #[must_use]
    pub fn waitlist_full() -> Self {
        Self::without_members(Code::WaitlistFull, "the waitlist is full; try again later")
    }

    /// `409`: with what the buyer already has, the request passes the limit.
    #[must_use]
    pub fn limit_reached(limit: u32, used: u32) -> Self {
        Self::with_members(
            Code::LimitReached,
            "the request exceeds the buyer's limit for this item",
            ExtraMembers::Limit { limit, used },
        )
    }

    /// `409`: the sale opens later, at `opens_at` if that is fixed.
    #[must_use]
    pub fn not_started(opens_at: Option<Time>) -> Self {
        Self::with_members(
            Code::NotStarted,
            "the sale has not opened yet",
            ExtraMembers::OpensAt(opens_at),
        )
    }

    /// `409`: the sale, or this item, is stopped for a while.
    #[must_use]
    pub fn paused() -> Self {
        Self::without_members(Code::Paused, "the sale is paused")
    }

    /// `409`: the sale is over.
    #[must_use]
    pub fn ended() -> Self {
        Self::without_members(Code::Ended, "the sale has ended")
    }

    /// `409`: what is asked cannot be done in the present `state`.
    #[must_use]
    pub fn wrong_state(
        state: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::with_members(
            Code::WrongState,
            detail,
            ExtraMembers::State { state: state.into(), free: None },
        )
    }

    /// `409`: stock cannot be lowered by more than is `free`.
    #[must_use]
    pub fn too_little_free(state: impl Into<Cow<'static, str>>, free: u64) -> Self {
        Self::with_members(
            Code::WrongState,
            "stock can be lowered by what is free, not by what is held or paid",
            ExtraMembers::State { state: state.into(), free: Some(free) },
        )
    }

    /// `409`: the name is taken.
    #[must_use]
    pub fn already_exists(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::without_members(Code::AlreadyExists, detail)
    }

    /// `412`: the thing is no longer what `If-Match` says.
    #[must_use]
    pub fn precondition_failed() -> Self {
        Self::without_members(
            Code::PreconditionFailed,
            "it changed since it was read; read it again",
        )
    }

    /// `422`: everything that is wrong with the request, at once. Without any fault it would say
    /// nothing, so that is not to be done.
    #[must_use]
    pub fn invalid_request(faults: Vec<Fault>) -> Self {
        debug_assert!(!faults.is_empty(), "a request without a fault is not invalid");
        Self::with_members(
            Code::InvalidRequest,
            "the request is invalid; see errors",
            ExtraMembers::Errors(faults),
        )
    }

    /// `422`: the key already belongs to a request with other content.
    #[must_use]
    pub fn idempotency_key_reused() -> Self {
        Self::without_members(
            Code::IdempotencyKeyReused,
            "this Idempotency-Key belongs to a request with other content",
        )
    }

    /// `429`: too many requests.
    #[must_use]
    pub fn rate_limited(scope: Scope, retry_after: u32) -> Self {
        Self::with_retry_after(
            Code::RateLimited,
            "too many requests",
            ExtraMembers::Scope(scope),
            retry_after,
        )
    }

    /// `503`: more than can be taken in; nothing was done.
    #[must_use]
    pub fn overloaded(retry_after: u32) -> Self {
        let detail = "the server is overloaded; nothing was done; send the same request again";
        Self::with_retry_after(Code::Overloaded, detail, ExtraMembers::Nothing, retry_after)
    }

    /// `503`: something that is needed is away. The same request with the same key finds its
    /// verdict if there is one.
    #[must_use]
    pub fn unavailable(detail: impl Into<Cow<'static, str>>, retry_after: u32) -> Self {
        Self::with_retry_after(Code::Unavailable, detail, ExtraMembers::Nothing, retry_after)
    }

    /// `503` of `/readyz`: why this process is not to be sent requests.
    #[must_use]
    pub fn not_ready(reasons: Vec<Cow<'static, str>>, retry_after: u32) -> Self {
        Self::with_retry_after(
            Code::Unavailable,
            "not ready",
            ExtraMembers::Reasons(reasons),
            retry_after,
        )
    }

    /// `500`: a fault of ours; it is never expected.
    #[must_use]
    pub fn internal() -> Self {
        Self::without_members(Code::Internal, "an internal error occurred; it has been logged")
    }
}

#[cfg(test)]
mod tests;
