//! The assignment of slots to settlers: rendezvous hashing chooses one node to settle each slot's
//! tickets. If a node starts, it takes over some slots. If a node stops, other nodes take over its
//! slots. All other slots keep their settlers.
//!
//! The only purpose of the assignment is to avoid double work: even if two nodes settle the same
//! slot, the store settles each ticket only once.
//!
//! Source: D. Thaler and C. Ravishankar, "Using name-based mappings to increase hit rates", 1998.
#[cfg(test)]
mod sim;

use std::collections::BTreeSet;

use crate::value::{Millis, NodeId, SlotKey};

/// How long a node continues to settle a slot after the slot was assigned to another node, in
/// milliseconds. The other node may notice the new assignment only at its next check of the live
/// nodes.
pub const HANDOVER_MS: u64 = 1_200;
/// A node counts as failed if its lease ends at least this many milliseconds before the reference
/// that [`reference_lease`] returns. This time is shorter than a lease. So other nodes take over
/// the slots of a failed node before its lease ends. If that node still runs, the takeover does no
/// harm: the nodes only do some work twice.
pub const SILENT_MS: i64 = 2_000;

/// Returns whether a node renewed its lease recently. In this case, the end of its lease
/// (`lease_until`) is within [`SILENT_MS`] of `reference`, the result of [`reference_lease`]. If
/// the lease ends later, the store's clock was set back after the renewal, so the renewal is not
/// recent.
#[must_use]
pub fn has_recent_lease(lease_until: Millis, reference: Millis) -> bool {
    (lease_until > reference.plus(-SILENT_MS) && lease_until <= reference.plus(SILENT_MS))
        || !holds(AssignmentRule::SilentNodesSettleNothing)
}

/// Returns the reference for [`has_recent_lease`]: the end of the lease of `own`, or the latest end
/// of all leases if `own` has no lease. The latest end is less reliable: if the store's clock was
/// set back, the lease with the latest end may belong to a stopped node.
#[must_use]
pub fn reference_lease(
    own: NodeId,
    leases: impl Iterator<Item = (NodeId, Millis)> + Clone,
) -> Millis {
    let is_own = |(node, _): &(NodeId, Millis)| *node == own && holds(AssignmentRule::OwnLease);
    let newest = || leases.clone().max_by_key(|(_, until)| *until);
    leases.clone().find(is_own).or_else(newest).map(|(_, until)| until).unwrap_or_default()
}

/// The largest number of earlier sets of nodes that [`Settlers`] keeps. If there are more sets, the
/// oldest set is dropped. A slot may then have no settler until the slot's new node checks the live
/// nodes.
const EARLIER_MAX: usize = 16;

/// The nodes that settle tickets now, and the nodes that settled tickets shortly before. Times are
/// milliseconds of a monotonic clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlers {
    live: Vec<NodeId>,
    /// Each earlier set of nodes, with the time at which the set's handover ends; oldest first.
    earlier: Vec<(Vec<NodeId>, u64)>,
}

impl Settlers {
    /// Records the live nodes. Returns whether the set of live nodes changed.
    pub fn observe(&mut self, mut live: Vec<NodeId>, now_ms: u64) -> bool {
        live.sort_unstable_by_key(|node| node.0);
        live.dedup();
        if live == self.live {
            return false;
        }
        let before = std::mem::replace(&mut self.live, live);
        let keeps = holds(AssignmentRule::EveryRecentChange);
        self.earlier.retain(|(_, until)| now_ms < *until && keeps);
        if self.earlier.len() >= EARLIER_MAX {
            self.earlier.remove(0);
        }
        self.earlier.push((before, now_ms + HANDOVER_MS));
        true
    }

    /// Returns the live nodes that settle tickets, in ascending order.
    #[must_use]
    pub fn live(&self) -> &[NodeId] {
        &self.live
    }

    /// Returns whether the slot is assigned to this node. While no live node is known, every slot
    /// counts as assigned to every node.
    #[must_use]
    fn is_assigned(&self, node: NodeId, slot: SlotKey) -> bool {
        settler_of(slot, &self.live).is_none_or(|settler| settler == node)
    }

    /// Returns how many different nodes settle these slots.
    #[must_use]
    pub fn count_for(&self, slots: impl Iterator<Item = SlotKey>) -> usize {
        let mut settlers = BTreeSet::new();
        for slot in slots {
            if settlers.len() == self.live.len() {
                break;
            }
            settlers.extend(settler_of(slot, &self.live).map(|node| node.0));
        }
        settlers.len()
    }

    /// Returns whether this node settles a slot. There are two cases. Either the slot is assigned
    /// to the node now. Or it was assigned to the node for an earlier set of live nodes, and the
    /// handover from that set has not ended.
    #[must_use]
    pub fn settles(&self, node: NodeId, slot: SlotKey, now_ms: u64) -> bool {
        let had_it = |(nodes, until): &(Vec<NodeId>, u64)| {
            now_ms < *until
                && settler_of(slot, nodes) == Some(node)
                && holds(AssignmentRule::Handover)
        };
        self.is_assigned(node, slot) || self.earlier.iter().any(had_it)
    }
}

local_rules! {
    /// A rule of this file. A test removes one rule at a time, and the simulation must then find an
    /// error.
    AssignmentRule {
        Handover,
        EveryRecentChange,
        SilentNodesSettleNothing,
        OwnLease,
    }
}

/// Returns the node that settles a slot. It is the node for which the hash of node and slot is
/// highest.
#[must_use]
pub fn settler_of(slot: SlotKey, nodes: &[NodeId]) -> Option<NodeId> {
    nodes.iter().copied().max_by_key(|node| (weight(slot, *node), node.0))
}

fn weight(slot: SlotKey, node: NodeId) -> u64 {
    let of_slot = mix(mix(slot.item.0.cast_unsigned()) ^ u64::from(slot.index));
    mix(of_slot ^ u64::from(node.0))
}

/// Mixes the bits of a number with the finalizer of SplitMix64 (G. Steele, D. Lea and C. Flood,
/// 2014).
fn mix(n: u64) -> u64 {
    let z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::ItemId;

    fn slots() -> impl Iterator<Item = SlotKey> {
        (1..=50).flat_map(|item| (0..8).map(move |index| SlotKey { item: ItemId(item), index }))
    }

    fn nodes(ids: &[u32]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn share(node: u32, of: &[NodeId]) -> usize {
        slots().filter(|slot| settler_of(*slot, of) == Some(NodeId(node))).count()
    }

    #[test]
    fn every_slot_has_one_settler_and_nodes_share_the_slots_evenly() {
        let four = nodes(&[11, 22, 33, 1_999_888_777]);
        let shares: Vec<usize> = four.iter().map(|node| share(node.0, &four)).collect();
        assert_eq!(shares.iter().sum::<usize>(), 400);
        assert!(shares.iter().all(|share| (70..=130).contains(share)), "{shares:?}");
        assert_eq!(settler_of(slots().next().expect("a slot"), &[]), None);
    }

    #[test]
    fn only_the_slots_of_a_node_that_starts_or_stops_move() {
        let (three, two) = (nodes(&[1, 2, 3]), nodes(&[1, 3]));
        for slot in slots() {
            let (before, after) = (settler_of(slot, &three), settler_of(slot, &two));
            assert!(before == after || before == Some(NodeId(2)), "{slot}");
        }
    }

    #[test]
    fn a_node_without_a_slot_does_not_share_the_work() {
        let mut settlers = Settlers::default();
        settlers.observe(nodes(&[1, 2, 3, 4, 5, 6, 7, 8]), 0);
        assert_eq!(settlers.count_for(slots().take(1)), 1, "one hot slot");
        assert_eq!(settlers.count_for(slots()), 8);
        assert_eq!(settlers.count_for(slots().take(0)), 0);
        assert_eq!(Settlers::default().count_for(slots()), 0);
    }

    #[test]
    fn the_order_of_the_nodes_does_not_matter() {
        for slot in slots() {
            assert_eq!(settler_of(slot, &nodes(&[5, 9])), settler_of(slot, &nodes(&[9, 5])));
        }
    }

    #[test]
    fn at_every_instant_of_a_change_some_node_settles_each_slot() {
        let (old, new) = (NodeId(1), NodeId(2));
        let mut at_old = Settlers::default();
        let mut at_new = Settlers::default();
        let slot = slots()
            .find(|slot| settler_of(*slot, &[old, new]) == Some(new))
            .expect("at least one of 400 slots must move");
        assert!(
            at_old.settles(old, slot, 0),
            "before its first check, a node must settle every slot"
        );
        assert!(at_old.observe(nodes(&[1]), 10) && !at_old.observe(nodes(&[1]), 20));
        assert!(at_old.settles(old, slot, 5_000));
        assert!(at_old.observe(nodes(&[2, 1]), 10_000));
        assert!(
            at_old.settles(old, slot, 10_000 + HANDOVER_MS - 1),
            "the old node must still settle during the handover"
        );
        assert!(!at_old.settles(old, slot, 10_000 + HANDOVER_MS));
        at_new.observe(nodes(&[1, 2]), 9_500);
        assert!(at_new.settles(new, slot, 9_500));
        // The new node has stopped, so the old node settles the slot again immediately.
        assert!(at_old.observe(nodes(&[1]), 20_000));
        assert!(at_old.settles(old, slot, 20_000));
        assert_eq!(at_old.live(), nodes(&[1]));
    }

    #[test]
    fn during_two_changes_in_a_row_some_node_settles_each_slot() {
        let (one, two, three) = (nodes(&[1]), nodes(&[1, 2]), nodes(&[1, 2, 3]));
        let moved = slots().find(|slot| settler_of(*slot, &three) == Some(NodeId(3)));
        let slot = moved.filter(|_| !one.is_empty()).expect("at least one of 400 slots must move");
        let mut at_first = Settlers::default();
        at_first.observe(one, 1);
        at_first.observe(two, 10_000);
        at_first.observe(three, 10_100);
        assert!(
            at_first.settles(NodeId(1), slot, 10_200),
            "node 1 must continue, because nodes 2 and 3 may not know the change yet"
        );
        assert!(!at_first.settles(NodeId(1), slot, 10_100 + HANDOVER_MS));
    }
}
