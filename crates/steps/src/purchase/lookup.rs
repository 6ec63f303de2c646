//! Looks up the order or the queued ticket that a request already has. If an earlier copy of the
//! request was queued, the request waits for the verdict of that copy's ticket.
use doorbuster_core::Verdict;

use super::{AfterLookUp, Attempt, Effect, Input, NodeView, Outcome, Step, Unserved};
use crate::memory::{Queued, Refusal, is_recent, may_hold, phase_refusal, unless_stale};

impl Attempt {
    /// Decides from memory whether the request is refused. If the sale's phase and the front door
    /// both refuse the request, the answer is the refusal by the phase.
    pub(super) fn first_decision(&self, view: &impl NodeView) -> AfterLookUp {
        let refusal = phase_refusal(view).or(self.door.map(Refusal::AtDoor));
        refusal.map_or(AfterLookUp::FirstTry, AfterLookUp::Refuse)
    }

    pub(super) fn look_up(&mut self, after: AfterLookUp, view: &mut impl NodeView) -> Effect {
        match view.queued().filter(|_| !view.holds()) {
            Some(queued) => {
                self.step = Step::QueuedBefore(queued);
                let ticket = queued.ticket;
                Effect::AwaitVerdict { ticket, is_mine: false, may_be_lost: false }
            }
            None => self.look_up_order(after),
        }
    }

    pub(super) fn look_up_order(&mut self, after: AfterLookUp) -> Effect {
        self.step = Step::LookUp(after);
        Effect::LookUpOrder
    }

    /// Looks up the request's order if the request may hold an order. Otherwise goes on with
    /// `after`. An order takes precedence over a slot's refusal, because a slot with a new epoch
    /// does not know the request.
    pub(super) fn look_up_or(&mut self, after: AfterLookUp, view: &mut impl NodeView) -> Effect {
        match may_hold(view) {
            true => self.look_up(after, view),
            false => self.after_look_up(after, view),
        }
    }

    pub(super) fn after_look_up(&mut self, after: AfterLookUp, view: &mut impl NodeView) -> Effect {
        match after {
            AfterLookUp::Refuse(refusal) => self.refuse(unless_stale(view.age_ms(), refusal)),
            AfterLookUp::Confirm(refusal) => self.confirm(refusal, view),
            AfterLookUp::TryAgain => self.unserved(Unserved::NotReady, view),
            // The counted units of the buyer may belong to an order of this very request. So the
            // order is looked up before the refusal. This finds the order: the node uses a count
            // only if its snapshot is newer than the count. So its memory has the request of each
            // counted order.
            AfterLookUp::FirstTry => {
                match view.used_at_limit().filter(|_| is_recent(view.age_ms())) {
                    Some(used) => {
                        let refusal = Refusal::LimitReached { limit: self.limit, used };
                        self.look_up_or(AfterLookUp::Refuse(refusal), view)
                    }
                    None => self.try_own_slots(view),
                }
            }
        }
    }

    /// The request was sent before, and its ticket was queued. Handles the end of the wait for this
    /// ticket's verdict. If no verdict arrived, another node may have settled the ticket, so the
    /// verdict is read from the store.
    pub(super) fn queued_before(
        &mut self,
        queued: Queued,
        input: Input,
        view: &mut impl NodeView,
    ) -> Effect {
        if let Input::Verdict(verdict) = input {
            return self.verdict_before(queued, verdict, view);
        }
        self.step = Step::StoredBefore(queued);
        Effect::ReadVerdict(queued.ticket)
    }

    pub(super) fn stored_before(
        &mut self,
        queued: Queued,
        input: Input,
        view: &mut impl NodeView,
    ) -> Effect {
        match input {
            Input::Verdict(verdict) => self.verdict_before(queued, verdict, view),
            Input::NoVerdict => self.answer_repeat(queued, Outcome::Queued(queued.ticket)),
            _ => self.refuse(Refusal::Unavailable),
        }
    }

    /// An earlier copy of this request was queued. Handles the verdict of that copy's ticket. If
    /// the ticket was refused, the request begins again, because the sale may have changed. The
    /// slot may still remember the refused ticket, so the item is reconciled. If a third copy of
    /// the request has been queued since then, the request waits for the verdict of that copy.
    fn verdict_before(
        &mut self,
        queued: Queued,
        verdict: Verdict,
        view: &mut impl NodeView,
    ) -> Effect {
        if matches!(verdict, Verdict::Reserved | Verdict::Order(_)) {
            return self.answer_repeat(queued, Outcome::Replayed);
        }
        self.signals.wakes = true;
        let after = self.first_decision(view);
        if view.queued().is_some_and(|other| other.ticket.token != queued.ticket.token) {
            return self.look_up(after, view);
        }
        self.signals.forgets_queued = Some(queued.ticket);
        self.look_up_order(after)
    }

    /// Answers a repeated request with the result of the earlier queued request. If the earlier
    /// request asked for another item or number of units, looks for an order of this request key
    /// instead.
    fn answer_repeat(&mut self, queued: Queued, outcome: Outcome) -> Effect {
        match queued.item == self.item && queued.ticket.units == self.units {
            true => self.answer(outcome),
            false => self.look_up_order(AfterLookUp::Refuse(Refusal::KeyReused)),
        }
    }
}
