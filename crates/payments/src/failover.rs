//! Applies payments again after a failover. A promoted database may lack the last payments. The
//! provider does not send the messages about these payments again, because a node already confirmed
//! the messages. Therefore each node remembers the payments with which it marked orders as paid in
//! the last minutes.
//!
//! Another node may have refunded such a payment, and the database may lack that refund too. So
//! after the node applies a payment again, it asks the provider whether this payment was refunded.
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use doorbuster_api::payment::PaymentEventOutcome;
use doorbuster_core::money::{Capture, PaymentId};
use doorbuster_engine::error::EngineError;
use doorbuster_engine::outage_log;
use futures_util::future::join_all;
use tokio::sync::watch;

use super::Payments;

/// How long a node remembers a payment. The node forgets old payments only when it adds a new
/// payment. During an outage of the database it adds no payments, so it forgets none.
const KEPT: Duration = Duration::from_secs(300);
/// The maximum number of remembered payments.
const KEPT_MAX: usize = 100_000;
/// Pause before the next try, if a payment could not be applied.
const ERROR_PAUSE: Duration = Duration::from_secs(1);
/// The number of payments about which the node asks the provider at the same time.
const ASKED_AT_ONCE: usize = 8;
/// Pause before the node asks again, if the provider did not answer about a payment.
const ASK_PAUSE: Duration = Duration::from_secs(10);
/// How long the node tries to apply the payments again after a failover.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3_600);

/// The payments with which this node marked orders as paid in the last minutes.
#[derive(Debug, Default)]
pub(super) struct AppliedPayments {
    kept: Mutex<KeptPayments>,
    /// The fencing number of the database history for which the payments were last read. Each
    /// failover begins a new history with a higher fencing number.
    read_for: AtomicI64,
}

#[derive(Debug, Default)]
struct KeptPayments {
    /// The payments, by order. At most one payment pays for an order.
    by_order: HashMap<Arc<str>, Capture>,
    /// The orders, oldest payment first. If a payment was refunded or disputed, only `by_order`
    /// forgets it, so its order stays in this list.
    orders: VecDeque<(Instant, Arc<str>)>,
}

impl AppliedPayments {
    /// Remembers a payment, once for each order. Forgets payments that are older than `KEPT`, and
    /// the oldest payments if there are more than `KEPT_MAX`.
    pub(super) fn add(&self, capture: Capture) {
        let (now, order) = (Instant::now(), Arc::<str>::from(&*capture.order));
        let mut kept = self.lock();
        if kept.by_order.contains_key(&order) {
            return;
        }
        kept.orders.push_back((now, order.clone()));
        kept.by_order.insert(order, capture);
        while kept.orders.len() > KEPT_MAX
            || kept.orders.front().is_some_and(|(at, _)| now.duration_since(*at) > KEPT)
        {
            let Some((_, oldest)) = kept.orders.pop_front() else { break };
            kept.by_order.remove(&oldest);
        }
    }

    /// Forgets the payment of an order, because the shop refunds this order.
    pub(super) fn forget(&self, order: &str) {
        self.lock().by_order.remove(order);
    }

    /// Forgets a payment that was refunded or disputed.
    pub(super) fn forget_payment(&self, payment: &PaymentId) {
        self.lock().by_order.retain(|_, capture| capture.payment != *payment);
    }

    /// Returns the fencing number of the database history for which the payments were last read. If
    /// this number changes while a payment is applied, the caller must apply the payment again.
    pub(super) fn payments_read_at_fence(&self) -> i64 {
        self.read_for.load(Ordering::Acquire)
    }

    /// Returns the remembered payments, oldest first. Records that they were read for the history
    /// with the fencing number `fence`.
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
    pub fn forget_payment_of(&self, order: &str) {
        if let Some(applied) = &self.applied {
            applied.forget(order);
        }
    }

    /// Applies the remembered payments again after each failover, until the program stops.
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
                    // The first history that a node reads does not count as a failover.
                    if fence > known && known > 0 {
                        let kept = applied.read(fence);
                        unasked.extend(self.apply_again(fence, kept, &changes).await);
                    }
                    known = known.max(fence);
                }
                () = self.find_reversals(&mut unasked), if !unasked.is_empty() => {}
            }
        }
        // The sender of the changes lives as long as the node. So the loop ends only when the
        // program stops.
        std::future::pending().await
    }

    /// Applies payments again. The database ignores a payment that it already has. Stops if another
    /// failover happens, because the next call then applies all remembered payments. Returns the
    /// payments that the database lacked.
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
                    "failed to apply payments again after a failover; check these orders at the \
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

    /// Applies payments until the store fails. Returns the payments that are not applied yet. Adds
    /// the payments that the database lacked to `missing`. Also adds the payment at which the store
    /// failed, because the store may have committed it. The next try would then find this payment
    /// in the database, and would not add it.
    async fn apply_some(&self, payments: Vec<Capture>, missing: &mut Vec<Capture>) -> Vec<Capture> {
        let (mut payments, mut later) = (payments.into_iter(), Vec::new());
        for capture in payments.by_ref() {
            match self.capture(capture.clone()).await {
                Ok(PaymentEventOutcome::Repeated) => {}
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

    /// Asks the provider whether these payments were reversed, and records the reversals. Removes a
    /// payment from `unasked` only after the provider's answer. So the caller can drop this future
    /// and call the function again.
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
                // The loop takes payments from the end of the list. So the node repeats the
                // unanswered questions only after it has asked about all other payments.
                unasked.splice(0..0, unanswered);
                tokio::time::sleep(ASK_PAUSE).await;
            }
        }
    }

    /// Asks the provider whether a payment was reversed, and records the reversal. Returns `false`
    /// if the caller must ask again.
    async fn find_reversal(&self, capture: &Capture) -> bool {
        if capture.money.minor == 0 {
            // No money was taken, so there is no payment at the provider.
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

#[cfg(test)]
mod tests {
    use doorbuster_base::clock::Clock;
    use doorbuster_core::money::Money;
    use doorbuster_testkit::TempDir;

    use super::*;
    use crate::fixture::{engine_with_checkout, stand_in, stripe_payments};

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
        assert_eq!(applied.payments_read_at_fence(), 2);
    }

    #[tokio::test]
    async fn a_payment_that_the_database_lacked_is_looked_up_and_its_refund_is_recorded() {
        const REFUNDED: &str = r#"{"id":"pi_1","latest_charge":{"payment_intent":"pi_1",
            "amount_refunded":10,"currency":"cny"}}"#;
        let dir = TempDir::new();
        let clock = Clock::with_wall(Arc::new(|| 1_795_000_000_999_i64));
        let (engine, _, order) = engine_with_checkout(&dir, clock).await;
        let (address, seen) = stand_in(REFUNDED).await;
        let payments = stripe_payments(&engine, address);
        let capture = Capture {
            event: "evt_1".to_owned(),
            provider: "stripe".to_owned(),
            payment: PaymentId("pi_1".to_owned()),
            order: order.id.to_string(),
            money: Money { minor: 10, currency: "CNY".to_owned() },
        };
        let (_fences, changes) = watch::channel(2);
        let mut unasked = payments.apply_again(2, vec![capture.clone()], &changes).await;
        assert_eq!(unasked, std::slice::from_ref(&capture));
        payments.find_reversals(&mut unasked).await;
        let requests = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let lines: Vec<_> = requests.iter().filter_map(|request| request.lines().next()).collect();
        let line = "GET /v1/payment_intents/pi_1?expand%5B0%5D=latest_charge HTTP/1.1";
        assert_eq!((unasked.as_slice(), lines), (&[][..], vec![line]));
        let reversals = engine.node.store().reversals().await.expect("reads");
        let times: Vec<_> = reversals.iter().map(|found| found.at.0).collect();
        assert_eq!(times, [1_795_000_000_000], "{reversals:?}");
        let again = payments.apply_again(3, vec![capture], &changes).await;
        assert_eq!(again, [], "the database must not lack the payment any more");
        engine.stock.stop_node().await;
    }

    #[tokio::test]
    async fn a_payment_without_an_answer_is_kept_and_a_free_order_needs_no_question() {
        let dir = TempDir::new();
        let (engine, ..) = engine_with_checkout(&dir, Clock::default()).await;
        let silent = stripe_payments(&engine, "http://127.0.0.1:1".to_owned());
        let mut unasked = (0..ASKED_AT_ONCE + 1).map(capture).collect::<Vec<_>>();
        let asked = silent.find_reversals(&mut unasked);
        let pause = Duration::from_millis(500);
        assert!(tokio::time::timeout(pause, asked).await.is_err(), "the node made no pause");
        assert_eq!(unasked.len(), ASKED_AT_ONCE + 1);
        unasked.iter_mut().for_each(|capture| capture.money.minor = 0);
        silent.find_reversals(&mut unasked).await;
        assert_eq!(unasked, [], "the node must not ask about free orders");
        engine.stock.stop_node().await;
    }
}
