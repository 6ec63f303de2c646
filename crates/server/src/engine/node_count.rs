//! Counts the live nodes: now and recently.
//!
//! A lapsed lease may belong to a machine that paused for a moment. A node that applies its part of
//! a limit must not take the parts of other nodes so early. So a node counts as live until several
//! checks in a row find its lease lapsed. Checks are counted, not seconds: a machine that paused as
//! a whole checks once afterwards and finds every lease lapsed except its own.
use std::sync::atomic::{AtomicU32, Ordering};

/// After this many checks in a row that miss a node, it no longer counts: about three seconds
/// beyond its lease.
const MISSED_CHECKS: u32 = 6;

/// The number of live nodes, with this one. One job writes it; everything else reads it.
#[derive(Debug)]
pub(crate) struct NodeCount {
    now: AtomicU32,
    recent: AtomicU32,
    /// Checks in a row that saw fewer nodes than `recent`.
    fewer: AtomicU32,
}

impl Default for NodeCount {
    /// One node, this one, until the first check.
    fn default() -> Self {
        Self { now: AtomicU32::new(1), recent: AtomicU32::new(1), fewer: AtomicU32::new(0) }
    }
}

impl NodeCount {
    /// Nodes whose lease had not lapsed at the last check.
    pub(crate) fn now(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }

    /// Nodes that lived recently; at least one.
    pub(crate) fn recent(&self) -> u32 {
        self.recent.load(Ordering::Relaxed)
    }

    /// Records that a check saw this many nodes.
    pub(crate) fn observe(&self, nodes: usize) {
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        self.now.store(nodes, Ordering::Relaxed);
        let counted = nodes.max(1);
        let fewer =
            if counted < self.recent() { self.fewer.load(Ordering::Relaxed) + 1 } else { 0 };
        let is_sure = fewer == 0 || fewer >= MISSED_CHECKS;
        if is_sure {
            self.recent.store(counted, Ordering::Relaxed);
        }
        self.fewer.store(if is_sure { 0 } else { fewer }, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seen: &[usize]) -> (u32, u32) {
        let node_count = NodeCount::default();
        seen.iter().for_each(|nodes| node_count.observe(*nodes));
        (node_count.now(), node_count.recent())
    }

    #[test]
    fn a_new_node_counts_at_once_and_a_missing_node_counts_for_a_while() {
        assert_eq!(after(&[]), (1, 1));
        assert_eq!(after(&[2]), (2, 2));
        assert_eq!(after(&[3, 1, 1]), (1, 3));
        assert_eq!(after(&[3, 1, 1, 3, 1, 1, 1, 1]), (1, 3), "the node was seen again in between");
        assert_eq!(after(&[2, 0]), (0, 2), "even the node's own lease is missing");
    }

    #[test]
    fn a_node_that_stays_missing_no_longer_counts() {
        let missed = |nodes: usize| vec![nodes; MISSED_CHECKS as usize];
        assert_eq!(after(&[vec![3], missed(1)].concat()), (1, 1));
        assert_eq!(after(&[vec![3], missed(1)[1..].to_vec()].concat()), (1, 3));
        assert_eq!(
            after(&[vec![3], missed(2), missed(1)[1..].to_vec()].concat()),
            (1, 2),
            "two nodes leave one after the other"
        );
        assert_eq!(
            after(&[vec![2], missed(0)].concat()),
            (0, 1),
            "the recent count is at least one"
        );
    }
}
