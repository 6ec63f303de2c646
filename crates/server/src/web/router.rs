//! Builds a router from the table of endpoints. Each endpoint gets its handler and a guard that
//! checks the client and the caller. Pages, assets and guests are not in the table and are added
//! separately.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use doorbuster_api::endpoints::{self, Auth, Endpoint, EndpointGroup, Method};
use doorbuster_api::header::accepts;
use doorbuster_api::problem::Problem;
use doorbuster_core::BuyerId;
use http::HeaderValue;
use http::header::{ACCEPT, CACHE_CONTROL};

use super::dispatch::{REQUEST_ID, request_id};
use super::identity::{
    Buyer, BuyerMembership, ClientAddress, OperatorIdentity, OperatorRequest, TokenExpiry,
};
use super::rate_limits::LimitedRequest;
use super::reply::HandlerError;
use super::{
    App, admin, buyer_session, console_session, docs, events, gate, health, order_links, orders,
    pages, payment, purchase_handler, push, sales, waitlist,
};
use crate::auth::Operator;
use crate::metrics::{RouteIndex, route_index};

/// Builds the router for all requests except purchases. Purchases are handled earlier. The router
/// has them only to refuse other methods.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    for endpoint in endpoints::all() {
        let guard = middleware::from_fn_with_state((app.clone(), endpoint), guard);
        router = router.route(endpoint.path, handler(endpoint).layer(guard));
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

/// Returns the handler of an endpoint. If an endpoint has no handler, the first start panics.
fn handler(endpoint: &Endpoint) -> MethodRouter<Arc<App>> {
    let filter = match endpoint.method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Patch => MethodFilter::PATCH,
        Method::Delete => MethodFilter::DELETE,
    };
    match endpoint.id {
        "purchase" => on(filter, purchase_handler::routed),
        "list_orders" => on(filter, orders::list),
        "get_order" => on(filter, orders::get),
        "cancel_order" => on(filter, orders::cancel),
        "get_history" => on(filter, orders::history),
        "open_checkout" => on(filter, payment::checkout::open),
        "get_order_link" => on(filter, order_links::get),
        "get_linked_order" => on(filter, order_links::read),
        "open_linked_checkout" => on(filter, order_links::pay),
        "subscribe_push" => on(filter, push::subscribe),
        "unsubscribe_push" => on(filter, push::unsubscribe),
        id if is_provider_webhook(id) => on(filter, payment::webhook::handle_message),
        "issue_pass" => on(filter, gate::passes::issue),
        "list_sales" => on(filter, sales::list),
        "get_sale" => on(filter, sales::get),
        "get_status" => on(filter, sales::status),
        "join_waitlist" => on(filter, waitlist::join),
        "get_waitlist_entry" => on(filter, waitlist::get),
        "leave_waitlist" => on(filter, waitlist::leave),
        "get_challenge" => on(filter, gate::challenges::create),
        "enter_waiting_room" => on(filter, gate::waiting_room::enter),
        "leave_waiting_room" => on(filter, gate::waiting_room::leave),
        "get_place" => on(filter, gate::waiting_room::get),
        "get_draw" => on(filter, gate::waiting_room::draw),
        "export_draw" => on(filter, gate::waiting_room::export),
        "keep_buyer" => on(filter, buyer_session::keep),
        "get_buyer_session" => on(filter, buyer_session::get),
        "forget_buyer" => on(filter, buyer_session::forget),
        "stream_events" => on(filter, events::stream),
        "open_websocket" => on(filter, events::websocket),
        "health" => on(filter, health::alive),
        "readiness" => on(filter, health::ready),
        "metrics" => on(filter, health::metrics),
        "openapi" => on(filter, docs::openapi),
        "docs" => on(filter, docs::page),
        _ => operator_handler(endpoint, filter),
    }
}

fn operator_handler(endpoint: &Endpoint, filter: MethodFilter) -> MethodRouter<Arc<App>> {
    use doorbuster_core::sale::PhaseStep;
    let step = |step: PhaseStep| {
        let stepping =
            move |state, by, names, request| admin::phases::step(step, state, by, names, request);
        on(filter, stepping)
    };
    match endpoint.id {
        "create_sale" => on(filter, admin::sales::create),
        "list_all_sales" => on(filter, admin::sales::list),
        "get_any_sale" => on(filter, admin::sales::get),
        "change_sale" => on(filter, admin::sales::change),
        "delete_sale" => on(filter, admin::sales::delete),
        "schedule_sale" => step(PhaseStep::Schedule),
        "unschedule_sale" => step(PhaseStep::Unschedule),
        "open_sale" => step(PhaseStep::Open),
        "pause_sale" => step(PhaseStep::Pause),
        "resume_sale" => step(PhaseStep::Resume),
        "close_sale" => step(PhaseStep::Close),
        "adjust_stock" => on(filter, admin::stock::adjust),
        "set_spread" => on(filter, admin::spread::set),
        "get_stock" => on(filter, admin::stock::get),
        "get_slots" => on(filter, admin::stock::slots),
        "get_stats" => on(filter, admin::stats::get),
        "list_all_orders" => on(filter, admin::orders::list),
        "get_any_order" => on(filter, admin::orders::get),
        "cancel_any_order" => on(filter, admin::orders::cancel),
        "refund_any_order" => on(filter, admin::orders::refund),
        "extend_any_order" => on(filter, admin::orders::extend),
        "list_payments" => on(filter, admin::payments::payments),
        "list_refunds" => on(filter, admin::payments::refunds),
        "list_keys" => on(filter, admin::keys::list),
        "create_key" => on(filter, admin::keys::create),
        "delete_key" => on(filter, admin::keys::delete),
        "erase_buyer" => on(filter, admin::erasures::create),
        "list_blocks" => on(filter, admin::blocks::list),
        "create_block" => on(filter, admin::blocks::create),
        "delete_block" => on(filter, admin::blocks::delete),
        "create_codes" => on(filter, admin::access_codes::create),
        "count_codes" => on(filter, admin::access_codes::count),
        "list_webhook_endpoints" => on(filter, admin::webhook_endpoints::list),
        "create_webhook_endpoint" => on(filter, admin::webhook_endpoints::create),
        "get_webhook_endpoint" => on(filter, admin::webhook_endpoints::get),
        "change_webhook_endpoint" => on(filter, admin::webhook_endpoints::change),
        "delete_webhook_endpoint" => on(filter, admin::webhook_endpoints::delete),
        "rotate_webhook_secret" => on(filter, admin::webhook_endpoints::rotate),
        "list_deliveries" => on(filter, admin::webhook_endpoints::deliveries),
        "redeliver" => on(filter, admin::webhook_endpoints::redeliver),
        "list_dead_letters" => on(filter, admin::dead_letters::list),
        "get_dead_letter" => on(filter, admin::dead_letters::get),
        "retry_dead_letter" => on(filter, admin::dead_letters::retry),
        "discard_dead_letter" => on(filter, admin::dead_letters::discard),
        "retry_dead_letters" => on(filter, admin::dead_letters::retry_many),
        "discard_dead_letters" => on(filter, admin::dead_letters::discard_many),
        "audit" => on(filter, admin::audit::get),
        "export_orders" => on(filter, admin::export::orders),
        "export_payments" => on(filter, admin::export::payments),
        "export_refunds" => on(filter, admin::export::refunds),
        "export_actions" => on(filter, admin::export::actions),
        "export_ledger" => on(filter, admin::export::ledger),
        "reconcile" => on(filter, admin::export::reconciliation::get),
        _ => console_handler(endpoint, filter),
    }
}

fn console_handler(endpoint: &Endpoint, filter: MethodFilter) -> MethodRouter<Arc<App>> {
    match endpoint.id {
        "get_spread" => on(filter, admin::spread::get),
        "create_session" => on(filter, console_session::create),
        "get_session" => on(filter, console_session::get),
        "delete_session" => on(filter, console_session::delete),
        "list_actions" => on(filter, admin::actions::list),
        "admit_visitors" => on(filter, admin::admissions::admit),
        "list_nodes" => on(filter, admin::nodes::list),
        "list_settings" => on(filter, admin::settings::list),
        "get_series" => on(filter, admin::series::get),
        "list_waitlist" => on(filter, admin::waitlist::list),
        "get_buyer_history" => on(filter, admin::buyers::get),
        "revoke_codes" => on(filter, admin::access_codes::revoke),
        "check_sale" => on(filter, admin::check::check),
        unknown => panic!("the endpoint {unknown} has no handler"),
    }
}

/// Returns whether this endpoint takes a payment provider's messages. Its id is `take_…_message`
/// with the provider's name.
fn is_provider_webhook(id: &str) -> bool {
    id.starts_with("take_") && id.ends_with("_message")
}

/// Checks a request before its handler runs. The client must accept the endpoint's media type, and
/// the caller must have the required identity.
async fn guard(
    State((app, endpoint)): State<(Arc<App>, &'static Endpoint)>,
    mut request: Request,
    next: Next,
) -> Response {
    let checked = check(&app, endpoint, &mut request).await;
    let operator = request.extensions().get::<OperatorIdentity>().cloned();
    let subject =
        is_operator_change(endpoint).then(|| subject(endpoint.path, request.uri().path()));
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
    }
    response.extensions_mut().insert(route_index(endpoint.id));
    // A shared cache must not keep an answer for one caller.
    if endpoint.auth != Auth::Public && !response.headers().contains_key(CACHE_CONTROL) {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

fn is_operator_change(endpoint: &Endpoint) -> bool {
    matches!(endpoint.auth, Auth::Operator(_)) && endpoint.method != Method::Get
}

/// Logs an operator's change with the request's id. The log of actions has the same id.
fn note_change(endpoint: &Endpoint, subject: &str, by: &OperatorRequest, response: &mut Response) {
    if response.status().is_success() {
        // The change may name buyers, so the log line does not contain it.
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

/// What a request is about, by its path: `sale:spring item:phone`. A path may name a buyer, which
/// the log must not have.
fn subject(template: &str, path: &str) -> String {
    const NAMED: [&str; 5] = ["{sale}", "{item}", "{order}", "{endpoint}", "{key}"];
    let parts = template.split('/').zip(path.split('/'));
    let named = parts.filter(|(name, _)| NAMED.contains(name));
    let words = named.map(|(name, value)| format!("{}:{value}", name.trim_matches(['{', '}'])));
    words.collect::<Vec<_>>().join(" ")
}

/// Runs an operator's change in a separate task. So the change completes and is recorded even if
/// the client disconnects.
async fn run_to_completion(
    app: &App,
    work: impl Future<Output = Response> + Send + 'static,
) -> Response {
    app.running_purchases
        .spawn(work)
        .await
        .unwrap_or_else(|_| HandlerError::from(Problem::internal()).into_response())
}

async fn check(app: &App, endpoint: &Endpoint, request: &mut Request) -> Result<(), HandlerError> {
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
        // A purchase is authenticated after its body is read. A browser sends the token of a
        // WebSocket in another header. So these two handlers check the caller themselves.
        _ if matches!(endpoint.id, "purchase" | "open_websocket") => {}
        Auth::Public => {}
        Auth::Buyer => {
            let shopper = app.buyer(request.headers(), request.method()).await?;
            request.extensions_mut().insert(Buyer(BuyerId::from(shopper.name)));
            request.extensions_mut().insert(BuyerMembership(shopper.standing));
            request.extensions_mut().insert(TokenExpiry(shopper.expires_secs));
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
            // A change by another node must be visible at once. If the store is unavailable, the
            // handler reports it.
            drop(app.engine.refresh_catalogue().await);
        }
    }
    Ok(())
}

/// Returns the operator of this request, with the client's address and the request's id.
fn operator_request(operator: Operator, request: &Request) -> OperatorRequest {
    let client = request.extensions().get::<ClientAddress>();
    OperatorRequest {
        id: operator.id,
        role: operator.role,
        address: client.map(|client| client.address.to_string()).unwrap_or_default(),
        request_id: request_id(request.headers()).to_str().unwrap_or_default().to_owned(),
    }
}

/// Returns the problem for buyers and operators on a node without the role `api`.
pub(crate) fn not_served() -> Problem {
    Problem::not_found("this node does not have the role api; send the request to another node")
}

async fn mark_route(State(route): State<RouteIndex>, mut response: Response) -> Response {
    response.extensions_mut().insert(route);
    response
}

/// Creates a GET route outside the table.
pub(crate) fn get<H, T>(handler: H) -> MethodRouter<Arc<App>>
where
    H: Handler<T, Arc<App>>,
    T: 'static,
{
    on(MethodFilter::GET, handler)
}
