//! When a node's lease lapses, the leader closes the grants of the slots in that node's memory.
//! Then other slots can sell the units of these grants.
//!
//! If a grant is closed although its node is alive, the grant's unsettled tickets are returned. The
//! node then sends the requests of these tickets again under its next grant. So a wrong clock or a
//! second leader costs time, but does no harm.
use crate::rows::Grant;
use crate::rules::{Rule, enforces};
use crate::value::NodeId;

/// Returns the open grants whose node has no valid lease. For a slot in a node's memory, the slot's
/// index is the number of the node. `live` contains the nodes with a valid lease.
///
/// The caller must read `live` *after* the grants. Otherwise `live` may lack a node that has just
/// started and opened one of these grants. If the leader has no valid lease, no grant is closed,
/// because everything that the leader has read may be old.
#[must_use]
pub fn lapsed_grants<'a>(open: &'a [Grant], live: &[NodeId], leader: NodeId) -> Vec<&'a Grant> {
    if !live.contains(&leader) || !enforces(Rule::LapsedLeaseCloses) {
        return Vec::new();
    }
    let lives = |g: &&Grant| live.contains(&NodeId(g.slot.index)) && enforces(Rule::LiveLeaseKept);
    open.iter().filter(|g| g.open && !lives(g)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Epoch, GrantId, ItemId, Seq, SlotKey, TicketN};

    fn grant(index: u32) -> Grant {
        Grant {
            id: GrantId(u64::from(index)),
            slot: SlotKey { item: ItemId(1), index },
            epoch: Epoch(1),
            granted: 5,
            settled: 0,
            counted: true,
            open: true,
            acked: true,
            max_n: TicketN(0),
            resolved: 0,
            feed_len: Seq(0),
            closed: None,
        }
    }

    #[test]
    fn a_live_leader_closes_the_grants_of_nodes_without_a_lease() {
        let grants = [grant(1), grant(2), Grant { open: false, ..grant(3) }];
        let ids = |live: &[u32], leader| {
            let live: Vec<_> = live.iter().copied().map(NodeId).collect();
            lapsed_grants(&grants, &live, NodeId(leader)).iter().map(|g| g.id.0).collect::<Vec<_>>()
        };
        assert_eq!(ids(&[1], 1), [2]);
        assert_eq!(ids(&[1, 2], 1), [0; 0]);
        assert_eq!(ids(&[2], 1), [0; 0]);
        assert_eq!(ids(&[], 1), [0; 0]);
    }
}
