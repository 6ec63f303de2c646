//! Simulates single actions that move units: grants, refills, feeds and recalls. A leader may
//! perform such an action at any time, in any sequence.
use std::sync::Arc;

use doorbuster_core::rows::{Recall, RecallTarget};
use doorbuster_core::slot::{ApplyOutcome, RecallOutcome, SlotView};
use doorbuster_core::{CloseCause, Counter, FeedRow, Grant, GrantId, ItemId, RecallId, Seq};
use doorbuster_steps::feed::{self, SlotFeed};
use doorbuster_steps::slot_start::{Effect, Input, SlotStart, StartOutcome};

use super::World;
use crate::state::{Call, Message, SlotReply, Starting};
use crate::store::{Tx, TxResult};

/// The largest number of feed rows that one read returns.
const FEED_ROWS: u64 = 4;
/// The largest number of pending recalls.
const RECALLS_MAX: usize = 8;

impl World {
    /// Begins to start a slot. If the slot has no open grant, it gets a grant of `units` units. The
    /// server, in contrast, opens each grant without units.
    pub(crate) fn open_slot(&mut self, leader: u8, slot: usize, units: u64) {
        if self.is_gone(slot) || !self.is_in_spread(slot) {
            return;
        }
        let at = self.places[slot].at;
        let open = self.store.open_grant(at).cloned();
        if open.is_none() && !self.store.has_open_slots(at.item) {
            return;
        }
        let (steps, effect) = SlotStart::begin(open, self.spread(at.item).threshold);
        // The grant's id is drawn before the transaction. So the grant's id is the same if the
        // transaction runs twice.
        let grant = match effect {
            Effect::OpenGrant => Some(self.draw_grant()),
            _ => None,
        };
        let starting = Box::new(Starting { grant, units, steps, effect });
        self.send(Message::StartSlot { leader, slot, starting });
    }

    /// Performs one effect of a slot's start. The next effect becomes a message, so that other
    /// actors can act first.
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
            Effect::Init(terms) => {
                self.excuse_grant_beside_lost(slot, terms.grant);
                match self.call(slot, Call::Init(terms)) {
                    SlotReply::ApplyOutcome(outcome) => Input::InitAnswer(outcome),
                    _ => return,
                }
            }
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
                self.send(Message::Commit { leader, tx: tx.into() });
            }
            Effect::Finish(_) => {}
            _ => self.send(Message::StartSlot { leader, slot, starting }),
        }
    }

    pub(crate) fn refill(&mut self, leader: u8, slot: usize, units: u64, counter: Counter) {
        let Some(grant) = self.store.open_grant(self.places[slot].at) else { return };
        if units > 0 && self.store.has_open_slots(grant.slot.item) {
            let tx = Tx::Refill(grant.id, units, counter);
            self.send(Message::Commit { leader, tx: tx.into() });
        }
    }

    /// Sends feed rows to the slot, beginning after the last row that the slot applied.
    pub(crate) fn send_feed(&mut self, _leader: u8, slot: usize) {
        let place = &self.places[slot];
        let (Some(grant), Some(view)) = (self.store.open_grant(place.at), place.slot.view()) else {
            return;
        };
        if view.grant != grant.id || view.epoch != grant.epoch {
            return;
        }
        let rows = self.rows_after(grant.id, view.applied).into_iter().map(Arc::new);
        let rows: Vec<_> = rows.collect();
        let epoch = grant.epoch;
        for row in rows {
            self.send(Message::Apply { slot, epoch, row });
        }
    }

    pub(super) fn rows_after(&self, grant: GrantId, after: Seq) -> Vec<FeedRow> {
        let (from, to) = ((grant, Seq(after.0 + 1)), (grant, Seq(after.0 + FEED_ROWS)));
        self.store.model.feed.range(from..=to).map(|(_, row)| row.clone()).collect()
    }

    pub(super) fn may_begin_recall(&self) -> bool {
        self.store.pending().count() < RECALLS_MAX
    }

    /// Begins a recall. If `target` is 0, the units go to the pool. Any other `target` names
    /// another slot of the same item, which gets the units.
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
        if !self.may_begin_recall() {
            return;
        }
        let id = RecallId(self.next_id_bits() >> 1);
        self.send(Message::Commit { leader, tx: Tx::RecallBegin(id, from, target, units).into() });
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

    pub(super) fn grants_of(&self, item: ItemId) -> Vec<Grant> {
        let grants = self.store.model.grants.values();
        grants.filter(|grant| grant.slot.item == item).cloned().collect()
    }

    /// Sends the slot its missing feed rows. Returns the slot's state after these rows, or `None`
    /// if the slot does not have the grant.
    pub(super) fn feed_slot(&mut self, grant: &Grant, applied: Seq) -> Option<SlotView> {
        let slot = self.place_of(grant.slot)?;
        let (mut feed, mut effect) = SlotFeed::begin(applied);
        loop {
            effect = feed.next(match effect {
                feed::Effect::ReadRows(after) => {
                    feed::Input::Rows(self.rows_after(grant.id, after))
                }
                feed::Effect::Apply(rows) => {
                    let mut answer = ApplyOutcome::Foreign;
                    for row in rows {
                        let call = Call::Apply(grant.epoch, row);
                        if let SlotReply::ApplyOutcome(outcome) = self.call(slot, call) {
                            answer = outcome;
                        }
                    }
                    feed::Input::Applied(answer)
                }
                feed::Effect::Finish => break,
            });
        }
        self.places[slot].slot.view().filter(|view| view.grant == grant.id)
    }

    /// Begins a recall. Returns `None` if the grant is closed or too many recalls are pending.
    pub(super) fn recall_into(
        &mut self,
        from: GrantId,
        target: RecallTarget,
        units: u64,
    ) -> Option<Recall> {
        if !self.may_begin_recall() {
            return None;
        }
        let id = RecallId(self.next_id_bits() >> 1);
        match self.commit(Tx::RecallBegin(id, from, target, units)) {
            TxResult::Recall(recall) => recall,
            _ => None,
        }
    }

    pub(super) fn take_recalled(&mut self, from: &Grant, recall: &Recall) -> RecallOutcome {
        let call = Call::Recall(recall.id, from.id, from.epoch, recall.asked);
        match self.place_of(from.slot).map(|slot| self.call(slot, call)) {
            Some(SlotReply::RecallOutcome(outcome)) => outcome,
            _ => RecallOutcome::Refused,
        }
    }

    pub(super) fn finish_recall(&mut self, recall: RecallId, units: u64) -> u64 {
        match self.commit(Tx::RecallFinish(recall, units)) {
            TxResult::Moved(units) => units,
            _ => 0,
        }
    }
}
