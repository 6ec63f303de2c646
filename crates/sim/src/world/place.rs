//! A slot where it stands. All that is asked of it passes through one call, so that the same calls can be made to a real slot and compared.
use doorbuster_core::slot::{
    Applied, Bounds, Recalled, Request, Slot, SlotView, Terms, TicketAnswer,
};
use doorbuster_core::{Delivery, Epoch, Feed, GrantId, ItemId, RecallId, SlotKey, Token};

use super::{NAMES, World};
use crate::op::Setup;

/// What is asked of a slot.
#[derive(Clone, Debug)]
pub enum Call {
    /// See [`Slot::init`].
    Init(Terms),
    /// See [`Slot::ticket`].
    Ticket(Request),
    /// See [`Slot::apply`].
    Apply(Epoch, Feed),
    /// See [`Slot::recall`].
    Recall(RecallId, GrantId, Epoch, u64),
    /// See [`Slot::take`].
    Take(usize),
    /// See [`Slot::redeliver`].
    Redeliver,
    /// See [`Slot::acknowledge`].
    Acknowledge(u64, Token),
    /// See [`Slot::stop`].
    Stop(bool),
    /// It loses everything.
    Forget,
}

/// What a slot said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing.
    Done,
    /// To `init` and `apply`.
    Applied(Applied),
    /// To a request.
    Ticket(TicketAnswer),
    /// To a recall.
    Recalled(Recalled),
    /// Tickets.
    Taken(Vec<Delivery>),
}

/// A slot where it stands, with the copy that was kept of it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) at: SlotKey,
    pub(crate) node: Option<u8>,
    pub(crate) slot: Slot,
    pub(crate) kept: Option<Slot>,
}

/// One call, what was said, and how the slot stood after it.
#[derive(Clone, Debug)]
pub struct Called {
    /// Which slot.
    pub slot: usize,
    /// The call.
    pub call: Call,
    /// What was said.
    pub said: Said,
    /// How the slot stands now.
    pub view: Option<SlotView>,
}

/// A slot that has nothing yet.
pub(crate) fn fresh_slot(setup: &Setup, item: ItemId) -> Slot {
    match usize::from(setup.tight) {
        0 => Slot::new(item),
        n => Slot::bounded(item, Bounds { queue: n, requests: n + 1, recalls: n / 2 }),
    }
}

impl World {
    /// Calls a slot.
    pub(crate) fn call(&mut self, slot: usize, call: Call) -> Said {
        let fresh = fresh_slot(&self.setup, self.places[slot].at.item);
        let before = self.places[slot].slot.view();
        let said = make(&mut self.places[slot].slot, &call, fresh);
        let view = self.places[slot].slot.view();
        let item = self.setup.items[self.setup.slots[slot].item as usize];
        if item.total.is_some() {
            let threshold = self.spread(self.places[slot].at.item).threshold;
            self.judge.called(&call, &said, (before.as_ref(), view.as_ref()), threshold);
        }
        if let Some(calls) = &mut self.calls {
            calls.push(Called { slot, call, said: said.clone(), view });
        }
        said
    }
}

fn make(slot: &mut Slot, call: &Call, fresh: Slot) -> Said {
    match call {
        Call::Init(terms) => Said::Applied(slot.init(*terms)),
        Call::Ticket(request) => Said::Ticket(slot.ticket(request)),
        Call::Apply(epoch, row) => Said::Applied(slot.apply(*epoch, row, &NAMES.key)),
        Call::Recall(id, grant, epoch, units) => {
            Said::Recalled(slot.recall(*id, *grant, *epoch, *units))
        }
        Call::Take(at_most) => {
            let mut batch = Vec::new();
            slot.take(*at_most, &mut batch);
            Said::Taken(batch)
        }
        Call::Redeliver => {
            slot.redeliver();
            Said::Done
        }
        Call::Acknowledge(at, token) => {
            slot.acknowledge(*at, *token);
            Said::Done
        }
        Call::Stop(stopped) => {
            slot.stop(*stopped);
            Said::Done
        }
        Call::Forget => {
            *slot = fresh;
            Said::Done
        }
    }
}
