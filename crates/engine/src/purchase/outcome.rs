//! The possible answers to a purchase.
use doorbuster_core::gate::DoorRefusal;
use doorbuster_core::{Millis, Order, TicketId};
use doorbuster_steps::memory::Refusal;
use doorbuster_telemetry::answer_counts::AnswerKind;

/// The answer to a purchase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurchaseOutcome {
    /// The order was created by this request.
    Created(Order),
    /// An earlier request with the same key created this order.
    Replayed(Order),
    /// The request has a ticket without a verdict. It may still be refused.
    Queued {
        /// The ticket's id. If the ticket becomes an order, the order gets this id.
        id: TicketId,
        /// The last time at which the ticket can become an order.
        decide_by: Millis,
    },
    /// The request is refused.
    Refused(Refusal),
}

impl PurchaseOutcome {
    /// Returns the kind under which the statistics count this result.
    #[must_use]
    pub fn answer(&self) -> AnswerKind {
        match self {
            Self::Created(_) => AnswerKind::Reserved,
            Self::Replayed(_) => AnswerKind::Replayed,
            Self::Queued { .. } => AnswerKind::Queued,
            Self::Refused(refusal) => answer_kind(refusal),
        }
    }
}

/// Returns the kind under which the statistics count a refusal.
#[must_use]
pub fn answer_kind(refusal: &Refusal) -> AnswerKind {
    match refusal {
        Refusal::SoldOut(_) => AnswerKind::SoldOut,
        Refusal::LimitReached { .. } => AnswerKind::LimitReached,
        Refusal::NotStarted { .. } => AnswerKind::NotStarted,
        Refusal::Paused => AnswerKind::Paused,
        Refusal::Ended => AnswerKind::Ended,
        Refusal::KeyReused => AnswerKind::KeyReused,
        Refusal::Overloaded => AnswerKind::Overloaded,
        Refusal::Unavailable => AnswerKind::Unavailable,
        Refusal::AtDoor(refusal) => match refusal {
            DoorRefusal::Blocked => AnswerKind::Forbidden,
            DoorRefusal::NotEligible(_) => AnswerKind::NotEligible,
            DoorRefusal::PassRequired => AnswerKind::PassRequired,
            DoorRefusal::PassInvalid => AnswerKind::PassInvalid,
            DoorRefusal::PassExpired => AnswerKind::PassExpired,
            DoorRefusal::WaitingRoom => AnswerKind::WaitingRoom,
            DoorRefusal::RateLimited { .. } => AnswerKind::RateLimited,
        },
    }
}
