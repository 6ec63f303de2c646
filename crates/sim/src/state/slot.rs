//! A simulated slot. Every call of a slot is a [`Call`] value, so that the same calls can be made
//! to a real slot for comparison.
use doorbuster_core::slot::{
    ApplyOutcome, GrantTerms, RecallOutcome, Slot, SlotBounds, SlotView, TicketAnswer,
    TicketRequest,
};
use doorbuster_core::{Epoch, FeedRow, GrantId, ItemId, QueuedTicket, RecallId, SlotKey, Token};

use crate::names::NAMES;
use crate::op::Setup;

/// A call of a slot.
#[derive(Clone, Debug)]
pub enum Call {
    /// Gives the slot a grant, see [`Slot::init`].
    Init(GrantTerms),
    /// Requests a ticket, see [`Slot::ticket`].
    Ticket(TicketRequest),
    /// Applies a feed row, see [`Slot::apply`].
    Apply(Epoch, FeedRow),
    /// Recalls units, see [`Slot::recall`].
    Recall(RecallId, GrantId, Epoch, u64),
    /// Takes tickets from the queue, see [`Slot::take`].
    Take(usize),
    /// Delivers tickets again, see [`Slot::redeliver`].
    Redeliver,
    /// Acknowledges a ticket, see [`Slot::acknowledge`].
    Acknowledge(u64, Token),
    /// Stops or resumes the slot, see [`Slot::stop`].
    Stop(bool),
    /// Makes the slot lose all its data.
    Forget,
    /// Saves a copy of the slot's data.
    Save,
    /// Exchanges the slot's data and its saved copy.
    Swap,
}

/// A slot's reply to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotReply {
    /// The call has no result.
    Done,
    /// The reply to `init` and `apply`.
    ApplyOutcome(ApplyOutcome),
    /// The reply to a ticket request.
    Ticket(TicketAnswer),
    /// The reply to a recall.
    RecallOutcome(RecallOutcome),
    /// The taken tickets.
    Taken(Vec<QueuedTicket>),
}

/// A slot with its saved copy.
#[derive(Clone, Debug)]
pub(crate) struct PlacedSlot {
    pub(crate) at: SlotKey,
    pub(crate) node: Option<u8>,
    pub(crate) slot: Slot,
    pub(crate) kept: Option<Slot>,
}

/// One call of a slot, the slot's reply, and the slot's state after the call.
#[derive(Clone, Debug)]
pub struct RecordedCall {
    /// The index of the slot.
    pub slot: usize,
    /// The call.
    pub call: Call,
    /// The reply.
    pub reply: SlotReply,
    /// The slot's state after the call.
    pub view: Option<SlotView>,
}

pub(crate) fn fresh_slot(setup: &Setup, item: ItemId) -> Slot {
    Slot::with_bounds(item, slot_bounds(setup))
}

pub(crate) fn slot_bounds(setup: &Setup) -> SlotBounds {
    match usize::from(setup.tight) {
        0 => SlotBounds::default(),
        n => SlotBounds { queue: n, requests: n + 1, recalls: n / 2 },
    }
}

pub(crate) fn apply_call(place: &mut PlacedSlot, call: &Call, fresh: Slot) -> SlotReply {
    let slot = &mut place.slot;
    match call {
        Call::Init(terms) => SlotReply::ApplyOutcome(slot.init(*terms)),
        Call::Ticket(request) => SlotReply::Ticket(slot.ticket(request)),
        Call::Apply(epoch, row) => SlotReply::ApplyOutcome(slot.apply(*epoch, row, &NAMES.key)),
        Call::Recall(id, grant, epoch, units) => {
            SlotReply::RecallOutcome(slot.recall(*id, *grant, *epoch, *units))
        }
        Call::Take(at_most) => {
            let mut batch = Vec::new();
            slot.take(*at_most, &mut batch);
            SlotReply::Taken(batch)
        }
        Call::Redeliver => {
            slot.redeliver();
            SlotReply::Done
        }
        Call::Acknowledge(at, token) => {
            slot.acknowledge(*at, *token);
            SlotReply::Done
        }
        Call::Stop(stopped) => {
            slot.stop(*stopped);
            SlotReply::Done
        }
        Call::Forget => {
            *slot = fresh;
            SlotReply::Done
        }
        Call::Save => {
            place.kept = Some(slot.clone());
            SlotReply::Done
        }
        Call::Swap => {
            if let Some(kept) = &mut place.kept {
                std::mem::swap(kept, slot);
            }
            SlotReply::Done
        }
    }
}
