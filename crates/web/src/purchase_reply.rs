//! The response to a purchase, with the caller's rate-limit status.

use std::sync::Arc;

use doorbuster_api::problem::Code;
use doorbuster_core::{TicketId, Units};
use doorbuster_engine::api_conversion;
use doorbuster_engine::catalogue::{ItemState, SaleState};
use doorbuster_engine::purchase::{PurchaseOutcome, Refusal};
use doorbuster_gate::RateLimitStatus;
use http::header::{HeaderName, LOCATION, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;

use super::limits::RETRY_SECS;
use super::reply::{Reply, json};

static IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

#[derive(Debug)]
pub(crate) enum PurchaseReply {
    /// A refusal. `Refusals` has nearly all refusals as rendered bytes.
    Refused(Refusal, Option<SaleRateLimit>),
    Rendered(Reply),
}

/// An edge adds this mark to a node's response `overloaded`, so that the edge then pauses the
/// client's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeOverloaded;

#[derive(Deserialize)]
struct ProblemCode<'a> {
    code: &'a str,
}

/// Returns whether a node's response is the problem `overloaded`.
pub(super) fn is_overloaded(status: StatusCode, body: &[u8]) -> bool {
    status == StatusCode::SERVICE_UNAVAILABLE
        && serde_json::from_slice::<ProblemCode<'_>>(body)
            .is_ok_and(|problem| problem.code == Code::Overloaded.as_str())
}

/// What a sale's rate limits still allow the caller.
#[derive(Debug)]
pub(crate) struct SaleRateLimit {
    sale: Arc<SaleState>,
    limit_status: RateLimitStatus,
}

impl SaleRateLimit {
    /// Returns `None` if the sale has no limits.
    pub(super) fn new(
        sale: &Arc<SaleState>,
        limit_status: impl FnOnce() -> RateLimitStatus,
    ) -> Option<Self> {
        (!sale.limits.is_none()).then(|| Self { sale: sale.clone(), limit_status: limit_status() })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.limit_status.write(&self.sale.limits, out);
    }

    pub(super) fn insert(limit_status: Option<&Self>, mut reply: Reply) -> Reply {
        if let Some(Self { sale, limit_status }) = limit_status {
            limit_status.insert(&sale.limits, reply.headers_mut());
        }
        reply
    }
}

pub(super) fn purchase_reply(
    outcome: PurchaseOutcome,
    limit_status: Option<SaleRateLimit>,
    item: &ItemState,
    buyer: &str,
    units: Units,
) -> PurchaseReply {
    let reply = match outcome {
        PurchaseOutcome::Refused(refusal) => return PurchaseReply::Refused(refusal, limit_status),
        PurchaseOutcome::Created(order) => {
            order_reply(StatusCode::CREATED, order.id, &api_conversion::order(&order, item))
        }
        PurchaseOutcome::Replayed(order) => {
            let mut reply =
                order_reply(StatusCode::OK, order.id, &api_conversion::order(&order, item));
            reply.headers_mut().insert(&IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
            reply
        }
        PurchaseOutcome::Queued { id, decide_by } => {
            let queued = api_conversion::queued(id, buyer, item, units, decide_by);
            let mut reply = order_reply(StatusCode::ACCEPTED, id, &queued);
            reply.headers_mut().insert(RETRY_AFTER, RETRY_SECS.into());
            reply
        }
    };
    PurchaseReply::Rendered(SaleRateLimit::insert(limit_status.as_ref(), reply))
}

fn order_reply(status: StatusCode, id: TicketId, order: &impl serde::Serialize) -> Reply {
    let mut reply = json(status, order);
    let location = format!("/v1/orders/{id}");
    let location = HeaderValue::from_str(&location).expect("ids are ASCII");
    reply.headers_mut().insert(LOCATION, location);
    reply
}
