//! Simulates time, crashes and slot faults.
use std::sync::Arc;

use doorbuster_core::digest::SnapshotPosition;
use doorbuster_core::{ItemId, Phase, partition};

use doorbuster_steps::publication;

use super::World;
use crate::state::{Call, ItemSnapshot, Message, Snapshot};
use crate::store::PhaseRow;

impl World {
    pub(crate) fn tick(&mut self, tenths: u8) {
        let ms = i64::from(tenths) * 100;
        (self.now, self.mono) = (self.now.plus(ms), self.mono.plus(ms));
    }

    pub(crate) fn skew(&mut self, node: u8, tenths: i8) {
        let node = usize::from(node % self.setup.nodes);
        self.nodes[node].skew_ms = i64::from(tenths) * 100;
    }

    pub(crate) fn snapshot(&self, node: usize) -> Snapshot {
        let seen = |i: usize| {
            let item = ItemId(i as i64 + 1);
            let phase = self.store.phases.get(&item).copied();
            ItemSnapshot {
                pool: self.store.pool(item),
                free: self.store.free(item, self.in_flight(item)),
                phase: phase.unwrap_or(PhaseRow {
                    shown: Phase::Draft,
                    intent: None,
                    starts_at: None,
                }),
            }
        };
        let (holders, position) = self.holders(node);
        let levels =
            self.places.iter().map(|p| partition::unsettled(self.store.open_grant(p.at))).collect();
        Snapshot {
            version: self.store.version,
            at: self.mono,
            holders,
            position,
            items: [seen(0), seen(1)],
            partitions: self.widths.iter().map(|width| width.partitions).collect(),
            levels,
            ended_orders: self.ended_orders,
        }
    }

    /// Returns the requests that hold an order, for the node's next snapshot. Leaves out the
    /// requests that the node certainly got with an earlier snapshot. Also returns the position of
    /// a snapshot that is taken now.
    fn holders(&self, node: usize) -> (Vec<u64>, SnapshotPosition) {
        let timeline = self.timeline();
        let since = self.nodes[node].position.as_ref();
        let since = since.filter(|since| since.timeline == timeline);
        let xmin = since.and_then(|since| since.xmin().parse().ok()).unwrap_or(0);
        let is_new =
            |xid: u64| xid >= xmin && since.is_none_or(|since| !since.includes(&xid.to_string()));
        let new = self.store.winners().iter().filter(|winner| is_new(winner.xid));
        let next = self.xids + 1;
        let running: Vec<u64> =
            self.flight.iter().chain(&self.late).filter_map(Message::xid).collect();
        let lowest = running.iter().copied().min().unwrap_or(next);
        let running: Vec<String> = running.iter().map(u64::to_string).collect();
        let position = SnapshotPosition {
            snapshot: format!("{lowest}:{next}:{}", running.join(",")),
            timeline,
            fence: None,
            at: self.now,
        };
        (new.map(|winner| winner.half).collect(), position)
    }

    /// Returns the units of an item's issued tickets that are not settled.
    fn in_flight(&self, item: ItemId) -> u64 {
        let places = self.places.iter().filter(|p| p.at.item == item);
        let units = |p: &super::PlacedSlot| {
            let (view, grant) = (p.slot.view()?, self.store.open_grant(p.at)?);
            Some(grant.unsettled().saturating_sub(view.available))
        };
        places.filter_map(units).sum()
    }

    pub(crate) fn send_snapshot(&mut self, node: u8) {
        let node = node % self.setup.nodes;
        if self.nodes[usize::from(node)].is_dead {
            return;
        }
        let snapshot = Arc::new(self.snapshot(usize::from(node)));
        self.send(Message::Snapshot { node, snapshot, parts: publication::parts() });
    }

    /// Makes a node read the store immediately. A starting node does this before it answers buyers.
    pub(crate) fn boot_snapshot(&mut self, node: usize) {
        if !self.nodes[node].is_dead {
            let snapshot = Arc::new(self.snapshot(node));
            for &part in publication::parts() {
                self.publish(node, &snapshot, part);
            }
        }
    }

    pub(crate) fn crash_leader(&mut self, leader: u8) {
        self.flight.retain(|m| m.leader() != Some(leader));
        self.late.retain(|m| m.leader() != Some(leader));
        self.waiting_actions.retain(|action| action.leader() != Some(leader));
    }

    pub(crate) fn forget(&mut self, slot: u8) {
        let slot = self.slot_of(slot);
        if self.is_gone(slot) {
            return;
        }
        self.fail(slot, Call::Forget);
    }

    pub(crate) fn save(&mut self, slot: u8) {
        let slot = self.slot_of(slot);
        self.call(slot, Call::Save);
    }

    pub(crate) fn swap_in_saved_copy(&mut self, slot: u8) {
        let slot = self.slot_of(slot);
        if self.places[slot].kept.is_some() {
            self.fail(slot, Call::Swap);
        }
    }

    fn fail(&mut self, slot: usize, fault: Call) {
        let grant = |world: &Self| world.places[slot].slot.view().map(|view| view.grant);
        let before = grant(self);
        self.call(slot, fault);
        self.checker.slot_fault([before, grant(self)]);
    }
}
