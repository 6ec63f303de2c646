//! Orders of all buyers.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use doorbuster_api::admin::order::{AnyOrderDetail, OrderDetail};
use doorbuster_api::limits::ADMIN_BODY_BYTES_MAX;
use doorbuster_api::order::{AnyOrder, HistoryEntry, Order, OrderList, OrderState};
use doorbuster_api::problem::Problem;
use doorbuster_api::query::OrderQuery;
use doorbuster_core::event::{self, Actor};
use doorbuster_core::{BuyerId, ItemId};
use http::StatusCode;
use serde_json::json as object;

use super::note;
use crate::catalogue::SaleState;
use crate::web::App;
use crate::web::input::{self, Names};
use crate::web::orders::{end, id, look, page};
use crate::web::reply::{Answer, json};
use crate::web::who::By;

/// `GET /v1/admin/orders`
pub(crate) async fn list(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Answer {
    let query = OrderQuery::of_operator(query.as_deref().unwrap_or_default())?;
    let items = items(&app, query.sale.as_deref(), query.item.as_deref());
    if items.as_ref().is_some_and(Vec::is_empty) {
        // Nothing goes by that name: nothing to look for.
        return Ok(json(StatusCode::OK, &OrderList { orders: Vec::new(), next_cursor: None }));
    }
    let buyer = query.buyer.as_deref().and_then(BuyerId::new);
    page(&app, &query, buyer, items).await
}

/// The numbers of the items that the names mean; `None` for all there are.
pub(crate) fn items(app: &App, sale: Option<&str>, item: Option<&str>) -> Option<Vec<ItemId>> {
    if sale.is_none() && item.is_none() {
        return None;
    }
    let catalogue = app.engine.catalogue();
    let of_sale = |state: &Arc<SaleState>| sale.is_none_or(|sale| state.row.id == sale);
    let items = catalogue.sales().filter(|state| of_sale(state)).flat_map(|state| &state.items);
    let wanted = items.filter(|state| item.is_none_or(|item| state.row.name == item));
    Some(wanted.map(|state| state.row.id).collect())
}

/// `GET /v1/admin/orders/{order}`
pub(crate) async fn get(State(app): State<Arc<App>>, Names([order]): Names<1>) -> Answer {
    let detail = match look(&app, id(&order)?, None).await? {
        AnyOrder::Order(order) => {
            AnyOrderDetail::Order(OrderDetail { history: history(&order), order, payments: Vec::new() })
        }
        // Nobody finds it without its buyer.
        AnyOrder::Queued(_) => return Err(Problem::not_found("there is no such order").into()),
        AnyOrder::Refused(refused) => AnyOrderDetail::Refused(refused),
    };
    Ok(json(StatusCode::OK, &detail))
}

/// The steps of an order's life that its row remembers.
fn history(order: &Order) -> Vec<HistoryEntry> {
    let step = |at, state: OrderState, by: &str| HistoryEntry {
        at,
        event: format!("order.{}", state.as_str()),
        state,
        by: by.to_owned(),
        why: None,
        pay_by: Some(order.pay_by),
    };
    let mut history = vec![step(order.reserved_at, OrderState::Reserved, "buyer")];
    history.extend(order.paid_at.map(|at| step(at, OrderState::Paid, "provider:sandbox")));
    let by = "engine";
    let ended = order.ended_at.filter(|_| order.state != OrderState::Reserved && order.state != OrderState::Paid);
    history.extend(ended.map(|at| step(at, order.state, by)));
    history
}

/// `POST /v1/admin/orders/{order}/cancel`
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    By(by): By,
    Names([order]): Names<1>,
    request: axum::extract::Request,
) -> Answer {
    input::body(request, ADMIN_BODY_BYTES_MAX).await?;
    let reply = end(&app, id(&order)?, event::By::actor(Actor::Operator(by.id.to_string()))).await?;
    note(&app, &by, "order.cancel", &object!({"order": order})).await;
    Ok(reply)
}
