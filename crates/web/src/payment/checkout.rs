//! Opens the checkout of an order.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_api::order::AnyOrder;
use doorbuster_api::payment::Checkout;
use doorbuster_api::problem::Problem;
use doorbuster_core::{BuyerId, Order, OrderState, TicketId};
use doorbuster_engine::api_conversion;
use doorbuster_engine::sale_limits::{LimitRules, Route};
use doorbuster_gate::RateLimitExceeded;
use doorbuster_payments::CheckoutResult;
use http::HeaderMap;
use http::header::HOST;

use crate::App;
use crate::failure::FailureCause;
use crate::identity::{Buyer, ClientAddress};
use crate::limits::RETRY_SECS;
use crate::orders::{id, read_order};
use crate::path_names::PathNames;
use crate::rate_limits::ResponseSale;
use crate::reply::{HandlerError, HandlerResult, ok, problem};
use crate::request_body;

const HOST_BYTES_MAX: usize = 255;

/// `POST /v1/orders/{order}/checkout`
pub(crate) async fn open(
    State(app): State<Arc<App>>,
    Buyer(buyer): Buyer,
    client: ClientAddress,
    PathNames([order]): PathNames<1>,
    request: axum::extract::Request,
) -> HandlerResult {
    let headers = request.headers().clone();
    request_body::no_body(request, BODY_BYTES_MAX).await?;
    open_for(&app, id(&order)?, buyer, client, &headers).await
}

/// Opens the checkout of an order, for its buyer or for a person who has the order's link.
pub(crate) async fn open_for(
    app: &Arc<App>,
    id: TicketId,
    buyer: BuyerId,
    client: ClientAddress,
    headers: &HeaderMap,
) -> HandlerResult {
    let base = app.payments.public_base_url(request_host(headers));
    let found = read_order(app, id, Some(&buyer)).await?;
    let answered = match &found {
        AnyOrder::Order(order) => {
            let opened = open_checkout(app, id, buyer, client, base.clone()).await;
            opened.and_then(|opened| checkout_answer(app, &order.sale, &base, opened))
        }
        other => Err(wrong_state(other.state())),
    };
    let mut reply = answered.unwrap_or_else(HandlerError::reply);
    reply.extensions_mut().insert(ResponseSale(found.sale().to_owned()));
    Ok(reply)
}

/// Opens the checkout in a separate task, which continues even if the client disconnects. The task
/// stores the checkout, or closes it at the provider.
async fn open_checkout(
    app: &Arc<App>,
    id: TicketId,
    buyer: BuyerId,
    client: ClientAddress,
    base: String,
) -> Result<CheckoutResult, HandlerError> {
    let asked = app.clone();
    let opening = app.running_purchases.spawn(async move {
        let may_ask = async |order: &Order| within_limits(&asked, client, &buyer, order).await;
        asked.payments.open(id, &buyer, &base, may_ask).await
    });
    Ok(opening.await.map_err(|_| Problem::internal())??)
}

fn checkout_answer(app: &App, sale: &str, base: &str, opened: CheckoutResult) -> HandlerResult {
    match opened {
        CheckoutResult::Open(checkout) => {
            let checkout_url = if checkout.url.starts_with('/') {
                format!("{base}{}", checkout.url)
            } else {
                checkout.url
            };
            ok(&Checkout { checkout_url, expires_at: api_conversion::time(checkout.expires_at) })
        }
        CheckoutResult::WrongState(state) => Err(wrong_state(state.as_str())),
        CheckoutResult::RateLimitExceeded(RateLimitExceeded {
            scope,
            retry_after_secs,
            status: limit_status,
        }) => {
            let mut reply = problem(&Problem::rate_limited(scope, retry_after_secs));
            if let Some(sale) = app.node.catalogue().sale(sale) {
                // The refusal may come from the limit for this order's checkouts. So the response
                // has the status of the limit that refused.
                limit_status.insert(sale.limits_of(Route::Checkout), reply.headers_mut());
            }
            Ok(reply)
        }
        CheckoutResult::NotFound => Err(Problem::not_found("there is no such order").into()),
        CheckoutResult::Refused(error) => Err(HandlerError {
            problem: Box::new(Problem::wrong_state(
                OrderState::Reserved.as_str(),
                "the payment provider accepts no payment for this order; contact the shop",
            )),
            cause: Some(FailureCause::new(error.to_string())),
        }),
        CheckoutResult::Unavailable(error) => Err(HandlerError {
            problem: Box::new(Problem::unavailable(
                "the payment provider is unavailable; send the same request again",
                RETRY_SECS,
            )),
            cause: Some(FailureCause::new(error.to_string())),
        }),
    }
}

/// Checks two limits: the number of checkouts for this order, and the sale's limits for this
/// caller.
async fn within_limits(
    app: &App,
    client: ClientAddress,
    buyer: &BuyerId,
    order: &Order,
) -> Result<(), RateLimitExceeded> {
    let sale = {
        let catalogue = app.node.catalogue();
        let item = catalogue.item_by_id(order.item);
        item.and_then(|item| catalogue.sale(&item.sale)).cloned()
    };
    let Some(sale) = sale else { return Ok(()) };
    let (order, caller) = (order.id.to_string(), client.caller(buyer.as_str()));
    let (limits, pace) = (&app.gate.limits, LimitRules::order_pace());
    limits.acquire_for(Route::Checkout, &order, pace, caller, &sale).await
}

fn wrong_state(state: &'static str) -> HandlerError {
    Problem::wrong_state(
        state,
        "only a reserved order can be paid, and only until its payment window ends",
    )
    .into()
}

/// Returns the header `Host`, or `None` if the header is missing or not a valid host.
pub(crate) fn request_host(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(HOST)?.to_str().ok()?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    ((1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(fits)).then_some(host)
}
