//! Checkouts: an order keeps one, which counts as closed once its provider takes no money there. An
//! order waits for its provider's word, and not for ever: decided here by a table of its own.
use doorbuster_core::money::{Checkout, CheckoutOutcome, PaymentState};
use doorbuster_core::order::{ChangeOutcome, EndReason};
use doorbuster_core::{Millis, OrderState, TicketId};

use super::Checker;
use super::money::RowsBefore;
use crate::truth::{Done, Truth, Tx};
use crate::world::provider::Provider;

/// How long the units of an order that is due wait after its provider was first asked in vain.
const GRACE_MS: i64 = 120_000;
/// And in all, whether or not anybody could ask.
const ASK_WITHIN_MS: i64 = 1_800_000;
/// Farthest that a payment window is put off.
const EXTEND_MS: i64 = 30 * 24 * 3_600 * 1_000;

/// When the provider was first asked in vain since then.
fn asked_since(checkout: Option<&Checkout>, pay_by: Millis) -> Option<Millis> {
    checkout?.asked_at.filter(|at| *at >= pay_by)
}

impl Checker {
    /// Judges what a transaction did to a checkout, or to an order that may have one.
    pub(super) fn checkouts(&mut self, truth: &Truth, tx: &Tx, done: &Done, before: &RowsBefore) {
        let kept = |order: &TicketId| truth.model.checkouts.get(order);
        match (tx, done) {
            (Tx::KeepCheckout(new), Done::Kept(kept)) => self.kept(new, kept, before),
            (Tx::CloseCheckout(order, session), _) => {
                let now = kept(order).is_some_and(|c| c.open);
                let was = before.checkout.as_ref();
                let wanted = was.is_some_and(|c| c.open && c.session != *session);
                self.check(now == wanted, "checkout", || {
                    format!("{order}: {was:?}, {session} closed, open {now}")
                });
            }
            (Tx::RecordUnanswered(order, session, now), Done::Taken(took)) => {
                self.asked_in_vain((session.as_str(), *now), *took, before, kept(order));
            }
            (Tx::Extend(order, pay_by, now), Done::Ended(changed)) => {
                self.extended(*pay_by, *now, changed, before);
                // What was asked before does not count any more.
                let asked = kept(order).and_then(|c| c.asked_at);
                let right = asked.is_none() || !matches!(changed, ChangeOutcome::Done(_));
                self.check(right, "extend", || {
                    format!("{order} to {pay_by:?}, and was asked about at {asked:?}")
                });
            }
            (Tx::End(id, EndReason::Expire, _, now), Done::Ended(changed)) => {
                self.expired(id, *now, changed, before)
            }
            _ => {}
        }
    }

    fn kept(&mut self, new: &Checkout, kept: &CheckoutOutcome, before: &RowsBefore) {
        let waits = before.order.as_ref().is_some_and(|o| o.state == OrderState::Reserved);
        let wanted = match &before.checkout {
            Some(old) if old.open => old,
            _ => new,
        };
        let right = match kept {
            CheckoutOutcome::Kept(kept) => waits && kept == wanted,
            CheckoutOutcome::WrongState(_) => !waits && before.order.is_some(),
            CheckoutOutcome::NotFound => before.order.is_none(),
        };
        self.check(right, "checkout", || format!("{new:?}: {kept:?}, before {before:?}"));
    }

    /// The first question in vain since an order is due is the one that counts.
    fn asked_in_vain(
        &mut self,
        asked: (&str, Millis),
        took: bool,
        before: &RowsBefore,
        now: Option<&Checkout>,
    ) {
        let ((session, at), was) = (asked, before.checkout.as_ref());
        let keeps = was.is_some_and(|c| c.open && c.session == session);
        let due =
            before.order.as_ref().filter(|o| o.state == OrderState::Reserved && o.pay_by <= at);
        let counts = keeps && due.is_some_and(|o| asked_since(was, o.pay_by).is_none());
        let wanted = was.map(|c| Checkout {
            asked_at: if counts { Some(at) } else { c.asked_at },
            ..c.clone()
        });
        let right = took == keeps && now == wanted.as_ref();
        self.check(right, "checkout", || {
            format!("{session} asked about at {at:?}: {took}, {was:?} became {now:?}")
        });
        if counts {
            self.count_case("asked in vain");
        }
    }

    fn extended(
        &mut self,
        pay_by: Millis,
        now: Millis,
        changed: &ChangeOutcome,
        before: &RowsBefore,
    ) {
        let may = before.order.as_ref().is_some_and(|o| {
            o.state == OrderState::Reserved && pay_by > o.pay_by && pay_by.0 - now.0 <= EXTEND_MS
        });
        let did = matches!(changed, ChangeOutcome::Done(_));
        self.check(may == did, "extend", || format!("to {pay_by:?} at {now:?}: {changed:?}"));
        if did {
            self.count_case("extended");
        }
    }

    /// An order whose provider may still take money waits for it: a while after it was asked, and
    /// longer for that it can be.
    fn expired(
        &mut self,
        id: &TicketId,
        now: Millis,
        changed: &ChangeOutcome,
        before: &RowsBefore,
    ) {
        let Some(order) =
            before.order.as_ref().filter(|o| o.state == OrderState::Reserved && o.pay_by <= now)
        else {
            return;
        };
        let open = before.checkout.as_ref().filter(|c| c.open);
        let asked = asked_since(open, order.pay_by);
        let bound = order.pay_by.0 + ASK_WITHIN_MS;
        let until = asked.map_or(bound, |at| bound.min(at.0 + GRACE_MS));
        let waits = open.is_some() && now.0 < until;
        let did = matches!(changed, ChangeOutcome::Done(_));
        self.check(did != waits, "expiry", || {
            format!(
                "{id} due, checkout open {}, asked {asked:?}, at {now:?}: {changed:?}",
                open.is_some()
            )
        });
        if did && open.is_some() {
            self.count_case(if asked.is_some() {
                "expired though the provider was away"
            } else {
                "expired unasked"
            });
        }
    }

    /// A checkout counts as closed from now on: nobody asks about it any more.
    pub(crate) fn closed_checkout(
        &mut self,
        truth: &Truth,
        provider: &Provider,
        session: usize,
        mono: Millis,
    ) {
        let takes = provider.takes_money(session, mono);
        self.check(!takes, "checkout", || {
            format!("checkout {session} counts as closed, and still takes money")
        });
        for charge in provider.charges.iter().filter(|c| c.captured && c.session == Some(session)) {
            let known = truth
                .model
                .payments
                .get(&charge.payment)
                .is_some_and(|p| p.state != PaymentState::Failed);
            self.check(known, "checkout", || {
                format!("checkout {session} counts as closed, and {charge:?} is not known")
            });
        }
        self.count_case("checkout closed");
    }
}
