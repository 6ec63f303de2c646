//! The endpoints of liveness and readiness.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use doorbuster_api::health::{DatabaseFence, Health, HealthStatus, ReadinessFacts};
use doorbuster_api::problem::Problem;
use http::StatusCode;
use http::{HeaderMap, HeaderValue};

use super::App;
use super::limits::RETRY_SECS;
use super::reply::{HandlerResult, json, no_store};

use doorbuster_engine::database::{SYNCHRONOUS_STANDBY_MISSING, SYNCHRONOUS_STANDBYS_HIDDEN};
use doorbuster_engine::edge::{
    EDGE_HEADER, REFUSALS_HEADER, STATE_HEADER, TIME_HEADER, UpstreamState, refusal_report,
};

/// The reason why an edge is not ready: at the last check, none of its nodes was ready.
const NO_UPSTREAM: &str = "no_upstream";
/// A warning: the edge's copy of the nodes' memory is too old, so the edge refuses no requests
/// itself.
const FEED_STALE: &str = "feed_stale";

/// `GET /healthz`. The response of a node also has two headers for edges: the store's time, and
/// whether the node serves buyers.
pub(crate) async fn alive(State(app): State<Arc<App>>, headers: HeaderMap) -> HandlerResult {
    if let Some(about) = headers.get(EDGE_HEADER) {
        app.edges.record(&app.node, about.as_bytes());
    }
    let mut reply = no_store(json(StatusCode::OK, &Health::default()));
    if let Some(report) = headers.get(REFUSALS_HEADER)
        && refusal_report::receive(&app.edges, &app.node, report.as_bytes())
    {
        reply.headers_mut().insert(REFUSALS_HEADER, HeaderValue::from_static("received"));
    }
    if app.node.edge().is_none() {
        reply.headers_mut().insert(TIME_HEADER, app.node.now().0.into());
        let state = HeaderValue::from_static(state_for_edges(&app).as_str());
        reply.headers_mut().insert(STATE_HEADER, state);
    }
    Ok(reply)
}

/// Returns whether edges may send requests to this node. Reads only memory, because edges check
/// their nodes often.
fn state_for_edges(app: &App) -> UpstreamState {
    let is_leaving = app.is_leaving.load(Ordering::Acquire) || app.node.lifecycle().is_stopping();
    match app.serves_api {
        false => UpstreamState::WithoutApi,
        true if is_leaving || !app.node.is_memory_recent() => UpstreamState::NotReady,
        true => UpstreamState::Ready,
    }
}

/// `GET /readyz`
pub(crate) async fn ready(State(app): State<Arc<App>>) -> HandlerResult {
    let mut reasons: Vec<Cow<'static, str>> = match app.node.edge() {
        Some(node) if node.upstreams.ready() > 0 => Vec::new(),
        Some(_) => vec![NO_UPSTREAM.into()],
        None => app.node.unready_reasons().await.into_iter().map(Cow::Owned).collect(),
    };
    if app.is_leaving.load(Ordering::Acquire) && !reasons.iter().any(|reason| reason == "stopping")
    {
        reasons.push("stopping".into());
    }
    let facts = facts(&app);
    match reasons.is_empty() {
        true => Ok(no_store(json(StatusCode::OK, &Health { status: HealthStatus::Ok, facts }))),
        false => Err(Problem::not_ready(reasons, facts, RETRY_SECS).into()),
    }
}

fn facts(app: &App) -> ReadinessFacts {
    let database = app.node.database();
    let replication = database.replication();
    let standbys = replication.as_ref();
    let is_stale = app.node.edge().is_some_and(|node| !node.is_fresh());
    let warnings = [
        (standbys.is_some_and(|found| found.lacks_standbys()), SYNCHRONOUS_STANDBY_MISSING),
        (standbys.is_some_and(|found| found.hides_standbys()), SYNCHRONOUS_STANDBYS_HIDDEN),
        (is_stale, FEED_STALE),
    ];
    ReadinessFacts {
        warnings: warnings
            .into_iter()
            .filter_map(|(applies, warning)| applies.then_some(warning.into()))
            .collect(),
        database: database.history().map(|history| DatabaseFence {
            fence: history.fence,
            token: history.token,
            timeline: history.timeline,
            position: history.position,
        }),
    }
}
