//! The nodes behind an edge. Keeps connections to them, checks which of them answer, and sends each
//! request to one of them.
//!
//! If a node does not answer, the edge may send the request to another node. The edge does this
//! only if the request changes nothing, or if no part of it was sent before. So no purchase arrives
//! twice.
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use doorbuster_core::Millis;
use http::{HeaderValue, Method, Request, Response, Uri};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::EdgeNode;
use super::sightings::EDGE_HEADER;

/// The header of `/healthz` with the store's time in milliseconds. A node with a store sends it.
pub(crate) const TIME_HEADER: &str = "doorbuster-time";
/// How long a node may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Longest time until a node begins its answer. A purchase may wait this long for its verdict.
const ANSWER_MAX: Duration = Duration::from_secs(75);
/// A connection that was idle for longer is not used again, because the node may be closing it.
const IDLE_MAX: Duration = Duration::from_millis(800);
/// The maximum number of idle connections to one node. Further idle connections are closed.
const IDLE_CONNECTIONS_MAX: usize = 512;
/// Time between two checks of a node.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// Longest duration of a check.
const CHECK_MAX: Duration = Duration::from_secs(1);

/// The reason why a request could not be passed to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PassFailure {
    /// No node was reachable, so nothing was sent.
    Unsent,
    /// A node got the request or a part of it, and did not answer.
    Unanswered,
    /// Another edge had already passed this request on, so nothing was sent.
    FromAnEdge,
}

/// The nodes behind an edge.
pub(crate) struct Upstreams {
    all: Box<[Arc<Upstream>]>,
    next: AtomicUsize,
}

struct Upstream {
    address: SocketAddr,
    is_up: AtomicBool,
    idle: Mutex<Vec<(SendRequest<Body>, Instant)>>,
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.all.iter().map(|upstream| upstream.address)).finish()
    }
}

/// A request without an answer.
struct Failed {
    /// The request, if no part of it was sent.
    unsent: Option<Box<Request<Body>>>,
}

impl Upstreams {
    pub(super) fn new(addresses: &[SocketAddr]) -> Self {
        let upstream = |address: &SocketAddr| {
            Arc::new(Upstream {
                address: *address,
                is_up: AtomicBool::new(true),
                idle: Mutex::default(),
            })
        };
        Self { all: addresses.iter().map(upstream).collect(), next: AtomicUsize::new(0) }
    }

    /// Returns how many nodes answered their last check.
    pub(crate) fn up(&self) -> usize {
        self.all.iter().filter(|upstream| upstream.is_up.load(Ordering::Relaxed)).count()
    }

    /// Sends a request to a node. The nodes take turns. Nodes that did not answer their last check
    /// come last.
    pub(crate) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, PassFailure> {
        let only_reads = matches!(*request.method(), Method::GET | Method::HEAD)
            && request.body().is_end_stream()
            && !request.headers().contains_key(http::header::UPGRADE);
        for upstream in self.in_turn() {
            let again = only_reads.then(|| copy_without_body(&request));
            match upstream.send(request).await {
                Ok(response) => return Ok(response),
                Err(Failed { unsent: Some(unsent) }) => request = *unsent,
                Err(Failed { unsent: None }) => match again {
                    Some(again) => request = again,
                    None => return Err(PassFailure::Unanswered),
                },
            }
        }
        Err(PassFailure::Unsent)
    }

    fn in_turn(&self) -> Vec<Arc<Upstream>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.all.len().max(1);
        let (before, from) = self.all.split_at(first);
        let mut all: Vec<_> = from.iter().chain(before).cloned().collect();
        all.sort_by_key(|upstream| !upstream.is_up.load(Ordering::Relaxed));
        all
    }

    /// Checks the nodes and reads their clocks until the future is dropped.
    pub(crate) async fn run_checks(&self, edge: &EdgeNode) {
        let checks = self.all.iter().map(|upstream| async move {
            loop {
                let asked_at = edge.own_time();
                let about = edge.about_text();
                let time = timeout(CHECK_MAX, upstream.time(about)).await.ok().flatten();
                let was_up = upstream.is_up.swap(time.is_some(), Ordering::Relaxed);
                if was_up != time.is_some() {
                    let address = upstream.address;
                    match was_up {
                        true => tracing::warn!(
                            %address,
                            event = "edge.upstream_lost",
                            "a node behind this edge does not answer"
                        ),
                        false => tracing::info!(
                            %address,
                            event = "edge.upstream_back",
                            "a node behind this edge answers"
                        ),
                    }
                }
                if let Some(time) = time {
                    edge.read_clock(time, asked_at);
                }
                tokio::time::sleep(CHECK_EVERY).await;
            }
        });
        futures_util::future::join_all(checks).await;
    }
}

fn copy_without_body(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

impl Upstream {
    /// Sends a request on an idle connection, or on a new one.
    async fn send(
        self: Arc<Self>,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, Failed> {
        while let Some(connection) = self.idle_connection() {
            match self.clone().send_on(connection, request).await {
                // The node closed the connection before it got any part of the request.
                Err(Failed { unsent: Some(unsent) }) => request = *unsent,
                answered => return answered,
            }
        }
        match self.connect().await {
            Some(connection) => self.send_on(connection, request).await,
            None => Err(Failed { unsent: Some(Box::new(request)) }),
        }
    }

    async fn send_on(
        self: Arc<Self>,
        mut connection: SendRequest<Body>,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Failed> {
        let answer = timeout(ANSWER_MAX, connection.try_send_request(request)).await;
        let Ok(answer) = answer else { return Err(Failed { unsent: None }) };
        let response =
            answer.map_err(|mut error| Failed { unsent: error.take_message().map(Box::new) })?;
        // The connection becomes free after the answer's body was read.
        drop(tokio::spawn(async move {
            if connection.ready().await.is_ok() {
                self.keep(connection);
            }
        }));
        Ok(response)
    }

    fn idle_connection(&self) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((connection, since)) = idle.pop() {
            if since.elapsed() > IDLE_MAX {
                // All other connections in the list were idle for longer, so they are too old as
                // well.
                idle.clear();
                return None;
            }
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, connection: SendRequest<Body>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push((connection, Instant::now()));
        }
    }

    async fn connect(&self) -> Option<SendRequest<Body>> {
        let stream = timeout(CONNECT_MAX, TcpStream::connect(self.address)).await.ok()?.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        // The task ends with the connection.
        drop(tokio::spawn(async move { connection.with_upgrades().await }));
        Some(sender)
    }

    /// Returns the store's time from the node's `/healthz`. Returns `None` if the node does not
    /// answer or is an edge itself.
    async fn time(self: &Arc<Self>, about: Option<Vec<u8>>) -> Option<Millis> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = Uri::from_static("/healthz");
        let host = HeaderValue::from_str(&self.address.to_string()).ok()?;
        request.headers_mut().insert(http::header::HOST, host);
        if let Some(about) = about.and_then(|about| HeaderValue::from_bytes(&about).ok()) {
            request.headers_mut().insert(EDGE_HEADER, about);
        }
        let response = self.clone().send(request).await.ok()?;
        let text = response.headers().get(TIME_HEADER)?.to_str().ok()?;
        let time = Millis(text.parse().ok()?);
        // The connection can be reused only after the body was read.
        axum::body::to_bytes(Body::new(response.into_body()), 64 * 1024).await.ok()?;
        Some(time)
    }
}
