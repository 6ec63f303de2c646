//! Counters of payments, refunds and checkouts.
use std::sync::atomic::{AtomicI64, Ordering};

use doorbuster_api::payment::PaymentEventOutcome;
use doorbuster_base::counter::Counter;

doorbuster_core::labels! {
    /// The result of a request to the provider about a refund.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum RefundStep {
        /// The provider accepted the request or is still working on it.
        Accepted = "accepted",
        /// The provider reported that the money arrived.
        Settled = "settled",
        /// The provider refused the request or could not be reached, or the refund failed and the
        /// money came back.
        Failed = "failed",
    }
}

/// Payment counters of this node.
#[derive(Debug, Default)]
pub struct PaymentMetrics {
    /// Handled messages, by outcome.
    pub messages: [Counter; PaymentEventOutcome::ALL.len()],
    /// Messages that failed verification or were malformed.
    pub refused: Counter,
    /// Requests about refunds, by result.
    pub refunds: [Counter; RefundStep::ALL.len()],
    /// Answered requests to the provider about checkouts.
    pub answered: Counter,
    /// Unanswered requests to the provider about checkouts.
    pub unanswered: Counter,
    lag_ms: AtomicI64,
}

impl PaymentMetrics {
    pub(crate) fn set_lag(&self, ms: i64) {
        self.lag_ms.store(ms, Ordering::Relaxed);
    }

    /// Returns the longest time for which an order has held units after its payment window, in
    /// seconds. The units wait until the order's checkout is closed.
    pub fn lag_secs(&self) -> f64 {
        self.lag_ms.load(Ordering::Relaxed) as f64 / 1_000.0
    }
}
