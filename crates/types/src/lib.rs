//! The types that the rules, the store and the HTTP contract share: names, keys, units, and the
//! words for phases, states, kinds and reasons.
//!
//! Each value is parsed once, where it enters the program, and needs no second check. Each word is
//! the same text in rows, JSON, metrics and settings.

#[macro_use]
mod word;

mod money;
mod name;
mod operating;
mod sale;
mod units;

pub use money::{PaymentState, RefundCause, RefundState, ReversalKind};
pub use name::{BuyerId, BuyerName, NAME_BYTES_MAX, PresentedKey, RequestKey, is_name};
pub use operating::{BlockKind, DeadLetterKind, DeliveryState, EndpointKind, RetainReason, Role};
pub use sale::{
    CloseCause, Counter, EventType, FeedCause, OrderState, PartitionChoice, Phase, RateLimitScope,
    Requirement, WaitlistState,
};
pub use units::{UNITS_MAX, Units};
