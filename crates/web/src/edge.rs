//! Answers requests on an edge. The edge refuses purchases by the same code path as a node. It
//! serves pages, sales and their status from memory, and passes all other requests on to a node.

mod failure;
mod forward;

pub(crate) use forward::RawHead;

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use doorbuster_api::body::{Purchase as PurchaseBody, join_key_and_body};
use doorbuster_api::query::parse_followed_sales;
use doorbuster_auth::AuthenticationError;
use doorbuster_core::gate::pass::PASS_BYTES_MAX;
use doorbuster_core::{Millis, RequestHash};
use doorbuster_engine::catalogue::SaleState;
use doorbuster_engine::control;
use doorbuster_engine::edge::{EdgeNode, PassFailure, follow_feed};
use doorbuster_engine::holders::RequestsWithOrders;
use doorbuster_engine::purchase::{Refusal, answer_kind};
use doorbuster_gate::PresentedPass;
use doorbuster_telemetry::metrics::RouteIndex;
use futures_util::StreamExt;
use http::header::{CONTENT_TYPE, DATE, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::TokioIo;

use super::App;
use super::client_address::{self, ClientAddress};
use super::connection::Connection;
use super::purchase_handler::{LearnedFacts, MissingFact, PurchaseStep, parse_purchase};
use super::purchase_headers::PurchaseHeaders;
use super::purchase_reply::{NodeOverloaded, PurchaseReply, is_overloaded};
use super::reply::{Reply, ReplyBody, problem};
use super::request_id::request_id;
use super::stream_paths::{EVENTS_PATH, WEBSOCKET_PATH};
use failure::failure_problem;

/// The maximum length of a node's response to a purchase. Nodes send only shorter responses.
const PURCHASE_ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Who answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ServedBy {
    /// The edge, because the request is about the edge's own process.
    ThisProcess,
    /// The edge answers while its copy of the sales is recent. At all other times, a node answers.
    EdgeWhileFresh,
    /// For event streams. The edge answers while its copy is recent and a node sends buyers' events
    /// to the edge. At all other times, a node answers.
    EdgeWhileRelayed,
    /// A node.
    Node,
}

fn served_by(method: &Method, path: &str) -> ServedBy {
    if matches!(path, "/healthz" | "/readyz" | "/metrics") {
        return ServedBy::ThisProcess;
    }
    if matches!(path, EVENTS_PATH | WEBSOCKET_PATH) && *method == Method::GET {
        return ServedBy::EdgeWhileRelayed;
    }
    let is_sale = |rest: &str| match rest.split_once('/') {
        Some((sale, what)) => !sale.is_empty() && what == "status",
        None => true,
    };
    let is_shown = matches!(path, "/" | "/favicon.ico" | "/orders" | "/v1/sales")
        || ["/assets/", "/order/", "/sale/"].iter().any(|start| path.starts_with(start))
        || path.strip_prefix("/v1/sales/").is_some_and(is_sale);
    match is_shown && matches!(*method, Method::GET | Method::HEAD) {
        true => ServedBy::EdgeWhileFresh,
        false => ServedBy::Node,
    }
}

/// Returns whether the edge may send this refusal to the client. Returns `false` if a node must
/// decide, because a node may know more than the edge.
fn may_answer(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::SoldOut(_)
        | Refusal::NotStarted { .. }
        | Refusal::Paused
        | Refusal::Ended
        | Refusal::AtDoor(_) => true,
        Refusal::LimitReached { .. }
        | Refusal::KeyReused
        | Refusal::Overloaded
        | Refusal::Unavailable => false,
    }
}

/// On an edge, counts a refusal that the edge itself sends. The next report tells a node these
/// counts. A request that the edge passes on is counted by the node, not here.
pub(super) fn count_refusal(app: &App, sale: &SaleState, refusal: &Refusal) {
    if app.node.edge().is_some() && may_answer(refusal) {
        sale.runtime.edge_refusals.count(answer_kind(refusal));
    }
}

/// Refuses a purchase from memory, or passes it to a node.
pub(super) fn start_purchase(
    app: &Arc<App>,
    node: &Arc<EdgeNode>,
    (headers, head): (&PurchaseHeaders<'_>, RawHead<'_>),
    body: &[u8],
    arrived: (Instant, Millis),
    facts: &LearnedFacts,
) -> PurchaseStep {
    let mut own = None;
    if node.is_fresh() && !has_unknown_key(app, headers, facts) {
        match parse_purchase(app, headers, body, arrived, facts) {
            Ok(PurchaseStep::PurchaseReply(PurchaseReply::Refused(refusal, limit_status)))
                if may_answer(&refusal) =>
            {
                node.refused.add_one();
                return PurchaseStep::PurchaseReply(PurchaseReply::Refused(refusal, limit_status));
            }
            Err(refused) => {
                node.refused.add_one();
                let reply = app.problem_reply(&refused, headers.client, body);
                return PurchaseStep::PurchaseReply(PurchaseReply::Rendered(reply));
            }
            Ok(PurchaseStep::NeedsFact(fact @ MissingFact::Key(_))) => {
                return PurchaseStep::NeedsFact(fact);
            }
            Ok(PurchaseStep::Continues(started)) => own = Some(started.purchase.request),
            Ok(PurchaseStep::PurchaseReply(_) | PurchaseStep::NeedsFact(MissingFact::Sale)) => {}
        }
    }
    let own = match own {
        Some(own) => Some(own),
        None => match request_hash(app, headers, body, arrived.1, facts) {
            Ok(own) => own,
            Err(fact) => return PurchaseStep::NeedsFact(fact),
        },
    };
    let mut request = Request::new(Body::from(body.to_vec()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static("/v1/orders");
    *request.headers_mut() = head.headers();
    let (app, node, client) = (app.clone(), node.clone(), headers.client);
    PurchaseStep::Continues(Box::pin(async move {
        PurchaseReply::Rendered(buy(&app, &node, (request, client), own).await)
    }))
}

/// Returns whether the token's public key is unknown to the edge even after the edge has read the
/// public keys again. A node may know the key.
fn has_unknown_key(app: &App, headers: &PurchaseHeaders<'_>, facts: &LearnedFacts) -> bool {
    let check = |token| app.buyers.check(token, app.token_time_secs());
    matches!(facts.token, Some(Err(_)))
        && headers.token.and_then(check) == Err(AuthenticationError::Unknown)
}

/// Returns the hash of the purchase request's buyer and key. Returns `None` if the key or the body
/// is not valid, or if neither the token nor the pass identifies a buyer.
///
/// # Errors
///
/// If the server must first look up the public key that verifies the token.
fn request_hash(
    app: &App,
    headers: &PurchaseHeaders<'_>,
    body: &[u8],
    now: Millis,
    facts: &LearnedFacts,
) -> Result<Option<RequestHash>, MissingFact> {
    let parsed = join_key_and_body(headers.key.clone(), PurchaseBody::from_json(body));
    let Ok((key, wanted)) = parsed else { return Ok(None) };
    let hash = |buyer: &str| Some(app.node.id_key().request_hash(buyer, key.as_str()));
    let check =
        |token| facts.token.unwrap_or_else(|| app.buyers.check(token, app.token_time_secs()));
    match headers.token.and_then(check) {
        Ok(buyer) => return Ok(hash(buyer.name.as_str())),
        Err(AuthenticationError::Unknown) if facts.token.is_none() => {
            return Err(MissingFact::Key(headers.token.unwrap_or_default().to_owned()));
        }
        Err(_) => {}
    }
    let PresentedPass::Pass(pass) = headers.pass else { return Ok(None) };
    let mut room = [0; PASS_BYTES_MAX + 2];
    let terms = app.gate.passes.open(pass, &wanted.sale, &wanted.item, now, &mut room);
    Ok(terms.and_then(|terms| hash(terms.buyer)))
}

/// A purchase that the edge has passed on to a node. Dropping this value adds `request` to
/// `holders` if the purchase may have an order, for example because no node responded or the client
/// disconnected. `request` is `None` if the purchase certainly has no order.
struct MayHold<'a> {
    holders: &'a RequestsWithOrders,
    request: Option<RequestHash>,
}

impl Drop for MayHold<'_> {
    fn drop(&mut self) {
        if let Some(request) = self.request {
            self.holders.insert(request.low_64_bits());
        }
    }
}

async fn buy(
    app: &App,
    node: &EdgeNode,
    (request, client): (Request<Body>, ClientAddress),
    own: Option<RequestHash>,
) -> Reply {
    let mut may_hold = MayHold { holders: app.node.holders(), request: own };
    let sent = send(node, request, client).await;
    let refused = match &sent {
        Ok(response) => response.status().is_client_error(),
        Err(failure) => *failure != PassFailure::Unanswered,
    };
    if refused {
        may_hold.request = None;
    }
    let (mut parts, body) = match sent {
        Ok(response) => response.into_parts(),
        Err(failure) => return problem(&failure_problem(failure)),
    };
    match axum::body::to_bytes(Body::new(body), PURCHASE_ANSWER_BYTES_MAX).await {
        Ok(bytes) => {
            // This server writes its own `Date`.
            parts.headers.remove(DATE);
            parts.headers.remove(http::header::CONTENT_LENGTH);
            app.page_origin.remove_headers(&mut parts.headers);
            if is_overloaded(parts.status, &bytes) {
                parts.extensions.insert(NodeOverloaded);
            }
            Response::from_parts(parts, ReplyBody::Bytes(Some(bytes)))
        }
        Err(_) => {
            node.failed.add_one();
            problem(&failure_problem(PassFailure::Unanswered))
        }
    }
}

/// Sends a request to a node. Removes the hop-by-hop headers from the response, because they are
/// only about the connection to the node.
async fn send(
    node: &EdgeNode,
    mut request: Request<Body>,
    client: ClientAddress,
) -> Result<Response<Incoming>, PassFailure> {
    if forward::is_from_edge(request.headers()) {
        node.failed.add_one();
        return Err(PassFailure::FromAnEdge);
    }
    forward::prepare_request(&mut request, client);
    node.passed_on.add_one();
    let mut response = node.upstreams.send(request).await.inspect_err(|_| node.failed.add_one())?;
    forward::prepare_response(&mut response);
    Ok(response)
}

pub(super) async fn answer(
    connection: &Arc<Connection>,
    node: &Arc<EdgeNode>,
    request: Request<Incoming>,
) -> Reply {
    let service = &connection.service;
    match served_by(request.method(), request.uri().path()) {
        ServedBy::ThisProcess => return service.route(connection, request).await,
        ServedBy::EdgeWhileFresh
            if node.is_fresh()
                && request.body().is_end_stream()
                && !request.headers().contains_key(UPGRADE) =>
        {
            let mut again = Request::new(Body::empty());
            *again.method_mut() = request.method().clone();
            *again.uri_mut() = request.uri().clone();
            *again.headers_mut() = request.headers().clone();
            let reply = service.route(connection, request).await;
            // A node may know a new sale, or an asset of another version of the program, that this
            // edge does not know. So the edge passes the request on.
            match reply.status() {
                StatusCode::NOT_FOUND => pass_on(connection, node, again).await,
                _ => reply,
            }
        }
        ServedBy::EdgeWhileRelayed
            if node.is_fresh()
                && node.relay.is_connected()
                && request.body().is_end_stream()
                && knows_sales(&service.app, request.uri().query()) =>
        {
            service.route(connection, request).await
        }
        _ => pass_on(connection, node, request.map(Body::new)).await,
    }
}

fn knows_sales(app: &App, query: Option<&str>) -> bool {
    let catalogue = app.node.catalogue();
    parse_followed_sales(query.unwrap_or_default())
        .is_ok_and(|sales| sales.iter().all(|sale| catalogue.sale(sale).is_some()))
}

/// Passes a request on to a node. If the request opens a WebSocket, the edge then copies bytes in
/// both directions.
async fn pass_on(
    connection: &Arc<Connection>,
    node: &Arc<EdgeNode>,
    mut request: Request<Body>,
) -> Reply {
    let app = &connection.service.app;
    let client = client_address::find(connection.peer, request.headers(), &app.live().proxies);
    let id = request_id(request.headers());
    let upgrade = request.headers().contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let reply = match send(node, request, client).await {
        Ok(mut response) => {
            if let Some(upgrade) = upgrade
                && response.status() == StatusCode::SWITCHING_PROTOCOLS
            {
                let upstream = hyper::upgrade::on(&mut response);
                tokio::spawn(join(connection.clone(), upgrade, upstream));
            }
            end_streams_at_stop(app, response)
        }
        Err(failure) => failure::reply(failure, id),
    };
    app.metrics.requests.count(RouteIndex(0), reply.status().as_u16());
    reply
}

/// If the response is an event stream, ends it when this program stops. Such a stream would not end
/// by itself.
fn end_streams_at_stop(app: &App, response: Response<Incoming>) -> Reply {
    let is_stream = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|media| media.as_bytes().starts_with(b"text/event-stream"));
    let body = |incoming: Incoming| match is_stream {
        true => {
            let chunks = Body::new(incoming).into_data_stream();
            Body::from_stream(chunks.take_until(app.stop.clone().cancelled_owned()))
        }
        false => Body::new(incoming),
    };
    response.map(|incoming| ReplyBody::Routed(body(incoming)))
}

async fn join(
    connection: Arc<Connection>,
    client: hyper::upgrade::OnUpgrade,
    upstream: hyper::upgrade::OnUpgrade,
) {
    let (Ok(client), Ok(upstream)) = tokio::join!(client, upstream) else { return };
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    let _counted = connection.service.app.metrics.sockets.hold();
    tokio::select! {
        // An error ends both connections. The client and the node notice this, so it is not logged.
        _ = tokio::io::copy_bidirectional(&mut client, &mut upstream) => {}
        () = connection.stop.cancelled() => {}
    }
}

impl App {
    /// Runs the jobs of an edge until the program stops.
    pub(super) async fn run_edge_jobs(&self) {
        let Some(node) = self.node.edge() else { return };
        let jobs = async {
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = node.relay.run(&self.node, node) => {}
                () = control::publish_status::run(self.node.clone()) => {}
                () = self.run_samples() => {}
                () = self.buyers.run_key_refresh() => {}
                () = node.upstreams.run_checks(node) => {}
                () = follow_feed(&self.node, &self.gate.blocks, node) => {}
            }
        };
        // At the stop, `select!` drops its jobs. The reports run outside `select!`, so that they
        // can send a last report.
        tokio::join!(jobs, node.run_refusal_reports(&self.node, &self.stop));
    }
}

#[cfg(test)]
mod tests;
