//! The endpoints of the waiting room and of its draw.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use bytes::Bytes;
use doorbuster_api::event::Event;
use doorbuster_api::gate::{
    Draw, EstimateSecs, NewWaitingRoomPosition, WaitingRoomPosition, WaitingRoomPositionState,
};
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_api::problem::{Fault, FaultLocation, Problem};
use doorbuster_api::query::parse_room_item;
use doorbuster_core::gate::draw::{ALGORITHM, DrawLot};
use doorbuster_core::gate::room::VisitorStatus;
use doorbuster_core::{BuyerId, Phase};
use doorbuster_engine::api_conversion;
use doorbuster_engine::catalogue::SaleState;
use doorbuster_engine::sale_limits::Route;
use doorbuster_engine::sale_room::SaleRoom;
use doorbuster_gate::waiting_room::{PositionView, WaitingRoomError};
use doorbuster_store::WaitingRoom;
use futures_util::stream::unfold;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};

use crate::App;
use crate::identity::{Buyer, ClientAddress};
use crate::limits::{EXPORT_PAGE, RETRY_SECS};
use crate::path_names::PathNames;
use crate::reply::{HandlerError, HandlerResult, csv_reply, empty, json, ok};
use crate::request_body::OptionalJsonBody;
use crate::sales::find_sale;

/// Caches may keep the draw only for a second, because the number of participants changes until the
/// draw closes.
const DRAW_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=1");

/// `POST /v1/sales/{sale}/waiting-room`
pub(crate) async fn enter(
    State(app): State<Arc<App>>,
    Buyer(buyer): Buyer,
    client: ClientAddress,
    PathNames([sale]): PathNames<1>,
    OptionalJsonBody(body): OptionalJsonBody<BODY_BYTES_MAX>,
) -> HandlerResult {
    let wanted = NewWaitingRoomPosition::from_json(&body)?;
    let sale = sale_with_room(&app, &sale).await?;
    let room = wanted_room(&sale, wanted.item.as_deref(), || FaultLocation::Body("/item".into()))?;
    if sale.row.phase == Phase::Closed {
        return Err(Problem::ended().into());
    }
    app.admit(Route::Room, client, &buyer, &sale).await?;
    let (is_new, shown) =
        app.gate.room.enter(&app.node, room, &buyer).await.map_err(room_problem)?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json(status, &position_view(room, shown)))
}

/// `GET /v1/sales/{sale}/waiting-room`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Buyer(buyer): Buyer,
    client: ClientAddress,
    PathNames([sale]): PathNames<1>,
    RawQuery(query): RawQuery,
) -> HandlerResult {
    let item = parse_room_item(query.as_deref().unwrap_or_default())?;
    let sale = sale_with_room(&app, &sale).await?;
    let room = queried_room(&sale, item.as_deref())?;
    app.admit(Route::Room, client, &buyer, &sale).await?;
    let found =
        app.gate.room.fetch_position(&app.node, room, &buyer).await.map_err(room_problem)?;
    let shown = found
        .ok_or_else(|| Problem::not_found("this buyer has no position in this waiting room"))?;
    ok(&position_view(room, shown))
}

/// `DELETE /v1/sales/{sale}/waiting-room`
pub(crate) async fn leave(
    State(app): State<Arc<App>>,
    Buyer(buyer): Buyer,
    client: ClientAddress,
    PathNames([sale]): PathNames<1>,
    RawQuery(query): RawQuery,
) -> HandlerResult {
    let item = parse_room_item(query.as_deref().unwrap_or_default())?;
    let sale = sale_with_room(&app, &sale).await?;
    let room = queried_room(&sale, item.as_deref())?;
    app.admit(Route::Room, client, &buyer, &sale).await?;
    app.gate.room.leave(room, &buyer).await.map_err(room_problem)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `GET /v1/sales/{sale}/draw`
pub(crate) async fn draw(
    State(app): State<Arc<App>>,
    PathNames([sale]): PathNames<1>,
    RawQuery(query): RawQuery,
) -> HandlerResult {
    let item = parse_room_item(query.as_deref().unwrap_or_default())?;
    let (_, row) = sale_with_draw(&app, &sale, item.as_deref()).await?;
    let drawn = row.line.participants;
    let draw = Draw {
        commitment: row.seed.commitment(),
        seed: drawn.map(|_| row.seed.text()),
        algorithm: ALGORITHM.to_owned(),
        participants: drawn.unwrap_or(row.line.entered),
        item: row.item_name,
    };
    let mut reply = json(StatusCode::OK, &draw);
    reply.headers_mut().insert(CACHE_CONTROL, DRAW_CACHE);
    Ok(reply)
}

/// The position of an export: the rank of the next line and, after the first line, the lot of the
/// previous line.
struct ExportPosition(u64, Option<DrawLot>);

/// `GET /v1/admin/sales/{sale}/draw.csv`
pub(crate) async fn export(
    State(app): State<Arc<App>>,
    PathNames([sale]): PathNames<1>,
    RawQuery(query): RawQuery,
) -> HandlerResult {
    let item = parse_room_item(query.as_deref().unwrap_or_default())?;
    let (sale, row) = sale_with_draw(&app, &sale, item.as_deref()).await?;
    if row.line.participants.is_none() {
        return Err(Problem::wrong_state(
            sale.row.phase.as_str(),
            "the draw is made when the sale opens",
        )
        .into());
    }
    let key = row.key;
    let body = axum::body::Body::from_stream(unfold(Some(ExportPosition(1, None)), move |at| {
        let (app, key) = (app.clone(), key.clone());
        async move {
            let ExportPosition(rank, after) = at?;
            let page = app.node.store().drawn_after(&key, after, EXPORT_PAGE).await;
            // The status is already sent, so the server cannot send an error. The server breaks the
            // connection to show the client that lines are missing.
            let page = match page {
                Ok(page) => page,
                Err(error) => return Some((Err(error), None)),
            };
            let next = (page.len() == EXPORT_PAGE).then(|| {
                ExportPosition(rank + page.len() as u64, page.last().map(|(lot, _)| *lot))
            });
            Some((Ok(export_lines(rank, &page)), next))
        }
    }));
    Ok(csv_reply("draw", body))
}

/// Returns one page of the export as CSV. The first page begins with a header line.
fn export_lines(first: u64, page: &[(DrawLot, BuyerId)]) -> Bytes {
    let mut lines = String::new();
    if first == 1 {
        lines.push_str("rank,buyer\r\n");
    }
    for (rank, (_, buyer)) in (first..).zip(page) {
        // A spreadsheet runs a cell that begins with a minus as a formula. An apostrophe before the
        // minus prevents this.
        let quote = if buyer.as_str().starts_with('-') { "'" } else { "" };
        lines.push_str(&format!("{rank},{quote}{buyer}\r\n"));
    }
    lines.into()
}

/// Returns the event with the buyer's position, or `None` if this node's memory does not have the
/// position.
pub(crate) fn position_event(app: &App, room: SaleRoom<'_>, buyer: &BuyerId) -> Option<Event> {
    let shown = app.gate.room.cached_position(&app.node, room, buyer)?;
    let WaitingRoomPosition { place, state, position, estimate_secs, admitted_until, item } =
        position_view(room, shown);
    Some(Event::WaitingRoom {
        sale: room.sale.row.id.clone(),
        item,
        place,
        state,
        position,
        estimate_secs,
        admitted_until,
    })
}

async fn sale_with_room(app: &App, name: &str) -> Result<Arc<SaleState>, Problem> {
    let sale = find_sale(app, name).await?;
    if sale.front_door.waiting_room.is_off() {
        return Err(no_room());
    }
    Ok(sale)
}

/// Returns the waiting room that a request is about. If the sale has one room, `item` is ignored.
/// If each item has its own room, the request must name an item.
///
/// # Errors
///
/// `422` if the item is missing; `404` if the sale has no such item.
pub(crate) fn wanted_room<'a>(
    sale: &'a SaleState,
    item: Option<&str>,
    place: impl FnOnce() -> FaultLocation,
) -> Result<SaleRoom<'a>, Problem> {
    if let Some(whole) = sale.rooms().find(|room| room.item.is_none()) {
        return Ok(whole);
    }
    let name = item.ok_or_else(|| {
        let detail = "is missing; each item of this sale has a waiting room";
        Problem::invalid_request(vec![Fault::new(place(), detail)])
    })?;
    let item = sale.item(name).ok_or_else(|| Problem::not_found("the sale has no such item"))?;
    Ok(sale.room_of(item))
}

fn queried_room<'a>(sale: &'a SaleState, item: Option<&str>) -> Result<SaleRoom<'a>, Problem> {
    wanted_room(sale, item, || FaultLocation::Query("item".into()))
}

/// Returns the sale and its waiting room's row. The row is kept even if the room is switched off
/// later, because anyone may verify the draw at any time.
async fn sale_with_draw(
    app: &App,
    name: &str,
    item: Option<&str>,
) -> Result<(Arc<SaleState>, WaitingRoom), HandlerError> {
    let sale = find_sale(app, name).await?;
    let rooms = &app.gate.room;
    let has_room = !sale.front_door.waiting_room.is_off();
    let first = sale.rooms().next().filter(|_| !has_room);
    if let Some(room) = first
        && !rooms.had_room(&app.node, room).await.map_err(room_problem)?
    {
        return Err(no_room().into());
    }
    let room = queried_room(&sale, item)?;
    let row = rooms.draw(&app.node, room).await.map_err(room_problem)?;
    Ok((sale, row))
}

fn no_room() -> Problem {
    Problem::not_found("this sale has no waiting room")
}

fn position_view(room: SaleRoom<'_>, shown: PositionView) -> WaitingRoomPosition {
    let (state, position, until) = match shown.status {
        VisitorStatus::NotDrawn => (WaitingRoomPositionState::Before, None, None),
        VisitorStatus::Waiting(position) => {
            (WaitingRoomPositionState::Waiting, Some(position), None)
        }
        VisitorStatus::Admitted(until) => (WaitingRoomPositionState::Admitted, None, Some(until)),
        VisitorStatus::BeyondStock(position) => {
            (WaitingRoomPositionState::Gone, (position > 0).then_some(position), None)
        }
        // The API shows a lapsed position as `gone`.
        VisitorStatus::Lapsed => (WaitingRoomPositionState::Gone, None, None),
    };
    let estimate_secs =
        shown.estimate.map(|it| EstimateSecs { from: it.from_secs, to: it.to_secs });
    WaitingRoomPosition {
        place: shown.token,
        state,
        position,
        estimate_secs,
        admitted_until: until.map(api_conversion::time),
        item: room.item_name().map(str::to_owned),
    }
}

/// Returns the problem for a request that failed in the waiting room.
pub(crate) fn room_problem(error: WaitingRoomError) -> HandlerError {
    match error {
        WaitingRoomError::Busy => Problem::overloaded(RETRY_SECS).into(),
        WaitingRoomError::Store(error) => error.into(),
    }
}
