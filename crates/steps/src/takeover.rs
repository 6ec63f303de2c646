//! Closes the open grants of nodes whose leases have lapsed, so that their units return to the
//! pool. The leader does this. Every effect may be repeated.
use std::collections::VecDeque;

use doorbuster_core::lapsed_grants::lapsed_grants;
use doorbuster_core::{Grant, GrantId, NodeId};

/// The next action of the driver. If the store does not answer, the driver drops this takeover, and
/// a later takeover continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Read all open grants. The result is [`Input::Grants`].
    ReadGrants,
    /// Read which nodes have a valid lease. The result is [`Input::Live`].
    ReadNodes,
    /// Close this grant. The result is [`Input::Closed`].
    Close(Grant),
    /// The takeover has ended.
    Finish,
}

/// The result of an effect.
#[derive(Clone, Debug)]
pub enum Input {
    /// The open grants. If a slot is in a node's memory, the slot's index is the node's number.
    Grants(Vec<Grant>),
    /// The nodes with a valid lease.
    Live(Vec<NodeId>),
    /// The grant is closed.
    Closed,
}

/// A takeover by one leader.
#[derive(Clone, Debug)]
pub struct Takeover {
    leader: NodeId,
    grants: Vec<Grant>,
    lapsed: VecDeque<Grant>,
}

impl Takeover {
    /// Begins a takeover by this leader.
    ///
    /// The grants are read before the leases. A node has its lease before it opens its first grant.
    /// So if the read of the grants finds a grant of a node that has just started, the read of the
    /// leases finds this node's lease.
    #[must_use]
    pub fn begin(leader: NodeId) -> (Self, Effect) {
        (Self { leader, grants: Vec::new(), lapsed: VecDeque::new() }, Effect::ReadGrants)
    }

    /// Returns the grants that this takeover still has to close.
    pub fn lapsed(&self) -> impl Iterator<Item = GrantId> {
        self.lapsed.iter().map(|grant| grant.id)
    }

    /// Takes the result of the last effect. Returns the next effect.
    pub fn next(&mut self, input: Input) -> Effect {
        match input {
            Input::Grants(grants) => {
                self.grants = grants;
                return Effect::ReadNodes;
            }
            Input::Live(live) => {
                let lapsed = lapsed_grants(&self.grants, &live, self.leader);
                self.lapsed = lapsed.into_iter().cloned().collect();
            }
            Input::Closed => drop(self.lapsed.pop_front()),
        }
        self.lapsed.front().map_or(Effect::Finish, |grant| Effect::Close(grant.clone()))
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_core::{ItemId, SlotKey};

    use super::*;
    use crate::fixture;

    fn grant(node: u32) -> Grant {
        fixture::grant(u64::from(node), SlotKey { item: ItemId(1), index: node }, 5)
    }

    #[test]
    fn the_grants_of_nodes_without_a_lease_are_closed_one_by_one() {
        let (mut steps, first) = Takeover::begin(NodeId(1));
        assert_eq!(first, Effect::ReadGrants);
        let grants = vec![grant(1), grant(2), grant(3)];
        assert_eq!(steps.next(Input::Grants(grants)), Effect::ReadNodes);
        assert_eq!(steps.next(Input::Live(vec![NodeId(1)])), Effect::Close(grant(2)));
        assert_eq!(steps.lapsed().collect::<Vec<_>>(), [GrantId(2), GrantId(3)]);
        assert_eq!(steps.next(Input::Closed), Effect::Close(grant(3)));
        assert_eq!(steps.next(Input::Closed), Effect::Finish);
    }

    #[test]
    fn a_leader_without_a_lease_closes_nothing() {
        let (mut steps, _) = Takeover::begin(NodeId(1));
        steps.next(Input::Grants(vec![grant(2)]));
        assert_eq!(steps.next(Input::Live(vec![NodeId(4)])), Effect::Finish);
    }
}
