//! Simulates how nodes remember the payments that they applied, and apply them again after a
//! failover ([`doorbuster_steps::applied_payments`]).
use doorbuster_core::model::Model;
use doorbuster_core::money::{Capture, CaptureOutcome, PaymentId};
use doorbuster_core::{OrderState, TicketId};

use super::World;
use crate::checker::is_applied;
use crate::state::{Message, MoneyMessage};
use crate::store::{SimStore, Tx, TxResult};

impl World {
    pub(super) fn node_of_charge(&self, charge: usize) -> u8 {
        self.running_node_from((charge % usize::from(self.setup.nodes)) as u8)
    }

    /// A node applies a captured payment in the store, and then remembers the payment.
    pub(super) fn try_capture(
        &mut self,
        node: u8,
        charge: usize,
        capture: Capture,
        is_last: bool,
    ) -> CaptureOutcome {
        let tx = Tx::Capture(capture.clone(), is_last, self.now);
        let TxResult::CaptureOutcome(outcome) = self.commit(tx) else {
            unreachable!("every capture has this kind of result")
        };
        let order = TicketId::parse(&capture.order);
        let order = order.and_then(|order| self.store.model.orders.get(&order));
        let is_paid = order.is_some_and(|order| order.state == OrderState::Paid);
        let (now, applied) = (self.mono, &mut self.nodes[usize::from(node)].applied);
        match &outcome {
            CaptureOutcome::Paid(_) => applied.add(capture, now),
            CaptureOutcome::Refund(_) => applied.add_refunding(capture, now),
            CaptureOutcome::Repeated => {
                let order = capture.order.clone();
                applied.add(capture, now);
                if !is_paid {
                    applied.begin_refund(&order, now);
                }
            }
            CaptureOutcome::UnitsMissing { .. } | CaptureOutcome::TooEarly => return outcome,
        }
        self.provider.charges[charge].applied_at.push((node, now));
        outcome
    }

    pub(super) fn apply_payments_again(&mut self) {
        for node in 0..self.setup.nodes {
            if self.nodes[usize::from(node)].is_dead {
                continue;
            }
            for capture in self.nodes[usize::from(node)].applied.after_failover() {
                let message = MoneyMessage::ApplyAgain { node, capture };
                self.send(Message::Money(Box::new(message)));
            }
        }
    }

    pub(super) fn apply_again(&mut self, node: u8, capture: Capture) {
        let mut charges = self.provider.charges.iter();
        let Some(charge) = charges.position(|charge| charge.payment == capture.payment) else {
            return;
        };
        let payment = capture.payment.clone();
        let was_applied = is_applied(&self.store.model, &payment);
        self.capture_on(node, charge, capture, None);
        if !was_applied && is_applied(&self.store.model, &payment) {
            self.checker.count_case("payment applied again");
        }
    }

    /// Tells the checker which losses a failover excuses: the payments that no node applies again,
    /// and the refunds that only the provider knows. `standby` has the rows of the new primary.
    pub(super) fn excuse_lost_payments(&mut self, standby: &SimStore) {
        let model = &standby.model;
        let sent = self.provider.backs.iter().map(|back| (&back.refund, &back.payment));
        let in_flight = self.flight.iter().chain(&self.late).filter_map(|message| match message {
            Message::Money(message) => match &**message {
                MoneyMessage::Refund { refund, .. }
                | MoneyMessage::RefundAnswered { requested: refund, .. } => {
                    Some((&refund.id, &refund.payment))
                }
                _ => None,
            },
            _ => None,
        });
        let unknown = sent.chain(in_flight).filter(|(id, _)| !model.refunds.contains_key(*id));
        let unknown: Vec<PaymentId> = unknown.map(|(_, payment)| payment.clone()).collect();
        self.checker.excuse_refunds(unknown);
        let forgotten = self.forgotten_payments(model);
        self.checker.excuse_payments(forgotten);
        for of in &mut self.provider.reversals {
            of.may_be_lost = true;
        }
    }

    /// Makes a node forget its payments, because its process ends. If a failover has happened, the
    /// checker then no longer demands the payments that the store lacks and that no other node
    /// remembers.
    pub(super) fn forget_applied(&mut self, node: u8) {
        for charge in &mut self.provider.charges {
            charge.applied_at.retain(|(at, _)| *at != node);
        }
        if self.failovers.has_happened() {
            self.excuse_forgotten_payments();
        }
    }

    pub(super) fn excuse_forgotten_payments(&mut self) {
        let forgotten = self.forgotten_payments(&self.store.model);
        self.checker.excuse_payments(forgotten);
    }

    /// Returns the captured payments that cannot reach the store any more. The store lacks these
    /// payments, no node remembers them, and the provider does not repeat their messages.
    fn forgotten_payments(&self, model: &Model) -> Vec<PaymentId> {
        let charges = self.provider.charges.iter();
        let lost = charges
            .filter(|charge| charge.captured && charge.unanswered.is_none())
            .filter(|charge| !charge.is_remembered(self.mono))
            .filter(|charge| !is_applied(model, &charge.payment));
        lost.map(|charge| charge.payment.clone()).collect()
    }
}
