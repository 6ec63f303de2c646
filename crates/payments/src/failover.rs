//! Applies payments again after a failover, because a promoted database may lack the last payments.
//! The provider does not repeat the messages about these payments, because a node already confirmed
//! the messages.
//!
//! * Each node remembers for some minutes the payments that it applied or began to refund
//!   ([`doorbuster_steps::applied_payments`]).
//! * Another node may have refunded such a payment, and the database may lack this refund too. So
//!   the node asks the provider about refunds of the payments that it applies again.
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use doorbuster_api::payment::PaymentEventOutcome;
use doorbuster_core::Millis;
use doorbuster_core::money::{Capture, PaymentId};
use doorbuster_engine::error::EngineError;
use doorbuster_engine::outage_log;
use doorbuster_steps::applied_payments;
use futures_util::future::join_all;
use tokio::sync::watch;

use super::Payments;

const ERROR_PAUSE: Duration = Duration::from_secs(1);
const ASKED_AT_ONCE: usize = 8;
const ASK_PAUSE: Duration = Duration::from_secs(10);
const GIVE_UP_AFTER: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
pub(super) struct AppliedPayments {
    kept: Mutex<applied_payments::AppliedPayments>,
    begun: Instant,
    /// The fencing number of the database history for which the payments were last read. Each
    /// failover begins a history with a higher number.
    read_for: AtomicI64,
}

impl Default for AppliedPayments {
    fn default() -> Self {
        Self { kept: Mutex::default(), begun: Instant::now(), read_for: AtomicI64::new(0) }
    }
}

impl AppliedPayments {
    /// Remembers a payment that pays for its order.
    pub(super) fn add(&self, capture: Capture) {
        self.lock().add(capture, self.now());
    }

    pub(super) fn add_refunding(&self, capture: Capture) {
        self.lock().add_refunding(capture, self.now());
    }

    /// Remembers that the server refunds the order's payment.
    pub(super) fn begin_refund(&self, order: &str) {
        self.lock().begin_refund(order, self.now());
    }

    pub(super) fn forget_payment(&self, payment: &PaymentId) {
        self.lock().forget_payment(payment);
    }

    /// If this number changes while a payment is applied, the caller must apply the payment again.
    pub(super) fn payments_read_at_fence(&self) -> i64 {
        self.read_for.load(Ordering::Acquire)
    }

    /// Returns the payments in the sequence in which the node applies them again, for the history
    /// `fence`.
    fn read(&self, fence: i64) -> Vec<Capture> {
        let kept = self.lock();
        self.read_for.store(fence, Ordering::Release);
        kept.after_failover()
    }

    fn now(&self) -> Millis {
        Millis(i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    fn lock(&self) -> MutexGuard<'_, applied_payments::AppliedPayments> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Payments {
    /// Remembers that the shop refunds an order. If a failover loses the payment and its refund,
    /// the node applies the payment again and asks the provider about the refund.
    pub fn remember_refund_of(&self, order: &str) {
        if let Some(applied) = &self.applied {
            applied.begin_refund(order);
        }
    }

    pub(super) async fn follow_failovers(&self) {
        let (Some(applied), Some(mut changes)) =
            (&self.applied, self.node.store().history_changes())
        else {
            return std::future::pending().await;
        };
        let mut known = *changes.borrow_and_update();
        let mut unasked = Vec::new();
        loop {
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let fence = *changes.borrow_and_update();
                    // The first history that a node reads does not mean a failover.
                    if fence > known && known > 0 {
                        let kept = applied.read(fence);
                        unasked.extend(self.apply_again(fence, kept, &changes).await);
                    }
                    known = known.max(fence);
                }
                () = self.find_reversals(&mut unasked), if !unasked.is_empty() => {}
            }
        }
        // The sender of the changes lives as long as the node, so the program is stopping.
        std::future::pending().await
    }

    /// Applies payments that the database may lack. Stops at another failover, because the next
    /// call applies all payments again. Returns the payments that were missing and that pay for
    /// orders.
    async fn apply_again(
        &self,
        fence: i64,
        mut waiting: Vec<Capture>,
        changes: &watch::Receiver<i64>,
    ) -> Vec<Capture> {
        let (begun, mut missing) = (Instant::now(), Vec::new());
        loop {
            waiting = self.apply_some(waiting, &mut missing).await;
            if waiting.is_empty() || changes.has_changed().unwrap_or(true) {
                break;
            }
            if begun.elapsed() > GIVE_UP_AFTER {
                let orders: Vec<&str> =
                    waiting.iter().take(20).map(|capture| &*capture.order).collect();
                tracing::error!(
                    payments = waiting.len(),
                    orders = orders.join(" "),
                    event = "payment.lost_in_failover",
                    "failed to record payments that a failover lost; check these orders at the \
                     provider"
                );
                break;
            }
            tokio::time::sleep(ERROR_PAUSE).await;
        }
        if !missing.is_empty() {
            tracing::warn!(
                fence,
                missing = missing.len(),
                event = "payment.applied_again",
                "the database lacked payments after a failover; applied them again"
            );
        }
        missing
    }

    /// Applies payments until the store fails, and returns the rest. Adds to `missing` the payments
    /// that the database lacked and that pay for orders.
    ///
    /// The payment at which the store failed is added too. If the store committed this payment, the
    /// next try does not find it missing.
    async fn apply_some(&self, payments: Vec<Capture>, missing: &mut Vec<Capture>) -> Vec<Capture> {
        let (mut payments, mut later) = (payments.into_iter(), Vec::new());
        for capture in payments.by_ref() {
            match self.capture(capture.clone()).await {
                Ok(PaymentEventOutcome::Repeated) => {}
                // The refund has the same id as before, so the provider sends the money only once.
                Ok(PaymentEventOutcome::Refunded) => {}
                Ok(_) if missing.contains(&capture) => {}
                Ok(_) => missing.push(capture),
                Err(EngineError::TooEarly) => later.push(capture),
                Err(_) => {
                    if !missing.contains(&capture) {
                        missing.push(capture.clone());
                    }
                    later.push(capture);
                    break;
                }
            }
        }
        later.extend(payments);
        later
    }

    /// Records the reversals of these payments. A payment leaves `unasked` only after the
    /// provider's answer, so the caller may drop this future.
    async fn find_reversals(&self, unasked: &mut Vec<Capture>) {
        while !unasked.is_empty() {
            let rest = unasked.len().saturating_sub(ASKED_AT_ONCE);
            let questions = unasked[rest..].iter().map(|capture| self.find_reversal(capture));
            let answered = join_all(questions).await;
            let last = unasked.split_off(rest).into_iter().zip(answered);
            let unanswered: Vec<_> = last
                .filter_map(|(capture, is_answered)| (!is_answered).then_some(capture))
                .collect();
            if !unanswered.is_empty() {
                // The loop takes payments from the end. Payments without an answer go to the front,
                // so their requests are repeated last.
                unasked.splice(0..0, unanswered);
                tokio::time::sleep(ASK_PAUSE).await;
            }
        }
    }

    /// Returns `false` if the caller must ask again.
    async fn find_reversal(&self, capture: &Capture) -> bool {
        if capture.money.minor == 0 {
            // No money was taken, so the provider has no payment.
            return true;
        }
        let payment = &capture.payment.0;
        match self.provider.reversal_of(&capture.payment, self.node.clock().wall()).await {
            Ok(None) => true,
            Ok(Some(reversal)) => match self.apply_reversal(reversal).await {
                Ok(_) => true,
                Err(error) => {
                    outage_log::warn!(
                        self.node.outage_log(),
                        error,
                        event = "payment.reversal_unstored",
                        "failed to record the refund of a payment after a failover; will retry"
                    );
                    false
                }
            },
            Err(error) if error.is_refusal => {
                tracing::error!(
                    payment,
                    order = capture.order,
                    %error,
                    event = "payment.reversal_unknown",
                    "the provider refused to answer about a payment after a failover; check at the \
                     provider whether the payment was refunded"
                );
                true
            }
            Err(error) => {
                tracing::warn!(
                    payment,
                    %error,
                    event = "payment.reversal_ask_failed",
                    "failed to ask the provider about a payment after a failover; will retry"
                );
                false
            }
        }
    }
}
