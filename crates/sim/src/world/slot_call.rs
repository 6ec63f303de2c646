//! Calls slots, checks their replies, and records the calls.
use super::World;
use crate::state::{Call, RecordedCall, SlotReply, apply_call, fresh_slot};

impl World {
    pub(crate) fn call(&mut self, slot: usize, call: Call) -> SlotReply {
        let fresh = fresh_slot(&self.setup, self.places[slot].at.item);
        let before = self.places[slot].slot.view();
        let reply = apply_call(&mut self.places[slot], &call, fresh);
        let view = self.places[slot].slot.view();
        let item = self.setup.items[self.setup.slots[slot].item as usize];
        if item.total.is_some() {
            let threshold = self.spread(self.places[slot].at.item).threshold;
            self.checker.slot_called(&call, &reply, (before.as_ref(), view.as_ref()), threshold);
        }
        if let Some(calls) = &mut self.calls {
            calls.push(RecordedCall { slot, call, reply: reply.clone(), view });
        }
        reply
    }
}
