//! Remembers the payments that a node applied in the last minutes.
//!
//! After a failover, the promoted database may lack the newest payments. The provider has already
//! received answers to its messages about these payments, so the provider does not send the
//! messages again. Instead, the node applies the payments that it remembers.
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use doorbuster_core::Millis;
use doorbuster_core::money::{Capture, PaymentId};
use doorbuster_core::rules::{Rule, enforces};

/// How long a node remembers a payment, in milliseconds. The node forgets old payments only when it
/// adds a new payment. During an outage of the database, the node adds no payment, so the node
/// forgets no payment.
pub const KEPT_MS: i64 = 300_000;
/// The largest number of remembered payments of each of two kinds: payments that pay for orders,
/// and payments that the server refunds. If one more payment must be remembered, the node forgets
/// the oldest payment of the same kind.
pub const KEPT_MAX: usize = 100_000;

/// The payments that a node remembers. All times are monotonic.
#[derive(Clone, Debug, Default)]
pub struct AppliedPayments {
    /// The payment of each order, with the time at which the payment was added to this map.
    by_order: BTreeMap<Arc<str>, (Millis, Capture)>,
    /// The orders that were added to `by_order`, each with the time of the addition, oldest first.
    /// `by_order` may no longer contain some of these orders.
    orders: VecDeque<(Millis, Arc<str>)>,
    /// Oldest first.
    refunding: VecDeque<(Millis, Capture)>,
}

impl AppliedPayments {
    /// Remembers a payment that pays for its order. If the node already remembers another payment
    /// of this order, it remembers the new payment as one that the server refunds.
    pub fn add(&mut self, capture: Capture, now: Millis) {
        let order = Arc::<str>::from(&*capture.order);
        if let Some((_, known)) = self.by_order.get(&order) {
            if known.payment != capture.payment {
                self.add_refunding(capture, now);
            }
            return;
        }
        self.orders.push_back((now, order.clone()));
        self.by_order.insert(order, (now, capture));
        while let Some((at, order)) = pop_old(&mut self.orders, now) {
            // The order may have a newer payment.
            if self.by_order.get(&order).is_some_and(|(added, _)| *added == at) {
                self.by_order.remove(&order);
            }
        }
    }

    /// Remembers a payment that the server refunds, so that it can refund the payment again after a
    /// failover.
    pub fn add_refunding(&mut self, capture: Capture, now: Millis) {
        if enforces(Rule::RememberRefunding) {
            self.refunding.push_back((now, capture));
            while pop_old(&mut self.refunding, now).is_some() {}
        }
    }

    /// Records that the shop refunds an order. From then on, the node remembers the order's payment
    /// as one that the server refunds. After a failover, the database may lack the refund, so the
    /// server must then refund the payment again.
    pub fn begin_refund(&mut self, order: &str, now: Millis) {
        if let Some((_, capture)) = self.by_order.remove(order) {
            self.add_refunding(capture, now);
        }
    }

    /// Forgets a payment that was refunded or disputed.
    pub fn forget_payment(&mut self, payment: &PaymentId) {
        self.by_order.retain(|_, (_, capture)| capture.payment != *payment);
        self.refunding.retain(|(_, capture)| capture.payment != *payment);
    }

    /// Returns the payments to apply again after a failover. The payments that pay for orders come
    /// before the payments that the server refunds.
    #[must_use]
    pub fn after_failover(&self) -> Vec<Capture> {
        if !enforces(Rule::ApplyAgainAfterFailover) {
            return Vec::new();
        }
        let paying = self.orders.iter().filter_map(|(at, order)| {
            self.by_order.get(order).filter(|(added, _)| added == at).map(|(_, capture)| capture)
        });
        paying.chain(self.refunding.iter().map(|(_, capture)| capture)).cloned().collect()
    }
}

/// Removes and returns the oldest entry, if it is too old or if there are too many entries.
fn pop_old<T>(entries: &mut VecDeque<(Millis, T)>, now: Millis) -> Option<(Millis, T)> {
    let is_old = |(at, _): &(Millis, T)| now.0 - at.0 > KEPT_MS;
    let is_due = entries.len() > KEPT_MAX || entries.front().is_some_and(is_old);
    if is_due { entries.pop_front() } else { None }
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
    fn a_payment_that_is_added_again_is_kept_for_the_whole_time() {
        let mut applied = AppliedPayments::default();
        applied.add(capture(1), Millis(0));
        applied.forget_payment(&capture(1).payment);
        applied.add(capture(1), Millis(KEPT_MS));
        assert_eq!(applied.after_failover(), [capture(1)]);
        applied.add(capture(2), Millis(KEPT_MS + 1));
        assert_eq!(applied.after_failover(), [capture(1), capture(2)]);
    }

    #[test]
    fn the_oldest_payments_and_those_that_went_back_are_forgotten() {
        let mut applied = AppliedPayments::default();
        for number in 0..KEPT_MAX + 2 {
            applied.add(capture(number), Millis(0));
        }
        applied.add_refunding(capture(5), Millis(1));
        applied.begin_refund("ord_3", Millis(1));
        applied.begin_refund("ord_0", Millis(1));
        applied.forget_payment(&PaymentId("pay_5".to_owned()));
        let read = applied.after_failover();
        let first: Vec<&str> = read[..3].iter().map(|capture| &*capture.event).collect();
        assert_eq!((read.len(), first), (KEPT_MAX - 1, vec!["2", "4", "6"]));
        assert_eq!(read.last(), Some(&capture(3)), "payments to refund come last");
        applied.add(capture(1), Millis(KEPT_MS + 1));
        let read = applied.after_failover();
        assert_eq!(read, [capture(1), capture(3)], "the other payments are too old");
        let second = Capture { order: capture(1).order, ..capture(2) };
        applied.add(second.clone(), Millis(KEPT_MS + 2));
        assert_eq!(applied.after_failover(), [capture(1), second], "an order has two payments");
    }
}
