//! Counters of event deliveries.
use std::sync::atomic::{AtomicU64, Ordering};

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
    sent: [[AtomicU64; 3]; 2],
    deleted: AtomicU64,
}

impl DeliveryMetrics {
    pub(super) fn count(&self, kind: EndpointKind, sent: AttemptOutcome) {
        self.sent[at(kind)][sent as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_deleted(&self, rows: usize) {
        self.deleted.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Returns the number of attempts of this kind with this outcome.
    pub fn sent(&self, kind: EndpointKind, sent: AttemptOutcome) -> u64 {
        self.sent[at(kind)][sent as usize].load(Ordering::Relaxed)
    }

    /// Returns the number of expired rows that this node has deleted.
    pub fn deleted(&self) -> u64 {
        self.deleted.load(Ordering::Relaxed)
    }
}

fn at(kind: EndpointKind) -> usize {
    match kind {
        EndpointKind::Webhook => 0,
        EndpointKind::Broker => 1,
    }
}
