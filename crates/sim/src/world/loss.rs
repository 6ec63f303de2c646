//! How a leader learns that a slot lost its memory: truth first, then the slot, then the truth
//! again.
use std::sync::Arc;

use doorbuster_core::loss::{evidence, quiet_evidence};
use doorbuster_core::rules::{Rule, enforces};
use doorbuster_core::slot::SlotView;
use doorbuster_core::{CloseCause, Grant, GrantId};

use super::World;
use super::flight::Message;
use crate::truth::Tx;

/// What a leader has read of the truth after the slot answered.
#[derive(Clone, Debug)]
pub(crate) struct LossReading {
    /// Whether recalls of the grant are pending.
    pub(crate) recalls: Option<bool>,
    /// The grant.
    pub(crate) after: Option<Arc<Grant>>,
}

impl World {
    /// Starts to look: reads the grant.
    pub(crate) fn start_loss_check(&mut self, leader: u8, slot: usize) {
        let Some(before) = self.truth.open_grant(self.places[slot].at) else { return };
        let before = Arc::new(before.clone());
        let message = match enforces(Rule::EvidenceOrder) {
            true => Message::AskView { leader, slot, before },
            false => Message::View { leader, before, view: self.places[slot].slot.view() },
        };
        self.send(message);
    }

    /// The slot has answered: reads the pending recalls, and after them the grant. (Without the
    /// rule it is the other way round.)
    pub(crate) fn slot_viewed(&mut self, leader: u8, before: Arc<Grant>, view: Option<SlotView>) {
        let Some(now) = self.truth.grant(before.id) else { return };
        let before = if enforces(Rule::EvidenceOrder) { before } else { Arc::new(now.clone()) };
        let (recalls, after) = match enforces(Rule::RecallsReadFirst) {
            true => (Some(self.recalls_pending(before.id)), None),
            false => (None, Some(Arc::new(now.clone()))),
        };
        self.send(Message::Compare { leader, before, view, read: LossReading { recalls, after } });
    }

    fn recalls_pending(&self, grant: GrantId) -> bool {
        self.truth.pending().any(|r| r.grant == grant)
    }

    /// Everything is read: decides.
    pub(crate) fn decide_loss(
        &mut self,
        leader: u8,
        before: &Grant,
        view: Option<&SlotView>,
        read: LossReading,
    ) {
        let recalls = read.recalls.unwrap_or_else(|| self.recalls_pending(before.id));
        let after = read.after.or_else(|| self.truth.grant(before.id).cloned().map(Arc::new));
        let Some(after) = after else { return };
        let quiet = || view.and_then(|view| quiet_evidence(before, view, &after, recalls));
        if let Some(cause) = evidence(before, view, after.feed_len).or_else(quiet) {
            self.send(Message::Commit { leader, tx: Tx::Close(before.id, cause) });
        }
    }

    /// A slot's lease counts as lapsed: its grant is closed at once, whether or not it lives.
    pub(crate) fn lapse(&mut self, slot: usize) {
        if let Some(id) = self.truth.open_grant(self.places[slot].at).map(|g| g.id) {
            self.commit(Tx::Close(id, CloseCause::LeaseLapsed));
        }
    }
}
