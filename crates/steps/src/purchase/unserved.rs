//! Decides what follows after a try that did not serve the request. The answer is never "sold out"
//! while the request holds an order, or while an earlier try may be undecided.
use doorbuster_core::SlotKey;
use doorbuster_core::limits::PARK_MS;
use doorbuster_core::rules::{Rule, enforces};
use doorbuster_core::slot::TicketAnswer;
use doorbuster_core::sold_out::SoldOut;

use super::{
    ALL_SLOTS_QUERY_MAX_MS, AfterLookUp, Attempt, Effect, Input, NodeView, Round, Step,
    UNDECIDED_WAIT_MS, Unserved,
};
use crate::memory::{Refusal, phase_refusal};

impl Attempt {
    pub(super) fn unserved(&mut self, why: Unserved, view: &mut impl NodeView) -> Effect {
        match (&self.round, why) {
            (Round::Own, _) => self.park(why, view),
            (Round::Last(_), Unserved::TicketLost) => self.finish(false, view),
            (Round::Last(_), Unserved::NotReady | Unserved::Undecided) => {
                self.is_uncertain = true;
                self.ask_next_slot(view)
            }
            (Round::Last(_), Unserved::Short) | (Round::Find(..), _) => self.ask_next_slot(view),
        }
    }

    fn park(&mut self, why: Unserved, view: &mut impl NodeView) -> Effect {
        match why {
            Unserved::Short | Unserved::NotReady => {}
            Unserved::Undecided => {
                self.undecided += 1;
                // The slot refused the request because of undecided tickets. By now, the store may
                // have decided them, but the slot may lack the feed rows about returned units and
                // lower quotas. A reconciliation delivers these rows.
                self.signals.wakes |= self.undecided == 2;
            }
            // The request has already received a second ticket. If this second ticket is also
            // returned, a third ticket would not help.
            Unserved::TicketLost if self.was_renewed => return self.refuse(Refusal::Unavailable),
            Unserved::TicketLost => {
                self.was_renewed = true;
                self.signals.renews = true;
                // The slot may need some time until its next epoch. So the request may be parked
                // for the full time again.
                self.parked_until = self.now.plus(PARK_MS);
                self.waits = self.waits.max(1);
            }
        }
        if let Some(sold_out) = view.free().refuses(self.units) {
            return self.refuse_sold_out(sold_out, view);
        }
        let is_short = why == Unserved::Short;
        if self.now >= self.parked_until {
            // If the slots have too few units for the first time, the request has not waited for
            // units yet. The answer must not say "sold out" before such a wait.
            self.is_uncertain |= is_short && !self.was_short;
            return self.parked_too_long(is_short, view);
        }
        self.step = Step::Park(why);
        let until = match self.undecided {
            1 if !is_short => self.parked_until.min(self.now.plus(UNDECIDED_WAIT_MS as i64)),
            _ => self.parked_until,
        };
        Effect::Park { why, until, waits: self.waits }
    }

    /// Handles the end of one wait. If the slots had too few units and the parking time is over,
    /// ends the parking. Otherwise, tries the request again, even if the parking time is over,
    /// because a change may have happened without a signal.
    pub(super) fn unparked(
        &mut self,
        why: Unserved,
        input: Input,
        view: &mut impl NodeView,
    ) -> Effect {
        let is_short = why == Unserved::Short;
        match input {
            Input::Full => self.refuse(Refusal::Overloaded),
            Input::Elapsed if is_short => self.parked_too_long(is_short, view),
            _ => {
                self.waits += 1;
                self.was_short |= is_short;
                self.try_own_slots(view)
            }
        }
    }

    /// If the request holds no order, refuses the request as sold out. The caller must read the
    /// counts before this call. Then this call finds the request of every order that the counts
    /// include.
    pub(super) fn refuse_sold_out(
        &mut self,
        sold_out: SoldOut,
        view: &mut impl NodeView,
    ) -> Effect {
        self.look_up_or(AfterLookUp::Refuse(Refusal::SoldOut(sold_out)), view)
    }

    /// Handles the end of the parking time:
    ///
    /// - If the slots had too few units, asks all slots once more, because units may have arrived
    ///   without a signal.
    /// - If the request was parked for another reason, and all slots answered, looks for a ticket
    ///   of the request in all slots.
    /// - Otherwise, answers the request.
    pub(super) fn parked_too_long(&mut self, is_short: bool, view: &mut impl NodeView) -> Effect {
        if is_short && enforces(Rule::LastTry) {
            self.spent_ms = 0;
            self.round = Round::Last(view.every_slot().into_iter());
            return self.ask_next_slot(view);
        }
        if !is_short && !self.is_uncertain {
            return self.find_ticket(None, view);
        }
        self.finish(is_short, view)
    }

    /// Asks every slot whether it has a ticket of the request. If no slot has one, the answer is
    /// `refusal`.
    pub(super) fn find_ticket(
        &mut self,
        refusal: Option<Refusal>,
        view: &mut impl NodeView,
    ) -> Effect {
        self.spent_ms = 0;
        self.round = Round::Find(view.every_slot().into_iter(), refusal);
        self.ask_next_slot(view)
    }

    pub(super) fn ask_next_slot(&mut self, view: &mut impl NodeView) -> Effect {
        let is_over = self.spent_ms >= ALL_SLOTS_QUERY_MAX_MS;
        let asked = self.now;
        match &mut self.round {
            Round::Last(slots) => match slots.next() {
                Some(_) if is_over => {
                    self.is_uncertain = true;
                    self.finish(true, view)
                }
                Some(slot) => {
                    self.step = Step::EverySlot { slot, asked };
                    Effect::AskSlot { slot, is_bounded: true }
                }
                None => self.finish(true, view),
            },
            Round::Find(slots, refusal) => match (slots.next(), *refusal) {
                (Some(_), _) if is_over => self.refuse(Refusal::Unavailable),
                (Some(slot), _) => {
                    self.step = Step::EverySlot { slot, asked };
                    Effect::FindTicket(slot)
                }
                (None, Some(refusal)) => self.refuse(refusal),
                (None, None) => self.finish(false, view),
            },
            Round::Own => self.finish(false, view),
        }
    }

    pub(super) fn one_of_all_answered(
        &mut self,
        slot: SlotKey,
        answer: TicketAnswer,
        view: &mut impl NodeView,
    ) -> Effect {
        match (&self.round, answer) {
            (Round::Find(..), TicketAnswer::Repeated(ticket)) => {
                self.await_verdict(ticket, false, view)
            }
            (Round::Find(..), _) => self.ask_next_slot(view),
            _ => self.slot_answered(slot, answer, view),
        }
    }

    pub(super) fn finish(&mut self, is_short: bool, view: &mut impl NodeView) -> Effect {
        let free = view.free();
        if let Some(sold_out) = free.refuses(self.units) {
            return self.refuse_sold_out(sold_out, view);
        }
        if let Some(refusal) = phase_refusal(view) {
            return self.look_up_or(AfterLookUp::Refuse(refusal), view);
        }
        // "Sold out" requires that all slots have answered, because an unreachable slot may have a
        // ticket of the request.
        if is_short && !self.is_uncertain && view.reaches_all_slots() {
            return self.refuse_sold_out(free.refusal_after_parking(self.units), view);
        }
        // A slot that had no epoch for the whole parking time may have lost its memory. The leader
        // may be unable to reach this slot, so this node begins a check.
        self.signals.suspects |= self.is_uncertain;
        self.refuse(Refusal::Unavailable)
    }
}
