//! Refusals of purchases. Those that come by the million are rendered once.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use doorbuster_api::problem::{MEDIA_TYPE, Problem};
use doorbuster_core::Millis;
use doorbuster_core::refuse::SoldOut;
use http::StatusCode;
use http::header::RETRY_AFTER;

use super::limits::RETRY_SECS;
use super::reply::{Reply, problem, rendered};
use super::wire;
use crate::purchase::Refusal;

/// The bodies of frequent refusals.
#[derive(Debug)]
pub(crate) struct Refusals {
    sold_out: Bytes,
    held_out: Bytes,
    paused: Bytes,
    ended: Bytes,
    unavailable: Bytes,
    overloaded: Bytes,
    /// The last opening that somebody was too early for: nearly always everybody's.
    not_started: ArcSwapOption<(Option<Millis>, Bytes)>,
}

impl Default for Refusals {
    fn default() -> Self {
        let body = |refusal: &Refusal| Bytes::from(told(refusal).to_json());
        let sold_out = |may_return| body(&Refusal::SoldOut(SoldOut { available: 0, may_return }));
        Self {
            sold_out: sold_out(false),
            held_out: sold_out(true),
            paused: body(&Refusal::Paused),
            ended: body(&Refusal::Ended),
            unavailable: body(&Refusal::Unavailable { retry_after_secs: RETRY_SECS }),
            overloaded: body(&Refusal::Overloaded { retry_after_secs: RETRY_SECS }),
            not_started: ArcSwapOption::empty(),
        }
    }
}

impl Refusals {
    /// The answer to a refused purchase.
    pub(crate) fn reply(&self, refusal: &Refusal) -> Reply {
        let conflict = |bytes: &Bytes| rendered(StatusCode::CONFLICT, MEDIA_TYPE, bytes.clone());
        match refusal {
            Refusal::SoldOut(SoldOut { available: 0, may_return: false }) => conflict(&self.sold_out),
            Refusal::SoldOut(SoldOut { available: 0, may_return: true }) => conflict(&self.held_out),
            Refusal::Paused => conflict(&self.paused),
            Refusal::Ended => conflict(&self.ended),
            Refusal::NotStarted { opens_at } => conflict(&self.not_started(*opens_at)),
            Refusal::Unavailable { retry_after_secs: RETRY_SECS } => later(&self.unavailable),
            Refusal::Overloaded { retry_after_secs: RETRY_SECS } => later(&self.overloaded),
            rare => problem(&told(rare)),
        }
    }

    fn not_started(&self, opens_at: Option<Millis>) -> Bytes {
        if let Some(known) = self.not_started.load().as_deref().filter(|(of, _)| *of == opens_at) {
            return known.1.clone();
        }
        let bytes = Bytes::from(told(&Refusal::NotStarted { opens_at }).to_json());
        self.not_started.store(Some(Arc::new((opens_at, bytes.clone()))));
        bytes
    }
}

fn later(bytes: &Bytes) -> Reply {
    let mut reply = rendered(StatusCode::SERVICE_UNAVAILABLE, MEDIA_TYPE, bytes.clone());
    reply.headers_mut().insert(RETRY_AFTER, RETRY_SECS.into());
    reply
}

/// The problem that a refusal is told as.
pub(crate) fn told(refusal: &Refusal) -> Problem {
    match *refusal {
        Refusal::SoldOut(SoldOut { available, may_return }) => Problem::sold_out(may_return, available),
        Refusal::LimitReached { limit, used } => Problem::limit_reached(limit, used),
        Refusal::NotStarted { opens_at } => Problem::not_started(opens_at.map(wire::time)),
        Refusal::Paused => Problem::paused(),
        Refusal::Ended => Problem::ended(),
        Refusal::KeyReused => Problem::idempotency_key_reused(),
        Refusal::Overloaded { retry_after_secs } => Problem::overloaded(retry_after_secs),
        Refusal::Unavailable { retry_after_secs } => {
            Problem::unavailable("send the same request with the same key again", retry_after_secs)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::reply::ReplyBody;

    #[test]
    fn a_refusal_rendered_once_says_what_a_fresh_one_says() {
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
            Refusal::KeyReused,
            Refusal::Overloaded { retry_after_secs: RETRY_SECS },
            Refusal::Overloaded { retry_after_secs: 7 },
            Refusal::Unavailable { retry_after_secs: RETRY_SECS },
        ];
        for refusal in &all {
            let (quick, slow) = (refusals.reply(refusal), problem(&told(refusal)));
            assert_eq!((quick.status(), quick.headers()), (slow.status(), slow.headers()), "{refusal:?}");
            let body = |reply: &Reply| match reply.body() {
                ReplyBody::Bytes(bytes) => bytes.clone(),
                ReplyBody::Routed(_) => None,
            };
            assert_eq!(body(&quick), body(&slow), "{refusal:?}");
        }
    }
}
