//! One purchase, from the request to the answer. A purchase begins only if the node did not refuse
//! the request from its memory.
//!
//! The driver performs each [`Effect`] and passes its result to [`Attempt::next`]. The driver may
//! stop at any time: if a ticket was issued, a settler settles it anyway.
//!
//! The request first goes to its own slot, which the node chooses for it, and then to a second
//! slot. If neither slot can serve the request, the request is parked. A parked request tries these
//! slots again later. After the longest parking time, the request goes to every slot.
mod answer;
mod effect;
mod lookup;
#[cfg(test)]
mod tests;
mod unserved;

use doorbuster_core::gate::DoorRefusal;
use doorbuster_core::limits::{PARK_MS, PARKED_MAX};
use doorbuster_core::rules::{Rule, enforces};
use doorbuster_core::slot::{IssuedTicket, TicketAnswer};
use doorbuster_core::{ItemId, Millis, SlotKey, Units};

use crate::memory::{NodeMemory, Queued, Refusal, may_hold};

pub use effect::{Effect, Input, Outcome, Unserved};

/// How long a request waits after a slot refused it because of undecided tickets, in milliseconds.
/// A signal of a decision ends the wait early. No signal comes if the store decided before the
/// request arrived, so the request tries again after this time.
pub const UNDECIDED_WAIT_MS: u64 = 200;
/// The pauses at the start of the first four waits of a parked request, in milliseconds. Every
/// later wait has the last of these pauses. A commit wakes the request only after the pause,
/// because a popular item has many commits.
pub const RETRY_PACE_MS: [u64; 4] = [0, 50, 100, 200];
/// When a request asks all slots, the node waits at most this many milliseconds for each slot's
/// answer.
pub const SLOT_QUERY_MAX_MS: u64 = 250;
/// The longest wait for all slots together, in milliseconds. After this time, the remaining slots
/// are skipped. If a skipped slot may have a ticket of the request, the request gets no final
/// answer.
pub const ALL_SLOTS_QUERY_MAX_MS: u64 = 1_000;
/// The longest time for one confirmation by the store, in milliseconds, including the wait for a
/// permit.
pub const CONFIRM_WITHIN_MS: u64 = 1_000;
/// If a ticket has no verdict after this many milliseconds, the node checks whether the ticket's
/// grant is still open.
pub const GRANT_CHECK_AFTER_MS: u64 = 300;
/// The shortest time between two reads of an item's open grants, in milliseconds.
pub const GRANTS_READ_INTERVAL_MS: u64 = 200;

/// What a purchase reads from its node, in addition to [`NodeMemory`].
pub trait NodeView: NodeMemory {
    /// Returns whether the node remembers that the request holds an order.
    fn holds(&self) -> bool;
    /// Returns the queued ticket of an earlier copy of the request, if the node remembers the
    /// ticket and the ticket's `decide_by` has not passed.
    fn queued(&self) -> Option<Queued>;
    /// Returns the store's time, according to this node's clock.
    fn store_now(&self) -> Millis;
    /// Returns the number of units that the buyer already has, if the request would exceed the
    /// limit according to a valid count of the store. `None` if the node knows no such count.
    fn used_at_limit(&self) -> Option<u32>;
    /// Returns the number of the item's ended orders that the node knows of.
    fn ended_orders(&self) -> u64;
    /// Returns whether the slot may lack feed rows about the item's first `ended_orders` ended
    /// orders. Such a slot may still count the units of these orders.
    fn is_behind(&self, slot: SlotKey, ended_orders: u64) -> bool;
    /// Returns whether the item has slots, other than the request's own slot, that may have units
    /// or tickets.
    fn has_other_slots(&self) -> bool;
    /// Returns whether this node reaches every slot of the item.
    fn reaches_all_slots(&self) -> bool;
    /// Returns whether the item's slots are in this node's memory.
    fn is_node_local(&self) -> bool;
    /// Returns whether no other node changes the store. Such a node remembers each order as soon as
    /// the order is committed.
    fn is_only_node(&self) -> bool;
    /// Returns the request's own slot, which the request tries first. Returns `None` if this node
    /// has no slot.
    fn first_slot(&mut self) -> Option<SlotKey>;
    /// Returns the slot for a second try. Returns `None` if no other slot had enough units when the
    /// node last read their counts.
    fn second_slot(&mut self, first: SlotKey) -> Option<SlotKey>;
    /// Returns every slot that this node reaches, the request's own slot first.
    fn every_slot(&mut self) -> Vec<SlotKey>;
}

/// Returns whether a node that has parked `parked` requests may park one more.
#[must_use]
pub fn may_park(parked: usize, bound: usize) -> bool {
    parked < bound.min(PARKED_MAX) || !enforces(Rule::ParkedBound)
}

#[derive(Clone, Copy, Debug)]
enum Step {
    LookUp(AfterLookUp),
    /// An earlier copy of the request was queued. The request waits for that copy's verdict.
    QueuedBefore(Queued),
    /// An earlier copy of the request was queued. The node reads the verdict of that copy's ticket
    /// from the store.
    StoredBefore(Queued),
    FirstSlot(SlotKey),
    SecondSlot {
        slot: SlotKey,
        first: (SlotKey, TicketAnswer),
    },
    /// The request asks every slot in turn, and waits for the answer of `slot`.
    EverySlot {
        slot: SlotKey,
        asked: Millis,
    },
    Verdict {
        ticket: IssuedTicket,
        is_mine: bool,
    },
    StoredVerdict(IssuedTicket),
    Quota,
    Confirmation(Refusal),
    Park(Unserved),
    /// The client has the ticket's id, with which it can read the verdict later.
    Queued,
    Over,
}

/// What the purchase does if the lookup finds no order of the request.
#[derive(Clone, Copy, Debug)]
enum AfterLookUp {
    FirstTry,
    Refuse(Refusal),
    Confirm(Refusal),
    TryAgain,
}

#[derive(Clone, Debug)]
enum Round {
    /// The request's own slot, and after it a second slot.
    Own,
    /// Every slot: the last try before the request is refused.
    Last(std::vec::IntoIter<SlotKey>),
    /// Every slot, to find a ticket of an earlier try. If no slot has such a ticket, the request
    /// gets the refusal.
    Find(std::vec::IntoIter<SlotKey>, Option<Refusal>),
}

/// One purchase.
#[derive(Clone, Debug)]
pub struct Attempt {
    item: ItemId,
    units: Units,
    limit: u32,
    door: Option<DoorRefusal>,
    step: Step,
    round: Round,
    /// The monotonic time of the present input.
    now: Millis,
    /// The latest time until which the request may be parked.
    parked_until: Millis,
    /// How long the requests to all slots have taken so far, in milliseconds.
    spent_ms: u64,
    /// The number of ended orders that the node knew of when the request arrived.
    ended_orders: u64,
    waits: u32,
    undecided: u32,
    /// True if a slot did not answer or had no epoch. The slot may have a ticket of an earlier try
    /// of the request, and may soon have units again.
    is_uncertain: bool,
    was_short: bool,
    was_renewed: bool,
    signals: Signals,
}

/// Effects without a result. The driver performs them before the effect `then`.
#[derive(Clone, Copy, Debug, Default)]
struct Signals {
    wakes: bool,
    renews: bool,
    suspects: bool,
    remembers: bool,
    forgets_queued: Option<IssuedTicket>,
    queued: Option<IssuedTicket>,
    then: Option<Effect>,
}

impl Attempt {
    /// Begins a purchase. `door` is set if the front door refuses the request. `now` is the
    /// monotonic time.
    ///
    /// The request may hold an order that this node does not remember. Such a request gets a
    /// ticket, and the settler finds the order when it settles this ticket.
    pub fn start(
        (item, units, limit): (ItemId, Units, u32),
        door: Option<DoorRefusal>,
        now: Millis,
        view: &mut impl NodeView,
    ) -> (Self, Effect) {
        let mut attempt = Self {
            item,
            units,
            limit,
            door,
            step: Step::Over,
            round: Round::Own,
            now,
            parked_until: now.plus(PARK_MS),
            spent_ms: 0,
            ended_orders: view.ended_orders(),
            waits: 0,
            undecided: 0,
            is_uncertain: false,
            was_short: false,
            was_renewed: false,
            signals: Signals::default(),
        };
        let after = attempt.first_decision(view);
        let is_looked_up = match after {
            AfterLookUp::Refuse(Refusal::AtDoor(_)) => enforces(Rule::HeldBeforeDoor),
            AfterLookUp::Refuse(_) => true,
            _ => view.holds(),
        };
        let is_looked_up = may_hold(view) && is_looked_up;
        let effect = match is_looked_up {
            true => attempt.look_up(after, view),
            false => attempt.after_look_up(after, view),
        };
        (attempt, effect)
    }

    /// Returns the next effect after this result. `now` is the monotonic time.
    pub fn next(&mut self, input: Input, now: Millis, view: &mut impl NodeView) -> Effect {
        self.now = now;
        if input == Input::Done {
            return self.emit();
        }
        let effect = match self.step {
            Step::LookUp(after) => match input {
                Input::LookedUp(Some(outcome)) => self.answer(outcome),
                _ => self.after_look_up(after, view),
            },
            Step::QueuedBefore(queued) => self.queued_before(queued, input, view),
            Step::StoredBefore(queued) => self.stored_before(queued, input, view),
            Step::FirstSlot(slot) => self.first_answer(slot, slot_answer(input), view),
            Step::SecondSlot { slot, first } => {
                self.second_answer(slot, slot_answer(input), first, view)
            }
            Step::EverySlot { slot, asked } => {
                self.spent_ms += now.0.abs_diff(asked.0);
                self.one_of_all_answered(slot, slot_answer(input), view)
            }
            Step::Verdict { ticket, is_mine } => self.verdict_input(ticket, is_mine, input, view),
            Step::StoredVerdict(ticket) => self.stored_verdict(ticket, input, view),
            Step::Quota => self.refuse(Refusal::LimitReached {
                limit: self.limit,
                used: if let Input::Quota(Some(used)) = input { used } else { self.limit },
            }),
            Step::Confirmation(refusal) => self.confirmed(refusal, input, view),
            Step::Park(why) => self.unparked(why, input, view),
            Step::Queued => self.unserved(Unserved::TicketLost, view),
            Step::Over => self.refuse(Refusal::Unavailable),
        };
        self.signals.then = Some(effect);
        self.emit()
    }

    /// Returns whether the purchase is over. A purchase is also over when the buyer has received a
    /// ticket's id, because the buyer can read the verdict with this id.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self.step {
            Step::Over => true,
            Step::Queued => enforces(Rule::AskAgainOnlyWithoutId),
            _ => false,
        }
    }

    /// Returns whether the request makes its last try, at every slot.
    #[must_use]
    pub fn is_last_try(&self) -> bool {
        matches!(self.round, Round::Last(_))
    }

    fn emit(&mut self) -> Effect {
        let signals = &mut self.signals;
        if std::mem::take(&mut signals.renews) {
            return Effect::RenewToken;
        }
        if std::mem::take(&mut signals.wakes) {
            return Effect::Wake;
        }
        if std::mem::take(&mut signals.suspects) {
            return Effect::SuspectLoss;
        }
        if std::mem::take(&mut signals.remembers) {
            return Effect::RememberOrder;
        }
        if let Some(ticket) = signals.forgets_queued.take() {
            return Effect::ForgetQueued(ticket);
        }
        if let Some(ticket) = signals.queued.take() {
            return Effect::RememberQueued(ticket);
        }
        signals.then.take().unwrap_or(Effect::Answer(Outcome::Refused(Refusal::Unavailable)))
    }

    /// Answers the request. A request that may have two tickets gets no ticket id, because the
    /// other ticket may become the order.
    ///
    /// Before the node answers with an order, the node remembers the order. Otherwise, the buyer
    /// might repeat the request before a snapshot tells the node about the order.
    fn answer(&mut self, outcome: Outcome) -> Effect {
        if matches!(outcome, Outcome::Queued(_)) && self.is_uncertain {
            return self.refuse(Refusal::Unavailable);
        }
        self.signals.remembers =
            matches!(outcome, Outcome::Created | Outcome::Replayed) && enforces(Rule::OwnOrders);
        self.step = Step::Over;
        if let Outcome::Queued(ticket) = outcome {
            self.signals.queued = Some(ticket).filter(|_| enforces(Rule::OwnQueued));
            self.step = Step::Queued;
        }
        Effect::Answer(outcome)
    }

    fn refuse(&mut self, refusal: Refusal) -> Effect {
        self.answer(Outcome::Refused(refusal))
    }

    fn try_own_slots(&mut self, view: &mut impl NodeView) -> Effect {
        self.round = Round::Own;
        let Some(slot) = view.first_slot() else {
            self.is_uncertain = true;
            return self.unserved(Unserved::NotReady, view);
        };
        self.step = Step::FirstSlot(slot);
        Effect::AskSlot { slot, is_bounded: false }
    }

    /// Handles the answer of the first slot. If this slot cannot serve the request now, sends the
    /// request to a second slot.
    fn first_answer(
        &mut self,
        slot: SlotKey,
        answer: TicketAnswer,
        view: &mut impl NodeView,
    ) -> Effect {
        self.is_uncertain |= answer == TicketAnswer::NoEpoch;
        if !is_served(&answer)
            && let Some(other) = view.second_slot(slot)
        {
            self.step = Step::SecondSlot { slot: other, first: (slot, answer) };
            return Effect::AskSlot { slot: other, is_bounded: false };
        }
        self.slot_answered(slot, answer, view)
    }

    fn second_answer(
        &mut self,
        slot: SlotKey,
        answer: TicketAnswer,
        first: (SlotKey, TicketAnswer),
        view: &mut impl NodeView,
    ) -> Effect {
        self.is_uncertain |= answer == TicketAnswer::NoEpoch;
        // If neither slot could serve the request, the first slot's answer counts. Exception: if
        // the second slot has too few units, the second slot's answer counts, because the server
        // may gather units for the request.
        match is_served(&answer) || matches!(answer, TicketAnswer::Short { .. }) {
            true => self.slot_answered(slot, answer, view),
            false => self.slot_answered(first.0, first.1, view),
        }
    }
}

/// Returns the slot's answer. If the slot could not be reached, there is no answer, and the slot
/// counts as a slot without an epoch.
fn slot_answer(input: Input) -> TicketAnswer {
    if let Input::Slot(answer) = input { answer } else { TicketAnswer::NoEpoch }
}

/// Returns whether the slot decided the request. Without a decision, the node can still try another
/// slot, or the same slot later.
#[must_use]
pub fn is_served(answer: &TicketAnswer) -> bool {
    matches!(
        answer,
        TicketAnswer::Issued(_)
            | TicketAnswer::Repeated(_)
            | TicketAnswer::KeyReused
            | TicketAnswer::LimitReached { .. }
    )
}
