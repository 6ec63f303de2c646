//! One node behind an edge: its connections, its state and its checks.
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use doorbuster_core::Millis;
use http::header::{CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;

use super::{STATE_HEADER, TIME_HEADER};
use crate::edge::EdgeNode;
use crate::edge::sightings::{EDGE_HEADER, RELAY_HEADER};

/// How long a node may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// A connection that was idle for longer than this is not used for another request, because the
/// node may be about to close the connection.
const IDLE_MAX: Duration = Duration::from_millis(800);
/// The maximum number of idle connections to one node. Further idle connections are closed.
const IDLE_CONNECTIONS_MAX: usize = 512;
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
const CHECK_MAX: Duration = Duration::from_secs(1);
/// The error codes that say that the whole system or this process has no free file handle. All Unix
/// systems use these numbers.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// Whether a node can serve buyers. The states are sorted: an edge prefers a node with an earlier
/// state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UpstreamState {
    /// The node serves buyers.
    Ready,
    /// The node is stopping, or its snapshot of the store is too old.
    NotReady,
    /// The node does not answer, or the edge has not checked the node yet.
    Lost,
    /// The node lacks the role `api`. An edge passes no requests to this node, because the node
    /// would answer buyers with `404`.
    WithoutApi,
}

impl UpstreamState {
    /// Returns the state as a value of [`STATE_HEADER`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not_ready",
            Self::Lost => "lost",
            Self::WithoutApi => "no_api",
        }
    }

    /// Parses the value of [`STATE_HEADER`]. A node of an earlier version sends no state, and
    /// counts as ready.
    fn parse(value: Option<&HeaderValue>) -> Self {
        let is = |state: Self| value.is_some_and(|value| value == state.as_str());
        [Self::NotReady, Self::WithoutApi]
            .into_iter()
            .find(|state| is(*state))
            .unwrap_or(Self::Ready)
    }
}

pub(super) struct Failed {
    /// The request, if no part of it was sent. `None` if the node may have got a part of it.
    pub(super) unsent: Option<Box<Request<Body>>>,
    /// Whether this machine had no file handle or no port for a connection. Such a failure says
    /// nothing about the node.
    pub(super) is_local: bool,
}

impl Failed {
    /// The node did not answer, but may have got a part of the request.
    const UNANSWERED: Self = Self { unsent: None, is_local: false };
}

/// Why the edge has no new connection to a node.
struct NotConnected {
    is_local: bool,
}

impl From<io::Error> for NotConnected {
    fn from(error: io::Error) -> Self {
        let is_local = error.kind() == io::ErrorKind::AddrNotAvailable
            || matches!(error.raw_os_error(), Some(ENFILE | EMFILE));
        Self { is_local }
    }
}

#[derive(Debug)]
pub(in crate::edge) struct Upstream {
    pub(super) address: SocketAddr,
    state: watch::Sender<UpstreamState>,
    idle: Mutex<Vec<(SendRequest<Body>, Instant)>>,
}

impl Upstream {
    pub(super) fn new(address: SocketAddr) -> Self {
        // The node may lack the role `api`. So until its first check, it counts as lost, and the
        // edge prefers nodes that have answered a check.
        Self { address, state: watch::Sender::new(UpstreamState::Lost), idle: Mutex::default() }
    }

    pub(super) fn state(&self) -> UpstreamState {
        *self.state.borrow()
    }

    pub(super) fn set_state(&self, state: UpstreamState) {
        self.state.send_replace(state);
    }

    pub(in crate::edge) async fn unready_for(&self, long: Duration) {
        let mut state = self.state.subscribe();
        loop {
            // These two waits cannot fail, because `self` owns the sender.
            drop(state.wait_for(|state| *state != UpstreamState::Ready).await);
            let again = state.wait_for(|state| *state == UpstreamState::Ready);
            if timeout(long, again).await.is_err() {
                return;
            }
        }
    }

    pub(super) async fn wait_until_lost(&self) {
        // The wait cannot fail, because `self` owns the sender.
        drop(self.state.subscribe().wait_for(|state| *state == UpstreamState::Lost).await);
    }

    /// Records that the node did not accept a connection. If the node is alive after all, the next
    /// check corrects this state.
    fn mark_lost(&self) {
        self.state.send_if_modified(|state| {
            let is_known = matches!(state, UpstreamState::Lost | UpstreamState::WithoutApi);
            if !is_known {
                *state = UpstreamState::Lost;
            }
            !is_known
        });
    }

    /// Sends a request on an idle connection, or on a new one if none is idle. The node must begin
    /// its response within `answer_max`.
    pub(super) async fn send(
        self: Arc<Self>,
        mut request: Request<Body>,
        answer_max: Duration,
    ) -> Result<Response<Incoming>, Failed> {
        while let Some(connection) = self.idle_connection() {
            match self.clone().send_on(connection, request, answer_max).await {
                // The node closed this connection before any part of the request was sent. So
                // another connection is tried.
                Err(Failed { unsent: Some(unsent), .. }) => request = *unsent,
                answered => return answered,
            }
        }
        match self.connect().await {
            Ok(connection) => self.send_on(connection, request, answer_max).await,
            Err(NotConnected { is_local }) => {
                if !is_local {
                    self.mark_lost();
                }
                Err(Failed { unsent: Some(Box::new(request)), is_local })
            }
        }
    }

    async fn send_on(
        self: Arc<Self>,
        mut connection: SendRequest<Body>,
        request: Request<Body>,
        answer_max: Duration,
    ) -> Result<Response<Incoming>, Failed> {
        let answer = timeout(answer_max, connection.try_send_request(request)).await;
        // A late response does not mean that the node is lost. The checks detect a lost node.
        let Ok(answer) = answer else { return Err(Failed::UNANSWERED) };
        let response = answer.map_err(|mut error| {
            let unsent = error.take_message().map(Box::new);
            Failed { unsent, is_local: false }
        })?;
        // The connection can be used again when the response's body has been read.
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
                // This was the most recently used connection. All others were idle for even longer,
                // so they are closed too.
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

    async fn connect(&self) -> Result<SendRequest<Body>, NotConnected> {
        let by_node = NotConnected { is_local: false };
        let connecting = timeout(CONNECT_MAX, TcpStream::connect(self.address)).await;
        let Ok(stream) = connecting else { return Err(by_node) };
        let stream = stream?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|_| by_node)?;
        // The task ends with the connection.
        drop(tokio::spawn(async move { connection.with_upgrades().await }));
        Ok(sender)
    }

    /// Checks the node's state again and again, until the future is dropped.
    pub(super) async fn run_checks(self: Arc<Self>, edge: Arc<EdgeNode>) {
        let mut before = UpstreamState::Ready;
        loop {
            let asked_at = edge.own_time();
            let checked = timeout(CHECK_MAX, self.check(edge.about_text(EDGE_HEADER))).await;
            let (state, time) = checked.unwrap_or((UpstreamState::Lost, None));
            self.set_state(state);
            if let Some(time) = time {
                edge.read_clock(time, asked_at);
            }
            self.log_change(std::mem::replace(&mut before, state), state);
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }

    fn log_change(&self, before: UpstreamState, now: UpstreamState) {
        let address = self.address;
        match (before, now) {
            (before, now) if before == now => {}
            (_, UpstreamState::Lost) => tracing::warn!(
                %address,
                event = "edge.upstream_lost",
                "a node behind this edge does not answer"
            ),
            (_, UpstreamState::WithoutApi) => tracing::warn!(
                %address,
                event = "edge.upstream_without_api",
                "a node lacks the role api and gets no requests; remove it from edge.upstreams"
            ),
            (UpstreamState::Lost | UpstreamState::WithoutApi, _) => tracing::info!(
                %address,
                event = "edge.upstream_back",
                "a node behind this edge answers"
            ),
            (UpstreamState::Ready | UpstreamState::NotReady, _) => {}
        }
    }

    /// Requests the node's `/healthz`, and returns the node's state and the store's time. If the
    /// node does not answer or is an edge, returns [`UpstreamState::Lost`] without a time. If this
    /// machine had no file handle or port for a connection, keeps the earlier state.
    async fn check(
        self: &Arc<Self>,
        about: Option<HeaderValue>,
    ) -> (UpstreamState, Option<Millis>) {
        let headers = match self.request_health(about.map(|about| (EDGE_HEADER, about))).await {
            Ok(headers) => headers,
            Err(Failed { is_local: true, .. }) => return (self.state(), None),
            Err(Failed { .. }) => return (UpstreamState::Lost, None),
        };
        let text = headers.get(TIME_HEADER).and_then(|time| time.to_str().ok());
        match text.and_then(|text| text.parse::<i64>().ok()) {
            Some(time) => (UpstreamState::parse(headers.get(STATE_HEADER)), Some(Millis(time))),
            None => (UpstreamState::Lost, None),
        }
    }

    /// Opens the WebSocket of a relay. Returns `None` if the node refuses the WebSocket or does not
    /// answer.
    pub(super) async fn open_socket(
        self: &Arc<Self>,
        about: HeaderValue,
    ) -> Option<TokioIo<Upgraded>> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = Uri::from_static("/v1/ws");
        let host = HeaderValue::from_str(&self.address.to_string()).expect("an address is ASCII");
        let key = HeaderValue::from_str(&generate_key()).expect("base64 is ASCII");
        let headers = request.headers_mut();
        headers.insert(HOST, host);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(SEC_WEBSOCKET_KEY, key);
        headers.insert(RELAY_HEADER, about);
        let mut response = self.clone().send(request, CHECK_MAX).await.ok()?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return None;
        }
        let upgraded = timeout(CHECK_MAX, hyper::upgrade::on(&mut response)).await;
        upgraded.ok()?.ok().map(TokioIo::new)
    }

    /// Requests `/healthz` with this header, and returns the headers of the response.
    pub(super) async fn request_health(
        self: &Arc<Self>,
        header: impl Into<Option<(&'static str, HeaderValue)>>,
    ) -> Result<HeaderMap, Failed> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = Uri::from_static("/healthz");
        let host = HeaderValue::from_str(&self.address.to_string()).expect("an address is ASCII");
        request.headers_mut().insert(HOST, host);
        if let Some((name, value)) = header.into() {
            request.headers_mut().insert(name, value);
        }
        let (answer, body) = self.clone().send(request, CHECK_MAX).await?.into_parts();
        // The connection can be used again only after the body was read.
        match timeout(CHECK_MAX, axum::body::to_bytes(Body::new(body), 64 * 1024)).await {
            Ok(Ok(_)) => Ok(answer.headers),
            Ok(Err(_)) | Err(_) => Err(Failed::UNANSWERED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_stated_state_counts_as_ready() {
        for state in [UpstreamState::Ready, UpstreamState::NotReady, UpstreamState::WithoutApi] {
            let value = HeaderValue::from_static(state.as_str());
            assert_eq!(UpstreamState::parse(Some(&value)), state);
        }
        assert_eq!(UpstreamState::parse(None), UpstreamState::Ready);
        let later = HeaderValue::from_static("later");
        assert_eq!(UpstreamState::parse(Some(&later)), UpstreamState::Ready);
    }

    #[test]
    fn a_connection_fails_because_of_this_machine_only_without_a_free_handle_or_port() {
        let is_local = |error: io::Error| NotConnected::from(error).is_local;
        for code in [ENFILE, EMFILE] {
            assert!(is_local(io::Error::from_raw_os_error(code)), "{code}");
        }
        assert!(is_local(io::ErrorKind::AddrNotAvailable.into()));
        for kind in [io::ErrorKind::ConnectionRefused, io::ErrorKind::TimedOut] {
            assert!(!is_local(kind.into()), "{kind}");
        }
    }
}
