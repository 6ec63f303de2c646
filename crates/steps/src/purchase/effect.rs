//! The values that a purchase and its driver exchange: effects, their results, and the answer.
use doorbuster_core::slot::{IssuedTicket, TicketAnswer};
use doorbuster_core::{Millis, SlotKey, Verdict};

#[cfg(doc)]
use super::{CONFIRM_WITHIN_MS, RETRY_PACE_MS, SLOT_QUERY_MAX_MS};
use crate::memory::Refusal;

/// The result of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The driver has performed the effect, which has no other result.
    Done,
    /// The slot's answer. If the slot cannot be reached, the driver passes
    /// [`TicketAnswer::NoEpoch`].
    Slot(TicketAnswer),
    /// The ticket's verdict.
    Verdict(Verdict),
    /// No request on this node waits for the ticket's verdict, so the verdict might never arrive
    /// here.
    NotWaiting,
    /// The store has no verdict yet.
    NoVerdict,
    /// The ticket's grant is closed, so the ticket may never get a verdict.
    GrantClosed,
    /// The units that the store counts for the buyer, and the answer if the request holds an order.
    ///
    /// The driver must read the units before the order. If the units include the order of this
    /// request, the driver then also finds the order.
    Confirmed(u32, Option<Outcome>),
    /// The units that the store counts for the buyer. `None` if the store did not answer.
    Quota(Option<u32>),
    /// The answer for the order that the request holds. `None` if it holds no order.
    LookedUp(Option<Outcome>),
    /// A parked request may try again.
    Woken,
    /// Too many requests are parked.
    Full,
    /// The time limit of the effect has passed.
    Elapsed,
    /// The store did not answer.
    Failed,
}

/// The next action of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Look up the request's order in the store. The result is [`Input::LookedUp`].
    LookUpOrder,
    /// Ask the slot for a ticket. The result is [`Input::Slot`].
    AskSlot {
        /// The slot.
        slot: SlotKey,
        /// If true, a slot that does not answer within [`SLOT_QUERY_MAX_MS`] counts as unreachable.
        is_bounded: bool,
    },
    /// Ask the slot whether it has a ticket of an earlier try of the request. The call must have
    /// the limit 0, so that the slot issues no new ticket. The call ends after
    /// [`SLOT_QUERY_MAX_MS`]. The result is [`Input::Slot`].
    FindTicket(SlotKey),
    /// Wait for the ticket's verdict. The result is one of these:
    /// - [`Input::Verdict`]
    /// - [`Input::Elapsed`], when the client has waited long enough
    /// - [`Input::NotWaiting`], only if `is_mine` is false
    /// - [`Input::GrantClosed`], only if `may_be_lost` is true
    AwaitVerdict {
        /// The ticket.
        ticket: IssuedTicket,
        /// Whether the ticket was issued for this copy of the request, and not for an earlier one.
        is_mine: bool,
        /// Whether the slot may lose the ticket while the request waits.
        may_be_lost: bool,
    },
    /// Read the ticket's verdict in the store. The result is [`Input::Verdict`],
    /// [`Input::NoVerdict`] or [`Input::Failed`].
    ReadVerdict(IssuedTicket),
    /// Read the buyer's units in the store. The result is [`Input::Quota`].
    ReadQuota,
    /// Read the buyer's units and then the request's order, within [`CONFIRM_WITHIN_MS`]. The
    /// result is [`Input::Confirmed`], [`Input::Failed`] or [`Input::Elapsed`].
    ConfirmRefusal,
    /// Park the request. The result is [`Input::Woken`], [`Input::Elapsed`] or [`Input::Full`].
    Park {
        /// What the request waits for.
        why: Unserved,
        /// The monotonic time at which the wait ends.
        until: Millis,
        /// The number of earlier waits of the request. This number selects the pause in
        /// [`RETRY_PACE_MS`].
        waits: u32,
    },
    /// Give the request a new token and a new `decide_by`, so that it can get another ticket. The
    /// result is [`Input::Done`].
    RenewToken,
    /// Begin to reconcile the item, because a slot may lack units or feed rows. The result is
    /// [`Input::Done`].
    Wake,
    /// Remember in this node's memory that the request holds an order. The result is
    /// [`Input::Done`].
    RememberOrder,
    /// Remember in this node's memory that the request was answered as queued. The result is
    /// [`Input::Done`].
    RememberQueued(IssuedTicket),
    /// Forget that the request was answered as queued. The result is [`Input::Done`].
    ForgetQueued(IssuedTicket),
    /// Begin to check whether a slot lost its memory. The result is [`Input::Done`].
    SuspectLoss,
    /// Answer the request. The purchase is over.
    Answer(Outcome),
}

/// The answer to a purchase. For [`Outcome::Created`] and [`Outcome::Replayed`], the driver adds
/// the order that it read last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The order was created by this request.
    Created,
    /// The request already holds this order.
    Replayed,
    /// The request has a ticket without a verdict. The ticket may still be refused.
    Queued(IssuedTicket),
    /// The request is refused.
    Refused(Refusal),
}

impl Outcome {
    /// Returns the answer to a request whose key holds an order. `is_same` says whether the order
    /// has the item and the units of the request.
    #[must_use]
    pub fn for_order(is_same: bool) -> Self {
        if is_same { Self::Replayed } else { Self::Refused(Refusal::KeyReused) }
    }
}

/// Why one try for a ticket failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unserved {
    /// The slots have too few units now, but may get more.
    Short,
    /// A slot has no epoch yet, is stopped, or lacks feed rows.
    NotReady,
    /// A slot refused the request because of tickets that the store has not decided yet.
    Undecided,
    /// The request's ticket was returned, or the ticket's grant is closed. The client never got the
    /// ticket's id, so the request may get a new ticket.
    TicketLost,
}
