//! The JSON of a problem.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{Code, ExtraMembers, Fault, Problem, RateLimitScope, Requirement};
use crate::health::DatabaseFence;
use crate::value::Time;

/// A problem in RFC 9457 form. Only some codes have the members after `retryable`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem, examples(json!({
    "type": "/docs#sold_out", "title": "Sold out", "status": 409, "code": "sold_out",
    "detail": "no units are left now; unpaid units may return", "retryable": false,
    "may_return": true, "available": 0
})))]
pub struct ProblemBody<'a> {
    /// The type: a reference into the server's documentation.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference")]
    pub type_ref: Cow<'a, str>,
    /// A short title for a person. All problems with the same code have the same title.
    pub title: Cow<'a, str>,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// The stable code for programs.
    pub code: Code,
    /// What happened, for a person.
    pub detail: Cow<'a, str>,
    /// Whether the same request with the same key may succeed later, without a change of the
    /// request or of the sale.
    pub retryable: bool,
    /// `sold_out`: whether units may become free again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub may_return: Option<bool>,
    /// `sold_out`: the number of free units, which is smaller than the requested number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub available: Option<u64>,
    /// `limit_reached`: the buyer's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub limit: Option<u32>,
    /// `limit_reached`: units that this buyer already has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub used: Option<u32>,
    /// `not_started`: when the sale opens; `null` if the time is not set.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<Time>)]
    pub opens_at: Option<Option<Time>>,
    /// `wrong_state`: the present state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    pub state: Option<Cow<'a, str>>,
    /// With `wrong_state`, after an adjustment that removes too many units: the number of units
    /// that can be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub free: Option<u64>,
    /// `rate_limited`: the scope of the exceeded limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<RateLimitScope>,
    /// `not_eligible`: the requirement that the buyer does not meet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirement: Option<Requirement>,
    /// `invalid_request`: every fault.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<Fault>)]
    pub errors: Cow<'a, [Fault]>,
    /// `unavailable` of `/readyz`: why the process is not ready.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub reasons: Cow<'a, [Cow<'static, str>]>,
    /// `unavailable` of `/readyz`: what is degraded.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub warnings: Cow<'a, [Cow<'static, str>]>,
    /// `unavailable` of `/readyz`: the newest history of the shared database that the node knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DatabaseFence>, nullable = false)]
    pub database: Option<Cow<'a, DatabaseFence>>,
}

/// Distinguishes `null` from an absent member. Serde calls this function only for a member that is
/// present.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Time>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Problem {
    /// Returns this problem's JSON body, which borrows its texts from the problem.
    #[must_use]
    pub fn body(&self) -> ProblemBody<'_> {
        let mut body = ProblemBody {
            type_ref: self.code.type_ref().into(),
            title: self.code.title().into(),
            status: self.code.status(),
            code: self.code,
            detail: Cow::Borrowed(&self.detail),
            retryable: self.code.retryable(),
            may_return: None,
            available: None,
            limit: None,
            used: None,
            opens_at: None,
            state: None,
            free: None,
            scope: None,
            requirement: None,
            errors: Cow::Borrowed(&[]),
            reasons: Cow::Borrowed(&[]),
            warnings: Cow::Borrowed(&[]),
            database: None,
        };
        match &self.extra {
            ExtraMembers::Nothing => {}
            ExtraMembers::SoldOut { may_return, available } => {
                body.may_return = Some(*may_return);
                body.available = Some(*available);
            }
            ExtraMembers::Limit { limit, used } => {
                body.limit = Some(*limit);
                body.used = Some(*used);
            }
            ExtraMembers::OpensAt(opens_at) => body.opens_at = Some(*opens_at),
            ExtraMembers::State { state, free } => {
                body.state = Some(Cow::Borrowed(state));
                body.free = *free;
            }
            ExtraMembers::RateLimitScope(scope) => body.scope = Some(*scope),
            ExtraMembers::Requirement(requirement) => body.requirement = Some(*requirement),
            ExtraMembers::Errors(faults) => body.errors = Cow::Borrowed(faults),
            ExtraMembers::NotReady { reasons, facts } => {
                body.reasons = Cow::Borrowed(reasons);
                body.warnings = Cow::Borrowed(&facts.warnings);
                body.database = facts.database.as_ref().map(Cow::Borrowed);
            }
        }
        body
    }
}
