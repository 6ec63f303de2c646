//! The nodes behind an edge: their connections, their checks, and the requests to them.
//!
//! If a node fails to answer a request, the edge tries another node only if the request cannot take
//! effect twice. A request cannot take effect twice if it only reads, or if no part of it was sent.
//! If a node is slow to answer a buyer's read, the edge also sends the read to a second node. The
//! edge uses the response that comes first.
mod hedging;
#[cfg(test)]
mod tests;
mod upstream;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Body;
use doorbuster_api::header::Prefer;
use doorbuster_config::NamedNodes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderValue, Method, Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::EdgeNode;
use hedging::Hedging;
use upstream::{Failed, Upstream};

pub use upstream::UpstreamState;

/// The response header of `/healthz` with the store's time, in milliseconds. Edges have no store
/// and do not send this header.
pub const TIME_HEADER: &str = "doorbuster-time";
/// The response header of `/healthz` that says whether a node can serve buyers.
pub const STATE_HEADER: &str = "doorbuster-state";
/// How long a node may take to begin its response. Purchases have another limit.
const ANSWER_MAX: Duration = Duration::from_secs(75);
/// For a purchase, the time that a node may need in addition to the wait that the client requested.
const AFTER_WAIT_MAX: Duration = Duration::from_secs(5);
/// Time between two lookups of the nodes' names.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(10);
/// The page to which an issuer sends an operator's browser back after the sign-in. A `GET` of this
/// page is not only a read: it uses up a code that is valid only once.
const SIGN_IN_CALLBACK: &str = "/console/callback";
/// The maximum number of nodes behind one edge. The edge ignores further addresses.
const UPSTREAMS_MAX: usize = 256;

/// Why the edge could not pass a request to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassFailure {
    /// No node was reachable, so nothing was sent.
    Unsent,
    /// A node got at least a part of the request, and did not answer.
    Unanswered,
    /// The request came from another edge. To avoid loops, an edge does not pass such a request on.
    FromAnEdge,
}

/// The nodes behind an edge.
pub struct Upstreams {
    names: Vec<NamedNodes>,
    all: ArcSwap<Vec<Arc<Upstream>>>,
    next: AtomicUsize,
    hedging: Hedging,
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.all.load();
        out.debug_list().entries(all.iter().map(|upstream| upstream.address)).finish()
    }
}

impl Upstreams {
    pub(super) fn new(names: &[NamedNodes]) -> Self {
        let upstreams = Self {
            names: names.to_vec(),
            all: ArcSwap::default(),
            next: AtomicUsize::new(0),
            hedging: Hedging::default(),
        };
        upstreams.set_addresses(names);
        upstreams
    }

    /// Replaces the list of nodes. Nodes that were already in the list keep their state and their
    /// connections. Returns the removed nodes, or `None` if the addresses stay the same.
    fn set_addresses(&self, names: &[NamedNodes]) -> Option<Vec<Arc<Upstream>>> {
        let mut addresses = Vec::new();
        for address in names.iter().flat_map(NamedNodes::addresses).copied() {
            if !addresses.contains(&address) && addresses.len() < UPSTREAMS_MAX {
                addresses.push(address);
            }
        }
        let known = self.all.load();
        if known.iter().map(|upstream| upstream.address).eq(addresses.iter().copied()) {
            return None;
        }
        let upstream = |address: SocketAddr| {
            let same = known.iter().find(|upstream| upstream.address == address);
            same.cloned().unwrap_or_else(|| Arc::new(Upstream::new(address)))
        };
        let all = addresses.iter().copied().map(upstream).collect();
        self.all.store(Arc::new(all));
        let is_removed = |known: &&Arc<Upstream>| !addresses.contains(&known.address);
        Some(known.iter().filter(is_removed).cloned().collect())
    }

    /// Replaces the list of nodes. If an address changed, ends the running checks and returns true.
    /// Otherwise, returns false.
    async fn change_addresses(&self, names: &[NamedNodes], checks: &mut JoinSet<()>) -> bool {
        let Some(removed) = self.set_addresses(names) else { return false };
        // The running checks end first, because a check could overwrite the new state of a removed
        // node.
        checks.shutdown().await;
        // Because a removed node is `Lost`, the relay and the waiting reads move to other nodes.
        removed.iter().for_each(|node| node.set_state(UpstreamState::Lost));
        true
    }

    /// Returns how many nodes are ready.
    pub fn ready(&self) -> usize {
        let all = self.all.load();
        all.iter().filter(|upstream| upstream.state() == UpstreamState::Ready).count()
    }

    /// Sends a request to a node. The nodes take turns, and nodes that are not ready come last.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, PassFailure> {
        let only_reads = matches!(*request.method(), Method::GET | Method::HEAD)
            && request.body().is_end_stream()
            && !request.headers().contains_key(http::header::UPGRADE)
            && request.uri().path() != SIGN_IN_CALLBACK;
        match only_reads {
            true => self.send_read(request).await,
            false => self.send_once(request).await,
        }
    }

    /// Sends a request that may change data. Tries another node only if no part of the request was
    /// sent.
    async fn send_once(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, PassFailure> {
        let answer_max = answer_max(&request);
        for upstream in self.in_turn() {
            match upstream.send(request, answer_max).await {
                Ok(response) => return Ok(response),
                Err(Failed { unsent: Some(unsent), .. }) => request = *unsent,
                Err(Failed { unsent: None, .. }) => return Err(PassFailure::Unanswered),
            }
        }
        Err(PassFailure::Unsent)
    }

    /// Sends a read to a node. If the node fails, sends the read to the next node. If the first
    /// node is slow, or its state changes to `Lost`, also sends the read to a second node. Returns
    /// the response that comes first.
    async fn send_read(&self, request: Request<Body>) -> Result<Response<Incoming>, PassFailure> {
        let mut rest = self.in_turn().into_iter();
        let Some(first) = rest.next() else { return Err(PassFailure::Unsent) };
        let may_be_hedged = may_be_hedged(&request);
        let (mut head, _) = request.into_parts();
        // The extensions belong to the client's connection, and must not go to a node.
        head.extensions.clear();
        let try_at = |upstream: Arc<Upstream>| {
            let copy = Request::from_parts(head.clone(), Body::empty());
            async move {
                let began = Instant::now();
                let sent = upstream.send(copy, ANSWER_MAX).await;
                sent.map(|response| (response, began.elapsed()))
            }
        };
        let delay = self.hedging.begin_read();
        let slow = tokio::time::sleep(delay);
        let lost = first.wait_until_lost();
        tokio::pin!(slow, lost);
        let was_lost = first.state() == UpstreamState::Lost;
        let (mut awaits_delay, mut awaits_loss) = (may_be_hedged, !was_lost);
        let mut tries = FuturesUnordered::from_iter([try_at(first.clone())]);
        loop {
            let is_second_due = tokio::select! {
                Some(tried) = tries.next() => match tried {
                    Ok((response, took)) => {
                        self.hedging.record(took);
                        return Ok(response);
                    }
                    Err(Failed { .. }) => {
                        tries.extend(rest.next().map(&try_at));
                        if tries.is_empty() {
                            return Err(PassFailure::Unsent);
                        }
                        false
                    }
                },
                () = &mut slow, if awaits_delay => {
                    awaits_delay = false;
                    let next = rest.as_slice().first().map(|next| next.state());
                    next == Some(UpstreamState::Ready) && self.hedging.take_repeat()
                }
                () = &mut lost, if awaits_loss => {
                    awaits_loss = false;
                    true
                }
            };
            if is_second_due && tries.len() == 1 {
                tries.extend(rest.next().map(&try_at));
            }
        }
    }

    /// Sends a header to a ready node, in a request for `/healthz`. To confirm, the node's response
    /// has a header with the same name.
    pub(super) async fn send_report(
        &self,
        name: &'static str,
        value: HeaderValue,
    ) -> Result<(), PassFailure> {
        let ready = self.in_turn().into_iter();
        for upstream in ready.filter(|upstream| upstream.state() == UpstreamState::Ready) {
            match upstream.request_health((name, value.clone())).await {
                Ok(answer) if answer.contains_key(name) => return Ok(()),
                // A node of an earlier version does not know the header, so the next node is tried.
                Ok(_) => {}
                Err(Failed { unsent: Some(_), .. }) => {}
                Err(Failed { unsent: None, .. }) => return Err(PassFailure::Unanswered),
            }
        }
        Err(PassFailure::Unsent)
    }

    /// Opens a WebSocket to a ready node, for the relay. Returns `None` if no node accepts the
    /// WebSocket.
    pub(super) async fn open_socket(
        &self,
        about: HeaderValue,
    ) -> Option<(Arc<Upstream>, TokioIo<Upgraded>)> {
        let ready = self.in_turn().into_iter();
        for upstream in ready.filter(|upstream| upstream.state() == UpstreamState::Ready) {
            if let Some(socket) = upstream.open_socket(about.clone()).await {
                return Some((upstream, socket));
            }
        }
        None
    }

    /// Returns the nodes that may get the next request, in the sequence in which the edge tries
    /// them. The nodes with the same state take turns among themselves. So the turns of a node that
    /// is not ready do not all go to the same ready node.
    fn in_turn(&self) -> Vec<Arc<Upstream>> {
        let all = self.all.load();
        // Another task may change a state at any time, so each state is read only once.
        let known = all.iter().map(|upstream| (upstream.state(), upstream.clone()));
        let mut turn: Vec<_> =
            known.filter(|(state, _)| *state != UpstreamState::WithoutApi).collect();
        turn.sort_by_key(|(state, _)| *state);
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        for same in turn.chunk_by_mut(|(one, _), (other, _)| one == other) {
            same.rotate_left(next % same.len());
        }
        turn.into_iter().map(|(_, upstream)| upstream).collect()
    }

    /// Checks the nodes, reads their clocks, and looks up their names, until the future is dropped.
    pub async fn run_checks(&self, edge: &Arc<EdgeNode>) {
        let mut names = self.names.clone();
        loop {
            let mut checks = JoinSet::new();
            for upstream in self.all.load().iter() {
                checks.spawn(upstream.clone().run_checks(edge.clone()));
            }
            loop {
                tokio::time::sleep(LOOKUP_INTERVAL).await;
                // The operating system's name lookup blocks its thread. So the lookup runs in a
                // separate thread.
                let old = names.clone();
                let again = move || old.into_iter().map(NamedNodes::look_up_again).collect();
                names = tokio::task::spawn_blocking(again).await.unwrap_or(names);
                if self.change_addresses(&names, &mut checks).await {
                    break;
                }
            }
        }
    }
}

fn answer_max(request: &Request<Body>) -> Duration {
    if request.method() != Method::POST || request.uri().path() != "/v1/orders" {
        return ANSWER_MAX;
    }
    let values = request.headers().get_all("prefer").iter().map(HeaderValue::as_bytes);
    let wait = match Prefer::parse(values) {
        Prefer::RespondAsync => Duration::ZERO,
        Prefer::Wait(secs) => Duration::from_secs(u64::from(secs)),
    };
    wait + AFTER_WAIT_MAX
}

/// Returns whether the edge may also send this read to a second node. A second node must not get
/// these reads:
/// - an operator's read, because it can be expensive
/// - an event stream, because the edge would at once close the second stream
/// - the start of a sign-in, because the browser can use the cookie of only one response
fn may_be_hedged(request: &Request<Body>) -> bool {
    let path = request.uri().path();
    path != "/v1/events" && !path.starts_with("/v1/admin/") && !path.starts_with("/console")
}
