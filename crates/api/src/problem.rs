//! Refusals and failures as RFC 9457 problems, with a closed set of codes. Each constructor of
//! [`Problem`] requires all members of its code.

mod body;
mod code;
mod fault;

pub use body::ProblemBody;
pub use code::Code;
pub use doorbuster_types::{RateLimitScope, Requirement};
pub use fault::{Fault, FaultLocation};

use std::borrow::Cow;

use crate::health::ReadinessFacts;
use crate::value::Time;

/// Media type of every problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

#[derive(Clone, Debug, PartialEq, Eq)]
enum ExtraMembers {
    Nothing,
    SoldOut { may_return: bool, available: u64 },
    Limit { limit: u32, used: u32 },
    OpensAt(Option<Time>),
    State { state: Cow<'static, str>, free: Option<u64> },
    Requirement(Requirement),
    RateLimitScope(RateLimitScope),
    Errors(Vec<Fault>),
    NotReady { reasons: Vec<Cow<'static, str>>, facts: Box<ReadinessFacts> },
}

/// A refusal or a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    extra: ExtraMembers,
    retry_after: Option<u32>,
}

impl Problem {
    /// The problem's code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.code.status()
    }

    /// What happened, for a person.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Seconds for the `Retry-After` header. Every `429` and `503` has this header.
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
        serde_json::to_vec(&self.body()).expect("a problem must always serialise without an error")
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

    /// `401`: the token or key is missing or invalid.
    #[must_use]
    pub fn unauthenticated(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::without_members(Code::Unauthenticated, detail)
    }

    /// `403`: the caller is known, but is not allowed to make this request.
    #[must_use]
    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::without_members(Code::Forbidden, detail)
    }

    /// `403`: the buyer does not meet a requirement of the sale.
    #[must_use]
    pub fn not_eligible(requirement: Requirement) -> Self {
        let detail = match requirement {
            Requirement::Member => "only members may buy in this sale",
            Requirement::Level => "this sale requires a higher level",
            Requirement::AccessCode => "this sale requires an access code",
        };
        Self::with_members(Code::NotEligible, detail, ExtraMembers::Requirement(requirement))
    }

    /// `403`: the sale requires a purchase pass, and the request has no pass.
    #[must_use]
    pub fn pass_required() -> Self {
        Self::without_members(
            Code::PassRequired,
            "this sale requires a Purchase-Pass; get a pass first",
        )
    }

    /// `403`: the pass is forged, or for another buyer, sale or item.
    #[must_use]
    pub fn pass_invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::without_members(Code::PassInvalid, detail)
    }

    /// `403`: the pass has expired.
    #[must_use]
    pub fn pass_expired() -> Self {
        Self::without_members(Code::PassExpired, "the Purchase-Pass has expired; get a new pass")
    }

    /// `403`: the sale requires a solved challenge.
    #[must_use]
    pub fn challenge_required() -> Self {
        Self::without_members(
            Code::ChallengeRequired,
            "this sale requires a solved challenge; request a challenge",
        )
    }

    /// `403`: the answer to the challenge was wrong, and the challenge is used up.
    #[must_use]
    pub fn challenge_failed() -> Self {
        Self::without_members(
            Code::ChallengeFailed,
            "the answer was wrong; request a new challenge",
        )
    }

    /// `403`: the waiting room has not admitted this buyer.
    #[must_use]
    pub fn waiting_room() -> Self {
        Self::without_members(
            Code::WaitingRoom,
            "the waiting room has not admitted you; join it, and retry after your admission",
        )
    }

    /// `404`: the object does not exist, or this caller is not allowed to see it.
    #[must_use]
    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::without_members(Code::NotFound, detail)
    }

    /// `405`: the path does not accept this method. The router adds the `Allow` header.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::without_members(
            Code::MethodNotAllowed,
            "this path does not accept this method; see the Allow header",
        )
    }

    /// `406`: the caller accepts no media type that the path serves.
    #[must_use]
    pub fn not_acceptable(served: &str) -> Self {
        Self::without_members(Code::NotAcceptable, format!("this path serves only {served}"))
    }

    /// `413`: the body is larger than `limit` bytes.
    #[must_use]
    pub fn body_too_large(limit: usize) -> Self {
        Self::without_members(
            Code::BodyTooLarge,
            format!("the body may have at most {limit} bytes"),
        )
    }

    /// `415`: the content type of the body is not JSON.
    #[must_use]
    pub fn unsupported_media_type() -> Self {
        Self::without_members(
            Code::UnsupportedMediaType,
            "send the body as Content-Type: application/json",
        )
    }

    /// `409`: the request asks for more units than are free. `may_return` says whether more units
    /// may become free.
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
        Self::without_members(Code::NotHeldOut, "units are available without waiting; buy a unit")
    }

    /// `409`: the waitlist has its maximum length, or already has an entry for each unit that may
    /// return.
    #[must_use]
    pub fn waitlist_full() -> Self {
        Self::without_members(Code::WaitlistFull, "the waitlist is full; try again later")
    }

    /// `409`: the request and the buyer's active orders together exceed the buyer's `limit`.
    #[must_use]
    pub fn limit_reached(limit: u32, used: u32) -> Self {
        Self::with_members(
            Code::LimitReached,
            "the request exceeds the buyer's limit for this item",
            ExtraMembers::Limit { limit, used },
        )
    }

    /// `409`: the sale has not opened yet. It opens at `opens_at`, if this time is set.
    #[must_use]
    pub fn not_started(opens_at: Option<Time>) -> Self {
        Self::with_members(
            Code::NotStarted,
            "the sale has not opened yet",
            ExtraMembers::OpensAt(opens_at),
        )
    }

    /// `409`: an operator or a fault paused the sale or the item.
    #[must_use]
    pub fn paused() -> Self {
        Self::without_members(Code::Paused, "the sale is paused")
    }

    /// `409`: the sale has ended.
    #[must_use]
    pub fn ended() -> Self {
        Self::without_members(Code::Ended, "the sale has ended")
    }

    /// `409`: the request is not possible in the present `state`.
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

    /// `409`: the adjustment removes more units than are `free`. Units that are kept for the
    /// waitlist count as free.
    #[must_use]
    pub fn too_little_free(state: impl Into<Cow<'static, str>>, free: u64) -> Self {
        Self::with_members(
            Code::WrongState,
            "only free units can be removed from the stock, not held or paid units",
            ExtraMembers::State { state: state.into(), free: Some(free) },
        )
    }

    /// `409`: an object with this name already exists.
    #[must_use]
    pub fn already_exists(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::without_members(Code::AlreadyExists, detail)
    }

    /// `412`: the object's version differs from `If-Match`.
    #[must_use]
    pub fn precondition_failed() -> Self {
        Self::without_members(
            Code::PreconditionFailed,
            "the object's version differs from If-Match; read the object again",
        )
    }

    /// `422`: the request has these faults. The list must not be empty.
    #[must_use]
    pub fn invalid_request(faults: Vec<Fault>) -> Self {
        debug_assert!(!faults.is_empty(), "an invalid request must have at least one fault");
        Self::with_members(
            Code::InvalidRequest,
            "the request is invalid; see errors",
            ExtraMembers::Errors(faults),
        )
    }

    /// `422`: a member of the body has this fault.
    #[must_use]
    pub fn invalid_member(pointer: &str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::invalid_request(vec![Fault::body(pointer, detail)])
    }

    /// `422`: the `Idempotency-Key` already belongs to a request with other content.
    #[must_use]
    pub fn idempotency_key_reused() -> Self {
        Self::without_members(
            Code::IdempotencyKeyReused,
            "this Idempotency-Key belongs to a request with other content; choose a new key",
        )
    }

    /// `429`: too many requests.
    #[must_use]
    pub fn rate_limited(scope: RateLimitScope, retry_after: u32) -> Self {
        Self::with_retry_after(
            Code::RateLimited,
            "too many requests; retry after the time in Retry-After",
            ExtraMembers::RateLimitScope(scope),
            retry_after,
        )
    }

    /// `503`: the server has too many requests and did not handle this request.
    #[must_use]
    pub fn overloaded(retry_after: u32) -> Self {
        let detail =
            "the server is overloaded and did not handle the request; send the same request again";
        Self::with_retry_after(Code::Overloaded, detail, ExtraMembers::Nothing, retry_after)
    }

    /// `503`: a required service is unavailable. If the request has a verdict, a repeat with the
    /// same key gets this verdict.
    #[must_use]
    pub fn unavailable(detail: impl Into<Cow<'static, str>>, retry_after: u32) -> Self {
        Self::with_retry_after(Code::Unavailable, detail, ExtraMembers::Nothing, retry_after)
    }

    /// `503` of `/readyz`: the reasons why this process is not ready.
    #[must_use]
    pub fn not_ready(
        reasons: Vec<Cow<'static, str>>,
        facts: ReadinessFacts,
        retry_after: u32,
    ) -> Self {
        let extra = ExtraMembers::NotReady { reasons, facts: Box::new(facts) };
        Self::with_retry_after(
            Code::Unavailable,
            "this node is not ready; see reasons",
            extra,
            retry_after,
        )
    }

    /// `501`: the body has a transfer coding that the server does not know.
    #[must_use]
    pub fn unknown_transfer_coding() -> Self {
        let detail = "Transfer-Encoding names a coding other than chunked";
        Self::without_members(Code::NotImplemented, detail)
    }

    /// `500`: an internal fault.
    #[must_use]
    pub fn internal() -> Self {
        Self::without_members(
            Code::Internal,
            "an internal error occurred; the server logged the cause",
        )
    }
}

#[cfg(test)]
mod tests;
