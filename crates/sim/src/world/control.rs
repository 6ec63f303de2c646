//! What a leader does with stock: grants, refills, feeds, recalls, adjustments.
use std::sync::Arc;

use doorbuster_core::rows::RecallTarget;
use doorbuster_core::rules::{Rule, keeps};
use doorbuster_core::slot::Terms;
use doorbuster_core::{Counter, ItemId, RecallId, Seq};

use super::World;
use super::flight::Message;
use super::node::State;
use crate::truth::Tx;

/// Feed rows that a leader sends at once.
const FEED_ROWS: u64 = 4;
/// Pending recalls of one item at most.
const RECALLS_MAX: usize = 8;

impl World {
    /// Opens the slot's next grant if it has none, and sends `init` for one that the slot has not taken yet.
    pub(crate) fn open_slot(&mut self, leader: u8, slot: usize, units: u64) {
        let at = self.places[slot].at;
        let open = self.truth.open_grant(at).is_some();
        if !open {
            let pool = self.truth.model.items.get(&at.item).map_or(0, |i| i.pool);
            let worth = pool.min(units) > 0 || keeps(Rule::GrantOfZero);
            if !worth || !self.truth.sells(at.item) {
                return;
            }
            let tx = Tx::Open(at, self.draw_grant(), units);
            return self.send(Message::Commit { leader, tx });
        }
        self.send_init(leader, slot);
    }

    pub(crate) fn send_init(&mut self, leader: u8, slot: usize) {
        let Some(grant) = self.truth.open_grant(self.places[slot].at).filter(|g| !g.acked) else { return };
        let (grant, epoch, counted, available) = (grant.id, grant.epoch, grant.counted, grant.granted);
        let terms = Terms { grant, epoch, counted, available, threshold: 0 };
        self.send(Message::Init { leader, slot, terms });
    }

    pub(crate) fn refill(&mut self, leader: u8, slot: usize, units: u64, counter: Counter) {
        let Some(grant) = self.truth.open_grant(self.places[slot].at) else { return };
        if units > 0 && self.truth.sells(grant.slot.item) {
            let tx = Tx::Refill(grant.id, units, counter);
            self.send(Message::Commit { leader, tx });
        }
    }

    /// Sends the rows after the slot's position.
    pub(crate) fn send_feed(&mut self, _leader: u8, slot: usize) {
        let place = &self.places[slot];
        let (Some(grant), Some(view)) = (self.truth.open_grant(place.at), place.slot.view()) else { return };
        if view.grant != grant.id || view.epoch != grant.epoch {
            return;
        }
        let from = (grant.id, Seq(view.applied.0 + 1));
        let to = (grant.id, Seq(view.applied.0 + FEED_ROWS));
        let rows: Vec<_> = self.truth.model.feed.range(from..=to).map(|(_, row)| Arc::new(row.clone())).collect();
        let epoch = grant.epoch;
        for row in rows {
            self.send(Message::Apply { slot, epoch, row });
        }
    }

    /// Starts a recall out of one slot; `target` 0 is the pool, else a slot of the same item.
    pub(crate) fn recall(&mut self, leader: u8, slot: u8, units: u8, target: u8) {
        let slot = self.slot_of(slot);
        let to = match target {
            0 => None,
            n => Some(usize::from(n - 1) % self.places.len()),
        };
        self.begin_recall(leader, slot, u64::from(units), to);
    }

    pub(crate) fn begin_recall(&mut self, leader: u8, slot: usize, units: u64, to: Option<usize>) {
        let at = self.places[slot].at;
        let Some(from) = self.truth.open_grant(at).map(|g| g.id) else { return };
        let target = match to {
            None => RecallTarget::Pool,
            Some(to) if to == slot || self.places[to].at.item != at.item => return,
            Some(to) => match self.truth.open_grant(self.places[to].at) {
                Some(grant) => RecallTarget::Grant(grant.id),
                None => return,
            },
        };
        if self.truth.pending().count() >= RECALLS_MAX {
            return;
        }
        let id = RecallId(self.draw() >> 1);
        self.send(Message::Commit { leader, tx: Tx::RecallBegin(id, from, target, units) });
    }

    pub(crate) fn recall_again(&mut self, leader: u8, pick: u8) {
        let count = self.truth.pending().count();
        let Some(nth) = usize::from(pick).checked_rem(count) else { return };
        let id = self.truth.pending().nth(nth).map(|r| r.id);
        if let Some(id) = id {
            self.send_recall(leader, id);
        }
    }

    pub(crate) fn send_recall(&mut self, leader: u8, id: RecallId) {
        let Some(recall) = self.truth.model.recalls.get(&id) else { return };
        let Some(grant) = self.truth.grant(recall.grant) else { return };
        let Some(slot) = self.places.iter().position(|p| p.at == grant.slot) else { return };
        let message = Message::Recall { leader, slot, id, grant: grant.id, epoch: grant.epoch, units: recall.asked };
        self.send(message);
    }

    /// The parked request of an item that has waited longest gets what it lacks: from the pool, then out of other slots.
    pub(crate) fn serve_parked(&mut self, leader: u8, item: ItemId) {
        let waits = |a: &&super::Attempt| a.state == State::Parked && a.asked.item == item;
        let Some(first) = self.attempts.iter().filter(waits).min_by_key(|a| (a.parked, a.asked.attempt)) else {
            return;
        };
        let asked = first.asked;
        let Some(&home) = self.reachable(&asked).first() else { return };
        let at = self.places[home].at;
        let (Some(grant), Some(view)) = (self.truth.open_grant(at), self.places[home].slot.view()) else { return };
        if grant.id != view.grant {
            return;
        }
        let lacks = asked.units.wide().saturating_sub(view.available + self.on_its_way(grant.id, view.applied));
        let pool = self.truth.model.items.get(&item).map_or(0, |i| i.pool);
        let refill = lacks.min(pool);
        if refill > 0 {
            self.refill(leader, home, refill, view.active);
        }
        let mut lacks = lacks - refill;
        for other in 0..self.places.len() {
            let place = &self.places[other];
            if lacks == 0 || other == home || place.at.item != item {
                continue;
            }
            let has = place.slot.view().map_or(0, |v| v.available).min(lacks);
            let asked_before = |g: doorbuster_core::GrantId| self.truth.pending().any(|r| r.grant == g);
            if has > 0 && !self.truth.open_grant(place.at).is_some_and(|g| asked_before(g.id)) {
                self.begin_recall(leader, other, has, Some(home));
                lacks -= has;
            }
        }
    }

    /// Units in feed rows that the slot has not applied yet.
    fn on_its_way(&self, grant: doorbuster_core::GrantId, applied: Seq) -> u64 {
        let rows = self.truth.model.feed.range((grant, Seq(applied.0 + 1))..=(grant, Seq(u64::MAX)));
        rows.map(|(_, row)| row.units).sum()
    }

    pub(crate) fn adjust(&mut self, item: ItemId, delta: i64) {
        self.commit(Tx::Adjust(item, delta));
    }
}
