//! The bounds of one delivery queue, and of its retries.
use crate::limits::{
    DELIVERIES_IN_FLIGHT_MAX, DELIVERIES_PENDING_MAX, DELIVERY_REFUSALS, DELIVERY_REFUSED_MS,
    DELIVERY_TRIES, DELIVERY_WINDOW,
};

/// Bounds of one endpoint's delivery queue.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryBounds {
    /// How often an event is tried before it is dead.
    pub tries: u32,
    /// Fewest refusals of an event, with no other failure between them, before it is dead.
    pub refusals: u32,
    /// Shortest time of these refusals, in milliseconds, unless half of the rows that may wait are
    /// such events.
    pub refused_ms: i64,
    /// Events in delivery at once.
    pub at_once: usize,
    /// Events read ahead.
    pub window: usize,
    /// Rows that may wait.
    pub pending: usize,
}

impl Default for DeliveryBounds {
    fn default() -> Self {
        Self {
            tries: DELIVERY_TRIES,
            refusals: DELIVERY_REFUSALS,
            refused_ms: DELIVERY_REFUSED_MS,
            at_once: DELIVERIES_IN_FLIGHT_MAX,
            window: DELIVERY_WINDOW,
            pending: DELIVERIES_PENDING_MAX,
        }
    }
}
