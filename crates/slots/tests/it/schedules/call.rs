//! The calls of a slot, as the real slot and the reference answer them.
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use doorbuster_core::slot::{
    ApplyOutcome, GrantTerms, RecallOutcome, Slot, SlotView, TicketAnswer, TicketRequest,
};
use doorbuster_core::{Epoch, FeedRow, GrantId, IdKey, QueuedTicket, RecallId, Token};
use doorbuster_slots::{DeliveryRef, SlotError, Slots};

use super::SLOT;

/// A number of tickets that is higher than the queue's bound.
const ALL: usize = 100;

#[derive(Clone, Debug)]
pub(super) enum Call {
    Ticket(TicketRequest),
    /// Takes one ticket. To take several tickets, a thread takes several steps.
    Take,
    /// Takes every ticket, after all threads have ended.
    TakeAll,
    Acknowledge(u64, Token),
    Apply(Epoch, FeedRow),
    Recall(RecallId, Epoch, u64),
    Redeliver,
    Init(GrantTerms),
    Stop(bool),
    View,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Ticket(TicketAnswer),
    /// The ticket, or `None` if the call found no ticket and began to wait. While other threads add
    /// or take tickets, `None` does not prove that the queue is empty.
    Taken(Option<QueuedTicket>),
    All(Vec<QueuedTicket>),
    ApplyOutcome(ApplyOutcome),
    RecallOutcome(RecallOutcome),
    Seen(Option<SlotView>),
    Nothing,
}

#[derive(Clone, Debug)]
pub(super) struct Did {
    pub(super) call: Call,
    pub(super) answer: Answer,
    pub(super) called: u64,
    pub(super) answered: u64,
}

/// Polls the call once. Returns its result, or `None` if the call would wait.
fn at_once<T>(call: impl Future<Output = Result<T, SlotError>>) -> Option<T> {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(shown) => Some(shown.expect("local")),
        Poll::Pending => None,
    }
}

pub(super) fn now<T>(call: impl Future<Output = Result<T, SlotError>>) -> T {
    at_once(call).expect("slots in memory do not wait")
}

impl Call {
    pub(super) fn here(&self, slots: &Slots) -> Answer {
        match self {
            Self::Ticket(request) => Answer::Ticket(now(slots.ticket(SLOT, request))),
            Self::Take => {
                Answer::Taken(at_once(slots.take(1)).map(|mut taken| taken.remove(0).delivery))
            }
            Self::TakeAll => {
                let mut all = Vec::new();
                while let Some(taken) = at_once(slots.take(ALL)) {
                    all.extend(taken.into_iter().map(|taken| taken.delivery));
                }
                Answer::All(all)
            }
            Self::Apply(epoch, row) => {
                Answer::ApplyOutcome(now(slots.apply(SLOT, *epoch, std::slice::from_ref(row))))
            }
            &Self::Recall(id, epoch, units) => {
                Answer::RecallOutcome(now(slots.recall(SLOT, id, GrantId(epoch.0), epoch, units)))
            }
            Self::Init(terms) => Answer::ApplyOutcome(now(slots.init(SLOT, *terms))),
            Self::View => Answer::Seen(now(slots.view(SLOT))),
            &Self::Acknowledge(at, token) => {
                now(slots.acknowledge(&[DeliveryRef { slot: SLOT, at, token }]));
                Answer::Nothing
            }
            Self::Redeliver => {
                now(slots.redeliver(SLOT));
                Answer::Nothing
            }
            Self::Stop(stopped) => {
                now(slots.stop(SLOT, *stopped));
                Answer::Nothing
            }
        }
    }

    pub(super) fn there(&self, slot: &mut Slot, key: &IdKey) -> Answer {
        let mut taken = Vec::new();
        match self {
            Self::Ticket(request) => Answer::Ticket(slot.ticket(request)),
            Self::Take => {
                slot.take(1, &mut taken);
                Answer::Taken(taken.pop())
            }
            Self::TakeAll => {
                slot.take(ALL, &mut taken);
                Answer::All(taken)
            }
            Self::Apply(epoch, row) => Answer::ApplyOutcome(slot.apply(*epoch, row, key)),
            &Self::Recall(id, epoch, units) => {
                Answer::RecallOutcome(slot.recall(id, GrantId(epoch.0), epoch, units))
            }
            Self::Init(terms) => Answer::ApplyOutcome(slot.init(*terms)),
            Self::View => Answer::Seen(slot.view()),
            &Self::Acknowledge(at, token) => {
                slot.acknowledge(at, token);
                Answer::Nothing
            }
            Self::Redeliver => {
                slot.redeliver();
                Answer::Nothing
            }
            Self::Stop(stopped) => {
                slot.stop(*stopped);
                Answer::Nothing
            }
        }
    }
}

impl Answer {
    /// Returns the answer's name if the call was a request, a feed row, a new epoch or a recall.
    /// For any other call, returns an empty text.
    pub(super) fn word(&self) -> String {
        let shown = match self {
            Self::Ticket(answer) => format!("{answer:?}"),
            Self::ApplyOutcome(applied) => format!("{applied:?}"),
            Self::RecallOutcome(recalled) => format!("{recalled:?}"),
            Self::Taken(_) | Self::All(_) | Self::Seen(_) | Self::Nothing => String::new(),
        };
        shown.split([' ', '(']).next().unwrap_or_default().to_owned()
    }
}
