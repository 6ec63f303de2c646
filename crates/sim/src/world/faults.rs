//! Time, crashes and what slots do wrong.
use doorbuster_core::{Cause, ItemId, Phase};

use super::flight::Message;
use super::node::{Node, Seen, Snapshot, State};
use super::{Call, World};
use crate::truth::{PhaseRow, Tx};

impl World {
    pub(crate) fn tick(&mut self, tenths: u8) {
        let ms = i64::from(tenths) * 100;
        (self.now, self.mono) = (self.now.plus(ms), self.mono.plus(ms));
    }

    pub(crate) fn skew(&mut self, node: u8, tenths: i8) {
        let node = usize::from(node % self.setup.nodes);
        self.nodes[node].skew_ms = i64::from(tenths) * 100;
    }

    /// The truth at this commit.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let seen = |i: usize| {
            let item = ItemId(i as i64 + 1);
            let phase = self.truth.phases.get(&item).copied();
            Seen {
                free: self.truth.free(item, self.in_flight(item)),
                phase: phase.unwrap_or(PhaseRow { shown: Phase::Draft, intent: None }),
            }
        };
        let (version, winners) = (self.truth.version, self.truth.winners());
        Snapshot { version, at: self.mono, winners, items: [seen(0), seen(1)] }
    }

    /// Units in tickets that are cut and not settled.
    fn in_flight(&self, item: ItemId) -> u64 {
        let places = self.places.iter().filter(|p| p.at.item == item);
        let one = |p: &super::Place| {
            let (view, grant) = (p.slot.view()?, self.truth.open_grant(p.at)?);
            Some(grant.unsettled().saturating_sub(view.available))
        };
        places.filter_map(one).sum()
    }

    pub(crate) fn send_snapshot(&mut self, node: u8) {
        let (node, snapshot) = (node % self.setup.nodes, self.snapshot());
        self.send(Message::Snapshot { node, snapshot });
    }

    /// What a node reads before it answers anybody.
    pub(crate) fn boot_snapshot(&mut self, node: usize) {
        let snapshot = self.snapshot();
        self.take_snapshot(node, snapshot);
    }

    /// The node's requests die with it, and so do the slots in its memory. It starts again at once: the grants of its slots are closed first.
    pub(crate) fn crash_node(&mut self, node: u8) {
        let node = node % self.setup.nodes;
        for attempt in self.attempts.iter_mut().filter(|a| a.asked.node == node) {
            attempt.state = State::Over;
        }
        self.flight.retain(|m| m.node() != Some(node));
        self.late.retain(|m| m.node() != Some(node));
        let skew_ms = self.nodes[usize::from(node)].skew_ms;
        self.nodes[usize::from(node)] = Node { skew_ms, ..Node::default() };
        for i in 0..self.places.len() {
            let at = self.places[i].at;
            if self.places[i].node != Some(node) {
                continue;
            }
            self.call(i, Call::Forget);
            self.places[i].kept = None;
            if let Some(id) = self.truth.open_grant(at).map(|g| g.id) {
                self.commit(Tx::Close(id, Cause::LeaseLapsed));
            }
        }
        self.boot_snapshot(usize::from(node));
    }

    pub(crate) fn crash_leader(&mut self, leader: u8) {
        self.flight.retain(|m| m.leader() != Some(leader));
        self.late.retain(|m| m.leader() != Some(leader));
    }

    pub(crate) fn forget(&mut self, slot: u8) {
        let slot = self.slot_of(slot);
        self.call(slot, Call::Forget);
        self.judge.slot_fault();
    }

    pub(crate) fn save(&mut self, slot: u8) {
        let slot = self.slot_of(slot);
        let place = &mut self.places[slot];
        place.kept = Some(place.slot.clone());
    }

    pub(crate) fn swap(&mut self, slot: u8) {
        let slot = self.slot_of(slot);
        let place = &mut self.places[slot];
        if let Some(kept) = place.kept.take() {
            place.kept = Some(std::mem::replace(&mut place.slot, kept));
            self.judge.slot_fault();
        }
    }
}
