//! The endpoints of the waiting room and of its draw.

use std::sync::Arc;

use axum::extract::State;
use bytes::Bytes;
use doorbuster_api::event::Event;
use doorbuster_api::gate::{Draw, EstimateSecs, WaitingRoomPosition, WaitingRoomPositionState};
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_api::problem::Problem;
use doorbuster_core::gate::draw::{ALGORITHM, DrawLot};
use doorbuster_core::gate::room::VisitorStatus;
use doorbuster_core::{BuyerId, Phase};
use doorbuster_store::WaitingRoom;
use futures_util::stream::unfold;
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};

use crate::catalogue::SaleState;
use crate::gate::Route;
use crate::gate::waiting_room::{PositionView, WaitingRoomError};
use crate::web::App;
use crate::web::failure::failed;
use crate::web::identity::{Buyer, ClientAddress};
use crate::web::limits::{EXPORT_PAGE, RETRY_SECS};
use crate::web::path_names::PathNames;
use crate::web::reply::{HandlerError, HandlerResult, ReplyBody, empty, json};
use crate::web::request_body;
use crate::web::sales::find_sale;
use crate::web::wire;

/// How long the number of participants of a draw may be cached, in seconds.
const DRAW_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=1");

/// `POST /v1/sales/{sale}/waiting-room`
pub(crate) async fn enter(
    State(app): State<Arc<App>>,
    Buyer(buyer): Buyer,
    client: ClientAddress,
    PathNames([sale]): PathNames<1>,
    request: axum::extract::Request,
) -> HandlerResult {
    request_body::no_body(request, BODY_BYTES_MAX).await?;
    let sale = sale_with_room(&app, &sale).await?;
    if sale.row.phase == Phase::Closed {
        return Err(Problem::ended().into());
    }
    app.admit(Route::Room, client, &buyer, &sale).await?;
    let (is_new, shown) =
        app.gate.room.enter(&app.engine, &sale, &buyer).await.map_err(room_problem)?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json(status, &position_view(shown)))
}

/// `GET /v1/sales/{sale}/waiting-room`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Buyer(buyer): Buyer,
    client: ClientAddress,
    PathNames([sale]): PathNames<1>,
) -> HandlerResult {
    let sale = sale_with_room(&app, &sale).await?;
    app.admit(Route::Room, client, &buyer, &sale).await?;
    let found =
        app.gate.room.fetch_position(&app.engine, &sale, &buyer).await.map_err(room_problem)?;
    let shown = found
        .ok_or_else(|| Problem::not_found("this buyer has no position in this waiting room"))?;
    Ok(json(StatusCode::OK, &position_view(shown)))
}

/// `DELETE /v1/sales/{sale}/waiting-room`
pub(crate) async fn leave(
    State(app): State<Arc<App>>,
    Buyer(buyer): Buyer,
    client: ClientAddress,
    PathNames([sale]): PathNames<1>,
) -> HandlerResult {
    let sale = sale_with_room(&app, &sale).await?;
    app.admit(Route::Room, client, &buyer, &sale).await?;
    app.gate.room.leave(&sale, &buyer).await.map_err(room_problem)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `GET /v1/sales/{sale}/draw`
pub(crate) async fn draw(
    State(app): State<Arc<App>>,
    PathNames([sale]): PathNames<1>,
) -> HandlerResult {
    let (_, room) = sale_with_draw(&app, &sale).await?;
    let drawn = room.line.participants;
    let draw = Draw {
        commitment: room.seed.commitment(),
        seed: drawn.map(|_| room.seed.text()),
        algorithm: ALGORITHM.to_owned(),
        participants: drawn.unwrap_or(room.line.entered),
    };
    let mut reply = json(StatusCode::OK, &draw);
    reply.headers_mut().insert(CACHE_CONTROL, DRAW_CACHE);
    Ok(reply)
}

/// Where an export continues: the rank of the next line, and the lot of the last line.
struct ExportPosition(u64, Option<DrawLot>);

/// `GET /v1/admin/sales/{sale}/draw.csv`
pub(crate) async fn export(
    State(app): State<Arc<App>>,
    PathNames([sale]): PathNames<1>,
) -> HandlerResult {
    let (sale, room) = sale_with_draw(&app, &sale).await?;
    if room.line.participants.is_none() {
        return Err(Problem::wrong_state(
            sale.row.phase.as_str(),
            "the draw is made when the sale opens",
        )
        .into());
    }
    let name: Arc<str> = sale.row.id.as_str().into();
    let body = axum::body::Body::from_stream(unfold(Some(ExportPosition(1, None)), move |at| {
        let (app, name) = (app.clone(), name.clone());
        async move {
            let ExportPosition(rank, after) = at?;
            let page = app.engine.store().drawn_after(&name, after, EXPORT_PAGE).await;
            // The status was sent already. Only a broken connection tells the client that lines are
            // missing.
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
    let mut reply = Response::new(ReplyBody::Routed(body));
    let headers = reply.headers_mut();
    headers
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present"));
    headers
        .insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"draw.csv\""));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(reply)
}

/// Writes the participants of one page, from rank `first` on. The first page begins with the header
/// line.
fn export_lines(first: u64, page: &[(DrawLot, BuyerId)]) -> Bytes {
    let mut lines = String::new();
    if first == 1 {
        lines.push_str("rank,buyer\r\n");
    }
    for (rank, (_, buyer)) in (first..).zip(page) {
        // A spreadsheet would run a cell that begins with a minus as a formula.
        let quote = if buyer.as_str().starts_with('-') { "'" } else { "" };
        lines.push_str(&format!("{rank},{quote}{buyer}\r\n"));
    }
    lines.into()
}

/// Returns the event about a buyer's position. `None`: this node does not know the position.
pub(crate) fn position_event(app: &App, sale: &SaleState, buyer: &BuyerId) -> Option<Event> {
    let shown = app.gate.room.cached_position(&app.engine, sale, buyer)?;
    let WaitingRoomPosition { place, state, position, estimate_secs, admitted_until } =
        position_view(shown);
    Some(Event::WaitingRoom {
        sale: sale.row.id.clone(),
        place,
        state,
        position,
        estimate_secs,
        admitted_until,
    })
}

/// Returns the sale with this name, if the sale has a waiting room.
async fn sale_with_room(app: &App, name: &str) -> Result<Arc<SaleState>, Problem> {
    let sale = find_sale(app, name).await?;
    if sale.front_door.waiting_room.is_off() {
        return Err(no_room());
    }
    Ok(sale)
}

/// Returns the sale with this name and its waiting room, if the sale has or had one. Anyone may
/// verify a draw at any later time.
async fn sale_with_draw(
    app: &App,
    name: &str,
) -> Result<(Arc<SaleState>, WaitingRoom), HandlerError> {
    let sale = find_sale(app, name).await?;
    if sale.front_door.waiting_room.is_off()
        && !app.gate.room.was_open(&app.engine, &sale).await.map_err(room_problem)?
    {
        return Err(no_room().into());
    }
    let room = app.gate.room.draw(&app.engine, &sale).await.map_err(room_problem)?;
    Ok((sale, room))
}

fn no_room() -> Problem {
    Problem::not_found("this sale has no waiting room")
}

fn position_view(shown: PositionView) -> WaitingRoomPosition {
    let (state, position, until) = match shown.status {
        VisitorStatus::NotDrawn => (WaitingRoomPositionState::Before, None, None),
        VisitorStatus::Waiting(position) => {
            (WaitingRoomPositionState::Waiting, Some(position), None)
        }
        VisitorStatus::Admitted(until) => (WaitingRoomPositionState::Admitted, None, Some(until)),
        VisitorStatus::BeyondStock(position) => {
            (WaitingRoomPositionState::Gone, (position > 0).then_some(position), None)
        }
        // A lapsed position is shown as gone.
        VisitorStatus::Lapsed => (WaitingRoomPositionState::Gone, None, None),
    };
    let estimate_secs =
        shown.estimate.map(|it| EstimateSecs { from: it.from_secs, to: it.to_secs });
    WaitingRoomPosition {
        place: shown.token,
        state,
        position,
        estimate_secs,
        admitted_until: until.map(wire::time),
    }
}

/// Returns the problem for a waiting room that cannot serve the request.
pub(crate) fn room_problem(error: WaitingRoomError) -> HandlerError {
    match error {
        WaitingRoomError::Busy => Problem::overloaded(RETRY_SECS).into(),
        WaitingRoomError::Store(error) => failed(error),
    }
}
