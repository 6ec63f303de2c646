//! Applies payments again after a failover. A promoted database may lack the last payments. The
//! provider does not send the messages about these payments again, because a node already confirmed
//! the messages. Therefore each node remembers the payments with which it marked orders as paid in
//! the last minutes.
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use doorbuster_api::payment::PaymentEventOutcome;
use doorbuster_core::money::{Capture, PaymentId};
use tokio::sync::watch;

use super::Payments;
use crate::engine::EngineError;

/// How long a node remembers a payment. The node forgets old payments only when it adds a new
/// payment. So it forgets nothing during an outage.
const KEPT: Duration = Duration::from_secs(300);
/// The maximum number of remembered payments.
const KEPT_MAX: usize = 100_000;
/// Pause before the next try, if a payment could not be applied.
const ERROR_PAUSE: Duration = Duration::from_secs(1);
/// How long the node tries to apply the payments.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3_600);

/// The payments with which this node marked orders as paid in the last minutes.
#[derive(Debug, Default)]
pub(super) struct AppliedPayments {
    kept: Mutex<KeptPayments>,
    /// The fencing number of the database history for which the payments were last read. Each
    /// failover begins a new history.
    read_for: AtomicI64,
}

#[derive(Debug, Default)]
struct KeptPayments {
    /// Each payment by its order. An order has only one payment that pays for it.
    by_order: HashMap<Arc<str>, Capture>,
    /// The orders, oldest payment first. The order of a forgotten payment stays in this list.
    orders: VecDeque<(Instant, Arc<str>)>,
}

impl AppliedPayments {
    /// Remembers a payment. At the bound the oldest payments are forgotten.
    pub(super) fn add(&self, capture: Capture) {
        let (now, order) = (Instant::now(), Arc::<str>::from(&*capture.order));
        let mut kept = self.lock();
        kept.orders.push_back((now, order.clone()));
        kept.by_order.insert(order, capture);
        while kept.orders.len() > KEPT_MAX
            || kept.orders.front().is_some_and(|(at, _)| now.duration_since(*at) > KEPT)
        {
            let Some((_, oldest)) = kept.orders.pop_front() else { break };
            kept.by_order.remove(&oldest);
        }
    }

    /// Forgets the payment of an order that is refunded.
    pub(super) fn forget(&self, order: &str) {
        self.lock().by_order.remove(order);
    }

    /// Forgets a payment that was refunded or disputed.
    pub(super) fn forget_payment(&self, payment: &PaymentId) {
        self.lock().by_order.retain(|_, capture| capture.payment != *payment);
    }

    /// Returns the fencing number of the database history for which the payments were last read. If
    /// this number changes while a payment is applied, the payment must be applied again.
    pub(super) fn read_for(&self) -> i64 {
        self.read_for.load(Ordering::Acquire)
    }

    /// Returns the payments, oldest first.
    fn read(&self, fence: i64) -> Vec<Capture> {
        let kept = self.lock();
        self.read_for.store(fence, Ordering::Release);
        let orders = kept.orders.iter().map(|(_, order)| order);
        orders.filter_map(|order| kept.by_order.get(order).cloned()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, KeptPayments> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Payments {
    /// Forgets the payment of an order that the shop refunds. Otherwise the node could mark the
    /// order as paid again after a failover.
    pub(crate) fn forget_payment_of(&self, order: &str) {
        if let Some(applied) = &self.applied {
            applied.forget(order);
        }
    }

    /// Applies the remembered payments again after each failover, until the program stops.
    pub(super) async fn follow_failovers(&self) {
        let (Some(applied), Some(mut changes)) =
            (&self.applied, self.engine.store().history_changes())
        else {
            return std::future::pending().await;
        };
        let mut known = *changes.borrow_and_update();
        // The sender lives as long as the engine, so an error cannot occur.
        while changes.changed().await.is_ok() {
            let fence = *changes.borrow_and_update();
            // The first history that a node reads is not a failover.
            if fence > known && known > 0 {
                self.apply_again(fence, applied.read(fence), &changes).await;
            }
            known = known.max(fence);
        }
        std::future::pending().await
    }

    /// Applies payments. The database ignores a payment that it already has. Stops after another
    /// failover, because the next call applies all remembered payments.
    async fn apply_again(
        &self,
        fence: i64,
        mut waiting: Vec<Capture>,
        changes: &watch::Receiver<i64>,
    ) {
        let (begun, mut missing) = (Instant::now(), 0);
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
                    "failed to apply payments again after a failover; check these orders at the \
                     provider"
                );
                break;
            }
            tokio::time::sleep(ERROR_PAUSE).await;
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

    /// Applies payments until the store fails. Returns the payments that are not applied yet.
    /// Counts in `missing` the payments that the database lacked.
    async fn apply_some(&self, payments: Vec<Capture>, missing: &mut usize) -> Vec<Capture> {
        let (mut payments, mut later) = (payments.into_iter(), Vec::new());
        for capture in payments.by_ref() {
            match self.capture(capture.clone()).await {
                Ok(PaymentEventOutcome::Repeated) => {}
                Ok(_) => *missing += 1,
                Err(EngineError::TooEarly) => later.push(capture),
                Err(_) => {
                    later.push(capture);
                    break;
                }
            }
        }
        later.extend(payments);
        later
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_core::money::Money;

    use super::*;

    fn capture(number: usize) -> Capture {
        Capture {
            event: number.to_string(),
            provider: "sandbox".to_owned(),
            payment: PaymentId(format!("pay_{number}")),
            order: format!("ord_{number}"),
            money: Money { minor: 1, currency: "EUR".to_owned() },
        }
    }

    #[test]
    fn the_oldest_payments_and_those_that_went_back_are_forgotten() {
        let applied = AppliedPayments::default();
        for number in 0..KEPT_MAX + 2 {
            applied.add(capture(number));
        }
        applied.forget("ord_3");
        applied.forget_payment(&PaymentId("pay_5".to_owned()));
        let read = applied.read(2);
        let first: Vec<&str> = read[..3].iter().map(|capture| &*capture.event).collect();
        assert_eq!((read.len(), first), (KEPT_MAX - 2, vec!["2", "4", "6"]));
        assert_eq!(applied.read_for(), 2);
    }
}
