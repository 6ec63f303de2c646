//! The values between a delivery queue and its driver.
use std::sync::Arc;

use crate::value::Millis;

/// A row of the store: an event behind the endpoint's position that is not delivered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingDelivery {
    /// The event's position.
    pub position: i64,
    /// The key of its subject.
    pub about: Arc<str>,
    /// Failed tries.
    pub tries: u32,
    /// When it is tried next.
    pub next_at: Millis,
    /// The last error.
    pub error: Option<String>,
    /// Whether all tries are used.
    pub dead: bool,
}

/// The outcome of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The endpoint accepted it.
    Delivered,
    /// The endpoint failed, or the outcome is unknown.
    Failed {
        /// The error.
        error: String,
        /// The pause that the endpoint asked for, in milliseconds: nothing is sent to it until the
        /// pause is over.
        pause_ms: i64,
    },
    /// The endpoint refused this event. The refusal concerns the event, not the endpoint, which is
    /// up.
    Refused {
        /// The endpoint's answer.
        error: String,
    },
    /// The endpoint answered that it is gone: it must be disabled, and its events wait until an
    /// operator enables it again.
    Gone,
    /// The event can never be sent to any endpoint, because its row is invalid.
    Unsendable {
        /// What is invalid.
        error: String,
    },
    /// This version of the program cannot send the event, which says nothing about the endpoint.
    /// The newer version that wrote the event can send it. This version can too, once it has read
    /// what it lacks. The attempt does not count as a try.
    Deferred {
        /// What is unknown about it.
        error: String,
    },
}

/// A change of a row that the store must record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// The row at this position was delivered and is deleted.
    Delivered(i64),
    /// The row now has this state, waiting or dead.
    Pending(PendingDelivery),
}

/// A move of an endpoint's position, with the rows of events that were not delivered: one
/// transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionAdvance {
    /// Where the position must be before.
    pub from: i64,
    /// The new position.
    pub to: i64,
    /// Rows to insert.
    pub failed: Vec<PendingDelivery>,
}
