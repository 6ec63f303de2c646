//! `GET /v1/admin/nodes`: the nodes, the store, and the servers that hold slots.
//! `GET /v1/admin/settings`: the settings of this node, without secrets.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::admin::console::{Node, NodeList, SettingList, SlotServer, StoreServer};
use doorbuster_core::Millis;
use doorbuster_engine::api_conversion;
use doorbuster_engine::control::LEASE_MS;
use doorbuster_engine::edge::EdgeDescription;
use doorbuster_engine::edge::sightings::ALIVE_MS;
use doorbuster_slots::ServerIdentity;
use doorbuster_store::NodeRow;
use serde::Deserialize;

use crate::App;
use crate::reply::{HandlerResult, ok};

/// The description that a node writes about itself, in `Node::node_description`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct About {
    roles: Vec<String>,
    version: Option<String>,
    started_at: Option<i64>,
    connections: u64,
}

pub(crate) async fn list(State(app): State<Arc<App>>) -> HandlerResult {
    let own = &app.node;
    let live = own.live_nodes();
    let mut nodes = match own.layout().is_single_node() {
        true => {
            let settles =
                live.settled_slot_names(&[], &own.items_with_open_slots()).remove(&own.id());
            let view = node_view(&own.id().to_string(), &own.node_description(), None, true);
            vec![Node { settles: settles.unwrap_or_default(), ..view }]
        }
        false => {
            let rows = own.store().nodes().await?;
            let open = own.items_with_open_slots();
            let (mut settles, now) = (live.settled_slot_names(&rows, &open), own.now());
            let view = |row: &NodeRow| Node {
                settles: settles.remove(&row.node).unwrap_or_default(),
                ..node_of_row(row, now)
            };
            rows.iter().map(view).collect()
        }
    };
    let (edges, now) = (own.live_edges().await, own.now());
    nodes.extend(edges.into_iter().map(|edge| node_of_edge(edge, now)));
    let server = own.store().server().await?;
    let replication = own.database().replication();
    let store = StoreServer {
        kind: server.kind.to_owned(),
        server_version: server.version,
        synchronous_standbys: replication
            .and_then(|found| found.synchronous)
            .and_then(|count| u32::try_from(count).ok()),
        timeline: own.database().history().and_then(|history| u64::try_from(history.timeline).ok()),
    };
    ok(&NodeList { nodes, store, slots: slot_servers(&app) })
}

/// `GET /v1/admin/settings`
pub(crate) async fn settings(State(app): State<Arc<App>>) -> HandlerResult {
    let settings = app.live().shown.clone();
    ok(&SettingList { node: app.node.id().to_string(), settings })
}

/// Returns the milliseconds since a node's last report. The clocks of two nodes can differ, so
/// `reported` may be after `now`; the result is then 0.
fn lag_ms(reported: Millis, now: Millis) -> u64 {
    u64::try_from(now.0 - reported.0).unwrap_or(0)
}

pub(super) fn node_of_row(row: &NodeRow, now: Millis) -> Node {
    let view = node_view(&row.node.to_string(), &row.about, Some(row.lease_until), row.leader);
    Node { lag_ms: lag_ms(row.lease_until.plus(-LEASE_MS), now), ..view }
}

fn node_of_edge(edge: EdgeDescription, now: Millis) -> Node {
    Node {
        lag_ms: lag_ms(Millis(edge.said_at), now),
        node: edge.node,
        roles: vec!["edge".to_owned()],
        version: Some(edge.version),
        started_at: Some(api_conversion::time(Millis(edge.started_at))),
        lease_until: Some(api_conversion::time(Millis(edge.said_at + ALIVE_MS))),
        leader: false,
        settles: Vec::new(),
        connections: edge.connections,
    }
}

fn node_view(node: &str, about: &str, lease_until: Option<Millis>, leader: bool) -> Node {
    let about: About = serde_json::from_str(about).unwrap_or_default();
    Node {
        node: node.to_owned(),
        roles: about.roles,
        version: about.version,
        started_at: about.started_at.map(|at| api_conversion::time(Millis(at))),
        lease_until: lease_until.map(api_conversion::time),
        lag_ms: 0,
        leader,
        settles: Vec::new(),
        connections: about.connections,
    }
}

/// Returns the Redis servers that hold slots, each with the result of its last check. The node
/// checks each server about once a second.
fn slot_servers(app: &App) -> Vec<SlotServer> {
    let servers = app.stock.slots().evidence().servers;
    if servers.is_empty() {
        return vec![SlotServer { server: "memory".into(), up: true, role: "memory".into() }];
    }
    let server = |server: ServerIdentity| SlotServer {
        up: server.is_up,
        server: server.address,
        role: if server.is_replica { "replica" } else { "primary" }.into(),
    };
    servers.into_iter().map(server).collect()
}
