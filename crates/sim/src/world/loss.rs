//! Performs the reads with which a leader detects that a slot lost its memory.
//! [`doorbuster_steps::slot_check`] defines the sequence of the reads.
use std::sync::Arc;

use doorbuster_core::CloseCause;
use doorbuster_steps::slot_check::{Effect, Finding, Input, SlotCheck};

use super::World;
use crate::state::Message;
use crate::store::Tx;

impl World {
    /// Begins the check of a slot. The check ignores a slot whose memory is full, because another
    /// operation of the simulator moves such a slot to a new epoch.
    pub(crate) fn start_loss_check(&mut self, leader: u8, slot: usize) {
        let Some(before) = self.store.open_grant(self.places[slot].at) else { return };
        let (check, effect) = SlotCheck::start(Arc::new(before.clone()), false);
        self.send(Message::CheckSlot { leader, slot, check: Box::new(check), effect });
    }

    /// Performs one read of the check. The next read becomes a message, so that other actors can
    /// act first.
    pub(crate) fn continue_slot_check(
        &mut self,
        leader: u8,
        slot: usize,
        mut check: Box<SlotCheck>,
        effect: Effect,
    ) {
        let id = check.grant();
        let input = match effect {
            Effect::ReadSlot => Input::Slot(self.places[slot].slot.view()),
            Effect::ReadRecalls => {
                Input::RecallsPending(self.store.pending().any(|recall| recall.grant == id))
            }
            Effect::ReadGrant => Input::Grant(self.store.grant(id).cloned().map(Arc::new)),
            Effect::Finish(_) => return,
        };
        match check.next(input) {
            Effect::Finish(Finding::Lost(cause)) => {
                self.send(Message::Commit { leader, tx: Tx::Close(id, cause).into() });
            }
            Effect::Finish(Finding::Healthy | Finding::Full) => {}
            effect => self.send(Message::CheckSlot { leader, slot, check, effect }),
        }
    }

    /// Closes the slot's grant as if the lease of its node had lapsed. The slot may still run.
    pub(crate) fn lapse(&mut self, slot: usize) {
        if let Some(id) = self.store.open_grant(self.places[slot].at).map(|g| g.id) {
            self.commit(Tx::Close(id, CloseCause::LeaseLapsed));
        }
    }
}
