//! Simulates a node: what it knows about the store, and the requests that it processes.
use std::sync::Arc;

use doorbuster_core::digest::{RestartCause, restart_cause};
use doorbuster_core::gate::DoorRefusal;
use doorbuster_core::limits::DECIDE_WITHIN_MS;
use doorbuster_core::{ItemId, Millis, TicketId, Token, Units};
use doorbuster_steps::memory::{DoorAnswer, refuse};
use doorbuster_steps::publication::Part;
use doorbuster_steps::purchase::Input;

use super::World;
use super::view::View;
use crate::checker::AnswerContext;
use crate::names::NAMES;
use crate::request::{BuyerAnswer, BuyerRequest, RequestNumbers};
use crate::state::{Attempt, AttemptState, Message, Node, Snapshot};

impl World {
    pub(crate) fn arrive(&mut self, node: u8, buyer: u8, key: u8, item: ItemId, units: Units) {
        self.arrive_at_door(node, (buyer, key), (item, units), None);
    }

    /// A buyer's request arrives at a node. `door` is set if the front door refuses the request.
    pub(crate) fn arrive_at_door(
        &mut self,
        node: u8,
        (buyer, key): RequestNumbers,
        (item, units): (ItemId, Units),
        door: Option<DoorRefusal>,
    ) {
        let node = self.running_node_from(node);
        let purchase = BuyerRequest {
            node,
            buyer,
            key,
            item,
            units,
            door,
            began: self.store.version,
            attempt: self.attempts.len(),
        };
        self.checker.purchase_arrived(&purchase);
        self.attempts.push(Attempt {
            purchase,
            state: AttemptState::Over,
            half: NAMES.low_64_bits(buyer, key),
            steps: None,
            token: Token(0),
            decide_by: Millis(0),
            asked: 0,
            has_read_quota: false,
            home: None,
            order: None,
            decided: None,
            begun: self.mono,
            parked: None,
            has_permit: false,
            last_try: 0,
            early: None,
        });
        let i = self.attempts.len() - 1;
        let view = View { world: self, attempt: i };
        if let Some(refusal) =
            refuse(&view, units, |_| door.map_or(DoorAnswer::Open, DoorAnswer::Refused))
        {
            let answer = self.refusal_answer(i, refusal);
            return self.answer_buyer(i, answer);
        }
        self.begin(i);
    }

    pub(crate) fn renew_token(&mut self, i: usize) {
        let skew = self.nodes[usize::from(self.attempts[i].purchase.node)].skew_ms;
        self.attempts[i].token = Token(self.next_id_bits() >> 16);
        self.attempts[i].decide_by = self.now.plus(skew + DECIDE_WITHIN_MS);
        self.attempts[i].early = None;
    }

    /// Returns how many requests at a node hold one of the node's permits for parked requests.
    pub(crate) fn parked_at(&self, node: u8) -> usize {
        self.attempts.iter().filter(|a| a.purchase.node == node && a.has_permit).count()
    }

    pub(crate) fn retry(&mut self, i: usize) {
        if let AttemptState::Parked { until, .. } = self.attempts[i].state {
            self.drive(i, if self.mono >= until { Input::Elapsed } else { Input::Woken });
        }
    }

    /// Publishes the next part of a snapshot. Sends the remaining parts as a message to the node,
    /// so that other actors can act between two parts.
    pub(crate) fn take_snapshot(
        &mut self,
        node: u8,
        snapshot: Arc<Snapshot>,
        mut parts: &'static [Part],
    ) {
        let Some(&part) = parts.split_off_first() else { return };
        self.publish(usize::from(node), &snapshot, part);
        if parts.iter().any(|part| *part != Part::Verdicts) {
            self.send(Message::Snapshot { node, snapshot, parts });
        }
    }

    /// Makes the node use this part of the snapshot. For the part `Verdicts`, does nothing, because
    /// a snapshot contains no verdicts.
    pub(crate) fn publish(&mut self, node: usize, snapshot: &Arc<Snapshot>, part: Part) {
        match part {
            Part::Requests => {
                let node = &mut self.nodes[node];
                node.holders.extend(&snapshot.holders);
                let cause = node.position.as_ref().map(|p| restart_cause(p, &snapshot.position));
                if cause.flatten().is_some_and(RestartCause::may_lose_orders) {
                    node.failovers += 1;
                }
                for (known, ended) in node.ended_orders.iter_mut().zip(snapshot.ended_orders) {
                    *known = ended.max(*known);
                }
            }
            Part::Counts => self.take_counts(node, snapshot),
            Part::Verdicts => {}
        }
    }

    /// Does nothing if the node's current snapshot is newer. Otherwise, makes this snapshot the
    /// current one, and wakes the requests that wait for it.
    fn take_counts(&mut self, node: usize, snapshot: &Arc<Snapshot>) {
        let Node { snapshot: current, position, .. } = &mut self.nodes[node];
        if current.as_ref().is_some_and(|c| c.version > snapshot.version) {
            return;
        }
        let version = snapshot.version;
        *position = Some(snapshot.position.clone());
        *current = Some(snapshot.clone());
        for i in 0..self.attempts.len() {
            let Attempt { purchase, state, .. } = self.attempts[i];
            if usize::from(purchase.node) != node {
                continue;
            }
            match state {
                AttemptState::Parked { is_short: false, .. } => self.drive(i, Input::Woken),
                // This request waits for units. As in the server, new counts wake the request only
                // if these counts show that too few units are left for the request.
                AttemptState::Parked { .. } => {
                    let item = purchase.item.0 as usize - 1;
                    let seen = self.nodes[node].snapshot.as_ref().map(|s| s.items[item].free);
                    if seen.is_some_and(|free| free.refuses(purchase.units).is_some()) {
                        self.drive(i, Input::Woken);
                    }
                }
                AttemptState::Waiting { id, may_be_lost: true } | AttemptState::Handed { id } => {
                    self.check_grant(i, id, version)
                }
                _ => {}
            }
        }
    }

    /// If the commit `version` or an earlier commit closed the grant of the purchase's ticket,
    /// tells the purchase that the grant is closed.
    fn check_grant(&mut self, i: usize, id: TicketId, version: u64) {
        let grant = id.parts().expect("the id of an issued ticket").grant;
        if self.store.closed_by(grant, version) {
            self.drive(i, Input::GrantClosed);
        }
    }

    pub(crate) fn answer_buyer(&mut self, i: usize, answer: BuyerAnswer) {
        let purchase = self.attempts[i].purchase;
        let known = self.reachable(&purchase).into_iter().chain(self.leaving_at(&purchase));
        let slots: Vec<_> = known.map(|s| self.places[s].at).collect();
        let at = AnswerContext {
            mono: self.mono,
            node_now: self.now.plus(self.nodes[usize::from(purchase.node)].skew_ms),
            slots: &slots,
            last_try: self.attempts[i].last_try,
        };
        self.checker.buyer_answered(&self.store, &purchase, answer, &at);
        self.attempts[i].has_permit = false;
        self.attempts[i].state = match answer {
            BuyerAnswer::Queued(id) => AttemptState::Handed { id },
            _ => AttemptState::Over,
        };
    }
}
