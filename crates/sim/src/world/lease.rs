//! Simulates nodes whose processes end and may start again, and the leases on the slots in their
//! memory.
use doorbuster_core::{CloseCause, Grant, NodeId, SlotKey};
use doorbuster_steps::takeover::{Effect, Input, Takeover};

use super::World;
use crate::state::{AttemptState, Call, Message, Node};
use crate::store::Tx;

const LEASE_MS: i64 = 5_000;

impl World {
    /// Returns whether the slot was in the memory of a node that is now dead.
    pub(crate) fn is_gone(&self, slot: usize) -> bool {
        self.places[slot]
            .node
            .is_some_and(|n| self.nodes.get(usize::from(n)).is_some_and(|n| n.is_dead))
    }

    /// Returns `node` if it runs. Otherwise returns the next running node, as a load balancer
    /// would.
    pub(crate) fn running_node_from(&self, node: u8) -> u8 {
        let nodes = self.setup.nodes;
        (0..nodes)
            .map(|step| (node + step) % nodes)
            .find(|&n| !self.nodes[usize::from(n)].is_dead)
            .unwrap_or(node)
    }

    /// The node's process ends and starts again. Its requests and the slots in its memory are lost.
    pub(crate) fn crash_node(&mut self, node: u8) {
        let node = node % self.setup.nodes;
        self.end_process(node);
        self.start_process(node);
    }

    /// Ends the node's process. Does nothing if the node is the last running node.
    pub(crate) fn stop_node(&mut self, node: u8) {
        let node = node % self.setup.nodes;
        if self.nodes.iter().filter(|n| !n.is_dead).count() > 1 {
            self.end_process(node);
            self.nodes[usize::from(node)].is_dead = true;
            self.checker.count_case("node died");
        }
    }

    pub(crate) fn restart_node(&mut self, node: u8) {
        let node = node % self.setup.nodes;
        if self.nodes[usize::from(node)].is_dead {
            self.start_process(node);
        }
    }

    fn end_process(&mut self, node: u8) {
        for attempt in self.attempts.iter_mut().filter(|a| a.purchase.node == node) {
            (attempt.state, attempt.steps, attempt.has_permit) = (AttemptState::Over, None, false);
        }
        self.flight.retain(|m| m.node() != Some(node));
        self.late.retain(|m| m.node() != Some(node));
        self.waiting_actions.retain(|action| action.node != node);
        let Node { skew_ms, until, is_dead, .. } = self.nodes[usize::from(node)];
        self.nodes[usize::from(node)] = Node { skew_ms, until, is_dead, ..Node::default() };
        self.checker.node_fault(node);
        self.forget_applied(node);
        for slot in 0..self.places.len() {
            if self.places[slot].node == Some(node) {
                self.call(slot, Call::Forget);
                self.places[slot].kept = None;
            }
        }
    }

    /// Starts the node's process. The process first closes the open grants of the node's slots,
    /// because these grants belong to an earlier process.
    fn start_process(&mut self, node: u8) {
        self.nodes[usize::from(node)].is_dead = false;
        for slot in 0..self.places.len() {
            if self.places[slot].node == Some(node)
                && let Some(id) = self.store.open_grant(self.places[slot].at).map(|g| g.id)
            {
                self.commit(Tx::Close(id, CloseCause::LeaseLapsed));
            }
        }
        self.renew_lease(node);
        self.boot_snapshot(usize::from(node));
    }

    pub(crate) fn renew_lease(&mut self, node: u8) {
        let node = &mut self.nodes[usize::from(node % self.setup.nodes)];
        if !node.is_dead {
            node.until = self.now.plus(LEASE_MS);
        }
    }

    /// A leader closes the open grants of nodes whose leases have lapsed. A leader on a dead node
    /// does nothing.
    pub(crate) fn close_lapsed_grants(&mut self, leader: u8) {
        let seat = leader % self.setup.nodes;
        if self.nodes[usize::from(seat)].is_dead {
            return;
        }
        let (steps, effect) = Takeover::begin(NodeId(u32::from(seat)));
        self.continue_takeover(leader, seat, Box::new((steps, effect)));
    }

    /// Performs one effect of a takeover. The next effect becomes a message, so that other actors
    /// can act first.
    pub(super) fn continue_takeover(
        &mut self,
        leader: u8,
        node: u8,
        mut takeover: Box<(Takeover, Effect)>,
    ) {
        let (steps, effect) = &mut *takeover;
        let input = match effect {
            Effect::ReadGrants => {
                let of_node = |p: &super::PlacedSlot| {
                    let grant = self.store.open_grant(p.at)?;
                    let slot = SlotKey { index: u32::from(p.node?), ..grant.slot };
                    Some(Grant { slot, ..grant.clone() })
                };
                Input::Grants(self.places.iter().filter_map(of_node).collect())
            }
            Effect::ReadNodes => {
                let numbered = (0_u32..).zip(&self.nodes);
                let live = numbered.filter(|(_, node)| node.until >= self.now);
                Input::Live(live.map(|(number, _)| NodeId(number)).collect())
            }
            Effect::Close(grant) => {
                self.commit(Tx::Close(grant.id, CloseCause::LeaseLapsed));
                Input::Closed
            }
            Effect::Finish => return,
        };
        let is_decided = matches!(effect, Effect::ReadNodes);
        *effect = steps.next(input);
        if is_decided {
            for grant in steps.lapsed() {
                let place = self.places.iter().find(|place| {
                    self.store.grant(grant).is_some_and(|grant| grant.slot == place.at)
                });
                let Some(lost) = place.and_then(|place| place.node) else { continue };
                let until = self.nodes.get(usize::from(lost)).map(|node| node.until);
                self.checker.lease_lapsed(u32::from(lost), until, self.now);
            }
        }
        self.send(Message::Takeover { leader, node, takeover });
    }

    /// Makes the leases of dead nodes lapse, because these nodes do not start again before the end
    /// of the run.
    pub(super) fn leases_at_rest(&mut self) {
        let dead = self.nodes.iter().filter(|n| n.is_dead).map(|n| n.until).max();
        self.now = self.now.max(dead.map_or(self.now, |until| until.plus(1)));
        (0..self.setup.nodes).for_each(|node| self.renew_lease(node));
        let seat = self.running_node_from(0);
        self.close_lapsed_grants(seat);
    }
}
