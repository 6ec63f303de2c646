//! `POST /v1/orders`, the one request that comes by the million: a walk without needless allocation to a refusal, and a
//! task of its own for whatever goes on.
//!
//! The order of the checks is the contract's: body and headers, who, sale and item, key, phase, stock and limit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use bytes::Bytes;
use doorbuster_api::body::{Purchase as Wanted, with_key};
use doorbuster_api::header::{BodyType, IDEMPOTENCY_KEY, Prefer, accepts, idempotency_key};
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_api::problem::Problem;
use doorbuster_core::{RequestKey, TicketId, Units};
use http::header::{ACCEPT, HeaderName, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use hyper::body::Body;

use super::limits::{PURCHASES_MAX, RETRY_SECS};
use super::reply::{Answer, Reply, json, problem};
use super::{App, input, who, wire};
use crate::purchase::{Bought, Purchase, Refusal};

static IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
static KEY: HeaderName = HeaderName::from_static("idempotency-key");
static PREFER: HeaderName = HeaderName::from_static("prefer");

const _: () = assert!(IDEMPOTENCY_KEY.len() == "idempotency-key".len());

/// Answers a purchase.
pub(crate) async fn purchase<B>(app: &Arc<App>, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes>,
{
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let bytes = match input::read(&parts.headers, body, BODY_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(unread) => return problem(&unread),
    };
    match buy(app, &parts.headers, &bytes, started).await {
        Ok(reply) => reply,
        Err(refused) => problem(&refused),
    }
}

/// The same behind the router, where it stands for the sake of `405` and its `Allow`.
pub(crate) async fn routed(State(app): State<Arc<App>>, request: axum::extract::Request) -> Answer {
    Ok(purchase(&app, request).await)
}

async fn buy(app: &Arc<App>, headers: &HeaderMap, body: &[u8], started: Instant) -> Result<Reply, Problem> {
    let accept = headers.get_all(ACCEPT).iter().map(HeaderValue::as_bytes);
    if !accepts(accept, "application/json") {
        return Err(Problem::not_acceptable("application/json"));
    }
    input::content_type(headers, BodyType::Json)?;
    let key = idempotency_key(headers.get_all(&KEY).iter().map(HeaderValue::as_bytes));
    let (key, wanted) = with_key(key, Wanted::from_json(body))?;
    let buyer = app.buyer(headers).await?;
    let (sale, item) = {
        let catalogue = app.engine.catalogue();
        let sale = catalogue.sale(&wanted.sale).filter(|sale| sale.row.phase != doorbuster_core::Phase::Draft);
        let Some(sale) = sale else { return Err(Problem::not_found("there is no such sale")) };
        let Some(item) = sale.item(&wanted.item) else { return Err(Problem::not_found("the sale has no such item")) };
        (sale.clone(), item.clone())
    };
    let units = Units::new(wanted.units).expect("the contract and the core have the same bounds for units");
    let bought = match app.engine.glance(buyer.as_str(), key, &sale, &item, units) {
        Some(refusal) => Bought::Refused(refusal),
        None => {
            let key = RequestKey::new(key).expect("the contract and the core have the same rule for keys");
            let prefer = Prefer::parse(headers.get_all(&PREFER).iter().map(HeaderValue::as_bytes));
            let wait = match prefer {
                Prefer::RespondAsync => Duration::ZERO,
                Prefer::Wait(secs) => Duration::from_secs(u64::from(secs)),
            };
            let (sale, item) = (sale.clone(), item.clone());
            let bought = run(app, Purchase { buyer: who::owned(buyer), key, sale, item, units, wait }).await;
            if prefer == Prefer::RespondAsync { without_verdict(bought) } else { bought }
        }
    };
    sale.flags.tally.count(bought.answer());
    let reply = match &bought {
        Bought::Refused(refusal) => app.refusals.reply(refusal),
        Bought::Created(order) => placed(StatusCode::CREATED, order.id, &wire::order(order, &item)),
        Bought::Replayed(order) => {
            let mut reply = placed(StatusCode::OK, order.id, &wire::order(order, &item));
            reply.headers_mut().insert(&IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
            reply
        }
        Bought::Queued { id, decide_by } => {
            let queued = wire::queued(*id, buyer.as_str(), &item, units, *decide_by);
            let mut reply = placed(StatusCode::ACCEPTED, *id, &queued);
            reply.headers_mut().insert(RETRY_AFTER, RETRY_SECS.into());
            reply
        }
    };
    let took = started.elapsed();
    app.metrics.purchases.record(took);
    if app.views.with(&sale.row.id, |view| view.latencies.record(took)).is_none() {
        app.views.of(&app.engine, &sale).latencies.record(took);
    }
    Ok(reply)
}

/// Lets the engine buy in a task of its own, which goes on when the client hangs up.
async fn run(app: &Arc<App>, purchase: Purchase) -> Bought {
    if app.buying.len() >= PURCHASES_MAX {
        return Bought::Refused(Refusal::Overloaded { retry_after_secs: RETRY_SECS });
    }
    let engine = app.engine.clone();
    let task = app.buying.spawn(async move { engine.buy(purchase).await });
    // A panic in there was logged where it happened; the request may be sent again with its key.
    task.await.unwrap_or(Bought::Refused(Refusal::Unavailable { retry_after_secs: RETRY_SECS }))
}

/// What somebody hears who asked not to wait: a verdict that was quicker than the answer follows all the same.
fn without_verdict(bought: Bought) -> Bought {
    match &bought {
        Bought::Created(order) => match order.id.parts() {
            Some(parts) => Bought::Queued { id: order.id, decide_by: parts.decide_by },
            None => bought,
        },
        _ => bought,
    }
}

fn placed(status: StatusCode, id: TicketId, order: &impl serde::Serialize) -> Reply {
    let mut reply = json(status, order);
    let location = format!("/v1/orders/{id}");
    let location = HeaderValue::from_str(&location).expect("ids are written in a small part of ASCII");
    reply.headers_mut().insert(LOCATION, location);
    reply
}
