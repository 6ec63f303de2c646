//! Serves the buyers' endpoints for orders.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_api::order::{AnyOrder, History, Order, OrderList, OrderState, RefusalCode};
use doorbuster_api::problem::Problem;
use doorbuster_api::query::OrderQuery;
use doorbuster_base::failpoint::{self, Failpoint};
use doorbuster_core::event::Attribution;
use doorbuster_core::money::PaymentState;
use doorbuster_core::order::ChangeOutcome;
use doorbuster_core::{BuyerId, ItemId, Phase, TicketId, Units, WaitlistEntry};
use doorbuster_engine::api_conversion;
use doorbuster_engine::catalogue::ItemState;
use doorbuster_engine::error::EngineError;
use doorbuster_engine::orders::OrderLookup;
use doorbuster_store::MoneyQuery;

use super::App;
use super::cursor::{List, cursor, position};
use super::identity::{Buyer, Requester};
use super::limits::RETRY_SECS;
use super::path_names::PathNames;
use super::reply::{HandlerError, HandlerResult, ok};
use super::request_body;

/// The maximum number of refunds that are shown for one order. An order rarely has more than one
/// refund.
const REFUNDS_MAX: usize = 20;

/// `GET /v1/orders`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Buyer(buyer): Buyer,
    RawQuery(query): RawQuery,
) -> HandlerResult {
    let query = OrderQuery::for_buyer(query.as_deref().unwrap_or_default())?;
    // This endpoint has no rate limit. Instead, the requests of one buyer run one after the other,
    // so that one buyer cannot overload the store.
    let turn = app.node.id_key().buyer_hash(buyer.as_str());
    let read =
        app.node.holders().retry_limiter.read(turn, page(&app, &query, Some(buyer), None)).await;
    read.unwrap_or_else(|| Err(Problem::overloaded(RETRY_SECS).into()))
}

/// Returns one page of a list of orders. If `buyer` is `None`, the list has the orders of all
/// buyers. If `items` is `None`, it has the orders of all items.
pub(crate) async fn page(
    app: &App,
    query: &OrderQuery,
    buyer: Option<BuyerId>,
    items: Option<Vec<ItemId>>,
) -> HandlerResult {
    let after = position(List::Orders, query.page.cursor.as_deref())?.map(|(after, _)| after);
    let wanted = doorbuster_store::OrderQuery {
        buyer,
        items,
        state: query.state,
        after,
        oldest_first: false,
        limit: query.page.limit as usize,
    };
    let page = app.orders.list_orders(wanted).await?;
    let found = order_items(app, &page.rows).await?;
    let orders =
        page.rows.iter().zip(&found).map(|(row, item)| api_conversion::order(row, item)).collect();
    let mut seen = HashSet::new();
    let once = found.iter().filter(|item| seen.insert(item.row.id));
    let items = once.map(|item| api_conversion::ordered_item(item)).collect();
    let next_cursor = page.next.map(|next| cursor(List::Orders, next, ""));
    ok(&OrderList { orders, items, next_cursor })
}

/// Returns the orders as the API shows them. If this node does not know an order's sale yet, reads
/// the catalogue again.
pub(crate) async fn order_views(
    app: &App,
    rows: &[doorbuster_core::Order],
) -> Result<Vec<Order>, EngineError> {
    let items = order_items(app, rows).await?;
    Ok(rows.iter().zip(&items).map(|(row, item)| api_conversion::order(row, item)).collect())
}

async fn order_items(
    app: &App,
    rows: &[doorbuster_core::Order],
) -> Result<Vec<Arc<ItemState>>, EngineError> {
    let ids: Vec<ItemId> = rows.iter().map(|row| row.item).collect();
    app.catalogue_reader.find_items(&ids).await
}

/// `GET /v1/orders/{order}`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    asker: Requester,
    PathNames([order]): PathNames<1>,
) -> HandlerResult {
    let buyer = match &asker {
        Requester::Buyer(buyer) => Some(buyer),
        Requester::Operator => None,
    };
    let id = id(&order)?;
    let found = read_order(&app, id, buyer).await?;
    ok(&found)
}

/// `GET /v1/orders/{order}/history`
pub(crate) async fn history(
    State(app): State<Arc<App>>,
    asker: Requester,
    PathNames([order]): PathNames<1>,
) -> HandlerResult {
    let id = id(&order)?;
    let buyer = match &asker {
        Requester::Buyer(buyer) => Some(buyer),
        Requester::Operator => None,
    };
    let found = match read_order(&app, id, buyer).await? {
        AnyOrder::Order(order) => order,
        // The request has not become an order, so it has no history.
        AnyOrder::Queued(_) | AnyOrder::Refused(_) | AnyOrder::Waiting(_) => {
            let none =
                History { history: Vec::new(), refunds: Vec::new(), payment_failed_at: None };
            return ok(&none);
        }
    };
    let store = app.node.store();
    let changes = store.history(id).await?;
    let of_order = MoneyQuery {
        order: Some(order),
        oldest_first: true,
        limit: REFUNDS_MAX,
        ..MoneyQuery::default()
    };
    let newest = MoneyQuery { oldest_first: false, limit: 1, ..of_order.clone() };
    let refunds = store.refunds(of_order).await?;
    let refunds = refunds.rows.iter().map(api_conversion::order_refund).collect();
    let payment_failed_at = match found.state {
        OrderState::Reserved => {
            let last = store.payments(newest).await?.rows.pop();
            last.filter(|payment| payment.state == PaymentState::Failed)
                .map(|payment| api_conversion::time(payment.at))
        }
        _ => None,
    };
    let history = api_conversion::history(&changes, buyer.is_some());
    ok(&History { history, refunds, payment_failed_at })
}

/// `POST /v1/orders/{order}/cancel`
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    Buyer(buyer): Buyer,
    PathNames([order]): PathNames<1>,
    request: axum::extract::Request,
) -> HandlerResult {
    request_body::no_body(request, BODY_BYTES_MAX).await?;
    let id = id(&order)?;
    match read_order(&app, id, Some(&buyer)).await? {
        AnyOrder::Order(_) => cancel_order(&app, id, Attribution::BUYER.clone()).await,
        other => {
            Err(Problem::wrong_state(other.state(), "only a reserved order can be cancelled")
                .into())
        }
    }
}

pub(crate) async fn cancel_order(app: &App, id: TicketId, by: Attribution) -> HandlerResult {
    let changed = app.orders.cancel(id, by).await?;
    failpoint::reach(Failpoint::CancelDone);
    changed_reply(app, changed, "only a reserved order can be cancelled")
}

/// Returns the response to a change of an order. If the order's state does not allow the change,
/// `only` is the `detail` of the problem.
pub(crate) fn changed_reply(
    app: &App,
    changed: ChangeOutcome,
    only: &'static str,
) -> HandlerResult {
    let order = match changed {
        ChangeOutcome::Done(order) | ChangeOutcome::Already(order) => order,
        ChangeOutcome::WrongState(order) => {
            return Err(Problem::wrong_state(order.state.as_str(), only).into());
        }
        ChangeOutcome::NotFound => return Err(no_such_order().into()),
    };
    let order =
        api_conversion::order_in(&app.node.catalogue(), &order).ok_or_else(no_such_order)?;
    ok(&order)
}

pub(crate) async fn read_order(
    app: &App,
    id: TicketId,
    buyer: Option<&BuyerId>,
) -> Result<AnyOrder, HandlerError> {
    let lookup = look_up_order(app, id, buyer).await?;
    Ok(order_view(app, id, lookup, buyer)?)
}

/// Looks up the id of an order, a queued request or a waitlist entry. No rate limit applies to such
/// requests. Instead, one buyer's look-ups run one after the other, at most 100 a second, so that
/// one buyer cannot overload the store.
pub(crate) async fn look_up_order(
    app: &App,
    id: TicketId,
    buyer: Option<&BuyerId>,
) -> Result<OrderLookup, HandlerError> {
    let reading = app.orders.look_up_order(id, buyer);
    let Some(buyer) = buyer else { return Ok(reading.await?) };
    let turn = app.node.id_key().buyer_hash(buyer.as_str());
    let read = app.node.holders().order_limiter.read(turn, reading).await;
    Ok(read.ok_or_else(|| Problem::overloaded(RETRY_SECS))??)
}

pub(crate) fn order_view(
    app: &App,
    id: TicketId,
    lookup: OrderLookup,
    buyer: Option<&BuyerId>,
) -> Result<AnyOrder, Problem> {
    let catalogue = app.node.catalogue();
    let name = buyer.map(BuyerId::as_str).unwrap_or_default();
    Ok(match lookup {
        OrderLookup::Order(order) => {
            AnyOrder::Order(api_conversion::order_in(&catalogue, &order).ok_or_else(no_such_order)?)
        }
        OrderLookup::Queued { item, buyer, units, decide_by } => {
            AnyOrder::Queued(api_conversion::queued(id, buyer.as_str(), &item, units, decide_by))
        }
        OrderLookup::Refused { item, units, verdict } => AnyOrder::Refused(
            api_conversion::refused(id, name, &item, units, api_conversion::refusal_code(verdict)),
        ),
        OrderLookup::Waiting { item, entry, ahead } => {
            // A waitlist entry of a closed sale cannot become an order any more, so it is shown as
            // ended.
            match catalogue.sale(&item.sale).is_some_and(|sale| sale.row.phase == Phase::Closed) {
                true => ended_entry(&item, &entry, RefusalCode::Ended),
                false => AnyOrder::Waiting(api_conversion::waiting(&item, &entry, ahead)),
            }
        }
        OrderLookup::Left { item, entry } => ended_entry(&item, &entry, RefusalCode::Left),
        OrderLookup::Ended { item, entry } => ended_entry(&item, &entry, RefusalCode::Ended),
        OrderLookup::NotFound => return Err(no_such_order()),
    })
}

fn ended_entry(item: &ItemState, entry: &WaitlistEntry, code: RefusalCode) -> AnyOrder {
    AnyOrder::Refused(api_conversion::refused(
        entry.id,
        entry.buyer.as_str(),
        item,
        Units::ONE,
        code,
    ))
}

pub(crate) fn id(text: &str) -> Result<TicketId, Problem> {
    TicketId::parse(text).ok_or_else(no_such_order)
}

fn no_such_order() -> Problem {
    Problem::not_found("there is no such order")
}
