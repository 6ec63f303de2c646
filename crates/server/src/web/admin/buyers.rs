//! `GET /v1/admin/sales/{sale}/buyers/{buyer}`: one buyer's orders and refusals in a sale.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::admin::console::{BuyerRefusal, BuyerStory};
use doorbuster_api::problem::Problem;
use doorbuster_core::{BuyerId, WaitlistState};
use doorbuster_store::OrderQuery;
use http::StatusCode;

use super::sale;
use crate::catalogue::SaleState;
use crate::web::failure::failed;
use crate::web::input::PathNames;
use crate::web::refusal_memory::NotedRefusal;
use crate::web::reply::{Answer, json};
use crate::web::{App, wire};

/// Most orders in one answer.
const ORDERS_MAX: usize = 200;

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    PathNames([name, buyer]): PathNames<2>,
) -> Answer {
    let sale = sale(&app, &name)?;
    let buyer = BuyerId::new(&buyer).ok_or_else(|| Problem::not_found("no buyer has this id"))?;
    let store = app.engine.store();
    let query = OrderQuery {
        buyer: Some(buyer.clone()),
        items: Some(sale.items.iter().map(|item| item.row.id).collect()),
        limit: ORDERS_MAX,
        ..OrderQuery::default()
    };
    let orders = store.orders(query).await.map_err(failed)?.orders;
    let catalogue = app.engine.catalogue();
    let orders = orders.iter().filter_map(|order| wire::order_in(&catalogue, order)).collect();
    let mut waitlist = Vec::new();
    for item in &sale.items {
        let found = store.waitlist_position_of(item.row.id, &buyer).await.map_err(failed)?;
        if let Some(found) = found.filter(|found| found.place.state == WaitlistState::Waiting) {
            waitlist.push(wire::waiting(item, &found.place, found.ahead));
        }
    }
    let memory = &app.refusal_memory;
    let (noted, is_complete) = memory.of_buyer(memory.hash(buyer.as_str()));
    let refusals = noted.iter().filter_map(|refusal| refusal_view(&app, &sale, refusal)).collect();
    let blocked = app.gate.blocks.has_buyer(buyer.as_str(), app.engine.now());
    let refusals_complete = is_complete && remembers_since_opening(&app, &sale);
    let story = BuyerStory { orders, waitlist, refusals, refusals_complete, blocked };
    Ok(json(StatusCode::OK, &story))
}

/// Renders one refusal of this sale.
fn refusal_view(app: &App, sale: &SaleState, refusal: &NotedRefusal) -> Option<BuyerRefusal> {
    let item = sale.items.iter().find(|item| item.row.id == refusal.item)?;
    Some(BuyerRefusal {
        at: wire::time(refusal.at),
        item: item.row.name.clone(),
        code: refusal.answer.as_str().to_owned(),
        node: app.engine.node().to_string(),
    })
}

/// Returns whether this node has handled every request of the sale. That is so if it is the only
/// node and has run since the sale was created.
fn remembers_since_opening(app: &App, sale: &SaleState) -> bool {
    let started = app.engine.started_at();
    app.engine.layout().is_single_node()
        && started.is_some_and(|started| started <= sale.row.created_at)
}
