//! Admission rules: who may ask for units, and how often. The rules are functions of plain values,
//! without input or output. They decide only about requests; they do not change the stock.

pub mod code;
pub mod distinct_buyers;
pub mod draw;
pub mod eligibility;
pub mod gcra;
pub mod pass;
pub mod room;
pub mod shared_limit;

pub use doorbuster_types::{RateLimitScope, Requirement};

/// The reason why a sale's front door refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorRefusal {
    /// An operator blocked this buyer or address.
    Blocked,
    /// The buyer does not meet a requirement of the sale.
    NotEligible(Requirement),
    /// The sale requires a pass.
    PassRequired,
    /// The pass is forged, or was issued for another buyer, sale or item.
    PassInvalid,
    /// The pass has expired.
    PassExpired,
    /// The automatic waiting room opened after the pass was issued, so the buyer must enter the
    /// room.
    WaitingRoom,
    /// Too many requests.
    RateLimited {
        /// The limit that was exceeded.
        scope: RateLimitScope,
        /// Seconds until the next try.
        retry_after_secs: u32,
    },
}
