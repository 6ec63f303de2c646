//! Counts the nodes that are live now, and the nodes that were live recently.
//!
//! The nodes divide each request limit by the number of recent nodes. A node that pauses for a
//! moment may lose its lease, but still allows its part of the limit. The other nodes must not use
//! this part at once. So a node counts as recent until several checks in a row do not find it.
//!
//! The code counts checks and not seconds. After a pause of the whole machine, all other leases
//! have ended, and a node's first check finds only the node's own lease. Because the code counts
//! checks, this single result has no effect.
//!
//! This part of a node owns the two numbers. It calls no other part of the node. The module
//! `live_nodes` writes the numbers. The limits, the waiting rooms, stock control and the metrics
//! read them.
use std::sync::atomic::{AtomicU32, Ordering};

/// After this many consecutive checks that do not find a node, the node no longer counts as recent.
/// These checks take about three seconds after the end of the node's lease.
const MISSED_CHECKS: u32 = 6;

/// The number of nodes that are live now, and the number of nodes that were live recently. Both
/// include this node. Only one job writes these numbers.
#[derive(Debug)]
pub struct NodeCount {
    now: AtomicU32,
    recent: AtomicU32,
    fewer: AtomicU32,
}

impl Default for NodeCount {
    fn default() -> Self {
        Self { now: AtomicU32::new(1), recent: AtomicU32::new(1), fewer: AtomicU32::new(0) }
    }
}

impl NodeCount {
    /// Returns how many nodes had a valid lease at the last check.
    pub fn now(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }

    /// Returns how many nodes were live recently, at least 1.
    pub fn recent(&self) -> u32 {
        self.recent.load(Ordering::Relaxed)
    }

    /// Records the result of a check: the number of nodes with a valid lease.
    pub fn observe(&self, nodes: usize) {
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
        assert_eq!(
            after(&[3, 1, 1, 3, 1, 1, 1, 1]),
            (1, 3),
            "a check that finds all nodes again must restart the count of missed checks"
        );
        assert_eq!(after(&[2, 0]), (0, 2), "a check that finds no lease must set `now` to 0");
    }

    #[test]
    fn a_node_that_stays_missing_no_longer_counts() {
        let missed = |nodes: usize| vec![nodes; MISSED_CHECKS as usize];
        assert_eq!(after(&[vec![3], missed(1)].concat()), (1, 1));
        assert_eq!(after(&[vec![3], missed(1)[1..].to_vec()].concat()), (1, 3));
        assert_eq!(
            after(&[vec![3], missed(2), missed(1)[1..].to_vec()].concat()),
            (1, 2),
            "a node that leaves later must count for as long as the node that left first"
        );
        assert_eq!(
            after(&[vec![2], missed(0)].concat()),
            (0, 1),
            "`recent` must stay at least one"
        );
    }
}
