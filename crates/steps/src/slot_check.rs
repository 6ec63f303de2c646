//! Checks whether a slot lost its memory. This step reads values of the slot and of the store, and
//! [`doorbuster_core::slot_loss`] decides whether these values prove a loss.
use std::sync::Arc;

use doorbuster_core::rules::{Rule, enforces};
use doorbuster_core::slot::SlotView;
use doorbuster_core::slot_loss::{idle_loss_cause, loss_cause};
use doorbuster_core::{CloseCause, Grant, GrantId};

/// The next action of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Read the slot. The result is [`Input::Slot`]. If the slot does not answer, the check ends
    /// without a result.
    ReadSlot,
    /// Read from the store whether recalls of the grant are pending. The result is
    /// [`Input::RecallsPending`].
    ReadRecalls,
    /// Read the grant from the store. The result is [`Input::Grant`].
    ReadGrant,
    /// The check has ended.
    Finish(Finding),
}

/// The result of an effect.
#[derive(Clone, Debug)]
pub enum Input {
    /// The slot's state. `None` means that the slot has no epoch.
    Slot(Option<SlotView>),
    /// Whether recalls of the grant are pending.
    RecallsPending(bool),
    /// The grant, if it still exists.
    Grant(Option<Arc<Grant>>),
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing shows that the slot lost its memory.
    Healthy,
    /// The slot lost its memory. The driver must close the slot's grant with this cause.
    Lost(CloseCause),
    /// The slot's memory is full. The driver must drain the slot and give it a new epoch.
    Full,
}

/// A check of one slot.
#[derive(Clone, Debug)]
pub struct SlotCheck {
    before: Arc<Grant>,
    finds_full: bool,
    slot: Option<SlotView>,
    recalls: Option<bool>,
    after: Option<Arc<Grant>>,
    /// True only if the simulator has removed [`Rule::EvidenceOrder`]: the check then reads the
    /// grant again after the slot, and this grant replaces `before`.
    is_before_late: bool,
}

impl SlotCheck {
    /// Starts a check. `before` is the slot's grant, which the caller must have just read. If
    /// `finds_full` is false, the check does not report a full memory.
    #[must_use]
    pub fn start(before: Arc<Grant>, finds_full: bool) -> (Self, Effect) {
        let check = Self {
            before,
            finds_full,
            slot: None,
            recalls: None,
            after: None,
            is_before_late: !enforces(Rule::EvidenceOrder),
        };
        (check, Effect::ReadSlot)
    }

    /// Returns the id of the checked grant.
    #[must_use]
    pub fn grant(&self) -> GrantId {
        self.before.id
    }

    /// Takes the result of the last effect. Returns the next effect.
    pub fn next(&mut self, input: Input) -> Effect {
        match input {
            Input::Slot(slot) => {
                self.slot = slot;
                match self.is_before_late {
                    true => Effect::ReadGrant,
                    false => self.read_rows(),
                }
            }
            Input::RecallsPending(pending) => {
                self.recalls = Some(pending);
                self.read_rows()
            }
            Input::Grant(None) => Effect::Finish(Finding::Healthy),
            Input::Grant(Some(grant)) if self.is_before_late => {
                self.is_before_late = false;
                self.before = grant;
                self.read_rows()
            }
            Input::Grant(Some(grant)) => {
                self.after = Some(grant);
                self.read_rows()
            }
        }
    }

    /// Returns the next read of rows, or the result. The recalls are read before the grant. If a
    /// recall finishes between the two reads, the grant already shows the recall's effect.
    fn read_rows(&self) -> Effect {
        match (self.recalls, &self.after) {
            (Some(recalls), Some(after)) => Effect::Finish(self.finding(after, recalls)),
            (None, None) if !enforces(Rule::RecallsReadFirst) => Effect::ReadGrant,
            (None, _) => Effect::ReadRecalls,
            (Some(_), None) => Effect::ReadGrant,
        }
    }

    fn finding(&self, after: &Grant, recalls: bool) -> Finding {
        if let Some(cause) = loss_cause(&self.before, self.slot.as_ref(), after.feed_len) {
            return Finding::Lost(cause);
        }
        let Some(slot) = &self.slot else { return Finding::Healthy };
        if slot.sealed && self.finds_full {
            return Finding::Full;
        }
        idle_loss_cause(&self.before, slot, after, recalls).map_or(Finding::Healthy, Finding::Lost)
    }
}

#[cfg(test)]
mod tests;
