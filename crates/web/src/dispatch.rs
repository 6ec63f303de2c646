//! Handles the start and the end of every request. Purchases go directly to their handler, and
//! other requests to the router.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use doorbuster_api::problem::Problem;
use doorbuster_telemetry::metrics::{RouteIndex, route_name};
use futures_util::FutureExt;
use http::header::UPGRADE;
use http::{HeaderMap, Method, Request, Uri};
use hyper::body::{Body, Incoming};
use tower::ServiceExt;

use super::connection::{Connection, Service};
use super::failure::FailureCause;
use super::internal_error::internal_error;
use super::limits::URI_BYTES_MAX;
use super::reply::{HandlerError, Reply, ReplyBody};
use super::request_id::{REQUEST_ID, request_id};
use super::stream_paths::EVENTS_PATH;
use super::{cacheable, client_address, edge, framing, purchase_handler, unread_body};

impl Service {
    pub(crate) async fn answer(connection: Arc<Connection>, request: Request<Incoming>) -> Reply {
        let this = &connection.service;
        if let Some(reply) = framing::refuse(request.version(), request.headers()) {
            this.app.metrics.requests.count(RouteIndex(0), reply.status().as_u16());
            return reply;
        }
        if request.method() == Method::POST && request.uri().path() == "/v1/orders" {
            let reply =
                AssertUnwindSafe(purchase_handler::purchase(&this.app, connection.peer, request))
                    .catch_unwind()
                    .await;
            let mut reply = reply.unwrap_or_else(|_| internal_error());
            this.app.page_origin.add_headers("/v1/orders", reply.headers_mut());
            this.app.metrics.requests.count(this.purchase, reply.status().as_u16());
            return reply;
        }
        if let Some(reply) = this.app.page_origin.preflight(
            request.method(),
            request.uri().path(),
            request.headers(),
        ) {
            this.app.metrics.requests.count(RouteIndex(0), reply.status().as_u16());
            return reply;
        }
        let uri = this.app.page_origin.is_set().then(|| request.uri().clone());
        // The futures are boxed, so that a connection that handles no request needs little memory.
        let mut reply = match this.app.node.edge() {
            Some(node) => Box::pin(edge::answer(&connection, node, request)).await,
            None => Box::pin(this.route(&connection, request)).await,
        };
        if let Some(uri) = uri {
            this.app.page_origin.add_headers(uri.path(), reply.headers_mut());
        }
        reply
    }

    pub(super) async fn route(
        &self,
        connection: &Arc<Connection>,
        mut request: Request<Incoming>,
    ) -> Reply {
        let uri_bytes = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
        if uri_bytes > URI_BYTES_MAX {
            self.app.metrics.requests.count(RouteIndex(0), 404);
            let (parts, body) = request.into_parts();
            unread_body::discard(&parts.headers, body).await;
            let problem = Problem::not_found("the request's address is too long");
            let mut reply = HandlerError::from(problem).reply();
            cacheable::forbid_caching(&parts.headers, &mut reply);
            return reply;
        }
        // The handlers of these requests need access to their connection:
        // - A WebSocket, to count the connection as open until the WebSocket ends.
        // - An event stream, to end the connection if its client does not read.
        if request.headers().contains_key(UPGRADE) || request.uri().path() == EVENTS_PATH {
            request.extensions_mut().insert(connection.clone());
        }
        let proxies = &self.app.live().proxies;
        let client = client_address::find(connection.peer, request.headers(), proxies);
        request.extensions_mut().insert(client);
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let has_ways = |uri: &Uri| uri.query().is_some() || uri.path().contains('%');
        let uri = has_ways(request.uri()).then(|| request.uri().clone());
        let (request, left) = if request.body().is_end_stream() {
            (request.map(axum::body::Body::new), None)
        } else {
            let (parts, body) = request.into_parts();
            let (lent, left) = unread_body::lend(body);
            (Request::from_parts(parts, axum::body::Body::new(lent)), Some(left))
        };
        let routed = self.router.clone().oneshot(request);
        let mut reply = match AssertUnwindSafe(routed).catch_unwind().await {
            Ok(Ok(response)) => response.map(ReplyBody::Routed),
            Ok(Err(never)) => match never {},
            Err(_) => internal_error(),
        };
        if let Some(left) = left {
            left.discard(&headers).await;
        }
        if let Some(uri) = uri {
            cacheable::forbid_shared_caching(&self.app, &uri, reply.headers_mut());
        }
        cacheable::forbid_caching(&headers, &mut reply);
        let route = reply.extensions_mut().remove::<RouteIndex>().unwrap_or(RouteIndex(0));
        self.app.metrics.requests.count(route, reply.status().as_u16());
        if reply.status().is_server_error() || reply.extensions().get::<FailureCause>().is_some() {
            self.log_and_count(connection.peer, &method, route, &headers, &mut reply);
        }
        reply
    }

    /// Adds the request's id to a failed response. If the cause of the failure is known, logs the
    /// cause.
    fn log_and_count(
        &self,
        peer: IpAddr,
        method: &Method,
        route: RouteIndex,
        headers: &HeaderMap,
        reply: &mut Reply,
    ) {
        let known = reply.headers().get(REQUEST_ID).cloned();
        let id = known.unwrap_or_else(|| request_id(headers));
        let cause = reply.extensions_mut().remove::<FailureCause>();
        let second = self.app.node.now().0.div_euclid(1_000).unsigned_abs();
        // During an outage of the store or of Redis, only the first failed request is logged here.
        // The outage log counts the others.
        if let Some(cause) = cause
            && !self.app.node.outage_log().count_request_if_outage(&cause)
            && self.app.failure_log.may_write(second)
        {
            let client = client_address::find(peer, headers, &self.app.live().proxies).address;
            tracing::warn!(
                request_id = id.to_str().unwrap_or_default(),
                route = route_name(route),
                %method,
                status = reply.status().as_u16(),
                %client,
                %cause,
                event = "server.request_failed",
                "request failed"
            );
        }
        reply.headers_mut().insert(REQUEST_ID, id);
    }
}
