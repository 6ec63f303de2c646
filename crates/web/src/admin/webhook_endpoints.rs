//! Adds, changes and removes the endpoints that receive events, lists their deliveries, and sends
//! an event again.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorbuster_api::admin::webhooks::{
    CreatedWebhookEndpoint, Delivery, DeliveryList, DeliveryState, LiveSecret, NewWebhookEndpoint,
    Redelivery, SecretRotation, WebhookEndpoint, WebhookEndpointList, WebhookEndpointPatch,
};
use doorbuster_api::limits::ADMIN_BODY_BYTES_MAX;
use doorbuster_api::notification::{event_position, names_event};
use doorbuster_api::problem::Problem;
use doorbuster_api::query::DeliveryQuery;
use doorbuster_base::signing::format_secret;
use doorbuster_core::limits::DELIVERIES_PENDING_MAX;
use doorbuster_core::outbox::EventFilter;
use doorbuster_engine::api_conversion;
use doorbuster_outbox::{ENDPOINTS_MAX, SECRETS_MAX, event_id, shown_address, visible_event_id};
use doorbuster_store::{
    self as store, EndpointChange, EndpointKind, EndpointSecret, EndpointStatus, FieldChange,
    NewAction, NewEndpoint, Rotation, recorded,
};
use http::StatusCode;

use crate::App;
use crate::cursor::{self, List};
use crate::identity::OperatorIdentity;
use crate::path_names::PathNames;
use crate::reply::{HandlerResult, empty, json, ok};
use crate::request_body::{JsonBody, MergePatchBody, OptionalJsonBody};

const SECRET_BYTES: usize = 32;

/// `GET /v1/admin/webhook-endpoints`
pub(crate) async fn list(State(app): State<Arc<App>>) -> HandlerResult {
    let endpoints = app.node.store().endpoints().await?;
    let statuses = app.node.store().endpoint_statuses().await?;
    let shown = |endpoint: &store::Endpoint| {
        endpoint_view(&app, endpoint, statuses.iter().find(|status| status.endpoint == endpoint.id))
    };
    ok(&WebhookEndpointList { endpoints: endpoints.iter().map(shown).collect() })
}

/// `GET /v1/admin/webhook-endpoints/{endpoint}`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    PathNames([id]): PathNames<1>,
) -> HandlerResult {
    let endpoint = find(&app, &id).await?;
    endpoint_reply(&app, &endpoint).await
}

/// `POST /v1/admin/webhook-endpoints`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    JsonBody(body): JsonBody<ADMIN_BODY_BYTES_MAX>,
) -> HandlerResult {
    let wanted = NewWebhookEndpoint::from_json(&body)?;
    let (kind, url) = address(&app, &wanted.url).await?;
    let secret = (kind == EndpointKind::Webhook)
        .then(|| format_secret(&rand::random::<[u8; SECRET_BYTES]>()));
    let new = NewEndpoint {
        id: format!("end_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 9]>())),
        kind,
        url,
        wanted: EventFilter::from_words(wanted.types),
        secret: secret.clone().map(|secret| EndpointSecret { secret, until: None }),
        enabled: wanted.enabled,
    };
    let action = by.action("endpoint.created", "endpoint", &new.id);
    let Some(endpoint) =
        recorded(action, app.node.store().insert_endpoint(new, ENDPOINTS_MAX)).await?
    else {
        let detail =
            format!("the limit of {ENDPOINTS_MAX} endpoints is reached; delete an endpoint first");
        return Err(Problem::wrong_state("full", detail).into());
    };
    app.outbox.notify_workers();
    Ok(json(StatusCode::CREATED, &created_view(&endpoint, secret)))
}

/// `PATCH /v1/admin/webhook-endpoints/{endpoint}`
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    PathNames([id]): PathNames<1>,
    MergePatchBody(body): MergePatchBody,
) -> HandlerResult {
    let patch = WebhookEndpointPatch::from_json(&body)?;
    let endpoint = find(&app, &id).await?;
    let url = match &patch.url {
        Some(url) => Some(address_of(&app, endpoint.kind, url).await?),
        None => None,
    };
    let change = EndpointChange {
        url,
        wanted: patch.types.map(EventFilter::from_words),
        enabled: patch.enabled,
        rotate: None,
    };
    let action = by.action("endpoint.changed", "endpoint", &id);
    let changed = app.node.store().update_endpoint(&id, change);
    let endpoint = recorded(action, changed).await?.ok_or_else(no_endpoint)?;
    app.outbox.notify_workers_and_wait().await;
    endpoint_reply(&app, &endpoint).await
}

/// `DELETE /v1/admin/webhook-endpoints/{endpoint}`
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    PathNames([id]): PathNames<1>,
) -> HandlerResult {
    find(&app, &id).await?;
    let delete = app.node.store().delete_endpoint(&id);
    let action = by.action("endpoint.deleted", "endpoint", &id);
    if !recorded(action, delete).await? {
        return Err(no_endpoint().into());
    }
    app.outbox.notify_workers_and_wait().await;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `POST /v1/admin/webhook-endpoints/{endpoint}/rotate-secret`
pub(crate) async fn rotate(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    PathNames([id]): PathNames<1>,
    OptionalJsonBody(body): OptionalJsonBody<ADMIN_BODY_BYTES_MAX>,
) -> HandlerResult {
    let SecretRotation { overlap_secs } = SecretRotation::from_json(&body)?;
    if find(&app, &id).await?.kind == EndpointKind::Broker {
        return Err(Problem::wrong_state(
            "broker",
            "a broker has no secret, because messages to a broker are not signed",
        )
        .into());
    }
    let secret = format_secret(&rand::random::<[u8; SECRET_BYTES]>());
    let old_until = app.node.now().plus(i64::from(overlap_secs) * 1_000);
    let rotation = Rotation {
        secret: EndpointSecret { secret: secret.clone(), until: None },
        old_until,
        keep: SECRETS_MAX,
    };
    let change = EndpointChange { rotate: Some(rotation), ..EndpointChange::default() };
    let action = NewAction {
        changes: vec![FieldChange::set("/old_secrets_expire_at", old_until.0)],
        ..by.action("endpoint.secret_rotated", "endpoint", &id)
    };
    let changed = app.node.store().update_endpoint(&id, change);
    let endpoint = recorded(action, changed).await?.ok_or_else(no_endpoint)?;
    app.outbox.notify_workers_and_wait().await;
    ok(&created_view(&endpoint, Some(secret)))
}

/// `GET /v1/admin/webhook-endpoints/{endpoint}/deliveries`
pub(crate) async fn deliveries(
    State(app): State<Arc<App>>,
    PathNames([id]): PathNames<1>,
    RawQuery(query): RawQuery,
) -> HandlerResult {
    let query = DeliveryQuery::for_operator(query.as_deref().unwrap_or_default())?;
    let after = cursor::position(List::Deliveries, query.page.cursor.as_deref())?
        .map(|(position, _)| position);
    find(&app, &id).await?;
    let state = query.state;
    let filter =
        store::DeliveryQuery { endpoint: id, state, after, limit: query.page.limit as usize };
    let page = app.node.store().deliveries(filter).await?;
    let next_cursor = page.next.map(|position| cursor::cursor(List::Deliveries, position, ""));
    ok(&DeliveryList { deliveries: page.rows.iter().map(delivery_view).collect(), next_cursor })
}

/// `POST /v1/admin/webhook-endpoints/{endpoint}/deliveries`
pub(crate) async fn redeliver(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    PathNames([id]): PathNames<1>,
    JsonBody(body): JsonBody<ADMIN_BODY_BYTES_MAX>,
) -> HandlerResult {
    let wanted = Redelivery::from_json(&body)?;
    let position = event_position(&wanted.event).expect("the parser accepts only ids of events");
    // If the event at this position has a different id, the requested event does not exist any
    // more. The requested event may have been lost in a failover.
    if let Some(Ok(event)) = app.node.store().event_at(position).await?
        && !names_event(&wanted.event, &event_id(&event))
    {
        return Err(no_event().into());
    }
    let action = NewAction {
        changes: vec![FieldChange::set("/event", wanted.event.as_str())],
        ..by.action("endpoint.redelivered", "endpoint", &id)
    };
    let redeliver = app.node.store().redeliver(&id, position, DELIVERIES_PENDING_MAX);
    let done = recorded(action, redeliver).await?;
    match done {
        store::Redelivery::Done => {}
        store::Redelivery::NoEndpoint => return Err(no_endpoint().into()),
        store::Redelivery::NoEvent => return Err(no_event().into()),
        store::Redelivery::Ahead => {
            return Err(Problem::wrong_state(
                "waiting",
                "the event still waits for its first attempt; send it again after that attempt",
            )
            .into());
        }
        store::Redelivery::Full => {
            return Err(Problem::wrong_state(
                "full",
                "this endpoint has the maximum number of waiting events; try again later",
            )
            .into());
        }
    }
    app.outbox.notify_workers();
    Ok(json(StatusCode::ACCEPTED, &wanted))
}

fn no_event() -> Problem {
    Problem::not_found("there is no such event, or it was deleted")
}

fn no_endpoint() -> Problem {
    Problem::not_found("there is no such endpoint")
}

pub(super) async fn find(
    app: &App,
    id: &str,
) -> Result<store::Endpoint, crate::reply::HandlerError> {
    let endpoints = app.node.store().endpoints().await?;
    let found = endpoints.into_iter().find(|row| row.id == id);
    Ok(found.ok_or_else(no_endpoint)?)
}

async fn endpoint_reply(app: &App, endpoint: &store::Endpoint) -> HandlerResult {
    let statuses = app.node.store().endpoint_statuses().await?;
    let status = statuses.iter().find(|status| status.endpoint == endpoint.id);
    ok(&endpoint_view(app, endpoint, status))
}

/// Returns the endpoint's kind (webhook or broker), and its address in canonical form.
async fn address(app: &App, text: &str) -> Result<(EndpointKind, String), Problem> {
    app.outbox.check(text).await.map_err(address_problem)
}

/// Returns the new address in canonical form. Refuses an address of another kind: a webhook
/// endpoint has a secret and a broker has none, so an endpoint cannot change its kind.
async fn address_of(app: &App, kind: EndpointKind, text: &str) -> Result<String, Problem> {
    match address(app, text).await? {
        (found, url) if found == kind => Ok(url),
        _ => Err(address_problem("the kind of an endpoint cannot change; add another endpoint")),
    }
}

fn address_problem(why: &'static str) -> Problem {
    Problem::invalid_member("/url", why)
}

fn created_view(endpoint: &store::Endpoint, secret: Option<String>) -> CreatedWebhookEndpoint {
    CreatedWebhookEndpoint {
        id: endpoint.id.clone(),
        kind: endpoint.kind,
        secret,
        url: shown_address(endpoint),
        types: endpoint.wanted.words(),
        enabled: endpoint.enabled,
        created_at: api_conversion::time(endpoint.created_at),
    }
}

fn endpoint_view(
    app: &App,
    endpoint: &store::Endpoint,
    status: Option<&EndpointStatus>,
) -> WebhookEndpoint {
    let now = app.node.now();
    let live =
        endpoint.secrets.iter().filter(|secret| secret.until.is_none_or(|until| now < until));
    WebhookEndpoint {
        id: endpoint.id.clone(),
        kind: endpoint.kind,
        url: shown_address(endpoint),
        types: endpoint.wanted.words(),
        enabled: endpoint.enabled,
        created_at: api_conversion::time(endpoint.created_at),
        secrets: live
            .map(|secret| LiveSecret { signs_until: secret.until.map(api_conversion::time) })
            .collect(),
        waiting: status.map_or(0, |status| status.waiting),
        failing: status.map_or(0, |status| status.pending),
        dead: status.map_or(0, |status| status.dead),
        oldest_waiting_at: status.and_then(|status| status.oldest_at).map(api_conversion::time),
    }
}

fn delivery_view(row: &store::Delivery) -> Delivery {
    let is = |state| row.state == state;
    Delivery {
        event: visible_event_id(row.position, row.event.as_ref(), &row.about),
        what: row.event.as_ref().map(|(what, _)| what.clone()),
        about: row.about.clone(),
        state: row.state,
        tries: row.tries,
        next_try_at: is(DeliveryState::Pending)
            .then(|| api_conversion::time(row.next_at.max(row.at))),
        error: row.error.clone(),
        reason: row.why.clone(),
        since: api_conversion::time(row.at),
        dead_letter: is(DeliveryState::Dead).then(|| super::dead_letters::delivery_id(row.seq)),
    }
}
