//! Decides which slots' tickets this node settles, if nodes share the slots.
use std::sync::{Mutex, MutexGuard, PoisonError};

use doorbuster_core::assignment::Settlers;
use doorbuster_core::{NodeId, SlotKey};
use doorbuster_store::NodeRow;
use serde::Deserialize;
use tokio::time::Instant;

use super::Engine;

/// The maximum number of slots in a node's description for other nodes.
const SETTLES_SHOWN_MAX: usize = 64;

/// The live nodes that settle, as this node last saw them.
#[derive(Debug)]
pub(super) struct SettlerWatch {
    since: Instant,
    settlers: Mutex<Settlers>,
}

impl Default for SettlerWatch {
    fn default() -> Self {
        Self { since: Instant::now(), settlers: Mutex::default() }
    }
}

impl SettlerWatch {
    fn settlers(&self) -> MutexGuard<'_, Settlers> {
        self.settlers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The part of a node's description that names its roles and slots.
#[derive(Default, Deserialize)]
#[serde(default)]
struct AboutRoles {
    roles: Vec<String>,
}

fn is_settler(row: &NodeRow) -> bool {
    let about: AboutRoles = serde_json::from_str(&row.about).unwrap_or_default();
    about.roles.iter().any(|role| role == "settle")
}

impl Engine {
    /// Records the live nodes. Returns whether the assignment of slots to this node may have
    /// changed.
    pub(crate) fn observe_settlers(&self, nodes: &[NodeRow]) -> bool {
        if self.layout.is_node_local() {
            return false;
        }
        let live = nodes.iter().filter(|row| is_settler(row)).map(|row| row.node).collect();
        let changed = self.settlers.settlers().observe(live, self.settlers.now_ms());
        if changed {
            self.slots.set_live_nodes(&nodes.iter().map(|row| row.node).collect::<Vec<_>>());
            self.control().queues_changed.notify_one();
        }
        changed
    }

    /// Returns the slots among `slots` whose tickets this node settles.
    pub(crate) fn settled_of(&self, mut slots: Vec<SlotKey>) -> Vec<SlotKey> {
        if !self.layout.is_node_local() {
            let (settlers, now_ms) = (self.settlers.settlers(), self.settlers.now_ms());
            slots.retain(|slot| settlers.settles(self.node, *slot, now_ms));
        }
        slots
    }

    /// Returns the number of live nodes that settle, including this node.
    pub(crate) fn settler_count(&self) -> usize {
        if self.layout.is_node_local() {
            // A node that sells also settles, because its slots are in its memory.
            return usize::try_from(self.node_count.now()).unwrap_or(usize::MAX);
        }
        self.settlers.settlers().live().len()
    }

    /// Returns whether another live node settles too.
    pub(super) fn has_other_settlers(&self) -> bool {
        self.settlers.settlers().live().iter().any(|node: &NodeId| *node != self.node)
    }

    /// Returns the names of the slots that are assigned to this node, at most
    /// [`SETTLES_SHOWN_MAX`].
    pub(super) fn settled_slot_names(&self) -> Vec<String> {
        if !self.roles.settle {
            return Vec::new();
        }
        let is_mine = |slot: &SlotKey| {
            self.layout.is_node_local() || self.settlers.settlers().is_assigned(self.node, *slot)
        };
        let mut names = Vec::new();
        for item in self.items_with_open_slots() {
            let mine = item.slots.iter().filter(|slot| is_mine(slot));
            names.extend(
                mine.map(|slot| self.layout.name(&item.sale, &item.row.name, *slot, self.node)),
            );
        }
        names.truncate(SETTLES_SHOWN_MAX);
        names
    }
}
