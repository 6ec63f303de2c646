//! The possible answers to a purchase.
use doorbuster_api::problem::RateLimitScope;
use doorbuster_core::gate::eligibility::Requirement;
use doorbuster_core::sold_out::SoldOut;
use doorbuster_core::{Millis, Order, TicketId};

use crate::answer_counts::AnswerKind;

pub use doorbuster_steps::memory::StockAnswer;

/// The answer to a purchase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurchaseOutcome {
    /// The order was created by this request.
    Created(Order),
    /// The request already holds this order.
    Replayed(Order),
    /// The request is queued and may still be refused.
    Queued {
        /// The ticket's id. If the ticket becomes an order, the order has the same id.
        id: TicketId,
        /// The time after which the ticket cannot become an order.
        decide_by: Millis,
    },
    /// The request is refused.
    Refused(Refusal),
}

/// The front door's answer to a request.
pub type DoorAnswer = doorbuster_steps::memory::DoorAnswer<Refusal>;

/// The reason for a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No units are available now.
    SoldOut(SoldOut),
    /// The request would exceed the limit of units for one buyer.
    LimitReached {
        /// The limit.
        limit: u32,
        /// Units that the buyer holds or has requested.
        used: u32,
    },
    /// The sale has not started.
    NotStarted {
        /// When the sale opens, if that is known.
        opens_at: Option<Millis>,
    },
    /// The sale is paused.
    Paused,
    /// The sale has ended.
    Ended,
    /// An operator blocked this buyer or address.
    Blocked,
    /// The buyer does not meet a requirement of the sale.
    NotEligible(Requirement),
    /// The sale requires a pass.
    PassRequired,
    /// The pass is forged, or for another buyer, sale or item.
    PassInvalid,
    /// The pass has expired.
    PassExpired,
    /// The automatic waiting room opened after the pass was issued.
    WaitingRoom,
    /// Too many requests.
    RateLimited {
        /// The limit that was exceeded.
        scope: RateLimitScope,
        /// Seconds until the next try.
        retry_after_secs: u32,
    },
    /// The request key was used for another request.
    KeyReused,
    /// A queue, a table or another limit of the server is full. The client should try again later.
    Overloaded {
        /// Seconds until the next try.
        retry_after_secs: u32,
    },
    /// The client should send the same request with the same key again.
    Unavailable {
        /// Seconds until the next try.
        retry_after_secs: u32,
    },
}

impl PurchaseOutcome {
    /// Returns the counter for this answer.
    #[must_use]
    pub fn answer(&self) -> AnswerKind {
        match self {
            Self::Created(_) => AnswerKind::Reserved,
            Self::Replayed(_) => AnswerKind::Replayed,
            Self::Queued { .. } => AnswerKind::Queued,
            Self::Refused(refusal) => refusal.answer(),
        }
    }
}

impl Refusal {
    /// Returns the counter for this refusal.
    #[must_use]
    pub fn answer(&self) -> AnswerKind {
        match self {
            Self::SoldOut(_) => AnswerKind::SoldOut,
            Self::LimitReached { .. } => AnswerKind::LimitReached,
            Self::NotStarted { .. } => AnswerKind::NotStarted,
            Self::Paused => AnswerKind::Paused,
            Self::Ended => AnswerKind::Ended,
            Self::Blocked => AnswerKind::Forbidden,
            Self::NotEligible(_) => AnswerKind::NotEligible,
            Self::PassRequired => AnswerKind::PassRequired,
            Self::PassInvalid => AnswerKind::PassInvalid,
            Self::PassExpired => AnswerKind::PassExpired,
            Self::WaitingRoom => AnswerKind::WaitingRoom,
            Self::RateLimited { .. } => AnswerKind::RateLimited,
            Self::KeyReused => AnswerKind::KeyReused,
            Self::Overloaded { .. } => AnswerKind::Overloaded,
            Self::Unavailable { .. } => AnswerKind::Unavailable,
        }
    }
}
