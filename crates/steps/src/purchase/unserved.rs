//! Decides what happens to a request after a try that did not serve it.
use doorbuster_core::limits::PARK_MS;
use doorbuster_core::sold_out::SoldOut;

use super::{
    AfterLookUp, Attempt, Effect, Input, NodeView, Round, Step, UNDECIDED_WAIT_MS, Unserved,
};
use crate::memory::Refusal;

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

    /// Parks the request, if it is not refused and its time is not over.
    fn park(&mut self, why: Unserved, view: &mut impl NodeView) -> Effect {
        match why {
            Unserved::Short | Unserved::NotReady => {}
            Unserved::Undecided => {
                self.undecided += 1;
                // The store may have decided by now, but the slot may not have the returned units
                // and quota yet. Any node may deliver them.
                self.signals.wakes |= self.undecided == 2;
            }
            // One new ticket is enough. If it is returned too, a third one would not help.
            Unserved::TicketLost if self.was_renewed => return self.refuse(Refusal::Unavailable),
            Unserved::TicketLost => {
                self.was_renewed = true;
                self.signals.renews = true;
                // The slot's next epoch takes a moment, so the request may be parked for the full
                // time again.
                self.parked_until = self.now.plus(PARK_MS);
                self.waits = self.waits.max(1);
            }
        }
        if let Some(sold_out) = view.free().refuses(self.units) {
            return self.refuse_sold_out(sold_out, view);
        }
        let is_short = why == Unserved::Short;
        if self.now >= self.parked_until {
            // The request became short only now, so it has not waited for units. The answer must
            // not claim that no units are left.
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

    /// Tries again. A request that is not short tries once more at the end, because it may have
    /// missed a change.
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

    /// Refuses from counts that were read before this call. If the request holds an order, it gets
    /// that order.
    pub(super) fn refuse_sold_out(
        &mut self,
        sold_out: SoldOut,
        view: &mut impl NodeView,
    ) -> Effect {
        self.look_up_or(AfterLookUp::Refuse(Refusal::SoldOut(sold_out)), view)
    }
}
