//! The bounds of one delivery queue and of its retries.
use crate::limits::{
    DELIVERIES_IN_FLIGHT_MAX, DELIVERIES_PENDING_MAX, DELIVERY_REFUSALS, DELIVERY_REFUSED_MS,
    DELIVERY_TRIES, DELIVERY_WINDOW,
};

/// Bounds of one endpoint's delivery queue.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryBounds {
    /// The number of failed tries after which an event is dead.
    pub tries: u32,
    /// An event is dead if it was refused this many times in a row, and `refused_ms` has passed
    /// since the first refusal. A refusal counts as a failed try only while the event has fewer
    /// failed tries than this number.
    pub refusals: u32,
    /// The shortest time from the first refusal of an event until the event is dead, in
    /// milliseconds. This time does not apply under two conditions: the number of refused events is
    /// at least half of `pending`, and the endpoint has accepted an event since the first refusal.
    pub refused_ms: i64,
    /// The largest number of events that are being sent at the same time.
    pub at_once: usize,
    /// The largest number of events that are read ahead of the endpoint's position.
    pub window: usize,
    /// The largest number of rows of events that wait for another try.
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
