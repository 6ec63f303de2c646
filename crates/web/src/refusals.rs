//! Renders the responses to refused purchases. Frequent responses are rendered only once.

use std::io::Write;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use doorbuster_api::problem::{MEDIA_TYPE, Problem};
use doorbuster_core::Millis;
use doorbuster_core::gate::RateLimitScope;
use doorbuster_core::sold_out::SoldOut;
use doorbuster_engine::api_conversion;
use doorbuster_engine::purchase::{DoorRefusal, Refusal};
use http::header::{CACHE_CONTROL, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

use super::fast_path::{DateHeader, RenderedHead};
use super::limits::RETRY_SECS;
use super::purchase_reply::SaleRateLimit;
use super::reply::{Reply, problem, rendered};

const PASS_INVALID: &str =
    "the Purchase-Pass is not valid for this buyer, sale and item; get a new pass";

/// The `detail` of the problem that a blocked caller gets.
pub(crate) const BLOCKED: &str = "the shop has blocked this buyer or this address";

#[derive(Debug)]
struct RenderedRefusal {
    head: RenderedHead,
    body: Bytes,
}

impl RenderedRefusal {
    fn new(refusal: &Refusal) -> Self {
        Self::from_reply(
            &problem(&refusal_problem(refusal)),
            refusal_problem(refusal).to_json().into(),
        )
    }

    fn from_reply(reply: &Reply, body: Bytes) -> Self {
        Self { head: RenderedHead::new(reply, body.len()), body }
    }
}

#[derive(Debug)]
pub(crate) struct Refusals {
    sold_out: RenderedRefusal,
    held_out: RenderedRefusal,
    paused: RenderedRefusal,
    ended: RenderedRefusal,
    unavailable: RenderedRefusal,
    overloaded: RenderedRefusal,
    pass_required: RenderedRefusal,
    pass_invalid: RenderedRefusal,
    pass_expired: RenderedRefusal,
    waiting_room: RenderedRefusal,
    blocked: RenderedRefusal,
    /// One refusal for each scope of the rate limits, without `Retry-After`, which differs from
    /// request to request.
    rate_limited: [RenderedRefusal; RateLimitScope::ALL.len()],
    /// The last rendered `not_started` refusal, with its opening time. Before an opening, nearly
    /// all purchases are for one sale, so it is enough to keep one.
    not_started: ArcSwapOption<(Option<Millis>, RenderedRefusal)>,
}

impl Default for Refusals {
    fn default() -> Self {
        let sold_out = |may_return| {
            RenderedRefusal::new(&Refusal::SoldOut(SoldOut { available: 0, may_return }))
        };
        let at_door = |refusal| RenderedRefusal::new(&Refusal::AtDoor(refusal));
        Self {
            sold_out: sold_out(false),
            held_out: sold_out(true),
            paused: RenderedRefusal::new(&Refusal::Paused),
            ended: RenderedRefusal::new(&Refusal::Ended),
            unavailable: RenderedRefusal::new(&Refusal::Unavailable),
            overloaded: RenderedRefusal::new(&Refusal::Overloaded),
            pass_required: at_door(DoorRefusal::PassRequired),
            pass_invalid: at_door(DoorRefusal::PassInvalid),
            pass_expired: at_door(DoorRefusal::PassExpired),
            waiting_room: at_door(DoorRefusal::WaitingRoom),
            blocked: at_door(DoorRefusal::Blocked),
            rate_limited: RateLimitScope::ALL.map(|scope| {
                let refusal = Problem::rate_limited(scope, RETRY_SECS);
                let mut reply = problem(&refusal);
                reply.headers_mut().remove(RETRY_AFTER);
                RenderedRefusal::from_reply(&reply, refusal.to_json().into())
            }),
            not_started: ArcSwapOption::empty(),
        }
    }
}

impl Refusals {
    /// For the general server.
    pub(crate) fn reply(&self, refusal: &Refusal) -> Reply {
        self.with_prepared(refusal, |ready| {
            let status = ready.head.status();
            let mut reply = rendered(status, MEDIA_TYPE, ready.body.clone());
            if status == StatusCode::SERVICE_UNAVAILABLE {
                reply.headers_mut().insert(RETRY_AFTER, RETRY_SECS.into());
            }
            if let Refusal::AtDoor(DoorRefusal::RateLimited { retry_after_secs, .. }) = refusal {
                reply.headers_mut().insert(RETRY_AFTER, (*retry_after_secs).into());
                reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
            reply
        })
    }

    /// For the fast path: appends the response, with the caller's rate-limit status, to `out`.
    /// Returns the status code.
    pub(crate) fn write(
        &self,
        (refusal, stand): (&Refusal, Option<&SaleRateLimit>),
        date: &DateHeader,
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> StatusCode {
        self.with_prepared(refusal, |ready| {
            ready.head.write_with(date, is_last, out, |out| {
                if let Some(stand) = stand {
                    stand.write(out);
                }
                if let Refusal::AtDoor(DoorRefusal::RateLimited { retry_after_secs, .. }) = refusal
                {
                    // Writing to a vector cannot fail.
                    let _ = write!(out, "retry-after: {retry_after_secs}\r\n");
                }
            });
            out.extend_from_slice(&ready.body);
            ready.head.status()
        })
    }

    fn with_prepared<T>(&self, refusal: &Refusal, use_it: impl FnOnce(&RenderedRefusal) -> T) -> T {
        match refusal {
            Refusal::SoldOut(SoldOut { available: 0, may_return: false }) => use_it(&self.sold_out),
            Refusal::SoldOut(SoldOut { available: 0, may_return: true }) => use_it(&self.held_out),
            Refusal::Paused => use_it(&self.paused),
            Refusal::Ended => use_it(&self.ended),
            Refusal::Unavailable => use_it(&self.unavailable),
            Refusal::Overloaded => use_it(&self.overloaded),
            Refusal::AtDoor(door) => match door {
                DoorRefusal::PassRequired => use_it(&self.pass_required),
                DoorRefusal::PassInvalid => use_it(&self.pass_invalid),
                DoorRefusal::PassExpired => use_it(&self.pass_expired),
                DoorRefusal::WaitingRoom => use_it(&self.waiting_room),
                DoorRefusal::Blocked => use_it(&self.blocked),
                DoorRefusal::RateLimited { scope, .. } => {
                    use_it(&self.rate_limited[*scope as usize])
                }
                DoorRefusal::NotEligible(_) => use_it(&RenderedRefusal::new(refusal)),
            },
            Refusal::NotStarted { opens_at } => match &*self.not_started.load() {
                Some(known) if known.0 == *opens_at => use_it(&known.1),
                _ => {
                    let fresh = Arc::new((*opens_at, RenderedRefusal::new(refusal)));
                    self.not_started.store(Some(fresh.clone()));
                    use_it(&fresh.1)
                }
            },
            rare => use_it(&RenderedRefusal::new(rare)),
        }
    }
}

pub(crate) fn refusal_problem(refusal: &Refusal) -> Problem {
    match *refusal {
        Refusal::SoldOut(SoldOut { available, may_return }) => {
            Problem::sold_out(may_return, available)
        }
        Refusal::LimitReached { limit, used } => Problem::limit_reached(limit, used),
        Refusal::NotStarted { opens_at } => {
            Problem::not_started(opens_at.map(api_conversion::time))
        }
        Refusal::Paused => Problem::paused(),
        Refusal::Ended => Problem::ended(),
        Refusal::AtDoor(door) => match door {
            DoorRefusal::Blocked => Problem::forbidden(BLOCKED),
            DoorRefusal::RateLimited { scope, retry_after_secs } => {
                Problem::rate_limited(scope, retry_after_secs)
            }
            DoorRefusal::NotEligible(lacking) => Problem::not_eligible(lacking),
            DoorRefusal::PassRequired => Problem::pass_required(),
            DoorRefusal::PassInvalid => Problem::pass_invalid(PASS_INVALID),
            DoorRefusal::PassExpired => Problem::pass_expired(),
            DoorRefusal::WaitingRoom => Problem::waiting_room(),
        },
        Refusal::KeyReused => Problem::idempotency_key_reused(),
        Refusal::Overloaded => Problem::overloaded(RETRY_SECS),
        Refusal::Unavailable => Problem::unavailable(
            "the request has no result yet; send the same request with the same key again",
            RETRY_SECS,
        ),
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_api::problem::Requirement;

    use super::*;
    use crate::reply::ReplyBody;

    #[test]
    fn a_rendered_refusal_equals_a_fresh_one() {
        let refusals = Refusals::default();
        let all = [
            Refusal::SoldOut(SoldOut { available: 0, may_return: false }),
            Refusal::SoldOut(SoldOut { available: 0, may_return: true }),
            Refusal::SoldOut(SoldOut { available: 3, may_return: true }),
            Refusal::LimitReached { limit: 2, used: 1 },
            Refusal::NotStarted { opens_at: None },
            Refusal::NotStarted { opens_at: Some(Millis(1_000)) },
            Refusal::NotStarted { opens_at: Some(Millis(1_000)) },
            Refusal::Paused,
            Refusal::Ended,
            Refusal::AtDoor(DoorRefusal::NotEligible(Requirement::Member)),
            Refusal::AtDoor(DoorRefusal::NotEligible(Requirement::Level)),
            Refusal::AtDoor(DoorRefusal::PassRequired),
            Refusal::AtDoor(DoorRefusal::PassInvalid),
            Refusal::AtDoor(DoorRefusal::PassExpired),
            Refusal::AtDoor(DoorRefusal::WaitingRoom),
            Refusal::AtDoor(DoorRefusal::Blocked),
            Refusal::AtDoor(DoorRefusal::RateLimited {
                scope: RateLimitScope::Ip,
                retry_after_secs: 17,
            }),
            Refusal::KeyReused,
            Refusal::Overloaded,
            Refusal::Unavailable,
        ];
        for refusal in &all {
            let (quick, slow) = (refusals.reply(refusal), problem(&refusal_problem(refusal)));
            assert_eq!(quick.status(), slow.status(), "{refusal:?}");
            assert_eq!(quick.headers(), slow.headers(), "{refusal:?}");
            let body = |reply: &Reply| match reply.body() {
                ReplyBody::Bytes(bytes) => bytes.clone(),
                ReplyBody::Routed(_) => None,
            };
            assert_eq!(body(&quick), body(&slow), "{refusal:?}");
        }
    }
}
