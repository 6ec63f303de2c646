//! Slots in a node's memory live as long as the node: when its lease has lapsed, their grants are
//! closed and their units are sold by others.
//!
//! Closing too early does no harm either (a node that was only slow has its tickets returned, and
//! asks again under its next grant); it costs time. So leases may be judged by any clock, and by
//! two leaders at once.
use crate::rows::Grant;
use crate::rules::{Rule, enforces};
use crate::value::NodeId;

/// The open grants whose node does not live any more. A slot in a node's memory has the node's
/// number as its index.
///
/// `live` is read *after* the grants, so that a node which has just come and opened one is among
/// the living. A leader that is not among the living itself judges nobody: it has been away, and
/// what it read is as old as that.
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
    fn grants_of_the_dead_are_closed_by_the_living() {
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
