//! A link that opens an order without the buyer's token. A person who has the link can read the
//! order and pay for it, but cannot do anything else.
//!
//! The link's key is a keyed hash of the order's id. Every node can compute this key, so the store
//! does not keep it. [`doorbuster_core::Order::opens_by_link`] defines how long the link is valid.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::header::ORDER_KEY;
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_api::payment::OrderLink;
use doorbuster_api::problem::Problem;
use doorbuster_core::{Order, OrderState};
use doorbuster_engine::api_conversion;
use doorbuster_engine::order_link::{order_key, order_link};
use doorbuster_engine::orders::OrderLookup;
use http::{HeaderMap, HeaderValue, StatusCode};
use subtle::ConstantTimeEq;

use super::App;
use super::identity::{Buyer, ClientAddress};
use super::orders::{id, look_up_order, order_view};
use super::path_names::PathNames;
use super::payment::checkout;
use super::reply::{HandlerError, HandlerResult, json, no_store, ok};
use super::request_body;

/// `GET /v1/orders/{order}/link`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Buyer(buyer): Buyer,
    PathNames([order]): PathNames<1>,
) -> HandlerResult {
    let id = id(&order)?;
    match look_up_order(&app, id, Some(&buyer)).await? {
        OrderLookup::Order(order) if order.state == OrderState::Reserved => {
            let live = app.live();
            let origin = live.shop().url;
            ok(&OrderLink { url: order_link(app.node.id_key(), origin, id) })
        }
        OrderLookup::Order(order) => {
            let only = "only an order that can still be paid has a link";
            Err(Problem::wrong_state(order.state.as_str(), only).into())
        }
        OrderLookup::NotFound => Err(no_such_link()),
        lookup => {
            let state = order_view(&app, id, lookup, Some(&buyer))?.state();
            Err(Problem::wrong_state(state, "the request is not an order").into())
        }
    }
}

/// `GET /v1/linked-orders/{order}`
pub(crate) async fn read(
    State(app): State<Arc<App>>,
    PathNames([order]): PathNames<1>,
    headers: HeaderMap,
) -> HandlerResult {
    let order = linked_order(&app, &order, &headers).await?;
    let shown = api_conversion::order_in(&app.node.catalogue(), &order).ok_or_else(no_such_link)?;
    Ok(no_store(json(StatusCode::OK, &shown)))
}

/// `POST /v1/linked-orders/{order}/checkout`
pub(crate) async fn pay(
    State(app): State<Arc<App>>,
    client: ClientAddress,
    PathNames([order]): PathNames<1>,
    request: axum::extract::Request,
) -> HandlerResult {
    let headers = request.headers().clone();
    request_body::no_body(request, BODY_BYTES_MAX).await?;
    let order = linked_order(&app, &order, &headers).await?;
    checkout::open_for(&app, order.id, order.buyer, client, &headers).await.map(no_store)
}

/// Returns the order of a link. Checks the link's key first, so that a wrong key causes no read of
/// the store.
async fn linked_order(app: &App, order: &str, headers: &HeaderMap) -> Result<Order, HandlerError> {
    let id = id(order)?;
    let presented = headers.get(ORDER_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    let expected = order_key(app.node.id_key(), id);
    if !bool::from(expected.as_bytes().ct_eq(presented)) {
        return Err(no_such_link());
    }
    match app.orders.look_up_order(id, None).await? {
        OrderLookup::Order(order) if order.opens_by_link(app.node.now()) => Ok(order),
        _ => Err(no_such_link()),
    }
}

/// Returns one and the same response for a wrong key, an expired link and an unknown order. So the
/// response does not reveal which orders exist.
fn no_such_link() -> HandlerError {
    Problem::not_found("the link is wrong, or it no longer works").into()
}
