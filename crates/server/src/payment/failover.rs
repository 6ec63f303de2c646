//! Applies payments again after a failover. A promoted database may lack the last payments. Their
//! provider has this node's answer, so it does not send its messages again. Therefore each node
//! remembers the payments that it applied in the last minutes.
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use doorbuster_api::payment::PaymentEventOutcome;
use doorbuster_core::money::Capture;

use super::Payments;

/// How long a node remembers a payment.
const KEPT: Duration = Duration::from_secs(300);
/// The largest number of remembered payments.
const KEPT_MAX: usize = 100_000;
/// Pause after a payment that could not be applied.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// The payments that this node applied in the last minutes, oldest first.
#[derive(Debug, Default)]
pub(super) struct AppliedPayments(Mutex<VecDeque<(Instant, Capture)>>);

impl AppliedPayments {
    /// Remembers a payment. At the bound the oldest payments are forgotten.
    pub(super) fn add(&self, capture: Capture) {
        let now = Instant::now();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((now, capture));
        while kept.len() > KEPT_MAX
            || kept.front().is_some_and(|(at, _)| now.duration_since(*at) > KEPT)
        {
            kept.pop_front();
        }
    }

    fn recent(&self) -> Vec<Capture> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = kept.iter().filter(|(at, _)| at.elapsed() <= KEPT);
        recent.map(|(_, capture)| capture.clone()).collect()
    }
}

impl Payments {
    /// Applies the remembered payments again after each failover, until the program stops.
    pub(super) async fn follow_failovers(&self) {
        let Some(mut changes) = self.engine.store().history_changes() else {
            return std::future::pending().await;
        };
        let mut known = *changes.borrow_and_update();
        // The sender lives as long as the engine, so an error cannot occur.
        while changes.changed().await.is_ok() {
            let fence = *changes.borrow_and_update();
            if fence > known {
                // A node's first history is not a change.
                if known > 0 {
                    self.apply_again(fence).await;
                }
                known = fence;
            }
        }
        std::future::pending().await
    }

    /// Applies the remembered payments. The database ignores a payment that it already has.
    async fn apply_again(&self, fence: i64) {
        let mut waiting = VecDeque::from(self.applied.recent());
        let (mut missing, until) = (0, Instant::now() + KEPT);
        while let Some(capture) = waiting.pop_front() {
            match self.capture(capture.clone()).await {
                Ok(PaymentEventOutcome::Repeated) => {}
                Ok(_) => missing += 1,
                Err(_) if Instant::now() < until => {
                    waiting.push_back(capture);
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
                Err(error) => {
                    tracing::error!(
                        payment = capture.payment.0,
                        order = capture.order,
                        %error,
                        event = "payment.lost_in_failover",
                        "failed to apply a payment again after a failover; check the payment at \
                         the provider"
                    );
                }
            }
        }
        if missing > 0 {
            tracing::warn!(
                fence,
                missing,
                event = "payment.applied_again",
                "the database lacked payments after a failover; applied them again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_core::money::{Money, PaymentId};

    use super::*;

    #[test]
    fn the_oldest_payments_are_forgotten_at_the_bound() {
        let applied = AppliedPayments::default();
        let capture = |number: usize| Capture {
            event: number.to_string(),
            provider: "sandbox".to_owned(),
            payment: PaymentId(number.to_string()),
            order: "ord_x".to_owned(),
            money: Money { minor: 1, currency: "EUR".to_owned() },
        };
        for number in 0..KEPT_MAX + 2 {
            applied.add(capture(number));
        }
        let recent = applied.recent();
        assert_eq!((recent.len(), recent[0].event.as_str()), (KEPT_MAX, "2"));
    }
}
