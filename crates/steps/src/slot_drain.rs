//! Drains a slot that left its item's spread: stops the slot, recalls its units, and closes its
//! grant after all its tickets are settled. Every effect may be repeated.
use std::collections::VecDeque;

use doorbuster_core::respread::{SlotDrainStep, slot_drain_step};
use doorbuster_core::slot::{RecallOutcome, SlotView};
use doorbuster_core::{Grant, GrantId, Recall, RecallId};

/// The largest number of decisions in one drain. Usually there are three: stop the slot, recall its
/// units, and close its grant.
const DECISIONS_MAX: usize = 4;

/// The next action of the driver. If the store does not answer, the driver drops this drain, and a
/// later drain continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Read the slot. The result is [`Input::Slot`].
    ReadSlot,
    /// Read the slot's grant. The result is [`Input::Grant`].
    ReadGrant,
    /// Read the pending recalls of the slot's units. The result is [`Input::Recalls`].
    ReadRecalls,
    /// Take the recalled units out of the slot. The result is [`Input::Taken`].
    TakeUnits(Recall),
    /// Finish the recall in the store, which moves this number of units. The result is
    /// [`Input::Done`].
    FinishRecall(RecallId, u64),
    /// Stop the slot. The result is [`Input::Done`].
    StopSlot,
    /// Begin a recall of this number of units to the pool. The result is [`Input::Done`].
    BeginRecall(u64),
    /// Close the slot's grant, because the slot is drained. The result is [`Input::Done`].
    Close(GrantId),
    /// The drain has ended. The value is true if the slot has no open grant any more.
    Finish(bool),
}

/// The result of an effect.
#[derive(Clone, Debug)]
pub enum Input {
    /// The slot's state. `None` means that the slot did not answer or has no epoch.
    Slot(Option<SlotView>),
    /// The grant, if it is open.
    Grant(Option<Grant>),
    /// The pending recalls of the slot's units.
    Recalls(Vec<Recall>),
    /// The slot's answer to a recall. `None` means that the slot did not answer.
    Taken(Option<RecallOutcome>),
    /// The effect was performed.
    Done,
}

/// A decision of a drain, and the values on which the decision is based.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The grant.
    pub grant: Grant,
    /// The slot's state, read before the grant.
    pub view: Option<SlotView>,
    /// Whether a recall of the slot's units is pending.
    pub is_recalled: bool,
    /// The decision.
    pub step: SlotDrainStep,
}

/// The drain of one slot.
#[derive(Clone, Debug, Default)]
pub struct SlotDrain {
    is_overdue: bool,
    view: Option<SlotView>,
    grant: Option<Grant>,
    recalls: VecDeque<Recall>,
    is_recalled: bool,
    decisions: usize,
    decision: Option<Decision>,
    closes: bool,
}

impl SlotDrain {
    /// Begins to drain a slot. `is_overdue` is true if the time limit for draining this slot has
    /// passed.
    #[must_use]
    pub fn begin(is_overdue: bool) -> (Self, Effect) {
        (Self { is_overdue, ..Self::default() }, Effect::ReadSlot)
    }

    /// Returns the decision that the drain made after it last read the slot. `None` if it has not
    /// decided since then.
    #[must_use]
    pub fn decision(&self) -> Option<&Decision> {
        self.decision.as_ref()
    }

    /// Takes the result of the last effect. Returns the next effect.
    ///
    /// The grant is read after the slot. So if the slot shows a ticket as acknowledged, the grant
    /// already counts this ticket as settled.
    pub fn next(&mut self, input: Input) -> Effect {
        match input {
            Input::Slot(view) => {
                self.view = view;
                Effect::ReadGrant
            }
            Input::Grant(None) => Effect::Finish(true),
            Input::Grant(Some(grant)) => {
                self.grant = Some(grant);
                (self.is_recalled, self.recalls) = (false, VecDeque::new());
                match self.view {
                    Some(_) => Effect::ReadRecalls,
                    None => self.decide(),
                }
            }
            Input::Recalls(recalls) => {
                self.recalls = recalls.into();
                self.carry_out_recalls()
            }
            Input::Taken(outcome) => {
                let units = outcome.and_then(|outcome| outcome.units_to_move());
                match self.recalls.pop_front().zip(units) {
                    Some((recall, units)) => Effect::FinishRecall(recall.id, units),
                    // The recall stays pending.
                    None => {
                        self.is_recalled = true;
                        self.carry_out_recalls()
                    }
                }
            }
            Input::Done if self.closes => Effect::Finish(true),
            Input::Done if self.decision.is_some() => self.read_again(),
            Input::Done if self.recalls.is_empty() && !self.is_recalled => Effect::ReadSlot,
            Input::Done => self.carry_out_recalls(),
        }
    }

    fn read_again(&mut self) -> Effect {
        self.decision = None;
        match self.decisions < DECISIONS_MAX {
            true => Effect::ReadSlot,
            false => Effect::Finish(false),
        }
    }

    fn carry_out_recalls(&mut self) -> Effect {
        match self.recalls.front() {
            Some(recall) => Effect::TakeUnits(recall.clone()),
            None => self.decide(),
        }
    }

    fn decide(&mut self) -> Effect {
        let Some(grant) = self.grant.clone() else { return Effect::Finish(true) };
        let step = slot_drain_step(&grant, self.view.as_ref(), self.is_recalled, self.is_overdue);
        let effect = match step {
            SlotDrainStep::Stop => Effect::StopSlot,
            SlotDrainStep::Recall(units) => Effect::BeginRecall(units),
            SlotDrainStep::Wait => Effect::Finish(false),
            SlotDrainStep::Close => Effect::Close(grant.id),
        };
        self.decisions += 1;
        self.closes = step == SlotDrainStep::Close;
        let (view, is_recalled) = (self.view.clone(), self.is_recalled);
        self.decision = Some(Decision { grant, view, is_recalled, step });
        effect
    }
}

#[cfg(test)]
mod tests;
