//! The view through which a purchase reads the data of its simulated node.
use doorbuster_core::sold_out::FreeUnits;
use doorbuster_core::{Millis, Phase, SlotKey};
use doorbuster_steps::memory::{NodeMemory, Queued};
use doorbuster_steps::purchase::NodeView;

use super::World;
use crate::state::{Attempt, ItemSnapshot, Node};

/// One attempt and its node. The purchase reads their data through this view.
pub(crate) struct View<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) attempt: usize,
}

impl View<'_> {
    fn attempt(&self) -> &Attempt {
        &self.world.attempts[self.attempt]
    }

    fn node(&self) -> &Node {
        &self.world.nodes[usize::from(self.attempt().purchase.node)]
    }

    fn seen(&self) -> Option<ItemSnapshot> {
        let snapshot = self.node().snapshot.as_ref()?;
        Some(snapshot.items[self.attempt().purchase.item.0 as usize - 1])
    }

    fn key_of(&self, slot: Option<usize>) -> Option<SlotKey> {
        Some(self.world.places[slot?].at)
    }
}

impl NodeMemory for View<'_> {
    fn free(&self) -> FreeUnits {
        self.seen().map_or(FreeUnits::default(), |seen| seen.free)
    }

    fn phase(&self) -> (Phase, Option<Millis>) {
        let phase = self.seen().map(|seen| seen.phase);
        phase.map_or((Phase::Open, None), |row| (row.shown, row.starts_at))
    }

    fn is_stopping(&self) -> bool {
        false
    }

    fn may_hold(&self) -> bool {
        self.holds() || self.node().queued.contains_key(&self.attempt().half)
    }

    fn age_ms(&self) -> i64 {
        if self.world.setup.alone {
            return 0;
        }
        self.node().snapshot.as_ref().map_or(i64::MAX, |seen| self.world.mono.0 - seen.at.0)
    }
}

impl NodeView for View<'_> {
    fn holds(&self) -> bool {
        self.node().holders.contains(&self.attempt().half)
    }

    fn queued(&self) -> Option<Queued> {
        let queued = self.node().queued.get(&self.attempt().half).copied();
        queued.filter(|queued| self.store_now() <= queued.ticket.decide_by)
    }

    fn store_now(&self) -> Millis {
        self.world.now.plus(self.node().skew_ms)
    }

    fn used_at_limit(&self) -> Option<u32> {
        self.world.used_at_limit(&self.attempt().purchase)
    }

    fn ended_orders(&self) -> u64 {
        self.world.known_ended_orders(&self.attempt().purchase)
    }

    fn is_behind(&self, slot: SlotKey, _: u64) -> bool {
        let place = self.world.places.iter().find(|place| place.at == slot);
        let applied = place.and_then(|place| place.slot.view()).map(|view| view.applied);
        let rows = self.world.store.open_grant(slot).map(|grant| grant.feed_len);
        applied.zip(rows).is_some_and(|(applied, rows)| applied < rows)
    }

    fn has_other_slots(&self) -> bool {
        let item = self.attempt().purchase.item;
        self.world.places.iter().filter(|place| place.at.item == item).count() > 1
    }

    fn reaches_all_slots(&self) -> bool {
        let purchase = self.attempt().purchase;
        let mut places = self.world.places.iter().filter(|place| place.at.item == purchase.item);
        places.all(|place| place.node.is_none_or(|node| node == purchase.node))
    }

    fn is_node_local(&self) -> bool {
        let item = self.attempt().purchase.item;
        let mut places = self.world.places.iter().filter(|place| place.at.item == item);
        places.all(|place| place.node.is_some())
    }

    fn is_only_node(&self) -> bool {
        self.world.setup.alone
    }

    fn first_slot(&mut self) -> Option<SlotKey> {
        let slot = self.world.first_slot(self.attempt);
        self.world.attempts[self.attempt].home = slot;
        self.key_of(slot)
    }

    fn second_slot(&mut self, first: SlotKey) -> Option<SlotKey> {
        let slot = self.world.second_slot(self.attempt, first);
        self.key_of(slot)
    }

    fn every_slot(&mut self) -> Vec<SlotKey> {
        let slots = self.world.every_slot(self.attempt);
        slots.into_iter().map(|slot| self.world.places[slot].at).collect()
    }
}
