//! The buyers' endpoints of the waitlist: join, read the entry, and leave. A request to join passes
//! the same checks at the front door as a purchase.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::header::idempotency_key;
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_api::problem::Problem;
use doorbuster_auth::{BuyerName, VerifiedBuyer};
use doorbuster_core::gate::pass::Membership;
use doorbuster_core::{BuyerId, Phase, RequestKey, TicketId};
use doorbuster_engine::api_conversion;
use doorbuster_engine::catalogue::{ItemState, SaleState};
use doorbuster_engine::orders::OrderLookup;
use doorbuster_engine::purchase::{Refusal, phase_refusal};
use doorbuster_engine::waitlists::{JoinRefusal, JoinResult, LeaveResult};
use doorbuster_gate::{PresentedPass, check_entry};
use doorbuster_steps::memory::unless_stale;
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::App;
use super::identity::{Buyer, BuyerMembership, ClientAddress};
use super::limits::RETRY_SECS;
use super::orders::order_view;
use super::path_names::PathNames;
use super::purchase_headers::PurchaseHeader;
use super::refusals;
use super::reply::{HandlerError, HandlerResult, empty, json, ok};
use super::request_body;
use super::sales::find_sale;

/// `POST /v1/sales/{sale}/items/{item}/waitlist`
pub(crate) async fn join(
    State(app): State<Arc<App>>,
    Buyer(buyer): Buyer,
    BuyerMembership(membership): BuyerMembership,
    client: ClientAddress,
    PathNames([sale, item]): PathNames<2>,
    request: axum::extract::Request,
) -> HandlerResult {
    let headers = request.headers().clone();
    request_body::no_body(request, BODY_BYTES_MAX).await?;
    let key = request_key(&headers)?;
    let (sale, item) = find_item(&app, &sale, &item).await?;
    let caller = (&buyer, membership, client);
    let joined = find_or_join(&app, &headers, caller, (&sale, &item), &key).await;
    if let Err(refused) = &joined {
        app.node.note_refusal(&item, buyer.as_str(), refused.problem.code(), app.node.now());
    }
    let (id, lookup, status) = joined?;
    let shown = order_view(&app, id, lookup, Some(&buyer))?;
    let mut reply = json(status, &shown);
    let location = HeaderValue::from_str(&format!("/v1/orders/{}", shown.id()));
    reply.headers_mut().insert(LOCATION, location.expect("ids are ASCII"));
    if status == StatusCode::OK {
        reply.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(reply)
}

/// `GET /v1/sales/{sale}/items/{item}/waitlist`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Buyer(buyer): Buyer,
    PathNames([sale, item]): PathNames<2>,
) -> HandlerResult {
    let (sale, item) = find_item(&app, &sale, &item).await?;
    let read = app.waitlists.buyer_waitlist_position(item.row.id, &buyer).await?;
    let found = read.ok_or_else(busy)?.filter(|_| sale.row.phase != Phase::Closed);
    let found =
        found.ok_or_else(|| Problem::not_found("this buyer has no entry in this waitlist"))?;
    ok(&api_conversion::waiting(&item, &found.entry, found.ahead))
}

/// `DELETE /v1/sales/{sale}/items/{item}/waitlist`
pub(crate) async fn leave(
    State(app): State<Arc<App>>,
    Buyer(buyer): Buyer,
    PathNames([sale, item]): PathNames<2>,
) -> HandlerResult {
    let (sale, item) = find_item(&app, &sale, &item).await?;
    match app.waitlists.leave_waitlist(item.row.id, &buyer, sale.row.phase == Phase::Closed).await?
    {
        LeaveResult::Done => Ok(empty(StatusCode::NO_CONTENT)),
        LeaveResult::Served(state) => {
            let detail = "the waitlist entry has become an order, which can be cancelled while it \
                          is reserved";
            Err(Problem::wrong_state(state.as_str(), detail).into())
        }
        LeaveResult::Busy => Err(busy().into()),
    }
}

/// Adds the buyer to the waitlist. Returns the id and the state of the entry, and the HTTP status.
/// If the request is a repetition, returns the entry of the first request, or the order that this
/// entry has become.
async fn find_or_join(
    app: &App,
    headers: &HeaderMap,
    (buyer, membership, client): (&BuyerId, Membership, ClientAddress),
    (sale, item): (&SaleState, &ItemState),
    key: &RequestKey,
) -> Result<(TicketId, OrderLookup, StatusCode), HandlerError> {
    let replayed = app.waitlists.replay_waitlist_order(item, buyer, key).await?;
    let joined = match replayed {
        // A repeated request gets its order even if the sale is paused or the buyer's pass has
        // expired.
        Some(joined) => joined,
        None => {
            let caller = (buyer, membership, client);
            match check_front_door(app, headers, caller, sale, item).await {
                Ok(()) => app.waitlists.join_waitlist(item, buyer, key).await?,
                // A request over a rate limit must not cause a read of the store.
                Err(refused) if refused.status() == 429 => return Err(refused.into()),
                // If an earlier request with the same key has an entry that still waits, the
                // repeated request gets this entry, in spite of the refusal.
                Err(refused) => {
                    let waiting = app.waitlists.replay_waitlist_entry(item, buyer, key);
                    waiting.await?.ok_or(refused)?
                }
            }
        }
    };
    match joined {
        JoinResult::WaitlistEntry { id, lookup, is_new: true } => {
            Ok((id, lookup, StatusCode::CREATED))
        }
        JoinResult::WaitlistEntry { id, lookup, is_new: false } => Ok((id, lookup, StatusCode::OK)),
        JoinResult::Order(order) => Ok((order.id, OrderLookup::Order(order), StatusCode::OK)),
        JoinResult::Refused(why) => Err(refusal_problem(app, sale, why).into()),
    }
}

async fn find_item(
    app: &App,
    sale: &str,
    item: &str,
) -> Result<(Arc<SaleState>, Arc<ItemState>), Problem> {
    let sale = find_sale(app, sale).await?;
    let item = sale.item(item).cloned().ok_or_else(no_such_item)?;
    Ok((sale, item))
}

fn request_key(headers: &HeaderMap) -> Result<RequestKey, Problem> {
    let values = headers.get_all(PurchaseHeader::Key.name()).iter().map(HeaderValue::as_bytes);
    let key = idempotency_key(values).map_err(|fault| Problem::invalid_request(vec![fault]))?;
    Ok(key.into())
}

/// A buyer asks to join a waitlist. Makes the front door's checks of a purchase for this request,
/// and counts the request against the rate limits.
async fn check_front_door(
    app: &App,
    headers: &HeaderMap,
    (buyer, membership, client): (&BuyerId, Membership, ClientAddress),
    sale: &SaleState,
    item: &ItemState,
) -> Result<(), Problem> {
    let now = app.node.now();
    let name = BuyerName::from(buyer);
    let pass = PresentedPass::new(
        headers.get_all(PurchaseHeader::Pass.name()).iter().map(HeaderValue::as_bytes),
    );
    let (_, against) = check_entry(
        &app.gate.passes,
        sale,
        item,
        // The guard has already checked the token's expiry, so the expiry here is the largest
        // number.
        Some(VerifiedBuyer { name, membership, expires_secs: i64::MAX }),
        pass,
        now,
    );
    let refusal = match phase_refusal(&app.node, sale) {
        Some(refusal) => Some(unless_stale(app.node.memory_age_ms(), refusal)),
        None => {
            let caller = (client, buyer.as_str());
            app.door_refusal(caller, sale, item, against, now).await.map(Refusal::AtDoor)
        }
    };
    refusal.map_or(Ok(()), |refusal| Err(refusals::refusal_problem(&refusal)))
}

fn refusal_problem(app: &App, sale: &SaleState, why: JoinRefusal) -> Problem {
    match why {
        JoinRefusal::UnitsFree => Problem::not_held_out(),
        JoinRefusal::SoldOut => Problem::sold_out(false, 0),
        JoinRefusal::LimitReached { limit, used } => Problem::limit_reached(limit, used),
        JoinRefusal::Lapsed(state) => Problem::wrong_state(
            state.as_str(),
            "this buyer did not pay for an earlier order from this waitlist, so the buyer cannot \
             join this waitlist again",
        ),
        JoinRefusal::KeyReused => Problem::idempotency_key_reused(),
        JoinRefusal::Full => Problem::waitlist_full(),
        JoinRefusal::NotOnSale => {
            // The sale has changed since this node checked the request. So the node chooses the
            // refusal by the sale's new state.
            let now = app
                .node
                .catalogue()
                .sale(&sale.row.id)
                .and_then(|sale| phase_refusal(&app.node, sale));
            match now {
                Some(refusal) => {
                    let age_ms = app.node.memory_age_ms();
                    refusals::refusal_problem(&unless_stale(age_ms, refusal))
                }
                None => Problem::unavailable(
                    "the sale changed during this request; send the same request with the same \
                     key again",
                    RETRY_SECS,
                ),
            }
        }
        JoinRefusal::NotFound => no_such_item(),
        JoinRefusal::Busy => busy(),
    }
}

fn no_such_item() -> Problem {
    Problem::not_found("the sale has no such item")
}

fn busy() -> Problem {
    Problem::overloaded(RETRY_SECS)
}
