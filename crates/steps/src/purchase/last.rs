//! Decides the last answer to a request that was parked for the longest time. The answer is never
//! "sold out" while the request holds an order or an earlier try may be undecided.
use doorbuster_core::SlotKey;
use doorbuster_core::rules::{Rule, enforces};
use doorbuster_core::slot::TicketAnswer;

use super::{ALL_SLOTS_QUERY_MAX_MS, AfterLookUp, Attempt, Effect, NodeView, Round, Step};
use crate::memory::{Refusal, phase_refusal};

impl Attempt {
    /// If the request's slots were short, asks all slots once more, because units may have arrived
    /// without a signal. Any slot may also have an undecided ticket of an earlier try. If a slot
    /// refused the request, looks for the request's ticket in the other slots.
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

    /// Looks for the request's ticket in every slot. Without one, the answer is `refusal`.
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

    /// Gives the last answer.
    pub(super) fn finish(&mut self, is_short: bool, view: &mut impl NodeView) -> Effect {
        let free = view.free();
        if let Some(sold_out) = free.refuses(self.units) {
            return self.refuse_sold_out(sold_out, view);
        }
        if let Some(refusal) = phase_refusal(view) {
            return self.look_up_or(AfterLookUp::Refuse(refusal), view);
        }
        // A slot that this node cannot reach may have a ticket of this request. So the node refuses
        // only if it reaches all slots.
        if is_short && !self.is_uncertain && view.reaches_all_slots() {
            return self.refuse_sold_out(free.parked_too_long(self.units), view);
        }
        // A slot without an epoch for so long may have lost its memory. The leader may be unable to
        // reach that slot.
        self.signals.suspects |= self.is_uncertain;
        self.refuse(Refusal::Unavailable)
    }
}
