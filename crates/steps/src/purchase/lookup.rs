//! Looks up the order or the queued ticket that a request holds. If an earlier copy of the request
//! was answered as queued, the request waits for the verdict of the same ticket.
use doorbuster_core::Verdict;

use super::{AfterLookUp, Attempt, Effect, Input, NodeView, Outcome, Step, Unserved};
use crate::memory::{Queued, Refusal, is_recent, may_hold, phase_refusal, unless_stale};

impl Attempt {
    /// Returns the refusal for the sale's phase or by the front door, or the first try.
    pub(super) fn first_decision(&self, view: &impl NodeView) -> AfterLookUp {
        let refusal = phase_refusal(view).or(self.door.map(Refusal::AtDoor));
        refusal.map_or(AfterLookUp::FirstTry, AfterLookUp::Refuse)
    }

    /// Looks up the order or the queued ticket that the request holds.
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

    /// Looks up the request's order if the request may hold one. An order takes precedence over a
    /// slot's refusal, because a slot that began a new epoch does not know the request.
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
            // The counted units may belong to this request's own order, so the node looks up the
            // order first. The node uses a count only if the node's snapshot of the store is newer
            // than the count. So if the count includes the order, the node's memory has the order's
            // request.
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

    /// Handles the end of the wait for the verdict of a ticket that was queued before. If no
    /// verdict has arrived, another node may have settled the ticket. So the node reads the verdict
    /// from the store.
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

    /// Handles the store's answer about a ticket that was queued before.
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

    /// Handles the verdict of a ticket that was queued before. If the ticket was refused, the
    /// request begins again, because the sale may have changed during the wait. The slot still
    /// remembers the refused ticket, so the item is reconciled. During the wait, another copy of
    /// the request may have been answered as queued with another ticket. Then this request waits
    /// for the other ticket's verdict.
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

    /// Answers the request. If its key was queued with another item or other units, looks for an
    /// order of the key. The order is the answer if it has this request's content: another copy of
    /// this request created it. Otherwise, the request is refused.
    fn answer_repeat(&mut self, queued: Queued, outcome: Outcome) -> Effect {
        match queued.item == self.item && queued.ticket.units == self.units {
            true => self.answer(outcome),
            false => self.look_up_order(AfterLookUp::Refuse(Refusal::KeyReused)),
        }
    }
}
