//! Records which edges are alive. An edge cannot write to Redis, so it describes itself in its
//! health checks of the nodes. A node that receives such a check writes the description to Redis,
//! where all nodes can read it.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use doorbuster_core::Millis;
use serde::{Deserialize, Serialize};

use super::records;
use crate::node::Node;

/// The header in which an edge describes itself to a node. Nodes store its value in Redis.
pub const EDGE_HEADER: &str = "doorbuster-edge";
/// The header with which an edge opens a relay. Its value must stay secret, because it gives access
/// to all buyers' events.
pub const RELAY_HEADER: &str = "doorbuster-relay";
const RECORD_INTERVAL: Duration = Duration::from_secs(2);
/// The maximum number of edges that one node remembers. When it is reached, the node forgets all
/// edges.
const EDGES_MAX: usize = 1_024;
/// An edge counts as alive for this long after it wrote its description.
pub const ALIVE_MS: i64 = 10_000;

/// An edge's description of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeDescription {
    /// The edge's random id.
    pub node: String,
    /// The version of the edge's program.
    pub version: String,
    /// When the edge started, by the store's clock.
    pub started_at: i64,
    /// When the edge wrote this description, by the store's clock. After [`ALIVE_MS`] without a
    /// newer description, the edge no longer counts as alive.
    pub said_at: i64,
    /// The edge's open connections.
    pub connections: u64,
}

impl EdgeDescription {
    /// Returns whether the edge is alive at this time of the store's clock.
    pub fn lives(&self, now: Millis) -> bool {
        (self.said_at - now.0).abs() < ALIVE_MS
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sighting {
    /// When this node last recorded the edge in Redis.
    recorded_at: Option<Instant>,
    /// The number of the newest report of refusals that the edge sent to this node.
    report: u64,
}

/// The edges that sent a description or a report to this node.
#[derive(Debug, Default)]
pub struct EdgeSightings(Mutex<HashMap<String, Sighting>>);

impl EdgeSightings {
    /// Decodes the edge's description in this header, and records the edge in Redis in the
    /// background.
    pub fn record(&self, node: &Arc<Node>, value: &[u8]) {
        let about: Option<EdgeDescription> = records::open_json(node.id_key(), EDGE_HEADER, value);
        let Some(about) = about else { return };
        if node.shared().is_none() || !about.lives(node.now()) || !self.is_due(&about.node) {
            return;
        }
        node.note_edge();
        let (own, value) = (node.clone(), value.to_vec());
        node.lifecycle().tasks().spawn(async move {
            if let Some(shared) = own.shared() {
                // If the write fails, a later health check causes another write.
                drop(shared.note_edge(&about.node, &value).await);
            }
        });
    }

    fn is_due(&self, node: &str) -> bool {
        self.change(node, |sighting| {
            let is_due = sighting.recorded_at.is_none_or(|at| at.elapsed() >= RECORD_INTERVAL);
            if is_due {
                sighting.recorded_at = Some(Instant::now());
            }
            is_due
        })
    }

    /// Records the number of a report of refusals. Returns whether the report is newer than every
    /// earlier report of this edge.
    pub(crate) fn is_next_report(&self, node: &str, number: u64) -> bool {
        self.change(node, |sighting| {
            let is_next = number > sighting.report;
            sighting.report = sighting.report.max(number);
            is_next
        })
    }

    fn change<T>(&self, node: &str, change: impl FnOnce(&mut Sighting) -> T) -> T {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= EDGES_MAX && !seen.contains_key(node) {
            seen.clear();
        }
        change(seen.entry(node.to_owned()).or_default())
    }
}

impl Node {
    /// Returns the descriptions of the live edges, sorted by id. Empty if Redis does not answer.
    pub async fn live_edges(&self) -> Vec<EdgeDescription> {
        let Some(shared) = self.shared() else { return Vec::new() };
        let now = self.now();
        let found = shared.edges().await.unwrap_or_default();
        let mut edges: Vec<EdgeDescription> = found
            .iter()
            .filter_map(|value| records::open_json(self.id_key(), EDGE_HEADER, value))
            .filter(|about: &EdgeDescription| about.lives(now))
            .collect();
        edges.sort_by(|one, other| one.node.cmp(&other.node));
        edges
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_core::IdKey;

    use super::*;

    #[test]
    fn an_edge_is_recorded_only_with_a_proof_and_only_while_it_lives() {
        let (key, other) = (IdKey::new([5; 32]), IdKey::new([6; 32]));
        let about = EdgeDescription {
            node: "e1".to_owned(),
            version: "1".to_owned(),
            started_at: 1,
            said_at: 50_000,
            connections: 3,
        };
        let sealed = records::seal_json(&key, EDGE_HEADER, &about);
        let open =
            |key: &IdKey, header: &str| records::open_json::<EdgeDescription>(key, header, &sealed);
        assert_eq!(open(&key, EDGE_HEADER), Some(about.clone()));
        assert_eq!(open(&other, EDGE_HEADER), None);
        assert_eq!(open(&key, RELAY_HEADER), None, "a value must open only for its own header");
        assert!(
            about.lives(Millis(50_000 + ALIVE_MS - 1)) && !about.lives(Millis(50_000 + ALIVE_MS))
        );
        let sightings = EdgeSightings::default();
        assert!(sightings.is_due("e1") && !sightings.is_due("e1") && sightings.is_due("e2"));
    }
}
