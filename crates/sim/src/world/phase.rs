//! Simulates how a sale is paused, resumed and closed, and how a slot is moved to a new epoch.
//! Before a sale is paused or closed, all its slots are stopped and drained. Before a slot moves to
//! a new epoch, this slot is stopped and drained. [`doorbuster_steps::sale_stop`] defines the steps
//! that change the phase.
use doorbuster_core::sale::TimedStep;
use doorbuster_core::{CloseCause, ItemId, Phase, respread};
use doorbuster_steps::sale_stop::{self, Effect};

use super::World;
use crate::state::{Drain, Message};
use crate::store::{PhaseRow, Tx};

impl World {
    /// Begins a change of the phase: announces the new phase, and stops the slots. A leader
    /// continues the change in a later operation.
    fn stop_for(&mut self, item: ItemId, phase: Phase) {
        for effect in sale_stop::effects() {
            match effect {
                Effect::Announce => drop(self.commit(Tx::Intend(item, phase))),
                Effect::StopSlots => self.stop_slots(item, true),
                Effect::AwaitTickets | Effect::AwaitNodes | Effect::ChangePhase => return,
            }
        }
    }

    pub(super) fn stop_slots(&mut self, item: ItemId, stopped: bool) {
        for slot in 0..self.places.len() {
            if self.places[slot].at.item == item && (stopped || self.is_in_spread(slot)) {
                self.send(Message::Stop { slot, stopped });
            }
        }
    }

    pub(crate) fn pause(&mut self, item: ItemId) {
        let row = self.store.phases.get(&item);
        if row.is_some_and(|row| row.shown == Phase::Open && row.intent.is_none()) {
            self.stop_for(item, Phase::Paused);
        }
    }

    pub(crate) fn close_sale(&mut self, item: ItemId) {
        let Some(row) = self.store.phases.get(&item) else { return };
        if row.shown != Phase::Closed && row.intent.is_none_or(|(phase, _)| phase != Phase::Closed)
        {
            self.stop_for(item, Phase::Closed);
        }
    }

    pub(crate) fn resume(&mut self, item: ItemId) {
        let Some(row) = self.store.phases.get(&item) else { return };
        if row.shown == Phase::Paused && row.intent.is_none() {
            self.commit(Tx::Show(item, None));
            self.stop_slots(item, false);
        }
    }

    /// A leader opens the item's sale if its start time has come. The transaction becomes a
    /// message, so that other actors can act first.
    pub(crate) fn take_due_step(&mut self, leader: u8, item: ItemId) {
        let Some(row) = self.store.phases.get(&item) else { return };
        let step = TimedStep::next(row.shown, row.starts_at, None, self.mono);
        if let Some(step) = step.filter(|step| step.is_due(self.mono)) {
            self.send(Message::Commit { leader, tx: Tx::TakeStep(item, step).into() });
        }
    }

    /// An operator changes the start of a sale: the sale starts `tenths` tenths of a second from
    /// now.
    pub(crate) fn move_start(&mut self, item: ItemId, tenths: u8) {
        self.commit(Tx::MoveStart(item, self.mono.plus(i64::from(tenths) * 100)));
    }

    /// Lets time pass until every sale that has a start is open.
    pub(super) fn open_at_rest(&mut self) {
        let scheduled = |row: &&PhaseRow| row.shown == Phase::Scheduled;
        let rows = self.store.phases.values().filter(scheduled);
        let last = rows.filter_map(|row| row.starts_at).max();
        self.mono = self.mono.max(last.unwrap_or(self.mono));
        (0..self.setup.items.len()).for_each(|i| self.take_due_step(0, ItemId(i as i64 + 1)));
        self.deliver_all();
    }

    pub(crate) fn drain(&mut self, leader: u8, item: ItemId) {
        if let Some(intent) = self.store.phases.get(&item).and_then(|p| p.intent) {
            self.continue_sale_stop(leader, item, intent, sale_stop::effects());
        }
    }

    fn continue_sale_stop(
        &mut self,
        leader: u8,
        item: ItemId,
        intent: (Phase, u64),
        mut rest: &'static [Effect],
    ) {
        while let Some(effect) = rest.split_off_first() {
            match effect {
                // Nothing is left to do: the new phase was announced when the change began.
                Effect::Announce => {}
                Effect::StopSlots => self.stop_slots(item, true),
                Effect::AwaitTickets => {
                    let drain = Drain { item, intent, next: 0, rest };
                    return self.send(Message::Drain { leader, drain });
                }
                // In the simulation, the leader has already checked the slots of every node.
                Effect::AwaitNodes => {}
                Effect::ChangePhase => {
                    let tx = Tx::Show(item, Some(intent));
                    self.send(Message::Commit { leader, tx: tx.into() });
                }
            }
        }
    }

    /// Checks whether one more slot is drained. If it was the last slot, shows buyers the new
    /// phase. If the intended phase has changed since the first check, the phase stays, because a
    /// checked slot may have issued tickets again.
    pub(crate) fn drained(&mut self, leader: u8, drain: Drain) {
        let Drain { item, intent, next, rest } = drain;
        match self.places.get(next) {
            Some(place) if place.at.item == item && !self.is_drained(next) => {}
            Some(_) => {
                let drain = Drain { next: next + 1, ..drain };
                self.send(Message::Drain { leader, drain });
            }
            None => self.continue_sale_stop(leader, item, intent, rest),
        }
    }

    /// Returns whether the slot can issue no more tickets, and all its tickets are settled.
    fn is_drained(&self, slot: usize) -> bool {
        let place = &self.places[slot];
        let Some(grant) = self.store.open_grant(place.at) else { return true };
        // The slot lacks its grant. The slot may have lost its memory after it accepted the grant,
        // but before the store recorded the acceptance. So a grant with units does not count as
        // drained.
        let Some(view) = place.slot.view() else { return !grant.acked && grant.granted == 0 };
        respread::is_drained(grant, &view)
    }

    pub(crate) fn roll(&mut self, leader: u8, slot: usize) {
        self.send(Message::Stop { slot, stopped: true });
        self.send(Message::Roll { leader, slot });
    }

    /// Closes the slot's grant if the slot is drained. When this transaction commits, the leader
    /// gives the slot its next grant and resumes the slot, if the slot is still in the spread.
    pub(crate) fn rolled(&mut self, leader: u8, slot: usize) {
        let at = self.places[slot].at;
        let Some(grant) = self.store.open_grant(at) else { return };
        if !self.is_drained(slot) || !self.store.has_open_slots(at.item) {
            return;
        }
        let tx = Tx::Close(grant.id, CloseCause::Rolled);
        self.send(Message::Commit { leader, tx: tx.into() });
    }
}
