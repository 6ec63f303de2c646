//! `POST /v1/orders`, the one request that comes by the million: a walk without needless allocation to a refusal, and
//! a wait for the verdict for whoever goes on.
//!
//! The order of the checks is the contract's: body and headers, who, sale and item, key, phase, pass and eligibility, rate limits, stock and limit.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use bytes::Bytes;
use doorbuster_api::body::{Purchase as Wanted, with_key};
use doorbuster_api::gate::Room;
use doorbuster_api::header::Prefer;
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_api::problem::Problem;
use doorbuster_core::{Millis, Phase, RequestKey, TicketId, Units};
use futures_util::FutureExt;
use http::header::{HeaderName, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use hyper::body::Body;

use super::asked::{Asked, Field};
use super::limits::{PURCHASES_MAX, RETRY_SECS};
use super::reply::{Answer, Reply, json, problem};
use super::router::not_served;
use super::who::Client;
use super::{App, input, who, wire};
use crate::auth::{Denied, Shopper};
use crate::catalogue::{Catalogue, ItemState, SaleState};
use crate::gate::{Entry, Limited, Presented, Route, Standing, enter};
use crate::purchase::{Bought, Purchase, Refusal};
use crate::trace;

static IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What a purchase came to.
#[derive(Debug)]
pub(crate) enum Sold {
    /// Refused: nearly always, and rendered already.
    Refused(Refusal, Option<Stand>),
    /// Anything else.
    Told(Reply),
}

/// How far a purchase comes without waiting.
pub(crate) enum Step {
    /// To its end.
    Sold(Sold),
    /// To a slot: the rest of it, which borrows nothing of the request.
    Goes(Pin<Box<dyn Future<Output = Sold> + Send>>),
    /// Not far, seldom: something is to be learned first.
    Learns(Lesson),
}

/// What a purchase needs that this node may not know yet.
pub(crate) enum Lesson {
    /// The key that this token is signed with.
    Key(String),
    /// A sale or item that another node may have made or opened just now.
    Sale,
}

/// What was learned for a request.
#[derive(Default)]
pub(crate) struct Learned {
    shopper: Option<Result<Shopper, Denied>>,
    is_caught_up: bool,
}

/// Where the buyer stands with the limits of a sale that has some.
#[derive(Debug)]
pub(crate) struct Stand {
    sale: Arc<SaleState>,
    standing: Standing,
}

impl Stand {
    fn new(sale: &Arc<SaleState>, standing: impl FnOnce() -> Standing) -> Option<Self> {
        (!sale.limits.is_none()).then(|| Self { sale: sale.clone(), standing: standing() })
    }

    /// As lines of a head.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.standing.write(&self.sale.limits, out);
    }

    fn insert(stand: Option<&Self>, mut reply: Reply) -> Reply {
        if let Some(Self { sale, standing }) = stand {
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
        Err(unread) => return app.not_asked(&unread, Client { address: peer, said: None }, b""),
    };
    let headers: &HeaderMap = &parts.headers;
    let values = |field: Field| headers.get_all(field.name()).iter().map(HeaderValue::as_bytes);
    let asked = Asked::new(values, peer, &app.proxies);
    let came = (started, app.engine.now());
    let mut learned = Learned::default();
    let sold = loop {
        match sell(app, &asked, &bytes, came, &learned) {
            Step::Sold(sold) => break sold,
            Step::Goes(rest) => break rest.await,
            Step::Learns(lesson) => Box::pin(app.learn(lesson, &mut learned)).await,
        }
    };
    // Here the rest comes before the answer: the general server has no moment between an answer and the next request.
    if let Some(rest) = app.rest_after(peer, Some(&sold)) {
        Box::pin(tokio::time::sleep(rest)).await;
    }
    match sold {
        Sold::Refused(refusal, stand) => {
            Stand::insert(stand.as_ref(), app.refusals.reply(&refusal))
        }
        Sold::Told(reply) => reply,
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

/// Sells, or says why not, as far as that goes without waiting. `came` is when the request came, by both clocks.
pub(crate) fn sell(
    app: &Arc<App>,
    asked: &Asked<'_>,
    body: &[u8],
    came: (Instant, Millis),
    learned: &Learned,
) -> Step {
    let trace = trace::purchase();
    match trace.within(|| begin(app, asked, body, came, learned)) {
        Ok(Begun::Refused(refusal, stand)) => Step::Sold(Sold::Refused(refusal, stand)),
        Ok(Begun::Goes(going)) => {
            let app = app.clone();
            Step::Goes(Box::pin(async move { trace.run(finish(&app, &going)).await }))
        }
        Ok(Begun::Learns(lesson)) => Step::Learns(lesson),
        Err(refused) => Step::Sold(Sold::Told(app.not_asked(&refused, asked.client, body))),
    }
}

/// What a look from node memory comes to.
enum Begun {
    Refused(Refusal, Option<Stand>),
    Goes(Going),
    Learns(Lesson),
}

/// A purchase that goes on to a slot.
struct Going {
    purchase: Purchase,
    client: Client,
    standing: Option<Standing>,
    started: Instant,
}

/// Looks at what was sent, and at who sent it.
fn begin(
    app: &App,
    asked: &Asked<'_>,
    body: &[u8],
    came: (Instant, Millis),
    learned: &Learned,
) -> Result<Begun, Problem> {
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
    let now_secs = came.1.0.div_euclid(1_000);
    let check = |token| learned.shopper.unwrap_or_else(|| app.buyers.check(token, now_secs));
    let token = match asked.token.and_then(check) {
        Ok(shopper) => Some(shopper),
        // The pass names its buyer.
        Err(Denied::Missing) if asked.pass != Presented::Nothing => None,
        Err(Denied::Unknown) if learned.shopper.is_none() => {
            return Ok(Begun::Learns(Lesson::Key(asked.token.unwrap_or_default().to_owned())));
        }
        Err(denied) => return Err(app.denied(denied)),
    };
    let catalogue = app.engine.catalogue();
    match shown(&catalogue, &wanted) {
        Err(_) if !learned.is_caught_up => Ok(Begun::Learns(Lesson::Sale)),
        found => Ok(look(app, asked, (key, wanted.units), token, found?, came)),
    }
}

/// Looks at a purchase from node memory.
fn look(
    app: &App,
    asked: &Asked<'_>,
    (key, units): (&str, u32),
    token: Option<Shopper>,
    (sale, item): (&Arc<SaleState>, &Arc<ItemState>),
    (started, now): (Instant, Millis),
) -> Begun {
    let units =
        Units::new(units).expect("the contract and the core have the same bounds for units");
    let Entry { buyer, refusal } = enter(&app.gate.passes, sale, item, token, asked.pass, now);
    let client = asked.client;
    let Some(buyer) = buyer else {
        // Nobody proved to be anybody, so nobody's order is looked for.
        let refusal = app.engine.refusal_of_phase(sale).unwrap_or(Refusal::PassInvalid);
        sale.flags.tally.count(refusal.answer());
        let stand =
            Stand::new(sale, || app.gate.limits.look(Route::Purchase, client.caller(""), sale));
        return Begun::Refused(refusal, stand);
    };
    let caller = client.caller(buyer.as_str());
    let mut standing = None;
    let mut kept_out = None;
    let door = || {
        *kept_out.insert(app.keeps_out((client, caller.buyer), sale, refusal, now, &mut standing))
    };
    if let Some(refusal) = app.engine.glance((caller.buyer, key), sale, item, units, door) {
        sale.flags.tally.count(refusal.answer());
        app.took(sale, started);
        let standing =
            || standing.unwrap_or_else(|| app.gate.limits.look(Route::Purchase, caller, sale));
        return Begun::Refused(refusal, Stand::new(sale, standing));
    }
    let key = RequestKey::new(key).expect("the contract and the core have the same rule for keys");
    let wait = match asked.prefer {
        Prefer::RespondAsync => Duration::ZERO,
        Prefer::Wait(secs) => Duration::from_secs(u64::from(secs)),
    };
    // A request that may hold an order was not asked yet; it is told only if it holds none. One that does uses nothing up.
    let request = app.engine.id_key().request_hash(caller.buyer, key.as_str());
    let door = kept_out.unwrap_or_else(|| match app.engine.holders().holds(request) {
        true => refusal,
        false => app.keeps_out((client, caller.buyer), sale, refusal, now, &mut standing),
    });
    let (buyer, sale, item) = (who::owned(buyer), sale.clone(), item.clone());
    let purchase = Purchase { buyer, key, sale, item, units, wait, door };
    Begun::Goes(Going { purchase, client, standing, started })
}

/// Has the purchase made, and tells of it.
async fn finish(app: &App, going: &Going) -> Sold {
    let bought = run(app, &going.purchase).await;
    let Purchase { buyer, sale, item, units, .. } = &going.purchase;
    sale.flags.tally.count(bought.answer());
    let caller = going.client.caller(buyer.as_str());
    let look =
        || going.standing.unwrap_or_else(|| app.gate.limits.look(Route::Purchase, caller, sale));
    let sold = sold(bought, Stand::new(sale, look), item, buyer.as_str(), *units);
    app.took(sale, going.started);
    sold
}

/// What is told of a purchase, and where its caller stands now.
fn sold(bought: Bought, stand: Option<Stand>, item: &ItemState, buyer: &str, units: Units) -> Sold {
    let reply = match bought {
        Bought::Refused(refusal) => return Sold::Refused(refusal, stand),
        Bought::Created(order) => placed(StatusCode::CREATED, order.id, &wire::order(&order, item)),
        Bought::Replayed(order) => {
            let mut reply = placed(StatusCode::OK, order.id, &wire::order(&order, item));
            reply.headers_mut().insert(&IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
            reply
        }
        Bought::Queued { id, decide_by } => {
            let queued = wire::queued(id, buyer, item, units, decide_by);
            let mut reply = placed(StatusCode::ACCEPTED, id, &queued);
            reply.headers_mut().insert(RETRY_AFTER, RETRY_SECS.into());
            reply
        }
    };
    Sold::Told(Stand::insert(stand.as_ref(), reply))
}

impl App {
    /// What the front door has against a purchase: that operators turn the caller away, or what it has against the buyer, or that it is one too many.
    pub(super) fn keeps_out(
        &self,
        (client, buyer): (Client, &str),
        sale: &SaleState,
        against_buyer: Option<Refusal>,
        now: Millis,
        standing: &mut Option<Standing>,
    ) -> Option<Refusal> {
        if self.gate.blocks.turns_away(client.all(), buyer, now) {
            return Some(Refusal::Blocked);
        }
        if against_buyer.is_some() {
            return against_buyer;
        }
        match self.gate.limits.ask(Route::Purchase, client.caller(buyer), sale) {
            Ok(stands) => {
                // The room may have to open for them; while it is open they come to the line.
                if sale.door.waiting_room == Room::Auto && !sale.is_held(now) {
                    self.gate.room.note(sale, buyer);
                }
                *standing = Some(stands);
                None
            }
            Err(Limited { scope, retry_after_secs, standing: stands }) => {
                *standing = Some(stands);
                Some(Refusal::RateLimited { scope, retry_after_secs })
            }
        }
    }

    /// How long a connection is not heard after this.
    pub(crate) fn rest_after(&self, peer: IpAddr, sold: Option<&Sold>) -> Option<Duration> {
        let is_overloaded = matches!(sold, Some(Sold::Refused(Refusal::Overloaded { .. }, _)));
        let rests = is_overloaded && !self.proxies.iter().any(|proxy| proxy.contains(peer));
        rests.then(|| self.rests.next())
    }

    /// The answer to what asked no sale for anything: a body that cannot be used, a buyer or a sale that nobody knows.
    fn not_asked(&self, refused: &Problem, client: Client, body: &[u8]) -> Reply {
        let mut reply = problem(refused);
        let (caller, sale) = (client.caller(""), Wanted::named_sale(body));
        self.tell_standing(Route::Purchase, caller, sale.as_deref(), reply.headers_mut());
        reply
    }

    /// Learns what a purchase needs.
    pub(crate) async fn learn(&self, lesson: Lesson, learned: &mut Learned) {
        match lesson {
            Lesson::Key(token) => {
                let now_secs = self.engine.now().0.div_euclid(1_000);
                learned.shopper = Some(self.buyers.check_again(&token, now_secs).await);
            }
            Lesson::Sale => {
                self.engine.catch_up_now_and_then().await;
                learned.is_caught_up = true;
            }
        }
    }

    /// Counts how long a purchase took.
    fn took(&self, sale: &SaleState, started: Instant) {
        let took = started.elapsed();
        self.metrics.purchases.record(took);
        if self.views.with(&sale.row.id, |view| view.latencies.record(took)).is_none() {
            self.views.of(&self.engine, sale).latencies.record(took);
        }
    }
}

/// What a purchase names, as far as buyers see it.
fn shown<'a>(
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
/// A client that hangs up takes this future with it, and nothing else: a ticket that was cut is settled all the same.
async fn run(app: &App, purchase: &Purchase) -> Bought {
    if app.buying.len() >= PURCHASES_MAX {
        return Bought::Refused(Refusal::Overloaded { retry_after_secs: RETRY_SECS });
    }
    let _counted = app.buying.token();
    // A panic in there was logged where it happened; the request may be sent again with its key.
    let buying = AssertUnwindSafe(app.engine.buy(purchase)).catch_unwind();
    let bought = trace::part("ticket and verdict", buying).await;
    bought.unwrap_or(Bought::Refused(Refusal::Unavailable { retry_after_secs: RETRY_SECS }))
}

fn placed(status: StatusCode, id: TicketId, order: &impl serde::Serialize) -> Reply {
    let mut reply = json(status, order);
    let location = format!("/v1/orders/{id}");
    let location =
        HeaderValue::from_str(&location).expect("ids are written in a small part of ASCII");
    reply.headers_mut().insert(LOCATION, location);
    reply
}
