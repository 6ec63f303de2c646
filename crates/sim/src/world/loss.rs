//! Simulates how a leader detects that a slot lost its memory. The leader reads the store, then the
//! slot, then the store again.
use std::sync::Arc;

use doorbuster_core::rules::{Rule, enforces};
use doorbuster_core::slot::SlotView;
use doorbuster_core::slot_loss::{evidence, quiet_evidence};
use doorbuster_core::{CloseCause, Grant, GrantId};

use super::World;
use super::in_flight::Message;
use crate::store::Tx;

/// The rows that a leader reads after the slot answered.
#[derive(Clone, Debug)]
pub(crate) struct LossReading {
    /// Whether recalls of the grant are pending.
    pub(crate) recalls: Option<bool>,
    /// The grant.
    pub(crate) after: Option<Arc<Grant>>,
}

impl World {
    /// Starts the check by reading the grant.
    pub(crate) fn start_loss_check(&mut self, leader: u8, slot: usize) {
        let Some(before) = self.store.open_grant(self.places[slot].at) else { return };
        let before = Arc::new(before.clone());
        let message = match enforces(Rule::EvidenceOrder) {
            true => Message::AskView { leader, slot, before },
            false => Message::View { leader, before, view: self.places[slot].slot.view() },
        };
        self.send(message);
    }

    /// Continues after the slot's answer: reads the pending recalls, and then the grant. If the
    /// rule about this sequence is removed, the two reads are swapped.
    pub(crate) fn slot_viewed(&mut self, leader: u8, before: Arc<Grant>, view: Option<SlotView>) {
        let Some(now) = self.store.grant(before.id) else { return };
        let before = if enforces(Rule::EvidenceOrder) { before } else { Arc::new(now.clone()) };
        let (recalls, after) = match enforces(Rule::RecallsReadFirst) {
            true => (Some(self.recalls_pending(before.id)), None),
            false => (None, Some(Arc::new(now.clone()))),
        };
        self.send(Message::Compare { leader, before, view, read: LossReading { recalls, after } });
    }

    fn recalls_pending(&self, grant: GrantId) -> bool {
        self.store.pending().any(|r| r.grant == grant)
    }

    /// Decides after all rows are read.
    pub(crate) fn decide_loss(
        &mut self,
        leader: u8,
        before: &Grant,
        view: Option<&SlotView>,
        read: LossReading,
    ) {
        let recalls = read.recalls.unwrap_or_else(|| self.recalls_pending(before.id));
        let after = read.after.or_else(|| self.store.grant(before.id).cloned().map(Arc::new));
        let Some(after) = after else { return };
        let quiet = || view.and_then(|view| quiet_evidence(before, view, &after, recalls));
        if let Some(cause) = evidence(before, view, after.feed_len).or_else(quiet) {
            self.send(Message::Commit { leader, tx: Tx::Close(before.id, cause) });
        }
    }

    /// Closes the slot's grant at once, as if the lease of the slot's node had lapsed. The slot may
    /// still run.
    pub(crate) fn lapse(&mut self, slot: usize) {
        if let Some(id) = self.store.open_grant(self.places[slot].at).map(|g| g.id) {
            self.commit(Tx::Close(id, CloseCause::LeaseLapsed));
        }
    }
}
