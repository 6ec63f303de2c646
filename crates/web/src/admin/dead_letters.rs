//! Shows, retries and discards dead letters. The dead letters of deliveries, refunds and tickets
//! are in one list.

use std::sync::Arc;

use axum::extract::{RawQuery, Request, State};
use doorbuster_api::admin::dead_letters::{
    BulkDeadLetterResolution, DeadLetter as DeadLetterView, DeadLetterDetail, DeadLetterKind,
    DeadLetterList, DeadLetterResolution, DeadLetterResolutionState, DeadLetterSelection, Discard,
    UndecidedRequest,
};
use doorbuster_api::limits::ADMIN_BODY_BYTES_MAX;
use doorbuster_api::problem::Problem;
use doorbuster_api::query::DeadLetterQuery;
use doorbuster_core::TicketId;
use doorbuster_core::limits::DELIVERIES_PENDING_MAX;
use doorbuster_core::money::RefundId;
use doorbuster_engine::api_conversion;
use doorbuster_outbox::visible_event_id;
use doorbuster_store::{
    DeadLetter, DeadLetterContent, DeadLetterId, DeadLetterOutcome, EventRead, NewAction, recorded,
};
use serde_json::Value;

use super::webhook_endpoints;
use crate::App;
use crate::cursor::{self, List};
use crate::identity::{OperatorIdentity, OperatorRequest};
use crate::path_names::PathNames;
use crate::reply::{HandlerError, HandlerResult, ok};
use crate::request_body::{self, JsonBody, OptionalJsonBody};

/// `GET /v1/admin/dead-letters`
pub(crate) async fn list(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> HandlerResult {
    let query = DeadLetterQuery::for_operator(query.as_deref().unwrap_or_default())?;
    let (found, next_cursor) = letters_page(&app, &query).await?;
    let dead_letters = found.iter().map(letter_view).collect();
    ok(&DeadLetterList { dead_letters, next_cursor })
}

async fn letters_page(
    app: &App,
    query: &DeadLetterQuery,
) -> Result<(Vec<DeadLetter>, Option<String>), HandlerError> {
    let limit = query.page.limit as usize;
    let from = cursor::position(List::DeadLetters, query.page.cursor.as_deref())?;
    // The cursor contains the kind with which this page begins, and a position within this kind.
    let (first, mut after) = match &from {
        Some((position, kind)) => (DeadLetterKind::parse(kind), Some(*position)),
        None => (None, None),
    };
    let mut all: Vec<DeadLetter> = Vec::new();
    let mut next_cursor = None;
    let begun = |kind: &DeadLetterKind| first.is_none_or(|first| *kind as u8 >= first as u8);
    for kind in DeadLetterKind::ALL
        .into_iter()
        .filter(begun)
        .filter(|kind| query.kind.is_none_or(|only| only == *kind))
    {
        let room = limit - all.len();
        if room == 0 {
            next_cursor = Some(cursor::cursor(List::DeadLetters, i64::MAX, kind.as_str()));
            break;
        }
        let page = app.node.store().list_dead_letters(kind, after.take(), room).await?;
        all.extend(page.rows);
        if let Some(position) = page.next {
            next_cursor = Some(cursor::cursor(List::DeadLetters, position, kind.as_str()));
            break;
        }
    }
    Ok((all, next_cursor))
}

/// `GET /v1/admin/dead-letters/{letter}`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    PathNames([letter]): PathNames<1>,
) -> HandlerResult {
    let id = parse_id(&letter)?;
    let (dead, held) = app.node.store().dead_letter(id).await?.ok_or_else(no_letter)?;
    let mut detail =
        DeadLetterDetail { letter: letter_view(&dead), message: None, refund: None, request: None };
    match held {
        DeadLetterContent::Event(read) => detail.message = message(&app, read.as_deref()).await,
        DeadLetterContent::Refund(refund) => detail.refund = Some(api_conversion::refund(&refund)),
        DeadLetterContent::Request { item, buyer, units } => {
            let catalogue = app.node.catalogue();
            detail.request = catalogue.item_by_id(item).map(|item| UndecidedRequest {
                sale: item.sale.to_string(),
                item: item.row.name.clone(),
                buyer,
                units,
            });
        }
    }
    ok(&detail)
}

/// Returns the JSON that the server sends for an event, or `None` if the event cannot be read.
async fn message(app: &App, read: Option<&EventRead>) -> Option<Value> {
    let message = app.outbox.message(read?.as_ref().ok()?).await?;
    serde_json::from_slice(&message.body).ok()
}

/// `POST /v1/admin/dead-letters/retry`
pub(crate) async fn retry_many(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    RawQuery(query): RawQuery,
    JsonBody(body): JsonBody<ADMIN_BODY_BYTES_MAX>,
) -> HandlerResult {
    let which = DeadLetterSelection::parse_retry(&body)?;
    handle_many(&app, &by, query.as_deref(), &which).await
}

/// `POST /v1/admin/dead-letters/discard`
pub(crate) async fn discard_many(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    RawQuery(query): RawQuery,
    JsonBody(body): JsonBody<ADMIN_BODY_BYTES_MAX>,
) -> HandlerResult {
    let which = DeadLetterSelection::parse_discard(&body)?;
    handle_many(&app, &by, query.as_deref(), &which).await
}

/// Discards the selected dead letters of one page if the request has a reason. If the request has
/// no reason, retries these dead letters.
async fn handle_many(
    app: &App,
    by: &OperatorRequest,
    query: Option<&str>,
    which: &DeadLetterSelection,
) -> HandlerResult {
    let query = DeadLetterQuery::for_operator(query.unwrap_or_default())?;
    if let Some(endpoint) = &which.endpoint {
        webhook_endpoints::find(app, endpoint).await?;
    }
    let (found, next_cursor) = letters_page(app, &query).await?;
    let (store, mut result) =
        (app.node.store(), BulkDeadLetterResolution { done: 0, skipped: 0, next_cursor });
    let is_meant = |dead: &DeadLetter| match (&which.endpoint, &dead.delivery) {
        (Some(wanted), Some((endpoint, ..))) => wanted == endpoint,
        (Some(_), None) => false,
        (None, _) => true,
    };
    for dead in found.into_iter().filter(is_meant) {
        let is_done = match &which.reason {
            Some(reason) => {
                let action = discarding(by, &shown_id(&dead.id), reason);
                let discard = store.discard_dead_letter(dead.id, reason.clone());
                recorded(action, discard).await?
            }
            None => {
                let action = retrying(by, &shown_id(&dead.id));
                let retry = store.retry_dead_letter(dead.id, DELIVERIES_PENDING_MAX);
                let retried = recorded(action, retry).await?;
                retried == DeadLetterOutcome::Done
            }
        };
        if is_done {
            result.done += 1;
        } else {
            result.skipped += 1;
        }
    }
    if which.reason.is_none() {
        app.outbox.notify_workers();
        app.payments.wake_refunds();
    }
    ok(&result)
}

/// `POST /v1/admin/dead-letters/{letter}/retry`
pub(crate) async fn retry(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    PathNames([letter]): PathNames<1>,
    request: Request,
) -> HandlerResult {
    request_body::no_body(request, ADMIN_BODY_BYTES_MAX).await?;
    let id = parse_id(&letter)?;
    let retry = app.node.store().retry_dead_letter(id.clone(), DELIVERIES_PENDING_MAX);
    match recorded(retrying(&by, &letter), retry).await? {
        DeadLetterOutcome::Done => {}
        DeadLetterOutcome::NotFound => return Err(no_letter().into()),
        DeadLetterOutcome::Gone => {
            let detail = "this dead letter cannot be retried: its ticket's units were returned, or \
                          its event was deleted; discard the dead letter";
            return Err(Problem::wrong_state("gone", detail).into());
        }
        DeadLetterOutcome::Full => {
            return Err(Problem::wrong_state(
                "full",
                "the endpoint of this dead letter has the maximum number of waiting events; try again later",
            )
            .into());
        }
    }
    match id {
        DeadLetterId::Delivery(_) => app.outbox.notify_workers(),
        DeadLetterId::Refund(_) => app.payments.wake_refunds(),
        DeadLetterId::Ticket(_) => {}
    }
    ok(&DeadLetterResolution { id: letter, state: DeadLetterResolutionState::Pending })
}

/// `POST /v1/admin/dead-letters/{letter}/discard`
pub(crate) async fn discard(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    PathNames([letter]): PathNames<1>,
    OptionalJsonBody(body): OptionalJsonBody<ADMIN_BODY_BYTES_MAX>,
) -> HandlerResult {
    let Discard { reason } = Discard::from_json(&body)?;
    let discard = app.node.store().discard_dead_letter(parse_id(&letter)?, reason.clone());
    if !recorded(discarding(&by, &letter, &reason), discard).await? {
        return Err(no_letter().into());
    }
    ok(&DeadLetterResolution { id: letter, state: DeadLetterResolutionState::Discarded })
}

fn retrying(by: &OperatorRequest, letter: &str) -> NewAction {
    by.action("dead_letter.retried", "dead_letter", letter)
}

fn discarding(by: &OperatorRequest, letter: &str, reason: &str) -> NewAction {
    by.action_because("dead_letter.discarded", "dead_letter", letter, Some(reason))
}

fn no_letter() -> Problem {
    Problem::not_found("there is no such dead letter, or it is resolved")
}

pub(super) fn delivery_id(seq: i64) -> String {
    format!("dlv_{seq}")
}

fn shown_id(id: &DeadLetterId) -> String {
    match id {
        DeadLetterId::Delivery(seq) => delivery_id(*seq),
        DeadLetterId::Refund(id) => id.0.clone(),
        DeadLetterId::Ticket(id) => id.to_string(),
    }
}

/// Parses the id of a dead letter. The id's prefix says whether the dead letter is a delivery, a
/// refund or a ticket.
fn parse_id(text: &str) -> Result<DeadLetterId, Problem> {
    let delivery = |digits: &str| {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| plain).map(DeadLetterId::Delivery)
    };
    let found = match text.split_once('_') {
        Some(("dlv", digits)) => delivery(digits),
        Some(("ref", _)) => Some(DeadLetterId::Refund(RefundId(text.to_owned()))),
        _ => TicketId::parse(text).map(DeadLetterId::Ticket),
    };
    found.ok_or_else(no_letter)
}

fn letter_view(dead: &DeadLetter) -> DeadLetterView {
    let (endpoint, event, what) = match &dead.delivery {
        Some((endpoint, position, event)) => {
            let id = visible_event_id(*position, event.as_ref(), &dead.about);
            (Some(endpoint.clone()), Some(id), event.as_ref().map(|(what, _)| what.clone()))
        }
        None => (None, None, None),
    };
    DeadLetterView {
        id: shown_id(&dead.id),
        kind: dead.id.kind(),
        about: dead.about.clone(),
        error: dead.reason.clone(),
        tries: dead.tries,
        at: api_conversion::time(dead.at),
        endpoint,
        event,
        what,
    }
}
