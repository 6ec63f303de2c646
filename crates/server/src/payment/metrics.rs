//! What is counted of money.
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use doorbuster_api::payment::Outcome;

/// What came of asking a provider about a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefundStep {
    /// It took the request, or is not done with it.
    Accepted,
    /// The money arrived.
    Settled,
    /// It refused, or could not be asked.
    Failed,
}

impl RefundStep {
    /// Every step.
    pub(crate) const ALL: [Self; 3] = [Self::Accepted, Self::Settled, Self::Failed];

    /// The word for it in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Settled => "settled",
            Self::Failed => "failed",
        }
    }
}

/// Counters of money.
#[derive(Debug, Default)]
pub(crate) struct PaymentMetrics {
    messages: [AtomicU64; Outcome::ALL.len()],
    refused: AtomicU64,
    refunds: [AtomicU64; RefundStep::ALL.len()],
    asked: AtomicU64,
    away: AtomicU64,
    lag_ms: AtomicI64,
}

impl PaymentMetrics {
    /// A message was taken.
    pub(crate) fn count_message(&self, outcome: Outcome) {
        increment(&self.messages[outcome as usize]);
    }

    /// A message was not believed, or not understood.
    pub(crate) fn count_refused(&self) {
        increment(&self.refused);
    }

    /// A provider was asked about a refund.
    pub(crate) fn count_refund(&self, step: RefundStep) {
        increment(&self.refunds[step as usize]);
    }

    /// A provider was asked about a checkout; `is_away`: in vain.
    pub(crate) fn count_check(&self, is_away: bool) {
        increment(if is_away { &self.away } else { &self.asked });
    }

    /// How long units have waited for a checkout to be closed, of those that wait longest.
    pub(crate) fn set_lag(&self, ms: i64) {
        self.lag_ms.store(ms, Ordering::Relaxed);
    }

    /// Messages by what they came to.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Outcome::ALL
            .into_iter()
            .map(|outcome| (outcome.as_str(), get(&self.messages[outcome as usize])))
    }

    /// Messages that were refused.
    pub(crate) fn refused(&self) -> u64 {
        get(&self.refused)
    }

    /// Questions about refunds by what came of them.
    pub(crate) fn refunds(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RefundStep::ALL.into_iter().map(|step| (step.as_str(), get(&self.refunds[step as usize])))
    }

    /// Questions about checkouts: answered, and in vain.
    pub(crate) fn checks(&self) -> (u64, u64) {
        (get(&self.asked), get(&self.away))
    }

    /// Seconds that units have waited for a checkout to be closed, of those that wait longest.
    pub(crate) fn lag_secs(&self) -> f64 {
        self.lag_ms.load(Ordering::Relaxed) as f64 / 1_000.0
    }
}

fn increment(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
