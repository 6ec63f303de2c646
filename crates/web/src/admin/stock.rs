//! Shows where a sale's units are, and adjusts its totals.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::admin::stock::{Adjustment as Wanted, Available, SlotList, SlotRow, StockList};
use doorbuster_api::body::join_key_and_body;
use doorbuster_api::header::idempotency_key;
use doorbuster_api::limits::ADMIN_BODY_BYTES_MAX;
use doorbuster_api::problem::Problem;
use doorbuster_core::Grant;
use doorbuster_engine::api_conversion;
use doorbuster_engine::catalogue::{ItemState, SaleState};
use doorbuster_store::{
    AdjustOutcome, Adjustment, FieldChange, GrantTransfers, NewAction, recorded,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::sale;
use crate::App;
use crate::identity::OperatorIdentity;
use crate::path_names::PathNames;
use crate::reply::{HandlerError, HandlerResult, json, ok};
use crate::request_body::JsonBody;

/// `GET /v1/admin/sales/{sale}/stock`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    PathNames([name]): PathNames<1>,
) -> HandlerResult {
    let sale = sale(&app, &name)?;
    let ids = sale.items.iter().map(|item| item.row.id).collect();
    let counts = app.node.store().counts(Some(ids)).await?;
    let row = |item: &Arc<ItemState>| {
        let counts = counts.iter().find(|counts| counts.item == item.row.id)?;
        Some(api_conversion::stock_row(&item.row.name, counts))
    };
    ok(&StockList { items: sale.items.iter().filter_map(row).collect() })
}

/// `POST /v1/admin/sales/{sale}/items/{item}/adjustments`
pub(crate) async fn adjust(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    PathNames([name, item]): PathNames<2>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ADMIN_BODY_BYTES_MAX>,
) -> HandlerResult {
    let key = idempotency_key(headers.get_all("idempotency-key").iter().map(HeaderValue::as_bytes));
    let (key, wanted) = join_key_and_body(key, Wanted::from_json(&body))?;
    let sale = sale(&app, &name)?;
    let item = sale.item(&item).ok_or_else(|| Problem::not_found("the sale has no such item"))?;
    let adjustment = Adjustment {
        item: item.row.id,
        units: wanted.units,
        reason: wanted.reason.clone(),
        key: key.as_str().to_owned(),
    };
    let action = NewAction {
        changes: vec![FieldChange::set("/item", item.row.name.as_str())],
        ..by.action("stock.adjusted", "sale", &name)
    };
    let adjusted = recorded(action, app.stock.adjust(adjustment)).await?;
    let repeated = matches!(adjusted, AdjustOutcome::Repeated(_));
    let counts = adjusted_counts(adjusted, &sale)?;
    let mut reply = json(StatusCode::OK, &api_conversion::stock_row(&item.row.name, &counts));
    if repeated {
        reply.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
        return Ok(reply);
    }
    Ok(reply)
}

fn adjusted_counts(
    adjusted: AdjustOutcome,
    sale: &SaleState,
) -> Result<doorbuster_store::ItemCounts, Problem> {
    let phase = sale.row.phase.as_str();
    Err(match adjusted {
        AdjustOutcome::Done(counts) | AdjustOutcome::Repeated(counts) => return Ok(counts),
        AdjustOutcome::NotInPool(free) => Problem::too_little_free(phase, free),
        AdjustOutcome::KeyReused => Problem::idempotency_key_reused(),
        AdjustOutcome::TooMuch => {
            Problem::invalid_member("/units", "would raise the stock over 1,000,000,000 units")
        }
        AdjustOutcome::Unlimited => {
            Problem::wrong_state("unlimited", "unlimited stock cannot be adjusted")
        }
        AdjustOutcome::Closed => Problem::wrong_state("closed", "the sale is closed"),
        AdjustOutcome::NotFound => Problem::not_found("the sale has no such item"),
    })
}

/// `GET /v1/admin/sales/{sale}/slots`
pub(crate) async fn slots(
    State(app): State<Arc<App>>,
    PathNames([name]): PathNames<1>,
) -> HandlerResult {
    let sale = sale(&app, &name)?;
    let mut slots = Vec::with_capacity(sale.items.len());
    for item in &sale.items {
        let grants = app.node.store().grants(item.row.id).await?;
        // If a slot has no open grant, its last closed grant is shown. Closed grants of slots that
        // the item no longer has are not shown. An item loses a slot when a node is removed or the
        // spread changes.
        let newest =
            grants.iter().filter(|grant| grants.iter().all(|other| !is_newer(other, grant)));
        let newest = newest.filter(|grant| grant.open || item.slots.contains(&grant.slot));
        let moves = app.node.store().grant_transfers(item.row.id).await?;
        for grant in newest {
            let moved = moves.iter().find(|moves| moves.grant == grant.id);
            slots.push(slot_row(&app, item, grant, moved).await?);
        }
    }
    slots.sort_by(|a, b| (&a.item, a.partition).cmp(&(&b.item, b.partition)));
    ok(&SlotList { slots })
}

fn is_newer(a: &Grant, b: &Grant) -> bool {
    a.slot == b.slot && a.epoch > b.epoch
}

async fn slot_row(
    app: &App,
    item: &ItemState,
    grant: &Grant,
    moved: Option<&GrantTransfers>,
) -> Result<SlotRow, HandlerError> {
    let view = app.stock.slots().view(grant.slot).await.ok().flatten();
    // The state of a slot is not shown in two cases:
    // - Its epoch differs from the grant's epoch, so the state belongs to another grant.
    // - The item has unlimited stock, so the slot does not count units.
    let view = view.filter(|view| view.epoch == grant.epoch && grant.counted);
    let two = item.row.spread.uses_sub_domains()
        || view.as_ref().is_some_and(|view| view.counters[1] > 0);
    let active = view.as_ref().filter(|_| two).map(|view| view.active);
    Ok(SlotRow {
        slot: app.node.layout().name(&item.sale, &item.row.name, grant.slot, app.node.id()),
        item: item.row.name.clone(),
        partition: grant.slot.index,
        epoch: grant.epoch.0,
        granted: grant.granted,
        settled: grant.settled,
        open: grant.open,
        leaving: grant.open && !app.node.layout().has_slot(&item.row.spread, grant.slot.index),
        active,
        available: view.map(|view| match two {
            true => Available::Two { a: view.counters[0], b: view.counters[1] },
            false => Available::One(view.available),
        }),
        // A grant that was just opened has no counts of refills and recalls yet; the answer shows
        // 0.
        refills: moved.map_or(0, |moved| moved.refills),
        recalls: moved.map_or(0, |moved| moved.recalls),
    })
}
