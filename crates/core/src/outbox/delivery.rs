//! The values that a delivery queue and its driver exchange.
use std::sync::Arc;

use doorbuster_types::DeliveryState;

use crate::value::Millis;

/// A row of the store: an event that was not delivered, although the endpoint's position has passed
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingDelivery {
    /// The event's position.
    pub position: i64,
    /// The key of the event's subject.
    pub about: Arc<str>,
    /// The number of failed tries. Not every refusal counts:
    /// [`refusals`](super::DeliveryBounds::refusals).
    pub tries: u32,
    /// When the event is tried next.
    pub next_at: Millis,
    /// The error of the last failed try, even if that try does not count.
    pub error: Option<String>,
    /// Whether the event is a dead letter: the server has given it up, and an operator must act.
    pub dead: bool,
}

impl PendingDelivery {
    /// Returns the state of the delivery.
    #[must_use]
    pub fn state(&self) -> DeliveryState {
        if self.dead { DeliveryState::Dead } else { DeliveryState::Pending }
    }

    /// Returns whether this row can replace the stored row. This row is the result of an attempt,
    /// and the stored row has `tries` tries. An attempt adds at most one try. If an operator
    /// requested a retry during the attempt, the stored row has 0 tries, so this row may have too
    /// many tries.
    #[must_use]
    pub fn can_follow(&self, tries: u32) -> bool {
        tries <= self.tries && tries.saturating_add(1) >= self.tries
    }
}

/// The outcome of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The endpoint accepted the event.
    Delivered,
    /// The endpoint failed, or the outcome is unknown.
    Failed {
        /// The error.
        error: String,
        /// The pause that the endpoint asked for, in milliseconds. Nothing is sent to the endpoint
        /// until the pause is over.
        pause_ms: i64,
    },
    /// The endpoint refused this event, but is itself up.
    Refused {
        /// The endpoint's answer.
        error: String,
    },
    /// The endpoint answered that it no longer exists. The caller must disable the endpoint. Its
    /// events wait until an operator enables it again.
    Gone,
    /// The event can never be sent to any endpoint, because its row is invalid.
    Unsendable {
        /// What is invalid in the row.
        error: String,
    },
    /// This server could not send the event: it does not know the event's type or item, or could
    /// not read the event. The attempt does not count as a try. The server tries again later,
    /// because an operator may install a newer version that knows the type.
    Deferred {
        /// The reason why the server could not send the event.
        error: String,
    },
}

/// A change of a row that the store must record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// The event at this position was delivered. Delete its row.
    Delivered(i64),
    /// The row of an event that still waits or is now dead. Write this row to the store.
    Pending(PendingDelivery),
}

/// A move of an endpoint's position, with the rows of events that were not delivered. The store
/// records the move and the rows in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionAdvance {
    /// The endpoint's position before the move.
    pub from: i64,
    /// The new position.
    pub to: i64,
    /// The rows to insert, one for each event between `from` and `to` that was not delivered.
    pub failed: Vec<PendingDelivery>,
}
