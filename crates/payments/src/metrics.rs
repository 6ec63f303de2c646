//! Counters of payments, refunds and checkouts.
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use doorbuster_api::payment::PaymentEventOutcome;

doorbuster_core::labels! {
    /// The progress of a refund after one request to the provider.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum RefundStep {
        /// The provider accepted the request or is still working on it.
        Accepted = "accepted",
        /// The provider reported that the money arrived.
        Settled = "settled",
        /// The provider refused the request or could not be reached.
        Failed = "failed",
    }
}

/// Payment counters of this node.
#[derive(Debug, Default)]
pub struct PaymentMetrics {
    messages: [AtomicU64; PaymentEventOutcome::ALL.len()],
    refused: AtomicU64,
    refunds: [AtomicU64; RefundStep::ALL.len()],
    answered: AtomicU64,
    unanswered: AtomicU64,
    lag_ms: AtomicI64,
}

impl PaymentMetrics {
    /// Counts a message that was handled.
    pub(crate) fn count_message(&self, outcome: PaymentEventOutcome) {
        increment(&self.messages[outcome as usize]);
    }

    /// Counts a message that failed verification or was malformed.
    pub fn count_refused(&self) {
        increment(&self.refused);
    }

    /// Counts a request about a refund.
    pub(crate) fn count_refund(&self, step: RefundStep) {
        increment(&self.refunds[step as usize]);
    }

    /// Counts a request about a checkout. `is_away` means that the provider did not answer.
    pub(crate) fn count_check(&self, is_away: bool) {
        increment(if is_away { &self.unanswered } else { &self.answered });
    }

    /// Sets the longest time that the units of an order have waited for its checkout to close.
    pub(crate) fn set_lag(&self, ms: i64) {
        self.lag_ms.store(ms, Ordering::Relaxed);
    }

    /// Returns the handled messages by outcome.
    pub fn messages(&self) -> impl Iterator<Item = (&'static str, u64)> {
        PaymentEventOutcome::ALL
            .into_iter()
            .map(|outcome| (outcome.as_str(), get(&self.messages[outcome as usize])))
    }

    /// Returns the number of refused messages.
    pub fn refused(&self) -> u64 {
        get(&self.refused)
    }

    /// Returns the requests about refunds, by result.
    pub fn refunds(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RefundStep::ALL.into_iter().map(|step| (step.as_str(), get(&self.refunds[step as usize])))
    }

    /// Returns the number of answered and the number of unanswered requests about checkouts.
    pub fn checks(&self) -> (u64, u64) {
        (get(&self.answered), get(&self.unanswered))
    }

    /// Returns the longest time that the units of an order have waited for its checkout to close,
    /// in seconds.
    pub fn lag_secs(&self) -> f64 {
        self.lag_ms.load(Ordering::Relaxed) as f64 / 1_000.0
    }
}

fn increment(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
