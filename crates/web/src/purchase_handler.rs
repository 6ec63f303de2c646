//! Handles `POST /v1/orders`, by far the most frequent request. Most purchases are refused, so a
//! refusal allocates almost no memory. Any other purchase goes to a slot and waits for its verdict.
//!
//! The API's contract defines the order of the checks: body and headers; identity; sale and item;
//! key; phase; pass and eligibility; rate limits; stock, and the buyer's limit of units.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use bytes::Bytes;
use doorbuster_api::body::{Purchase as Wanted, join_key_and_body};
use doorbuster_api::header::Prefer;
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_api::problem::Problem;
use doorbuster_auth::{AuthenticationError, VerifiedBuyer};
use doorbuster_core::gate::shared_limit::Counting;
use doorbuster_core::{BuyerId, Millis, Phase, PresentedKey, RequestKey, Units};
use doorbuster_engine::catalogue::{Catalogue, ItemState, SaleState};
use doorbuster_engine::purchase::{
    DoorAnswer, DoorRefusal, Purchase, PurchaseOutcome, Refusal, answer_kind, phase_refusal,
    refuse_from_memory,
};
use doorbuster_engine::sale_limits::Route;
use doorbuster_gate::{PendingLimit, PresentedPass, RateLimitStatus, check_entry};
use doorbuster_telemetry::trace;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Request};
use hyper::body::Body;

use super::edge::{self, RawHead};
use super::front_door::DoorState;
use super::identity::ClientAddress;
use super::limits::PURCHASES_MAX;
use super::purchase_headers::{PurchaseHeader, PurchaseHeaders};
use super::purchase_reply::{NodeOverloaded, PurchaseReply, SaleRateLimit, purchase_reply};
use super::reply::{HandlerResult, Reply, not_served, problem};
use super::{App, request_body};

pub(crate) enum PurchaseStep<C = RestOfPurchase> {
    PurchaseReply(PurchaseReply),
    /// A slot must decide the purchase. The value is the rest of the work.
    Continues(C),
    /// The node must look up a fact before the purchase can continue. This is rare.
    NeedsFact(MissingFact),
}

/// The part of a purchase that waits for the verdict. It borrows nothing from the request, so the
/// request's bytes can be freed during the wait.
type RestOfPurchase = Pin<Box<dyn Future<Output = PurchaseReply> + Send>>;

/// A fact that a purchase needs and that this node may not have yet.
pub(crate) enum MissingFact {
    /// The public key that verifies the signature of this token.
    Key(String),
    /// The sale's current state: another node may have just created or opened the sale.
    Sale,
}

#[derive(Default)]
pub(crate) struct LearnedFacts {
    pub(super) token: Option<Result<VerifiedBuyer, AuthenticationError>>,
    is_caught_up: bool,
}

/// Handles a purchase that arrived through the general server.
pub(crate) async fn purchase<B>(app: &Arc<App>, peer: IpAddr, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes>,
{
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let bytes = match request_body::read(&parts.headers, body, BODY_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(unread) => {
            let client = ClientAddress { address: peer, disagreeing: None };
            return app.problem_reply(&unread, client, b"");
        }
    };
    let map: &HeaderMap = &parts.headers;
    let values =
        |field: PurchaseHeader| map.get_all(field.name()).iter().map(HeaderValue::as_bytes);
    let headers = PurchaseHeaders::new(values, peer, &app.live().proxies);
    let arrived = (started, app.node.now());
    let mut facts = LearnedFacts::default();
    let reply = loop {
        let head = RawHead::Map(map);
        match start_purchase(app, (&headers, head), &bytes, arrived, &facts) {
            PurchaseStep::PurchaseReply(reply) => break reply,
            PurchaseStep::Continues(rest) => break rest.await,
            PurchaseStep::NeedsFact(fact) => Box::pin(app.learn_fact(fact, &mut facts)).await,
        }
    };
    // The general server cannot pause a connection after a response, so the pause comes before the
    // response.
    if let Some(rest) = app.overload_pause(peer, Some(&reply)) {
        Box::pin(tokio::time::sleep(rest)).await;
    }
    match reply {
        PurchaseReply::Refused(refusal, limit_status) => {
            SaleRateLimit::insert(limit_status.as_ref(), app.refusals.reply(&refusal))
        }
        PurchaseReply::Rendered(reply) => reply,
    }
}

/// The router's handler of purchases. It exists so that the router answers other methods with `405`
/// and the header `Allow`.
pub(crate) async fn routed(
    State(app): State<Arc<App>>,
    client: ClientAddress,
    request: axum::extract::Request,
) -> HandlerResult {
    Ok(purchase(&app, client.address, request).await)
}

/// Runs the part of a purchase that does not wait. `arrived` is when the request arrived, by the
/// monotonic clock and by the store's clock.
pub(crate) fn start_purchase(
    app: &Arc<App>,
    (headers, head): (&PurchaseHeaders<'_>, RawHead<'_>),
    body: &[u8],
    arrived: (Instant, Millis),
    facts: &LearnedFacts,
) -> PurchaseStep {
    if let Some(node) = app.node.edge() {
        return edge::start_purchase(app, node, (headers, head), body, arrived, facts);
    }
    let trace = trace::purchase(headers.trace_parent);
    match trace.run_sync(|| parse_purchase(app, headers, body, arrived, facts)) {
        Ok(PurchaseStep::PurchaseReply(reply)) => PurchaseStep::PurchaseReply(reply),
        Ok(PurchaseStep::Continues(in_progress)) => {
            let app = app.clone();
            PurchaseStep::Continues(Box::pin(async move {
                trace.run(finish_purchase(&app, in_progress)).await
            }))
        }
        Ok(PurchaseStep::NeedsFact(fact)) => PurchaseStep::NeedsFact(fact),
        Err(refused) => PurchaseStep::PurchaseReply(PurchaseReply::Rendered(app.problem_reply(
            &refused,
            headers.client,
            body,
        ))),
    }
}

/// A purchase that was not refused from memory. The purchase goes to a slot, after the check of its
/// limits has ended.
pub(super) struct StartedPurchase {
    pub(super) purchase: Purchase,
    client: ClientAddress,
    limit_status: Option<RateLimitStatus>,
    /// Set if this node has no share of a limit left. The check of the limits then waits for a new
    /// share.
    pending: Option<Box<PendingLimit>>,
    started: Instant,
}

pub(super) fn parse_purchase(
    app: &App,
    headers: &PurchaseHeaders<'_>,
    body: &[u8],
    arrived: (Instant, Millis),
    facts: &LearnedFacts,
) -> Result<PurchaseStep<StartedPurchase>, Problem> {
    if !app.serves_api {
        return Err(not_served());
    }
    if !headers.takes_json {
        return Err(Problem::not_acceptable("application/json"));
    }
    if !headers.is_json {
        return Err(Problem::unsupported_media_type());
    }
    let (key, wanted) = join_key_and_body(headers.key.clone(), Wanted::from_json(body))?;
    let check =
        |token| facts.token.unwrap_or_else(|| app.buyers.check(token, app.token_time_secs()));
    let token = match headers.token.and_then(check) {
        Ok(buyer) => Some(buyer),
        // The pass contains the buyer's id, so the request needs no token.
        Err(AuthenticationError::Missing) if headers.pass != PresentedPass::Missing => None,
        Err(AuthenticationError::Unknown) if facts.token.is_none() => {
            return Ok(PurchaseStep::NeedsFact(MissingFact::Key(
                headers.token.unwrap_or_default().to_owned(),
            )));
        }
        Err(error) => return Err(app.denied_problem(error)),
    };
    let catalogue = app.node.catalogue();
    match find_item(&catalogue, &wanted) {
        Err(_) if !facts.is_caught_up => Ok(PurchaseStep::NeedsFact(MissingFact::Sale)),
        found => Ok(check_purchase(app, headers, (key, wanted.units), token, found?, arrived)),
    }
}

fn check_purchase(
    app: &App,
    headers: &PurchaseHeaders<'_>,
    (key, units): (PresentedKey<'_>, Units),
    token: Option<VerifiedBuyer>,
    (sale, item): (&Arc<SaleState>, &Arc<ItemState>),
    (started, now): (Instant, Millis),
) -> PurchaseStep<StartedPurchase> {
    let (buyer, refusal) = check_entry(&app.gate.passes, sale, item, token, headers.pass, now);
    let client = headers.client;
    let Some(buyer) = buyer else {
        // Nothing in the request identifies a buyer, so there is no order to look up.
        let invalid = Refusal::AtDoor(DoorRefusal::PassInvalid);
        let refusal = phase_refusal(&app.node, sale).unwrap_or(invalid);
        sale.runtime.answer_counts.count(answer_kind(&refusal));
        edge::count_refusal(app, sale, &refusal);
        let limit_status = SaleRateLimit::new(sale, || {
            app.gate.limits.rate_limit_status(Route::Purchase, client.caller(""), sale)
        });
        return PurchaseStep::PurchaseReply(PurchaseReply::Refused(refusal, limit_status));
    };
    let caller = client.caller(buyer.as_str());
    let mut door_state: Option<DoorState> = None;
    let door = |counting| {
        door_state
            .insert(app.door((client, caller.buyer), sale, item, refusal, now, counting))
            .answer()
    };
    let request = app.node.id_key().request_hash(caller.buyer, key.as_str());
    if let Some(refusal) = refuse_from_memory(&app.node, request, sale, item, units, door) {
        app.node.count_answer(sale, item, caller.buyer, answer_kind(&refusal), now);
        edge::count_refusal(app, sale, &refusal);
        app.record_latency(sale, started);
        let limit_status = || {
            door_state
                .and_then(|door| door.limit_status)
                .unwrap_or_else(|| app.gate.limits.rate_limit_status(Route::Purchase, caller, sale))
        };
        let limit_status = SaleRateLimit::new(sale, limit_status);
        return PurchaseStep::PurchaseReply(PurchaseReply::Refused(refusal, limit_status));
    }
    let key = RequestKey::from(key);
    let wait = match headers.prefer {
        Prefer::RespondAsync => Duration::ZERO,
        Prefer::Wait(secs) => Duration::from_secs(u64::from(secs)),
    };
    // This node's memory says whether the request may already have an order. If so, the request is
    // probably a repetition, and is not counted against the rate limits. If the request does have
    // an order, the front door's refusal is ignored.
    let DoorState { refusal: door, limit_status, pending } =
        door_state.unwrap_or_else(|| match app.node.holders().holds(request) {
            true => DoorState { refusal, ..DoorState::default() },
            false => {
                app.door((client, caller.buyer), sale, item, refusal, now, Counting::BeforeAnswer)
            }
        });
    let (buyer, sale, item) = (BuyerId::from(buyer), sale.clone(), item.clone());
    let purchase = Purchase { buyer, key, request, sale, item, units, wait, door };
    PurchaseStep::Continues(StartedPurchase { purchase, client, limit_status, pending, started })
}

async fn finish_purchase(app: &App, mut in_progress: StartedPurchase) -> PurchaseReply {
    let refused = match in_progress.pending.take() {
        Some(pending) => Box::pin(finish_limits(app, *pending, &mut in_progress)).await,
        None => None,
    };
    let outcome = match refused {
        Some(refusal) => PurchaseOutcome::Refused(refusal),
        None => run_purchase(app, &in_progress.purchase).await,
    };
    let Purchase { buyer, sale, item, units, .. } = &in_progress.purchase;
    let now = app.node.now();
    app.node.count_answer(sale, item, buyer.as_str(), outcome.answer(), now);
    if let PurchaseOutcome::Queued { id, .. } = outcome {
        app.node.note_queued(buyer.as_str(), id, now);
    }
    let caller = in_progress.client.caller(buyer.as_str());
    let status = || {
        in_progress
            .limit_status
            .unwrap_or_else(|| app.gate.limits.rate_limit_status(Route::Purchase, caller, sale))
    };
    let reply =
        purchase_reply(outcome, SaleRateLimit::new(sale, status), item, buyer.as_str(), *units);
    app.record_latency(sale, in_progress.started);
    reply
}

/// Waits until this node has shares of the limits, and checks the limits. After that:
/// - If a limit refuses the purchase, stores the refusal in `in_progress.purchase` and returns
///   `None`.
/// - Otherwise checks this node's memory again, because the stock may have changed. Returns the
///   refusal of this check, if there is one.
async fn finish_limits(
    app: &App,
    pending: PendingLimit,
    in_progress: &mut StartedPurchase,
) -> Option<Refusal> {
    let Purchase { ref buyer, request, ref sale, ref item, units, .. } = in_progress.purchase;
    let now = app.node.now();
    let caller = (in_progress.client, buyer.as_str());
    let door = app.finish_door(pending, caller, sale, item, now).await;
    let answer = door.answer();
    (in_progress.limit_status, in_progress.purchase.door) = (door.limit_status, door.refusal);
    match answer {
        DoorAnswer::Open => {
            refuse_from_memory(&app.node, request, sale, item, units, |_| DoorAnswer::Open)
        }
        DoorAnswer::Refused(_) | DoorAnswer::Undecided => None,
    }
}

impl App {
    /// Returns how long the connection must pause because of this response, or `None` if it need
    /// not pause.
    pub(crate) fn overload_pause(
        &self,
        peer: IpAddr,
        reply: Option<&PurchaseReply>,
    ) -> Option<Duration> {
        let is_overloaded = reply.is_some_and(|reply| match reply {
            PurchaseReply::Refused(refusal, _) => *refusal == Refusal::Overloaded,
            PurchaseReply::Rendered(reply) => reply.extensions().get::<NodeOverloaded>().is_some(),
        });
        let overload_pacer =
            is_overloaded && !self.live().proxies.iter().any(|proxy| proxy.contains(peer));
        overload_pacer.then(|| self.overload_pacer.next())
    }

    /// Returns the response to a purchase that is invalid, or whose buyer, sale or item is not
    /// known. If the sale is known, the response contains the caller's rate-limit status for this
    /// sale.
    pub(super) fn problem_reply(
        &self,
        refused: &Problem,
        client: ClientAddress,
        body: &[u8],
    ) -> Reply {
        let mut reply = problem(refused);
        let (caller, sale) = (client.caller(""), Wanted::sale_of_body(body));
        self.add_rate_limit_status(Route::Purchase, caller, sale.as_deref(), reply.headers_mut());
        reply
    }

    pub(crate) async fn learn_fact(&self, fact: MissingFact, facts: &mut LearnedFacts) {
        match fact {
            MissingFact::Key(token) => {
                let now_secs = self.token_time_secs();
                facts.token = Some(self.buyers.check_with_fresh_keys(&token, now_secs).await);
            }
            MissingFact::Sale => {
                self.catalogue_reader.refresh_paced().await;
                facts.is_caught_up = true;
            }
        }
    }

    fn record_latency(&self, sale: &SaleState, started: Instant) {
        let took = started.elapsed();
        self.metrics.purchases.record(took);
        if self.views.with(&sale.row.id, |view| view.latencies.record(took)).is_none() {
            self.views.sale_view(sale).latencies.record(took);
        }
    }
}

/// Finds the sale and the item of a purchase. Treats a draft as unknown, because buyers do not see
/// drafts.
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

/// Waits for the verdict of a purchase. If the client disconnects, this future is dropped. But if
/// the purchase already has a ticket, the server still settles this ticket.
async fn run_purchase(app: &App, purchase: &Purchase) -> PurchaseOutcome {
    if app.running_purchases.len() >= PURCHASES_MAX {
        return PurchaseOutcome::Refused(Refusal::Overloaded);
    }
    let _counted = app.running_purchases.token();
    // If `buy` panics, the panic hook logs the panic, and the client gets `unavailable`. The client
    // may repeat the request with its key.
    let running_purchases = AssertUnwindSafe(app.purchases.buy(purchase)).catch_unwind();
    let outcome = trace::traced("ticket and verdict", running_purchases).await;
    outcome.unwrap_or(PurchaseOutcome::Refused(Refusal::Unavailable))
}
