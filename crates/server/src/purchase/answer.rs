//! How a purchase can be answered.
use doorbuster_api::problem::Scope;
use doorbuster_core::gate::eligibility::MissingRequirement;
use doorbuster_core::refusal::SoldOut;
use doorbuster_core::{Millis, Order, TicketId};

use crate::tally::Answer;

/// The answer to a purchase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bought {
    /// The order was created by this request.
    Created(Order),
    /// The order that the request holds, in its present state.
    Replayed(Order),
    /// A place, no promise.
    Queued {
        /// Final: the order's id if it becomes one.
        id: TicketId,
        /// The verdict's last instant.
        decide_by: Millis,
    },
    /// Not now.
    Refused(Refusal),
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// None sellable now.
    SoldOut(SoldOut),
    /// The buyer's limit.
    LimitReached {
        /// The limit.
        limit: u32,
        /// Units that the buyer holds or asked for.
        used: u32,
    },
    /// Too early.
    NotStarted {
        /// When it opens, if that is known.
        opens_at: Option<Millis>,
    },
    /// Paused.
    Paused,
    /// Over.
    Ended,
    /// Operators turn this buyer, or the address, away.
    Blocked,
    /// The sale asks for something that this buyer does not have.
    NotEligible(MissingRequirement),
    /// The sale asks for a pass.
    PassRequired,
    /// The pass is forged, or for another buyer, sale or item.
    PassInvalid,
    /// The pass was good once.
    PassExpired,
    /// The pass was given before the waiting room opened by itself.
    WaitingRoom,
    /// Too many requests.
    RateLimited {
        /// By which measure.
        scope: Scope,
        /// Seconds.
        retry_after_secs: u32,
    },
    /// The key was used for other content.
    KeyReused,
    /// A bound was met: later.
    Overloaded {
        /// Seconds.
        retry_after_secs: u32,
    },
    /// Send the same request with the same key again.
    Unavailable {
        /// Seconds.
        retry_after_secs: u32,
    },
}

impl Bought {
    /// How it is counted.
    #[must_use]
    pub fn answer(&self) -> Answer {
        match self {
            Self::Created(_) => Answer::Reserved,
            Self::Replayed(_) => Answer::Replayed,
            Self::Queued { .. } => Answer::Queued,
            Self::Refused(refusal) => refusal.answer(),
        }
    }
}

impl Refusal {
    /// How it is counted.
    #[must_use]
    pub fn answer(&self) -> Answer {
        match self {
            Self::SoldOut(_) => Answer::SoldOut,
            Self::LimitReached { .. } => Answer::LimitReached,
            Self::NotStarted { .. } => Answer::NotStarted,
            Self::Paused => Answer::Paused,
            Self::Ended => Answer::Ended,
            Self::Blocked => Answer::Forbidden,
            Self::NotEligible(_) => Answer::NotEligible,
            Self::PassRequired => Answer::PassRequired,
            Self::PassInvalid => Answer::PassInvalid,
            Self::PassExpired => Answer::PassExpired,
            Self::WaitingRoom => Answer::WaitingRoom,
            Self::RateLimited { .. } => Answer::RateLimited,
            Self::KeyReused => Answer::KeyReused,
            Self::Overloaded { .. } => Answer::Overloaded,
            Self::Unavailable { .. } => Answer::Unavailable,
        }
    }
}
