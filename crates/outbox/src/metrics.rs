//! Counters of event deliveries.
use doorbuster_base::counter::Counter;
use doorbuster_store::EndpointKind;

doorbuster_core::labels! {
    /// Result of one delivery attempt.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum AttemptOutcome {
        /// The endpoint accepted the event.
        Delivered = "delivered",
        /// The attempt failed, and another attempt follows.
        Failed = "failed",
        /// The last attempt failed, and the event is a dead letter.
        Dead = "dead",
    }
}

/// Delivery counters of this node.
#[derive(Debug, Default)]
pub struct DeliveryMetrics {
    /// The number of delivery attempts, for each kind of endpoint and each outcome.
    pub sent: [[Counter; AttemptOutcome::ALL.len()]; EndpointKind::ALL.len()],
    /// Expired rows that this node has deleted.
    pub deleted: Counter,
}
