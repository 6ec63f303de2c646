//! The live nodes, as this node last saw them. The live nodes divide the request limits and the
//! work of settling among themselves.
//!
//! This part of a node owns the result of the last check. It calls no other part of the node. The
//! job that renews the leases writes this result. The limits, the settlers and the console read the
//! result.
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use doorbuster_core::assignment::{Settlers, has_recent_lease, reference_lease, settler_of};
use doorbuster_core::{NodeId, SlotKey};
use doorbuster_store::NodeRow;
use serde::Deserialize;
use tokio::time::Instant;

use super::NodeCount;
use crate::catalogue::ItemState;
use crate::slot_layout::SlotLayout;

/// The live nodes, as this node last saw them.
#[derive(Debug)]
pub struct LiveNodes {
    own: NodeId,
    layout: SlotLayout,
    count: Arc<NodeCount>,
    created_at: Instant,
    settlers: Mutex<Settlers>,
    /// How many nodes settle the tickets of one or more open slots.
    sharing: AtomicUsize,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AboutRoles {
    roles: Vec<String>,
}

fn heard(nodes: &[NodeRow], own: NodeId) -> impl Iterator<Item = &NodeRow> {
    let reference = reference_lease(own, nodes.iter().map(|row| (row.node, row.lease_until)));
    nodes.iter().filter(move |row| has_recent_lease(row.lease_until, reference))
}

fn is_settler(row: &NodeRow) -> bool {
    let about: AboutRoles = serde_json::from_str(&row.about).unwrap_or_default();
    about.roles.iter().any(|role| role == "settle")
}

impl LiveNodes {
    pub(crate) fn new(own: NodeId, layout: SlotLayout) -> Self {
        Self {
            own,
            layout,
            count: Arc::default(),
            created_at: Instant::now(),
            settlers: Mutex::default(),
            sharing: AtomicUsize::new(1),
        }
    }

    /// Returns the counter of the live nodes.
    pub fn count(&self) -> &Arc<NodeCount> {
        &self.count
    }

    /// Records the live nodes. If the set of nodes that settle tickets has changed, returns all
    /// nodes with recently renewed leases. Otherwise, or if this node's slots are in its own
    /// memory, returns `None`. `open` has the items with open slots.
    pub(crate) fn observe(
        &self,
        nodes: &[NodeRow],
        open: &[Arc<ItemState>],
    ) -> Option<Vec<NodeId>> {
        self.count.observe(nodes.len());
        if self.layout.is_node_local() {
            return None;
        }
        let live = heard(nodes, self.own).filter(|row| is_settler(row)).map(|row| row.node);
        let mut settlers = self.settlers();
        let has_changed = settlers.observe(live.collect(), self.now_ms());
        let sharing = settlers.count_for(open.iter().flat_map(|item| item.slots.iter().copied()));
        self.sharing.store(sharing, Ordering::Relaxed);
        has_changed.then(|| heard(nodes, self.own).map(|row| row.node).collect())
    }

    pub(crate) fn settled_of(&self, mut slots: Vec<SlotKey>) -> Vec<SlotKey> {
        if !self.layout.is_node_local() {
            let (settlers, now_ms) = (self.settlers(), self.now_ms());
            slots.retain(|slot| settlers.settles(self.own, *slot, now_ms));
        }
        slots
    }

    /// Returns how many nodes settle tickets, including this node. A node without any open slot to
    /// settle does not count.
    pub(crate) fn settler_count(&self) -> usize {
        if self.layout.is_node_local() {
            // Each node has its own slots and settles the tickets of these slots, so every live
            // node counts.
            return usize::try_from(self.count.now()).unwrap_or(usize::MAX);
        }
        self.sharing.load(Ordering::Relaxed)
    }

    pub(crate) fn has_other_settlers(&self) -> bool {
        self.settlers().live().iter().any(|node: &NodeId| *node != self.own)
    }

    /// Returns, for each of these nodes, the names of the slots whose tickets the node settles.
    /// `open` has the items with open slots. Every node computes the same assignment for the same
    /// settling nodes.
    #[must_use]
    pub fn settled_slot_names(
        &self,
        nodes: &[NodeRow],
        open: &[Arc<ItemState>],
    ) -> HashMap<NodeId, Vec<String>> {
        let settlers: Vec<NodeId> =
            heard(nodes, self.own).filter(|row| is_settler(row)).map(|row| row.node).collect();
        let mut names: HashMap<NodeId, Vec<String>> = HashMap::new();
        for item in open {
            let name = |slot: SlotKey| self.layout.name(&item.sale, &item.row.name, slot, self.own);
            let mut add = |node: NodeId, name| names.entry(node).or_default().push(name);
            match self.layout {
                SlotLayout::Shared => {
                    for &slot in &item.slots {
                        if let Some(node) = settler_of(slot, &settlers) {
                            add(node, name(slot));
                        }
                    }
                }
                SlotLayout::PerNode(_) => {
                    for &node in &settlers {
                        add(node, name(SlotKey { item: item.row.id, index: node.0 }));
                    }
                }
                SlotLayout::SingleNode | SlotLayout::Edge => {
                    item.slots.iter().for_each(|slot| add(self.own, name(*slot)));
                }
            }
        }
        names
    }

    fn settlers(&self) -> MutexGuard<'_, Settlers> {
        self.settlers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the milliseconds since this value was created.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.created_at.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_core::Millis;

    use super::*;

    #[test]
    fn a_node_that_renewed_no_lease_for_two_seconds_settles_nothing() {
        let row = |node, lease_until| NodeRow {
            node: NodeId(node),
            lease_until: Millis(lease_until),
            leader: false,
            about: String::new(),
        };
        let rows = [row(1, 9_000), row(2, 7_001), row(3, 7_000)];
        let found = |own| heard(&rows, NodeId(own)).map(|row| row.node.0).collect::<Vec<_>>();
        assert_eq!(found(1), [1, 2]);
        assert_eq!(
            found(4),
            [1, 2],
            "a node without a lease must compare all leases with the lease that ends last"
        );
        assert_eq!(found(3), [1, 2, 3], "a node whose lease ends later must count");
        let stepped = [row(1, 9_000), row(2, 8_500), row(3, 11_001)];
        assert_eq!(
            heard(&stepped, NodeId(1)).map(|row| row.node.0).collect::<Vec<_>>(),
            [1, 2],
            "a lease from before a step back of the store's clock must not count"
        );
        assert_eq!(heard(&[], NodeId(1)).count(), 0);
    }
}
