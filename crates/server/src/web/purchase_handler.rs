//! `POST /v1/orders`, the one request that comes by the million: a walk without needless allocation
//! to a refusal, and a wait for the verdict for whoever goes on.
//!
//! The order of the checks is the contract's: body and headers, who, sale and item, key, phase,
//! pass and eligibility, rate limits, stock and limit.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use bytes::Bytes;
use doorbuster_api::body::{Purchase as Wanted, join_key_and_body};
use doorbuster_api::gate::Room;
use doorbuster_api::header::Prefer;
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_api::problem::Problem;
use doorbuster_core::{Millis, Phase, RequestKey, TicketId, Units};
use futures_util::FutureExt;
use http::header::{HeaderName, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use hyper::body::Body;

use super::identity::Client;
use super::limits::{PURCHASES_MAX, RETRY_SECS};
use super::purchase_headers::{PurchaseHeader, PurchaseHeaders};
use super::reply::{Answer, Reply, json, problem};
use super::router::not_served;
use super::{App, identity, input, wire};
use crate::auth::{Denied, VerifiedBuyer};
use crate::catalogue::{Catalogue, ItemState, SaleState};
use crate::gate::{
    DoorCheck, PresentedPass, RateLimitExceeded, RateLimitStatus, Route, check_entry,
};
use crate::purchase::{Purchase, PurchaseOutcome, Refusal};
use crate::trace;

static IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What a purchase came to.
#[derive(Debug)]
pub(crate) enum PurchaseReply {
    /// Refused: nearly always, and rendered already.
    Refused(Refusal, Option<SaleRateLimit>),
    /// Anything else.
    Rendered(Reply),
}

/// How far a purchase comes without waiting.
pub(crate) enum PurchaseStep {
    /// To its end.
    PurchaseReply(PurchaseReply),
    /// To a slot: the rest of it, which borrows nothing of the request.
    Continues(Pin<Box<dyn Future<Output = PurchaseReply> + Send>>),
    /// Not far, seldom: something is to be learned first.
    NeedsFact(MissingFact),
}

/// What a purchase needs that this node may not know yet.
pub(crate) enum MissingFact {
    /// The key that this token is signed with.
    Key(String),
    /// A sale or item that another node may have made or opened just now.
    Sale,
}

/// What was learned for a request.
#[derive(Default)]
pub(crate) struct LearnedFacts {
    shopper: Option<Result<VerifiedBuyer, Denied>>,
    is_caught_up: bool,
}

/// Where the buyer stands with the limits of a sale that has some.
#[derive(Debug)]
pub(crate) struct SaleRateLimit {
    sale: Arc<SaleState>,
    standing: RateLimitStatus,
}

impl SaleRateLimit {
    fn new(sale: &Arc<SaleState>, standing: impl FnOnce() -> RateLimitStatus) -> Option<Self> {
        (!sale.limits.is_none()).then(|| Self { sale: sale.clone(), standing: standing() })
    }

    /// As lines of a head.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.standing.write(&self.sale.limits, out);
    }

    fn insert(limit_status: Option<&Self>, mut reply: Reply) -> Reply {
        if let Some(Self { sale, standing }) = limit_status {
            standing.insert(&sale.limits, reply.headers_mut());
        }
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
        Err(unread) => {
            return app.problem_reply(&unread, Client { address: peer, said: None }, b"");
        }
    };
    let headers: &HeaderMap = &parts.headers;
    let values =
        |field: PurchaseHeader| headers.get_all(field.name()).iter().map(HeaderValue::as_bytes);
    let asked = PurchaseHeaders::new(values, peer, &app.proxies);
    let came = (started, app.engine.now());
    let mut facts = LearnedFacts::default();
    let sold = loop {
        match start_purchase(app, &asked, &bytes, came, &facts) {
            PurchaseStep::PurchaseReply(sold) => break sold,
            PurchaseStep::Continues(rest) => break rest.await,
            PurchaseStep::NeedsFact(fact) => Box::pin(app.learn_fact(fact, &mut facts)).await,
        }
    };
    // Here the rest comes before the answer: the general server has no moment between an answer and
    // the next request.
    if let Some(rest) = app.overload_pause(peer, Some(&sold)) {
        Box::pin(tokio::time::sleep(rest)).await;
    }
    match sold {
        PurchaseReply::Refused(refusal, limit_status) => {
            SaleRateLimit::insert(limit_status.as_ref(), app.refusals.reply(&refusal))
        }
        PurchaseReply::Rendered(reply) => reply,
    }
}

/// The same behind the router, where it stands for the sake of `405` and its `Allow`.
pub(crate) async fn routed(
    State(app): State<Arc<App>>,
    client: Client,
    request: axum::extract::Request,
) -> Answer {
    Ok(purchase(&app, client.address, request).await)
}

/// Sells, or says why not, as far as that goes without waiting. `came` is when the request came, by
/// both clocks.
pub(crate) fn start_purchase(
    app: &Arc<App>,
    asked: &PurchaseHeaders<'_>,
    body: &[u8],
    came: (Instant, Millis),
    facts: &LearnedFacts,
) -> PurchaseStep {
    let trace = trace::purchase();
    match trace.run_sync(|| parse_purchase(app, asked, body, came, facts)) {
        Ok(CheckedPurchase::Refused(refusal, limit_status)) => {
            PurchaseStep::PurchaseReply(PurchaseReply::Refused(refusal, limit_status))
        }
        Ok(CheckedPurchase::Continues(going)) => {
            let app = app.clone();
            PurchaseStep::Continues(Box::pin(async move {
                trace.run(finish_purchase(&app, &going)).await
            }))
        }
        Ok(CheckedPurchase::NeedsFact(fact)) => PurchaseStep::NeedsFact(fact),
        Err(refused) => PurchaseStep::PurchaseReply(PurchaseReply::Rendered(app.problem_reply(
            &refused,
            asked.client,
            body,
        ))),
    }
}

/// What a look from node memory comes to.
enum CheckedPurchase {
    Refused(Refusal, Option<SaleRateLimit>),
    Continues(StartedPurchase),
    NeedsFact(MissingFact),
}

/// A purchase that goes on to a slot.
struct StartedPurchase {
    purchase: Purchase,
    client: Client,
    standing: Option<RateLimitStatus>,
    started: Instant,
}

/// Looks at what was sent, and at who sent it.
fn parse_purchase(
    app: &App,
    asked: &PurchaseHeaders<'_>,
    body: &[u8],
    came: (Instant, Millis),
    facts: &LearnedFacts,
) -> Result<CheckedPurchase, Problem> {
    if !app.serves_api {
        return Err(not_served());
    }
    if !asked.takes_json {
        return Err(Problem::not_acceptable("application/json"));
    }
    if !asked.is_json {
        return Err(Problem::unsupported_media_type());
    }
    let (key, wanted) = join_key_and_body(asked.key.clone(), Wanted::from_json(body))?;
    let now_secs = came.1.0.div_euclid(1_000);
    let check = |token| facts.shopper.unwrap_or_else(|| app.buyers.check(token, now_secs));
    let token = match asked.token.and_then(check) {
        Ok(shopper) => Some(shopper),
        // The pass names its buyer.
        Err(Denied::Missing) if asked.pass != PresentedPass::Missing => None,
        Err(Denied::Unknown) if facts.shopper.is_none() => {
            return Ok(CheckedPurchase::NeedsFact(MissingFact::Key(
                asked.token.unwrap_or_default().to_owned(),
            )));
        }
        Err(denied_problem) => return Err(app.denied_problem(denied_problem)),
    };
    let catalogue = app.engine.catalogue();
    match find_item(&catalogue, &wanted) {
        Err(_) if !facts.is_caught_up => Ok(CheckedPurchase::NeedsFact(MissingFact::Sale)),
        found => Ok(check_purchase(app, asked, (key, wanted.units), token, found?, came)),
    }
}

/// Looks at a purchase from node memory.
fn check_purchase(
    app: &App,
    asked: &PurchaseHeaders<'_>,
    (key, units): (&str, u32),
    token: Option<VerifiedBuyer>,
    (sale, item): (&Arc<SaleState>, &Arc<ItemState>),
    (started, now): (Instant, Millis),
) -> CheckedPurchase {
    let units =
        Units::new(units).expect("the contract and the core have the same bounds for units");
    let DoorCheck { buyer, refusal } =
        check_entry(&app.gate.passes, sale, item, token, asked.pass, now);
    let client = asked.client;
    let Some(buyer) = buyer else {
        // Nobody proved to be anybody, so nobody's order is looked for.
        let refusal = app.engine.phase_refusal(sale).unwrap_or(Refusal::PassInvalid);
        sale.flags.answer_counts.count(refusal.answer());
        let limit_status = SaleRateLimit::new(sale, || {
            app.gate.limits.rate_limit_status(Route::Purchase, client.caller(""), sale)
        });
        return CheckedPurchase::Refused(refusal, limit_status);
    };
    let caller = client.caller(buyer.as_str());
    let mut standing = None;
    let mut kept_out = None;
    let door = || {
        *kept_out.insert(app.door_refusal(
            (client, caller.buyer),
            sale,
            refusal,
            now,
            &mut standing,
        ))
    };
    if let Some(refusal) =
        app.engine.refuse_from_memory((caller.buyer, key), sale, item, units, door)
    {
        sale.flags.answer_counts.count(refusal.answer());
        app.record_latency(sale, started);
        let standing = || {
            standing
                .unwrap_or_else(|| app.gate.limits.rate_limit_status(Route::Purchase, caller, sale))
        };
        return CheckedPurchase::Refused(refusal, SaleRateLimit::new(sale, standing));
    }
    let key = RequestKey::new(key).expect("the contract and the core have the same rule for keys");
    let wait = match asked.prefer {
        Prefer::RespondAsync => Duration::ZERO,
        Prefer::Wait(secs) => Duration::from_secs(u64::from(secs)),
    };
    // A request that may hold an order was not asked yet; it is told only if it holds none. One
    // that does uses nothing up.
    let request = app.engine.id_key().request_hash(caller.buyer, key.as_str());
    let door = kept_out.unwrap_or_else(|| match app.engine.holders().holds(request) {
        true => refusal,
        false => app.door_refusal((client, caller.buyer), sale, refusal, now, &mut standing),
    });
    let (buyer, sale, item) = (identity::buyer_id(buyer), sale.clone(), item.clone());
    let purchase = Purchase { buyer, key, sale, item, units, wait, door };
    CheckedPurchase::Continues(StartedPurchase { purchase, client, standing, started })
}

/// Has the purchase made, and tells of it.
async fn finish_purchase(app: &App, going: &StartedPurchase) -> PurchaseReply {
    let bought = run_purchase(app, &going.purchase).await;
    let Purchase { buyer, sale, item, units, .. } = &going.purchase;
    sale.flags.answer_counts.count(bought.answer());
    let caller = going.client.caller(buyer.as_str());
    let look = || {
        going
            .standing
            .unwrap_or_else(|| app.gate.limits.rate_limit_status(Route::Purchase, caller, sale))
    };
    let sold = purchase_reply(bought, SaleRateLimit::new(sale, look), item, buyer.as_str(), *units);
    app.record_latency(sale, going.started);
    sold
}

/// What is told of a purchase, and where its caller stands now.
fn purchase_reply(
    bought: PurchaseOutcome,
    limit_status: Option<SaleRateLimit>,
    item: &ItemState,
    buyer: &str,
    units: Units,
) -> PurchaseReply {
    let reply = match bought {
        PurchaseOutcome::Refused(refusal) => return PurchaseReply::Refused(refusal, limit_status),
        PurchaseOutcome::Created(order) => {
            order_reply(StatusCode::CREATED, order.id, &wire::order(&order, item))
        }
        PurchaseOutcome::Replayed(order) => {
            let mut reply = order_reply(StatusCode::OK, order.id, &wire::order(&order, item));
            reply.headers_mut().insert(&IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
            reply
        }
        PurchaseOutcome::Queued { id, decide_by } => {
            let queued = wire::queued(id, buyer, item, units, decide_by);
            let mut reply = order_reply(StatusCode::ACCEPTED, id, &queued);
            reply.headers_mut().insert(RETRY_AFTER, RETRY_SECS.into());
            reply
        }
    };
    PurchaseReply::Rendered(SaleRateLimit::insert(limit_status.as_ref(), reply))
}

impl App {
    /// What the front door has against a purchase: that operators turn the caller away, or what it
    /// has against the buyer, or that it is one too many.
    pub(super) fn door_refusal(
        &self,
        (client, buyer): (Client, &str),
        sale: &SaleState,
        against_buyer: Option<Refusal>,
        now: Millis,
        standing: &mut Option<RateLimitStatus>,
    ) -> Option<Refusal> {
        if self.gate.blocks.is_blocked(client.addresses(), buyer, now) {
            return Some(Refusal::Blocked);
        }
        if against_buyer.is_some() {
            return against_buyer;
        }
        match self.gate.limits.acquire(Route::Purchase, client.caller(buyer), sale) {
            Ok(stands) => {
                // The room may have to open for them; while it is open they come to the line.
                if sale.front_door.waiting_room == Room::Auto && !sale.is_held(now) {
                    self.gate.room.record_arrival(sale, buyer);
                }
                *standing = Some(stands);
                None
            }
            Err(RateLimitExceeded { scope, retry_after_secs, status: stands }) => {
                *standing = Some(stands);
                Some(Refusal::RateLimited { scope, retry_after_secs })
            }
        }
    }

    /// How long a connection is not heard after this.
    pub(crate) fn overload_pause(
        &self,
        peer: IpAddr,
        sold: Option<&PurchaseReply>,
    ) -> Option<Duration> {
        let is_overloaded =
            matches!(sold, Some(PurchaseReply::Refused(Refusal::Overloaded { .. }, _)));
        let overload_pacer =
            is_overloaded && !self.proxies.iter().any(|proxy| proxy.contains(peer));
        overload_pacer.then(|| self.overload_pacer.next())
    }

    /// The answer to what asked no sale for anything: a body that cannot be used, a buyer or a sale
    /// that nobody knows.
    fn problem_reply(&self, refused: &Problem, client: Client, body: &[u8]) -> Reply {
        let mut reply = problem(refused);
        let (caller, sale) = (client.caller(""), Wanted::sale_of_body(body));
        self.add_rate_limit_status(Route::Purchase, caller, sale.as_deref(), reply.headers_mut());
        reply
    }

    /// Learns what a purchase needs.
    pub(crate) async fn learn_fact(&self, fact: MissingFact, facts: &mut LearnedFacts) {
        match fact {
            MissingFact::Key(token) => {
                let now_secs = self.engine.now().0.div_euclid(1_000);
                facts.shopper = Some(self.buyers.check_with_fresh_keys(&token, now_secs).await);
            }
            MissingFact::Sale => {
                self.engine.refresh_catalogue_paced().await;
                facts.is_caught_up = true;
            }
        }
    }

    /// Counts how long a purchase took.
    fn record_latency(&self, sale: &SaleState, started: Instant) {
        let took = started.elapsed();
        self.metrics.purchases.record(took);
        if self.views.with(&sale.row.id, |view| view.latencies.record(took)).is_none() {
            self.views.sale_view(&self.engine, sale).latencies.record(took);
        }
    }
}

/// What a purchase names, as far as buyers see it.
fn find_item<'a>(
    catalogue: &'a Catalogue,
    wanted: &Wanted<'_>,
) -> Result<(&'a Arc<SaleState>, &'a Arc<ItemState>), Problem> {
    let sale = catalogue.sale(&wanted.sale).filter(|sale| sale.row.phase != Phase::Draft);
    let sale = sale.ok_or_else(|| Problem::not_found("there is no such sale"))?;
    let item =
        sale.item(&wanted.item).ok_or_else(|| Problem::not_found("the sale has no such item"))?;
    Ok((sale, item))
}

/// Lets the engine buy.
///
/// A client that hangs up takes this future with it, and nothing else: a ticket that was cut is
/// settled all the same.
async fn run_purchase(app: &App, purchase: &Purchase) -> PurchaseOutcome {
    if app.running_purchases.len() >= PURCHASES_MAX {
        return PurchaseOutcome::Refused(Refusal::Overloaded { retry_after_secs: RETRY_SECS });
    }
    let _counted = app.running_purchases.token();
    // A panic in there was logged where it happened; the request may be sent again with its key.
    let running_purchases = AssertUnwindSafe(app.engine.buy(purchase)).catch_unwind();
    let bought = trace::traced("ticket and verdict", running_purchases).await;
    bought
        .unwrap_or(PurchaseOutcome::Refused(Refusal::Unavailable { retry_after_secs: RETRY_SECS }))
}

fn order_reply(status: StatusCode, id: TicketId, order: &impl serde::Serialize) -> Reply {
    let mut reply = json(status, order);
    let location = format!("/v1/orders/{id}");
    let location =
        HeaderValue::from_str(&location).expect("ids are written in a small part of ASCII");
    reply.headers_mut().insert(LOCATION, location);
    reply
}
