//! Applies payments again after a failover of the database. The new primary may lack the last
//! payments. The provider does not repeat its messages about them, because a node has already
//! confirmed these messages.
//!
//! * Each node remembers the payments that it applied or began to refund during the last minutes
//!   ([`doorbuster_steps::applied_payments`]).
//! * Another node may have refunded such a payment, and the new primary may lack this refund too.
//!   So the node asks the provider about each payment that the node applied again: was this payment
//!   refunded?
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
    /// The fencing number of the failover after which the node last read the remembered payments.
    /// Each failover begins a history of the database with a higher number.
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

    /// Remembers that the server has begun to refund the order's payment.
    pub(super) fn begin_refund(&self, order: &str) {
        self.lock().begin_refund(order, self.now());
    }

    pub(super) fn forget_payment(&self, payment: &PaymentId) {
        self.lock().forget_payment(payment);
    }

    /// Returns the fence of the newest database history for which this node has read the remembered
    /// payments. If this number changes while the caller applies a payment, the caller must apply
    /// the payment again.
    pub(super) fn payments_read_at_fence(&self) -> i64 {
        self.read_for.load(Ordering::Acquire)
    }

    /// Returns the remembered payments, in the sequence in which the node must apply them after a
    /// failover. Notes that they were read for the database history with the number `fence`.
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
    /// the node applies the payment again and asks the provider whether the payment was refunded.
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
                    // The first fencing number that a node reads is the one of the present history,
                    // and does not mean that a failover has happened.
                    if fence > known && known > 0 {
                        let kept = applied.read(fence);
                        unasked.extend(self.apply_again(fence, kept, &changes).await);
                    }
                    known = known.max(fence);
                }
                () = self.find_reversals(&mut unasked), if !unasked.is_empty() => {}
            }
        }
        // The sender of the changes ends only with the node, so the program is stopping here.
        std::future::pending().await
    }

    /// Applies remembered payments again, because the database may lack them. If another failover
    /// happens, stops: the next call applies all payments. Returns the payments that the database
    /// lacked and that pay for orders.
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

    /// Applies payments until the store fails. Returns the payments that are not applied yet. If
    /// the database lacked a payment and the payment pays for an order, adds it to `missing`.
    ///
    /// If the store fails at a payment, this payment is also added to `missing`. The store may have
    /// committed this payment, and the next attempt would then see it as already applied.
    async fn apply_some(&self, payments: Vec<Capture>, missing: &mut Vec<Capture>) -> Vec<Capture> {
        let (mut payments, mut later) = (payments.into_iter(), Vec::new());
        for capture in payments.by_ref() {
            match self.capture(capture.clone()).await {
                Ok(PaymentEventOutcome::Repeated) => {}
                // The server refunds this payment again. The refund has the same id as before the
                // failover, so the provider sends the money only once.
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

    /// Asks the provider whether these payments were refunded, and records the refunds. A payment
    /// stays in `unasked` until the provider has answered, so the caller may drop this future.
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
                // The loop takes payments from the end of `unasked`. Payments without an answer go
                // to the front of `unasked`, so the server asks about all other payments first.
                unasked.splice(0..0, unanswered);
                tokio::time::sleep(ASK_PAUSE).await;
            }
        }
    }

    /// Asks the provider whether the money of one payment went back, and records this reversal.
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
