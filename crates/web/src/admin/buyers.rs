//! `GET /v1/admin/sales/{sale}/buyers/{buyer}`: one buyer's orders and refusals in a sale.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::admin::console::{BuyerHistory, BuyerRefusal};
use doorbuster_api::problem::Problem;
use doorbuster_core::{BuyerId, NodeId, WaitlistState};
use doorbuster_engine::api_conversion;
use doorbuster_engine::catalogue::SaleState;
use doorbuster_engine::refusal_memory::NotedRefusal;
use doorbuster_store::OrderQuery;

use super::sale;
use crate::App;
use crate::path_names::PathNames;
use crate::reply::{HandlerResult, ok};

const ORDERS_MAX: usize = 200;

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    PathNames([name, buyer]): PathNames<2>,
) -> HandlerResult {
    let sale = sale(&app, &name)?;
    let buyer = BuyerId::new(&buyer).ok_or_else(|| Problem::not_found("no buyer has this id"))?;
    let store = app.node.store();
    let query = OrderQuery {
        buyer: Some(buyer.clone()),
        items: Some(sale.items.iter().map(|item| item.row.id).collect()),
        limit: ORDERS_MAX,
        ..OrderQuery::default()
    };
    let orders = store.orders(query).await?.rows;
    let catalogue = app.node.catalogue();
    let orders =
        orders.iter().filter_map(|order| api_conversion::order_in(&catalogue, order)).collect();
    let mut waitlist = Vec::new();
    for item in &sale.items {
        let found = store.waitlist_position_of(item.row.id, &buyer).await?;
        if let Some(found) = found.filter(|found| found.entry.state == WaitlistState::Waiting) {
            waitlist.push(api_conversion::waiting(item, &found.entry, found.ahead));
        }
    }
    let since = sale.row.created_at;
    let found = app.node.refusals_of(buyer.as_str(), since).await?;
    let view = |(node, refusal): &(NodeId, NotedRefusal)| refusal_view(&sale, *node, refusal);
    let refusals = found.refusals.iter().filter_map(view).collect();
    let blocked = app.gate.blocks.has_buyer(buyer.as_str(), app.node.now());
    let refusals_complete = found.is_complete;
    let history = BuyerHistory { orders, waitlist, refusals, refusals_complete, blocked };
    ok(&history)
}

/// Returns `None` if the refusal belongs to another sale.
fn refusal_view(sale: &SaleState, node: NodeId, refusal: &NotedRefusal) -> Option<BuyerRefusal> {
    let item = sale.items.iter().find(|item| item.row.id == refusal.item)?;
    Some(BuyerRefusal {
        at: api_conversion::time(refusal.at),
        item: item.row.name.clone(),
        code: refusal.code.as_str().to_owned(),
        node: node.to_string(),
    })
}
