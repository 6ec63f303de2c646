//! Checks that the store records each reversal as the provider's newest reports describe it.
use std::collections::BTreeSet;

use doorbuster_core::event::{EventType, Subject};
use doorbuster_core::money::{
    Money, PaymentState, RefundId, Reversal, ReversalKey, ReversalKind, ReversalOutcome,
    ReversalReport,
};

use super::Checker;
use super::money::is_applied;
use super::rows_before::RowsBefore;
use crate::state::PaymentReversals;
use crate::store::SimStore;

/// Returns what an operator sees of a reversal: whether the reversal stands and, if so, its amount.
fn visible(reversal: Option<&Reversal>) -> Option<(bool, Option<&Money>)> {
    reversal.map(|it| (it.stands, it.stands.then_some(&it.money)))
}

impl Checker {
    /// Checks one report. A report takes effect only once, and only if its payment was captured. A
    /// report about a refund by this server changes nothing. If a report changes the amount, or
    /// whether the reversal stands, the store must write an event. For any other report, the store
    /// must write no event.
    pub(super) fn reversal(
        &mut self,
        store: &SimStore,
        report: &ReversalReport,
        outcome: ReversalOutcome,
        before: &RowsBefore,
    ) {
        let (was, now) = (before.reversal.as_ref(), store.model.reversals.get(&report.key()));
        let is_captured = before.payment.as_ref().is_some_and(|p| p.state != PaymentState::Failed);
        let is_own = report.kind == ReversalKind::Returned && before.refund.is_some();
        let changes = visible(was) != visible(now);
        let expected = match changes {
            _ if before.taken => ReversalOutcome::Known,
            _ if !is_captured => ReversalOutcome::NoPayment,
            true => ReversalOutcome::Noted,
            false => ReversalOutcome::Known,
        };
        let must_stay = before.taken || !is_captured || is_own;
        self.check(outcome == expected && (was == now || !must_stay), "reversal", || {
            format!(
                "the report {report:?} had the outcome {outcome:?} instead of {expected:?}, and \
                 changed the reversal from {was:?} to {now:?}"
            )
        });
        self.count_case(match outcome {
            ReversalOutcome::Noted if report.stands => "reversal recorded",
            ReversalOutcome::Noted => "reversal ended",
            ReversalOutcome::Known if is_own => "reversal is the server's own refund",
            ReversalOutcome::Known => "reversal known",
            ReversalOutcome::NoPayment => "reversal without a payment",
        });
        if let Some(now) = now.filter(|_| changes) {
            let order = before.payment.as_ref().map(|p| p.order.clone()).unwrap_or_default();
            self.expect_event(EventType::PaymentReversed, order);
            let is_same = store.model.events.last().is_some_and(|event| {
                matches!(
                    &event.subject,
                    Subject::Reversal { payment, kind, stands, money, dispute, .. }
                        if *stands == now.stands && *money == now.money
                            && (payment, *kind) == (&now.key.payment, now.key.kind)
                            && dispute.as_deref().unwrap_or_default() == now.key.dispute
                )
            });
            self.check(is_same, "history", || {
                format!(
                    "the last event does not match the reversal {now:?}: {:?}",
                    store.model.events.last()
                )
            });
        }
    }

    /// Checks all reversals after the store has handled every report.
    pub(crate) fn reversals_at_rest(&mut self, store: &SimStore, provider: &[PaymentReversals]) {
        let model = &store.model;
        let known: BTreeSet<&ReversalKey> = model.reversals.keys().collect();
        let mut expected = BTreeSet::new();
        for of in provider {
            for it in &of.all {
                expected.insert(of.key(it.dispute.as_deref()));
            }
            if of.may_be_lost || !is_applied(model, &of.payment) {
                continue;
            }
            for it in of.all.iter().filter(|it| it.dispute.is_some()) {
                let row = model.reversals.get(&of.key(it.dispute.as_deref()));
                let right =
                    row.is_some_and(|row| row.stands == it.stands && row.money.minor == it.minor);
                self.check(right, "reversal", || {
                    format!("the provider has the dispute {it:?}, but the store has {row:?}")
                });
            }
            if !model.refunds.contains_key(&RefundId::for_payment(&of.payment)) {
                self.returned_at_rest(of, model.reversals.get(&of.key(None)));
            }
        }
        let invented = known.into_iter().find(|key| !expected.contains(*key));
        self.check(invented.is_none(), "reversal", || {
            format!("the provider has no reversal {invented:?}")
        });
    }

    /// Checks the refunds of one payment that a person made by hand at the provider. The store must
    /// show the refunded amount. After several refunds by hand, the store may also show more,
    /// because a report of a failed refund names only an amount, and not which refund failed.
    fn returned_at_rest(&mut self, of: &PaymentReversals, row: Option<&Reversal>) {
        let total = of.returned();
        let shown = row.filter(|row| row.stands).map_or(0, |row| row.money.minor);
        let is_exact = of.all.iter().filter(|it| it.dispute.is_none()).count() <= 1;
        let right = if is_exact { shown == total } else { shown >= total };
        self.check(right, "reversal", || {
            format!("{total} was refunded by hand, but the store has {row:?}; all: {of:?}")
        });
    }
}
