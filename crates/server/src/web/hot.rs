//! `POST /v1/orders`, the one request that comes by the million: a walk without needless allocation to a refusal, and
//! a wait for the verdict for whoever goes on.
//!
//! The order of the checks is the contract's: body and headers, who, sale and item, key, phase, pass and eligibility, rate limits, stock and limit.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use bytes::Bytes;
use doorbuster_api::body::{Purchase as Wanted, with_key};
use doorbuster_api::header::{BodyType, Prefer, accepts, idempotency_key};
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_api::problem::{Fault, Problem};
use doorbuster_core::{Phase, RequestKey, TicketId, Units};
use futures_util::FutureExt;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, FORWARDED, HeaderName, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use hyper::body::Body;

use super::client::Brought;
use super::limits::{PURCHASES_MAX, RETRY_SECS};
use super::reply::{Answer, Reply, json, problem};
use super::router::not_served;
use super::who::Client;
use super::{App, client, input, who, wire};
use crate::auth::{BuyerName, Denied, bearer};
use crate::catalogue::{ItemState, SaleState};
use crate::gate::{Caller, Entry, Limited, Presented, Route, Standing, enter};
use crate::purchase::{Bought, Purchase, Refusal};
use crate::trace;

static IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
static KEY: HeaderName = HeaderName::from_static("idempotency-key");
static PASS: HeaderName = HeaderName::from_static("purchase-pass");
static PREFER: HeaderName = HeaderName::from_static("prefer");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static(client::X_FORWARDED_FOR);

/// What the headers of a purchase say.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// Whether the caller takes JSON.
    pub takes_json: bool,
    /// Whether the body is said to be JSON.
    pub is_json: bool,
    /// The request's key.
    pub key: Result<&'a str, Fault>,
    /// The buyer's token.
    pub token: Result<&'a str, Denied>,
    /// The purchase pass.
    pub pass: Presented<'a>,
    /// How long to wait.
    pub prefer: Prefer,
    /// Where it comes from, as proxies tell.
    pub brought: Brought<'a>,
}

impl<'a> Asked<'a> {
    /// Reads the values of each header, in the order they were sent.
    pub(crate) fn new<I: Iterator<Item = &'a [u8]>>(values: impl Fn(&HeaderName) -> I) -> Self {
        let mut types = values(&CONTENT_TYPE);
        let is_json = matches!((types.next(), types.next()), (Some(one), None) if BodyType::Json.matches(one));
        Self {
            takes_json: accepts(values(&ACCEPT), "application/json"),
            is_json,
            key: idempotency_key(values(&KEY)),
            token: bearer(values(&AUTHORIZATION)),
            pass: Presented::new(values(&PASS)),
            prefer: Prefer::parse(values(&PREFER)),
            brought: Brought {
                forwarded: values(&FORWARDED).collect(),
                x_forwarded_for: values(&X_FORWARDED_FOR).collect(),
            },
        }
    }
}

/// What a purchase came to.
#[derive(Debug)]
pub(crate) enum Sold {
    /// Refused: nearly always, and rendered already.
    Refused(Refusal, Stand),
    /// Anything else.
    Told(Reply),
}

/// Where the buyer stands with the sale's limits.
#[derive(Debug)]
pub(crate) struct Stand {
    sale: Arc<SaleState>,
    standing: Standing,
}

impl Stand {
    /// As lines of a head.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.standing.write(&self.sale.limits, out);
    }

    fn insert(&self, mut reply: Reply) -> Reply {
        self.standing.insert(&self.sale.limits, reply.headers_mut());
        reply
    }
}

/// Answers a purchase that came through the general server.
pub(crate) async fn purchase<B>(app: &Arc<App>, peer: IpAddr, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes>,
{
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let bytes = match input::read(&parts.headers, body, BODY_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(unread) => return problem(&unread),
    };
    let headers: &HeaderMap = &parts.headers;
    let asked = Asked::new(|name| headers.get_all(name).iter().map(HeaderValue::as_bytes));
    match sell(app, peer, &asked, &bytes, started).await {
        Sold::Refused(refusal, stand) => stand.insert(app.refusals.reply(&refusal)),
        Sold::Told(reply) => reply,
    }
}

/// The same behind the router, where it stands for the sake of `405` and its `Allow`.
pub(crate) async fn routed(State(app): State<Arc<App>>, client: Client, request: axum::extract::Request) -> Answer {
    Ok(purchase(&app, client.0, request).await)
}

/// Sells, or says why not.
pub(crate) async fn sell(app: &Arc<App>, peer: IpAddr, asked: &Asked<'_>, body: &[u8], started: Instant) -> Sold {
    match trace::purchase(buy(app, peer, asked, body, started)).await {
        Ok(sold) => sold,
        Err(refused) => Sold::Told(problem(&refused)),
    }
}

async fn buy(app: &Arc<App>, peer: IpAddr, asked: &Asked<'_>, body: &[u8], started: Instant) -> Result<Sold, Problem> {
    if !app.serves {
        return Err(not_served());
    }
    if !asked.takes_json {
        return Err(Problem::not_acceptable("application/json"));
    }
    if !asked.is_json {
        return Err(Problem::unsupported_media_type());
    }
    let (key, wanted) = with_key(asked.key.clone(), Wanted::from_json(body))?;
    let token = match asked.token {
        Ok(token) => Some(app.buyer_of(token).await?),
        // The pass names its buyer.
        Err(Denied::Missing) if asked.pass != Presented::Nothing => None,
        Err(denied) => return Err(app.denied(denied)),
    };
    let (sale, item) = match shown(app, &wanted) {
        Ok(found) => found,
        Err(_) => {
            // Another node may have made or opened it just now.
            Box::pin(app.engine.catch_up_now_and_then()).await;
            shown(app, &wanted)?
        }
    };
    let units = Units::new(wanted.units).expect("the contract and the core have the same bounds for units");
    let Entry { buyer, refusal } = enter(&app.gate.passes, &sale, &item, token, asked.pass, app.engine.now());
    let address = asked.brought.address(peer, &app.proxies);
    let Some(buyer) = buyer else {
        // Nobody proved to be anybody, so nobody's order is looked for.
        let refusal = app.engine.refusal_of_phase(&sale).unwrap_or(Refusal::PassInvalid);
        sale.flags.tally.count(refusal.answer());
        let standing = app.gate.limits.look(Route::Purchase, Caller { address, buyer: "" }, &sale);
        return Ok(Sold::Refused(refusal, Stand { sale, standing }));
    };
    let caller = Caller { address, buyer: buyer.as_str() };
    let mut standing = None;
    let mut kept_out = None;
    let door = || *kept_out.insert(app.keeps_out(caller, &sale, refusal, &mut standing));
    let bought = match app.engine.glance((buyer.as_str(), key), &sale, &item, units, door) {
        Some(refusal) => Bought::Refused(refusal),
        None => {
            let key = RequestKey::new(key).expect("the contract and the core have the same rule for keys");
            let (sale, item) = (sale.clone(), item.clone());
            let wait = match asked.prefer {
                Prefer::RespondAsync => Duration::ZERO,
                Prefer::Wait(secs) => Duration::from_secs(u64::from(secs)),
            };
            // A request that may hold an order was not asked yet; it is told only if it holds none. One that does uses nothing up.
            let request = app.engine.id_key().request_hash(caller.buyer, key.as_str());
            let door = kept_out.unwrap_or_else(|| match app.engine.holders().holds(request) {
                true => refusal,
                false => app.keeps_out(caller, &sale, refusal, &mut standing),
            });
            run(app, Purchase { buyer: who::owned(buyer), key, sale, item, units, wait, door }).await
        }
    };
    sale.flags.tally.count(bought.answer());
    let standing = standing.unwrap_or_else(|| app.gate.limits.look(Route::Purchase, caller, &sale));
    let sold = sold(bought, Stand { sale: sale.clone(), standing }, &item, buyer, units);
    let took = started.elapsed();
    app.metrics.purchases.record(took);
    if app.views.with(&sale.row.id, |view| view.latencies.record(took)).is_none() {
        app.views.of(&app.engine, &sale).latencies.record(took);
    }
    Ok(sold)
}

/// What is told of a purchase, and where its caller stands now.
fn sold(bought: Bought, stand: Stand, item: &ItemState, buyer: BuyerName, units: Units) -> Sold {
    let reply = match bought {
        Bought::Refused(refusal) => return Sold::Refused(refusal, stand),
        Bought::Created(order) => placed(StatusCode::CREATED, order.id, &wire::order(&order, item)),
        Bought::Replayed(order) => {
            let mut reply = placed(StatusCode::OK, order.id, &wire::order(&order, item));
            reply.headers_mut().insert(&IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
            reply
        }
        Bought::Queued { id, decide_by } => {
            let queued = wire::queued(id, buyer.as_str(), item, units, decide_by);
            let mut reply = placed(StatusCode::ACCEPTED, id, &queued);
            reply.headers_mut().insert(RETRY_AFTER, RETRY_SECS.into());
            reply
        }
    };
    Sold::Told(stand.insert(reply))
}

impl App {
    /// What the front door has against a purchase: that operators turn the caller away, or what it has against the buyer, or that it is one too many.
    fn keeps_out(
        &self,
        caller: Caller<'_>,
        sale: &SaleState,
        against_buyer: Option<Refusal>,
        standing: &mut Option<Standing>,
    ) -> Option<Refusal> {
        if self.gate.blocks.turns_away(caller.address, caller.buyer, self.engine.now()) {
            return Some(Refusal::Blocked);
        }
        if against_buyer.is_some() {
            return against_buyer;
        }
        match self.gate.limits.ask(Route::Purchase, caller, sale) {
            Ok(stands) => {
                *standing = Some(stands);
                None
            }
            Err(Limited { scope, retry_after_secs, standing: stands }) => {
                *standing = Some(stands);
                Some(Refusal::RateLimited { scope, retry_after_secs })
            }
        }
    }
}

/// What a purchase names, as far as buyers see it.
fn shown(app: &App, wanted: &Wanted<'_>) -> Result<(Arc<SaleState>, Arc<ItemState>), Problem> {
    let catalogue = app.engine.catalogue();
    let sale = catalogue.sale(&wanted.sale).filter(|sale| sale.row.phase != Phase::Draft);
    let Some(sale) = sale else { return Err(Problem::not_found("there is no such sale")) };
    let Some(item) = sale.item(&wanted.item) else { return Err(Problem::not_found("the sale has no such item")) };
    Ok((sale.clone(), item.clone()))
}

/// Lets the engine buy. Boxed, so that a connection that waits for nothing keeps no room for it.
///
/// A client that hangs up takes this future with it, and nothing else: a ticket that was cut is settled all the same.
async fn run(app: &Arc<App>, purchase: Purchase) -> Bought {
    if app.buying.len() >= PURCHASES_MAX {
        return Bought::Refused(Refusal::Overloaded { retry_after_secs: RETRY_SECS });
    }
    let _counted = app.buying.token();
    let buying = Box::pin(app.engine.buy(purchase));
    // A panic in there was logged where it happened; the request may be sent again with its key.
    let bought = trace::part("ticket and verdict", AssertUnwindSafe(buying).catch_unwind()).await;
    bought.unwrap_or(Bought::Refused(Refusal::Unavailable { retry_after_secs: RETRY_SECS }))
}

fn placed(status: StatusCode, id: TicketId, order: &impl serde::Serialize) -> Reply {
    let mut reply = json(status, order);
    let location = format!("/v1/orders/{id}");
    let location = HeaderValue::from_str(&location).expect("ids are written in a small part of ASCII");
    reply.headers_mut().insert(LOCATION, location);
    reply
}
