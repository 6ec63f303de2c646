//! Builds a router from the table of endpoints. Each endpoint gets its handler and a guard that
//! checks the caller. The routes of pages, assets and guests are added separately.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use doorbuster_api::endpoints::{Auth, Endpoint, EndpointGroup, Method};
use doorbuster_api::header::accepts;
use doorbuster_api::problem::Problem;
use doorbuster_auth::Operator;
use doorbuster_core::BuyerId;
use doorbuster_engine::error::EngineError;
use doorbuster_store::StoreError;
use doorbuster_telemetry::metrics::{RouteIndex, route_index};
use http::HeaderValue;
use http::header::{ACCEPT, CACHE_CONTROL, LOCATION};

use super::identity::{
    Buyer, BuyerMembership, ClientAddress, OperatorIdentity, OperatorRequest, TokenExpiry,
};
use super::rate_limits::LimitedRequest;
use super::reply::{HandlerError, NothingChanged, not_served};
use super::request_id::{REQUEST_ID, request_id};
use super::routes::{self, Route};
use super::{App, pages};

/// Builds the router. `dispatch` passes purchases directly to their handler. The router contains
/// the path of purchases for one reason: on this path, it refuses all methods except `POST`.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    for (endpoint, Route { handler, checks_caller }) in routes::handlers().rows() {
        let guarded = GuardedEndpoint { endpoint, checks_caller, index: route_index(endpoint.id) };
        let guard = middleware::from_fn_with_state((app.clone(), guarded), guard);
        let route = on(method_filter(endpoint.method), handler);
        router = router.route(endpoint.path, route.layer(guard));
    }
    for (path, name, handler) in pages::routes(app) {
        router = router.route(
            path,
            handler.layer(middleware::map_response_with_state(route_index(name), mark_route)),
        );
    }
    router
        .fallback(pages::fallback)
        .method_not_allowed_fallback(|| async { HandlerError::from(Problem::method_not_allowed()) })
        .with_state(app.clone())
}

fn method_filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Patch => MethodFilter::PATCH,
        Method::Delete => MethodFilter::DELETE,
    }
}

/// What the guard of an endpoint needs to know. The guard runs before the handler.
#[derive(Clone, Copy)]
struct GuardedEndpoint {
    endpoint: &'static Endpoint,
    /// If `true`, the guard does not check the caller's identity, because the handler does.
    checks_caller: bool,
    index: RouteIndex,
}

/// Runs before each handler. Checks that the client accepts the endpoint's media type, and that the
/// caller has the required identity. Then runs the handler, and adds headers to its response.
async fn guard(
    State((app, guarded)): State<(Arc<App>, GuardedEndpoint)>,
    mut request: Request,
    next: Next,
) -> Response {
    let endpoint = guarded.endpoint;
    let checked = check(&app, guarded, &mut request).await;
    let operator = request.extensions().get::<OperatorIdentity>().cloned();
    let subject =
        is_operator_change(endpoint).then(|| subject(endpoint.path, request.uri().path()));
    let id = has_request_id(endpoint).then(|| request_id(request.headers()));
    let (limited, request) = LimitedRequest::from_request(endpoint.path, request).await;
    let mut response = match checked {
        Ok(()) if is_operator_change(endpoint) => run_to_completion(&app, next.run(request)).await,
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    if let Some(limited) = limited {
        limited.add_status_headers(&app, &mut response);
    }
    if let Some(OperatorIdentity(by)) = operator.filter(|_| is_operator_change(endpoint)) {
        note_change(endpoint, &subject.unwrap_or_default(), &by, &mut response);
    } else if let Some(id) = id {
        response.headers_mut().entry(REQUEST_ID).or_insert(id);
    }
    response.extensions_mut().insert(guarded.index);
    // The response of an endpoint that changes something or is not public is for one caller only.
    // So no cache may keep this response.
    let is_private = endpoint.auth != Auth::Public || endpoint.method != Method::Get;
    if is_private && !response.headers().contains_key(CACHE_CONTROL) {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

fn is_operator_change(endpoint: &Endpoint) -> bool {
    matches!(endpoint.auth, Auth::Operator(_)) && endpoint.method != Method::Get
}

/// Returns whether every response of the endpoint has the request's id. This is true for each
/// endpoint with which operators change something, and for the operators' sign-in.
fn has_request_id(endpoint: &Endpoint) -> bool {
    endpoint.group == EndpointGroup::Operating && endpoint.method != Method::Get
}

/// Logs an operator's change. Adds the request's id to the response, because the log of actions
/// also names this id.
fn note_change(endpoint: &Endpoint, subject: &str, by: &OperatorRequest, response: &mut Response) {
    if response.status().is_success() && response.extensions().get::<NothingChanged>().is_none() {
        // If a request creates a sale, its path does not contain the sale's name. The name is in
        // the response's `Location`.
        let location = response.headers().get(LOCATION).and_then(|path| path.to_str().ok());
        let created = location.map(|path| self::subject("/v1/admin/sales/{sale}", path));
        let subject = if subject.is_empty() { created.as_deref().unwrap_or("") } else { subject };
        // The log line leaves out the details of the change, because they may name buyers.
        tracing::info!(
            by = &*by.id,
            action = endpoint.id,
            subject,
            event = "operator.action",
            "an operator changed something"
        );
    }
    if let Ok(id) = HeaderValue::from_str(&by.request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
}

/// Returns what a request is about, from its path, such as `sale:spring item:phone`. Leaves out
/// buyers' ids, because they must not be in the log.
fn subject(template: &str, path: &str) -> String {
    const NAMED: [&str; 5] = ["{sale}", "{item}", "{order}", "{endpoint}", "{key}"];
    let parts = template.split('/').zip(path.split('/'));
    let named = parts.filter(|(name, _)| NAMED.contains(name));
    let words = named.map(|(name, value)| format!("{}:{value}", name.trim_matches(['{', '}'])));
    words.collect::<Vec<_>>().join(" ")
}

/// Runs the handler of an operator's change in a separate task. So the change is completed and
/// recorded even if the client disconnects.
async fn run_to_completion(
    app: &App,
    work: impl Future<Output = Response> + Send + 'static,
) -> Response {
    app.running_purchases
        .spawn(work)
        .await
        .unwrap_or_else(|_| HandlerError::from(Problem::internal()).into_response())
}

async fn check(
    app: &App,
    GuardedEndpoint { endpoint, checks_caller, .. }: GuardedEndpoint,
    request: &mut Request,
) -> Result<(), HandlerError> {
    if endpoint.group != EndpointGroup::Service && !app.serves_api {
        return Err(not_served().into());
    }
    if endpoint.group != EndpointGroup::Service {
        let served = endpoint.responses.iter().find_map(|answer| answer.content.media_type());
        let wanted = request.headers().get_all(ACCEPT);
        if let Some(served) = served
            && !accepts(wanted.iter().map(|value| value.as_bytes()), served)
        {
            return Err(Problem::not_acceptable(served).into());
        }
    }
    match endpoint.auth {
        _ if checks_caller => {}
        Auth::Public => {}
        Auth::Buyer => {
            let buyer = app.buyer(request.headers(), request.method()).await?;
            request.extensions_mut().insert(Buyer(BuyerId::from(buyer.name)));
            request.extensions_mut().insert(BuyerMembership(buyer.membership));
            request.extensions_mut().insert(TokenExpiry(buyer.expires_secs));
        }
        Auth::BuyerOrOperator => {
            let asker = app.requester(request.headers(), request.method()).await?;
            request.extensions_mut().insert(asker);
        }
        Auth::Operator(role) => {
            let method = request.method();
            let operator = app.operator_of_request(request.headers(), method, role).await?;
            let by = operator_request(operator, request);
            request.extensions_mut().insert(OperatorIdentity(by));
            // Operators must see changes by other nodes at once, so the node refreshes its
            // catalogue. Without the store, operators may still read the known catalogue. But a
            // known sale may be outdated, and an unknown sale may exist, so no sale is changed.
            let refreshed = app.catalogue_reader.refresh().await;
            let is_store_away =
                matches!(&refreshed, Err(EngineError::Store(StoreError::Unavailable { .. })));
            if is_store_away && is_operator_change(endpoint) && endpoint.path.contains("{sale}") {
                refreshed?;
            }
        }
    }
    Ok(())
}

fn operator_request(operator: Operator, request: &Request) -> OperatorRequest {
    let client = request.extensions().get::<ClientAddress>();
    OperatorRequest {
        id: operator.id,
        role: operator.role,
        address: client.map(|client| client.address.to_string()).unwrap_or_default(),
        request_id: request_id(request.headers()).to_str().unwrap_or_default().to_owned(),
    }
}

async fn mark_route(State(route): State<RouteIndex>, mut response: Response) -> Response {
    response.extensions_mut().insert(route);
    response
}
