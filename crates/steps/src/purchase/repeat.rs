//! Answers a request whose earlier copy was answered as queued: the request waits for the verdict of
//! the same ticket.
use doorbuster_core::Verdict;

use super::{AfterLookUp, Attempt, Effect, Input, NodeView, Outcome, Step};
use crate::memory::{Queued, Refusal};

impl Attempt {
    /// Handles the end of the wait for the verdict of a ticket that was queued before. If no verdict
    /// has arrived, another node may have settled the ticket. So the node reads the verdict from the
    /// store.
    pub(super) fn queued_before(
        &mut self,
        queued: Queued,
        input: Input,
        view: &impl NodeView,
    ) -> Effect {
        if let Input::Verdict(verdict) = input {
            return self.verdict_before(queued, verdict, view);
        }
        self.step = Step::StoredBefore(queued);
        Effect::ReadVerdict(queued.ticket)
    }

    /// Handles the store's answer about a ticket that was queued before.
    pub(super) fn stored_before(
        &mut self,
        queued: Queued,
        input: Input,
        view: &impl NodeView,
    ) -> Effect {
        match input {
            Input::Verdict(verdict) => self.verdict_before(queued, verdict, view),
            Input::NoVerdict => self.answer_repeat(queued, Outcome::Queued(queued.ticket)),
            _ => self.refuse(Refusal::Unavailable),
        }
    }

    /// Handles the verdict of a ticket that was queued before. If the ticket was refused, the
    /// request begins again, because the sale may have changed during the wait. The slot still
    /// remembers the refused ticket, so the item is reconciled.
    fn verdict_before(&mut self, queued: Queued, verdict: Verdict, view: &impl NodeView) -> Effect {
        if matches!(verdict, Verdict::Reserved | Verdict::Order(_)) {
            return self.answer_repeat(queued, Outcome::Replayed);
        }
        (self.signals.wakes, self.signals.forgets_queued) = (true, true);
        self.look_up_order(self.first_decision(view))
    }

    /// Answers the request. If its key was queued with another item or other units, the request is
    /// refused. There is one exception: the key may hold an order with this request's content, from
    /// another copy of this request.
    fn answer_repeat(&mut self, queued: Queued, outcome: Outcome) -> Effect {
        match queued.item == self.item && queued.ticket.units == self.units {
            true => self.answer(outcome),
            false => self.look_up_order(AfterLookUp::Refuse(Refusal::KeyReused)),
        }
    }
}
