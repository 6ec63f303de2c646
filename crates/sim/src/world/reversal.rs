//! Simulates reversals: a person refunds a payment at the provider, or a buyer disputes it.
use doorbuster_core::money::{PaymentId, ReversalOutcome, ReversalReport};

use super::World;
use crate::state::{PaymentReversals, ProviderMessage, ProviderReversal};
use crate::store::{Tx, TxResult};

/// The largest number of reversals of one payment.
const REVERSALS_MAX: usize = 6;

impl World {
    /// Changes the reversals of a captured payment ([`crate::op::Op::Reverse`]).
    pub(crate) fn reverse(&mut self, pick: u8, how: u8) {
        let charges = self.provider.charges.iter();
        let captured: Vec<_> = charges.filter(|charge| charge.captured).collect();
        let Some(nth) = usize::from(pick).checked_rem(captured.len()) else { return };
        let (payment, paid) = (captured[nth].payment.clone(), captured[nth].money.clone());
        let event = self.provider.message_id();
        let all = &mut self.provider.reversals;
        let at = all.iter().position(|of| of.payment == payment).unwrap_or_else(|| {
            all.push(PaymentReversals::new(payment, paid));
            all.len() - 1
        });
        let of = &mut all[at];
        let (rest, now) = (of.paid.minor - of.returned(), self.now);
        let standing = |disputed: bool| {
            of.all.iter().rposition(|r| r.stands && r.dispute.is_some() == disputed)
        };
        let reversal = |dispute: Option<String>, minor: i64| {
            let is_allowed = minor > 0 && of.all.len() < REVERSALS_MAX;
            is_allowed.then_some(ProviderReversal { dispute, minor, stands: true })
        };
        let id = || Some(format!("dp_{}", of.all.len()));
        let new = match how % 8 {
            0 => reversal(id(), of.paid.minor),
            1 => reversal(id(), of.paid.minor / 2),
            2 | 3 => reversal(None, rest),
            4 => reversal(None, rest / 2),
            _ => None,
        };
        let ended = match how % 8 {
            5 => standing(true),
            6 => standing(false),
            _ => None,
        };
        let report = match (new, ended) {
            (Some(new), _) => of.add(event, new, now),
            (None, Some(nth)) => of.end(event, nth, now),
            // The provider sends its newest report again, in a message with another id.
            (None, None) => match &of.last {
                Some(last) => ReversalReport { event: Some(event), ..last.clone() },
                None => return,
            },
        };
        self.send_reversal(report);
    }

    fn send_reversal(&mut self, report: ReversalReport) {
        let Some(event) = report.event.clone() else { return };
        self.hook(event, ProviderMessage::Reversed(report));
    }

    /// Records a report in the store. If the store has the reversed payment, the node removes this
    /// payment from its memory. So the node does not apply the payment again after a failover.
    pub(super) fn apply_reversal(&mut self, report: &ReversalReport) {
        let outcome = self.commit(Tx::RecordReversal(report.clone(), self.now));
        if outcome != TxResult::Reversal(ReversalOutcome::NoPayment) {
            if report.stands {
                self.forget_payment(&report.payment);
            }
            self.answered_reversal(report);
        }
    }

    pub(super) fn answered_reversal(&mut self, report: &ReversalReport) {
        for of in &mut self.provider.reversals {
            of.unanswered.retain(|waiting| waiting.event != report.event);
        }
    }

    fn forget_payment(&mut self, payment: &PaymentId) {
        let mut charges = self.provider.charges.iter();
        let Some(charge) = charges.position(|charge| charge.payment == *payment) else { return };
        let node = self.node_of_charge(charge);
        self.nodes[usize::from(node)].applied.forget_payment(payment);
        self.provider.charges[charge].applied_at.retain(|(at, _)| *at != node);
        if self.failovers.has_happened() {
            self.excuse_forgotten_payments();
        }
    }

    /// Repeats the reports that no node has handled, and checks the store's reversals.
    pub(super) fn reversals_at_rest(&mut self) {
        let all = self.provider.reversals.iter();
        let waiting: Vec<_> = all.flat_map(|of| of.unanswered.clone()).collect();
        for report in waiting {
            self.send_reversal(report);
        }
        self.deliver_all();
        self.checker.reversals_at_rest(&self.store, &self.provider.reversals);
    }
}
