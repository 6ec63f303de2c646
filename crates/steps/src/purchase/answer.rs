//! Chooses what follows after a slot's answer, after a verdict, and after a confirmation by the
//! store.
use doorbuster_core::rules::{Rule, enforces};
use doorbuster_core::slot::{IssuedTicket, TicketAnswer};
use doorbuster_core::{SlotKey, Verdict};

use super::{AfterLookUp, Attempt, Effect, Input, NodeView, Outcome, Step, Unserved};
use crate::memory::{Refusal, phase_refusal};

impl Attempt {
    pub(super) fn slot_answered(
        &mut self,
        slot: SlotKey,
        answer: TicketAnswer,
        view: &mut impl NodeView,
    ) -> Effect {
        match answer {
            TicketAnswer::Issued(ticket) => self.await_verdict(ticket, true, view),
            TicketAnswer::Repeated(ticket) => self.await_verdict(ticket, false, view),
            TicketAnswer::Short { .. } => self.unserved(Unserved::Short, view),
            TicketAnswer::KeyReused => self.refused_by_slot(Refusal::KeyReused, view),
            // One of the buyer's orders may have ended before this request arrived. The slot may
            // still lack the feed row that lowers the buyer's quota. So this node asks for a
            // reconciliation, which delivers this row.
            TicketAnswer::LimitReached { .. } if view.is_behind(slot, self.ended_orders) => {
                self.signals.wakes = true;
                self.look_up_or(AfterLookUp::TryAgain, view)
            }
            TicketAnswer::LimitReached { used } => {
                self.refused_by_slot(Refusal::LimitReached { limit: self.limit, used }, view)
            }
            TicketAnswer::Full => self.refuse(Refusal::Overloaded),
            // If the sale or this node refuses requests now, the request ends here. Otherwise, the
            // slot is stopped because it leaves the item's spread or waits for its next epoch. So a
            // later try can succeed.
            TicketAnswer::Stopped if phase_refusal(view).is_some() => {
                self.refuse(Refusal::Unavailable)
            }
            TicketAnswer::NoEpoch | TicketAnswer::Stopped => {
                self.unserved(Unserved::NotReady, view)
            }
        }
    }

    /// Waits for a ticket's verdict. `is_mine` is true if the ticket was issued for this copy of
    /// the request, and not for an earlier one.
    pub(super) fn await_verdict(
        &mut self,
        ticket: IssuedTicket,
        is_mine: bool,
        view: &mut impl NodeView,
    ) -> Effect {
        self.step = Step::Verdict { ticket, is_mine };
        // If the slot is in this node's memory, the ticket cannot be lost while its request waits.
        // Such a slot is lost only together with the waiting requests, and only this node settles
        // its tickets.
        let may_be_lost = is_mine && !view.is_node_local();
        Effect::AwaitVerdict { ticket, is_mine, may_be_lost }
    }

    pub(super) fn verdict_input(
        &mut self,
        ticket: IssuedTicket,
        is_mine: bool,
        input: Input,
        view: &mut impl NodeView,
    ) -> Effect {
        match input {
            Input::Verdict(Verdict::Unavailable)
                if is_mine && view.store_now() <= ticket.decide_by =>
            {
                self.unserved(Unserved::TicketLost, view)
            }
            Input::Verdict(verdict) if is_mine => self.answer_verdict(verdict, true),
            Input::Verdict(verdict) => self.earlier_verdict(verdict, view),
            Input::GrantClosed => self.unserved(Unserved::TicketLost, view),
            // The client has waited long enough for the verdict, so the buyer gets the ticket's id.
            _ if is_mine => self.answer(Outcome::Queued(ticket)),
            // The ticket was issued for an earlier copy of the request. If another node received
            // that copy, the verdict does not arrive at this node. So the verdict is read from the
            // store.
            _ => {
                self.step = Step::StoredVerdict(ticket);
                Effect::ReadVerdict(ticket)
            }
        }
    }

    pub(super) fn stored_verdict(
        &mut self,
        ticket: IssuedTicket,
        input: Input,
        view: &mut impl NodeView,
    ) -> Effect {
        match input {
            Input::Verdict(verdict) => self.earlier_verdict(verdict, view),
            Input::NoVerdict => self.answer(Outcome::Queued(ticket)),
            _ => self.refuse(Refusal::Unavailable),
        }
    }

    /// An earlier request with the same key has a ticket. Handles the verdict of this ticket. If
    /// the verdict is a refusal, this request tries again, because the reason for the refusal may
    /// be gone. The slot remembers the ticket until the slot gets the feed row about the ticket. So
    /// the item is reconciled first.
    fn earlier_verdict(&mut self, verdict: Verdict, view: &mut impl NodeView) -> Effect {
        let has_order = matches!(verdict, Verdict::Reserved | Verdict::Order(_));
        if has_order || !enforces(Rule::NewTryAfterRefusal) {
            return self.answer_verdict(verdict, false);
        }
        self.signals.wakes = true;
        self.unserved(Unserved::NotReady, view)
    }

    fn answer_verdict(&mut self, verdict: Verdict, is_mine: bool) -> Effect {
        match verdict {
            Verdict::Reserved if is_mine => self.answer(Outcome::Created),
            Verdict::Reserved | Verdict::Order(_) => self.answer(Outcome::Replayed),
            Verdict::KeyReused => self.refuse(Refusal::KeyReused),
            Verdict::Unavailable => self.refuse(Refusal::Unavailable),
            Verdict::LimitReached => {
                self.step = Step::Quota;
                Effect::ReadQuota
            }
        }
    }

    /// Asks the store to confirm a slot's refusal. A slot knows only the requests that it served,
    /// but the request may have an order, or a ticket of another slot. An order and a ticket take
    /// precedence over the refusal. The slot may also refuse because of a ticket that the store has
    /// not decided yet.
    fn refused_by_slot(&mut self, refusal: Refusal, view: &mut impl NodeView) -> Effect {
        match enforces(Rule::SlotRefusalConfirmed) {
            true => self.look_up_or(AfterLookUp::Confirm(refusal), view),
            false => self.refuse(refusal),
        }
    }

    pub(super) fn confirm(&mut self, refusal: Refusal, view: &mut impl NodeView) -> Effect {
        // A single node knows every order, so it need not confirm the refusal of a reused key. With
        // several nodes, a node may not know the order that has the key: the order may come from
        // the waitlist, or be for another item. A reached limit always needs a confirmation,
        // because the slot also counts tickets that may be returned.
        let is_known = !view.has_other_slots() && view.is_only_node();
        if is_known && refusal == Refusal::KeyReused {
            return self.refuse(refusal);
        }
        self.step = Step::Confirmation(refusal);
        Effect::ConfirmRefusal
    }

    pub(super) fn confirmed(
        &mut self,
        refusal: Refusal,
        input: Input,
        view: &mut impl NodeView,
    ) -> Effect {
        match input {
            Input::Failed => self.refuse(Refusal::Unavailable),
            Input::Confirmed(_, Some(outcome)) => self.answer(outcome),
            Input::Confirmed(_, None) if refusal == Refusal::KeyReused => self.refuse(refusal),
            Input::Confirmed(used, None)
                if u64::from(used) + self.units.to_u64() > u64::from(self.limit) =>
            {
                let limit = self.limit;
                self.find_ticket(Some(Refusal::LimitReached { limit, used }), view)
            }
            _ => self.unserved(Unserved::Undecided, view),
        }
    }
}
