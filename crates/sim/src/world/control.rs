//! Simulates a leader's actions on stock: grants, refills, feeds, recalls, adjustments.
use std::sync::Arc;

use doorbuster_core::gather::{self, SlotHolding};
use doorbuster_core::rows::RecallTarget;
use doorbuster_core::{CloseCause, Counter, ItemId, RecallId, Seq};
use doorbuster_steps::slot_start::{Effect, Input, SlotStart, StartOutcome};

use super::in_flight::{Message, Starting};
use super::node::AttemptState;
use super::{Call, SlotReply, World};
use crate::store::{Tx, TxResult};

/// The number of feed rows that a leader sends at once.
const FEED_ROWS: u64 = 4;
/// The largest number of pending recalls of one item.
const RECALLS_MAX: usize = 8;

impl World {
    /// Starts a slot. If the slot has no grant, it gets one with these units. The server opens each
    /// grant without units.
    pub(crate) fn open_slot(&mut self, leader: u8, slot: usize, units: u64) {
        if self.is_gone(slot) || !self.is_in_spread(slot) {
            return;
        }
        let at = self.places[slot].at;
        let open = self.store.open_grant(at).cloned();
        if open.is_none() && !self.store.sells(at.item) {
            return;
        }
        let (steps, effect) = SlotStart::begin(open, self.spread(at.item).threshold);
        // The id is drawn before the transaction, so a repeated transaction has the same id.
        let grant = match effect {
            Effect::OpenGrant => Some(self.draw_grant()),
            _ => None,
        };
        let starting = Box::new(Starting { grant, units, steps, effect });
        self.send(Message::StartSlot { leader, slot, starting });
    }

    /// Performs an effect of a slot's start. Other actors may act before the next effect.
    pub(crate) fn continue_start(&mut self, leader: u8, slot: usize, mut starting: Box<Starting>) {
        let input = match starting.effect {
            Effect::OpenGrant => {
                let (at, Some(id)) = (self.places[slot].at, starting.grant) else { return };
                let TxResult::Opened(grant) = self.commit(Tx::Open(at, id, starting.units)) else {
                    return;
                };
                Input::Grant(grant)
            }
            Effect::ReadSlot => Input::Slot(self.places[slot].slot.view()),
            Effect::Init(terms) => match self.call(slot, Call::Init(terms)) {
                SlotReply::ApplyOutcome(outcome) => Input::InitAnswer(outcome),
                _ => return,
            },
            Effect::Acknowledge(grant) => {
                self.commit(Tx::AckInit(grant));
                Input::Recorded
            }
            Effect::Finish(_) => return,
        };
        starting.effect = starting.steps.next(input);
        match starting.effect {
            Effect::Finish(StartOutcome::Lost) => self.start_loss_check(leader, slot),
            Effect::Finish(StartOutcome::Ahead(grant)) => {
                let tx = Tx::Close(grant, CloseCause::Rolled);
                self.send(Message::Commit { leader, tx });
            }
            Effect::Finish(_) => {}
            _ => self.send(Message::StartSlot { leader, slot, starting }),
        }
    }

    pub(crate) fn refill(&mut self, leader: u8, slot: usize, units: u64, counter: Counter) {
        let Some(grant) = self.store.open_grant(self.places[slot].at) else { return };
        if units > 0 && self.store.sells(grant.slot.item) {
            let tx = Tx::Refill(grant.id, units, counter);
            self.send(Message::Commit { leader, tx });
        }
    }

    /// Sends the rows after the slot's position.
    pub(crate) fn send_feed(&mut self, _leader: u8, slot: usize) {
        let place = &self.places[slot];
        let (Some(grant), Some(view)) = (self.store.open_grant(place.at), place.slot.view()) else {
            return;
        };
        if view.grant != grant.id || view.epoch != grant.epoch {
            return;
        }
        let from = (grant.id, Seq(view.applied.0 + 1));
        let to = (grant.id, Seq(view.applied.0 + FEED_ROWS));
        let rows: Vec<_> =
            self.store.model.feed.range(from..=to).map(|(_, row)| Arc::new(row.clone())).collect();
        let epoch = grant.epoch;
        for row in rows {
            self.send(Message::Apply { slot, epoch, row });
        }
    }

    /// Starts a recall from one slot. If `target` is 0, the units go to the pool. Any other
    /// `target` names the slot that gets the units, which must be another slot of the same item.
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
        let Some(from) = self.store.open_grant(at).map(|g| g.id) else { return };
        let target = match to {
            None => RecallTarget::Pool,
            Some(to) if to == slot || self.places[to].at.item != at.item => return,
            Some(to) => match self.store.open_grant(self.places[to].at) {
                Some(grant) => RecallTarget::Grant(grant.id),
                None => return,
            },
        };
        if self.store.pending().count() >= RECALLS_MAX {
            return;
        }
        let id = RecallId(self.draw() >> 1);
        self.send(Message::Commit { leader, tx: Tx::RecallBegin(id, from, target, units) });
    }

    pub(crate) fn recall_again(&mut self, leader: u8, pick: u8) {
        let count = self.store.pending().count();
        let Some(nth) = usize::from(pick).checked_rem(count) else { return };
        let id = self.store.pending().nth(nth).map(|r| r.id);
        if let Some(id) = id {
            self.send_recall(leader, id);
        }
    }

    pub(crate) fn send_recall(&mut self, leader: u8, id: RecallId) {
        let Some(recall) = self.store.model.recalls.get(&id) else { return };
        let Some(grant) = self.store.grant(recall.grant) else { return };
        let Some(slot) = self.places.iter().position(|p| p.at == grant.slot) else { return };
        let message = Message::Recall {
            leader,
            slot,
            id,
            grant: grant.id,
            epoch: grant.epoch,
            units: recall.asked,
        };
        self.send(message);
    }

    /// Serves one parked request for an item: the request that has waited longest. Its units come
    /// first from the pool, and then from other slots. If the item's slots are in nodes' memories,
    /// each node serves its own requests, independently of the other nodes.
    pub(crate) fn serve_parked(&mut self, leader: u8, item: ItemId) {
        let seat = leader % self.setup.nodes;
        let shared = self.places.iter().any(|p| p.at.item == item && p.node.is_none());
        let is_served_here = |a: &super::Attempt| shared || a.purchase.node == seat;
        let waits = |a: &&super::Attempt| {
            let is_short = matches!(a.state, AttemptState::Parked { is_short: true, .. });
            is_short && a.purchase.item == item && is_served_here(a)
        };
        let Some(first) =
            self.attempts.iter().filter(waits).min_by_key(|a| (a.parked, a.purchase.attempt))
        else {
            return;
        };
        let (purchase, Some(home)) = (first.purchase, first.home) else { return };
        let home = self.places[home].at;
        let holdings = self.holdings(leader, item, purchase.node);
        let Some(gather) = gather::gather(purchase.units, home, self.store.pool(item), &holdings)
        else {
            return;
        };
        let Some(into) = self.places.iter().position(|p| p.at == gather.into) else { return };
        if gather.refill > 0 {
            let counter = self.places[into].slot.view().map_or(Counter::A, |v| v.active);
            self.refill(leader, into, gather.refill, counter);
        }
        for part in &gather.recalls {
            if let Some(from) = self.places.iter().position(|p| p.at == part.from) {
                self.begin_recall(leader, from, part.units, Some(into));
            }
        }
    }

    /// Returns a leader's data about an item's slots. For a slot that the leader reaches, the data
    /// is the slot's present state. For a slot that the leader does not reach, the data is only the
    /// store's rows.
    fn holdings(&self, leader: u8, item: ItemId, asking: u8) -> Vec<SlotHolding> {
        let seat = Some(leader % self.setup.nodes);
        let holding = |(i, place): (usize, &super::PlacedSlot)| {
            let grant = self.store.open_grant(place.at)?;
            let view = place.slot.view().filter(|v| v.grant == grant.id);
            let (available, rows) = match (place.node.is_none() || place.node == seat, view) {
                (true, Some(view)) => (view.available, self.on_its_way(grant.id, view.applied)),
                (true, None) => (0, 0),
                (false, _) => (grant.unsettled(), 0),
            };
            let recalled =
                self.store.pending().filter(|r| r.target == RecallTarget::Grant(grant.id));
            Some(SlotHolding {
                slot: place.at,
                available,
                on_its_way: rows + recalled.map(|r| r.asked).sum::<u64>(),
                reachable: !self.is_gone(i) && place.node.is_none_or(|n| n == asking),
                asked: self.store.pending().any(|r| r.grant == grant.id),
            })
        };
        self.places
            .iter()
            .enumerate()
            .filter(|(_, p)| p.at.item == item)
            .filter_map(holding)
            .collect()
    }

    /// Returns the units in feed rows that the slot has not applied.
    pub(super) fn on_its_way(&self, grant: doorbuster_core::GrantId, applied: Seq) -> u64 {
        let rows =
            self.store.model.feed.range((grant, Seq(applied.0 + 1))..=(grant, Seq(u64::MAX)));
        rows.map(|(_, row)| row.units).sum()
    }

    pub(crate) fn adjust(&mut self, item: ItemId, delta: i64) {
        self.commit(Tx::Adjust(item, delta, self.now));
    }
}
