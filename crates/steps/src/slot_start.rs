//! Starts a slot. Opens a grant if the slot has none, gives the grant to the slot, and records in
//! the store that the slot accepted it. Every effect may be repeated.
use doorbuster_core::rules::{Rule, enforces};
use doorbuster_core::slot::{ApplyOutcome, GrantTerms, SlotView};
use doorbuster_core::{Grant, GrantId};

/// The next action of the driver. If the store or the slot does not answer, the driver drops this
/// start. A later start continues from the grant in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Open a grant for the slot. The result is [`Input::Grant`].
    OpenGrant,
    /// Read the slot. The result is [`Input::Slot`].
    ReadSlot,
    /// Give the slot its grant. The result is [`Input::InitAnswer`].
    Init(GrantTerms),
    /// Record in the store that the slot accepted this grant. The result is [`Input::Recorded`].
    Acknowledge(GrantId),
    /// The start has ended.
    Finish(StartOutcome),
}

/// The result of an effect.
#[derive(Clone, Debug)]
pub enum Input {
    /// The grant that the store opened. `None` if the store opened no grant, for example because
    /// the sale is paused.
    Grant(Option<Grant>),
    /// The slot's state. `None` means that the slot has no epoch.
    Slot(Option<SlotView>),
    /// The slot's answer to the grant.
    InitAnswer(ApplyOutcome),
    /// The store has recorded that the slot accepted the grant.
    Recorded,
}

/// How the start of a slot ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartOutcome {
    /// The slot has no grant, because the store opened no grant.
    NoGrant,
    /// The slot accepted this grant earlier and still has it. The second value is the slot's state.
    HasGrant(Grant, SlotView),
    /// The slot has accepted the grant now.
    Accepted(Grant),
    /// The slot accepted the grant earlier but no longer has it, so the driver must check whether
    /// the slot lost its memory. The slot must not get the same grant again, because the feed does
    /// not show how many units the slot has already given to tickets.
    Lost,
    /// The slot refused the grant, because the slot's own epoch is not lower. This happens if the
    /// store was restored from a backup that is older than the slot's epoch. The driver must close
    /// the grant, so that the next grant has a higher epoch.
    Ahead(GrantId),
}

/// The start of one slot.
#[derive(Clone, Debug)]
pub struct SlotStart {
    threshold: u64,
    grant: Option<Grant>,
}

impl SlotStart {
    /// Begins to start a slot. `open` is the slot's open grant, if any, which the caller must have
    /// just read. `threshold` goes to the slot with its grant ([`GrantTerms::threshold`]).
    #[must_use]
    pub fn begin(open: Option<Grant>, threshold: u64) -> (Self, Effect) {
        let first = if open.is_some() { Effect::ReadSlot } else { Effect::OpenGrant };
        (Self { threshold, grant: open }, first)
    }

    /// Takes the result of the last effect. Returns the next effect.
    pub fn next(&mut self, input: Input) -> Effect {
        if let Input::Grant(opened) = input {
            self.grant = opened;
            return self
                .grant
                .as_ref()
                .map_or(Effect::Finish(StartOutcome::NoGrant), |_| Effect::ReadSlot);
        }
        let Some(grant) = self.grant.clone() else { return Effect::Finish(StartOutcome::NoGrant) };
        match input {
            Input::Grant(_) => Effect::Finish(StartOutcome::NoGrant),
            Input::Slot(Some(view))
                if grant.acked && view.grant == grant.id && view.epoch == grant.epoch =>
            {
                Effect::Finish(StartOutcome::HasGrant(grant, view))
            }
            Input::Slot(_) if grant.acked => Effect::Finish(StartOutcome::Lost),
            // Without a grant, a slot cannot answer repeated requests. So the slot gets its grant
            // even if the grant has no units.
            Input::Slot(_) if grant.granted == 0 && !enforces(Rule::GrantOfZero) => {
                Effect::Finish(StartOutcome::NoGrant)
            }
            Input::Slot(_) => Effect::Init(GrantTerms {
                grant: grant.id,
                epoch: grant.epoch,
                counted: grant.counted,
                available: grant.granted,
                threshold: self.threshold,
            }),
            Input::InitAnswer(ApplyOutcome::At(_)) => Effect::Acknowledge(grant.id),
            Input::InitAnswer(ApplyOutcome::Foreign) => {
                Effect::Finish(StartOutcome::Ahead(grant.id))
            }
            Input::Recorded => {
                Effect::Finish(StartOutcome::Accepted(Grant { acked: true, ..grant }))
            }
        }
    }
}

#[cfg(test)]
mod tests;
