//! Checks checkouts by the checker's own rules. An order has at most one open checkout, and waits
//! for its provider only for a limited time. A closed checkout takes no money.
use doorbuster_core::money::{Checkout, CheckoutOutcome};
use doorbuster_core::order::{ChangeOutcome, EndReason};
use doorbuster_core::{Millis, OrderState, TicketId};

use super::Checker;
use super::money::is_applied;
use super::rows_before::RowsBefore;
use crate::state::Provider;
use crate::store::{SimStore, Tx, TxResult};

/// How long an order keeps its units although the provider does not answer. The time begins with
/// the first unanswered query about the checkout after the order's payment window.
const GRACE_MS: i64 = 120_000;
/// The longest time that an order waits for its provider, from the end of its payment window, in
/// milliseconds. This limit also applies if the server has sent no query.
const ASK_WITHIN_MS: i64 = 1_800_000;
/// The greatest distance from now to the new end of an extended payment window.
const EXTEND_MS: i64 = 30 * 24 * 3_600 * 1_000;

fn asked_since(checkout: Option<&Checkout>, pay_by: Millis) -> Option<Millis> {
    checkout?.asked_at.filter(|at| *at >= pay_by)
}

impl Checker {
    pub(super) fn checkouts(
        &mut self,
        store: &SimStore,
        tx: &Tx,
        done: &TxResult,
        before: &RowsBefore,
    ) {
        let kept = |order: &TicketId| store.model.checkouts.get(order);
        match (tx, done) {
            (Tx::KeepCheckout(new), TxResult::Kept(kept)) => self.kept(new, kept, before),
            (Tx::CloseCheckout(order, session), _) => {
                let now = kept(order).is_some_and(|c| c.open);
                let was = before.checkout.as_ref();
                let expected = was.is_some_and(|c| c.open && c.session != *session);
                self.check(now == expected, "checkout", || {
                    format!(
                        "session {session} was recorded as closed; before that, the checkout of \
                         order {order} was {was:?}; is the checkout open now: {now}"
                    )
                });
            }
            (Tx::RecordUnanswered(order, session, now), TxResult::Taken(took)) => {
                self.unanswered_recorded((session.as_str(), *now), *took, before, kept(order));
            }
            (Tx::Extend(order, pay_by, now), TxResult::Ended(changed)) => {
                self.extended(*pay_by, *now, changed, before);
                // An extension must make the store forget an earlier unanswered query about the
                // order's checkout.
                let since = kept(order).and_then(|c| c.asked_at);
                let right = since.is_none() || !matches!(changed, ChangeOutcome::Done(_));
                self.check(right, "extend", || {
                    format!(
                        "order {order} was extended to {pay_by:?}, but a query still counts as \
                         unanswered since {since:?}"
                    )
                });
            }
            (Tx::End(id, EndReason::Expire, _, now), TxResult::Ended(changed)) => {
                self.expired(id, *now, changed, before)
            }
            _ => {}
        }
    }

    fn kept(&mut self, new: &Checkout, kept: &CheckoutOutcome, before: &RowsBefore) {
        let waits = before.order.as_ref().is_some_and(|o| o.state == OrderState::Reserved);
        let expected = match &before.checkout {
            Some(old) if old.open => old,
            _ => new,
        };
        let right = match kept {
            CheckoutOutcome::Kept(kept) => waits && kept == expected,
            CheckoutOutcome::WrongState(_) => !waits && before.order.is_some(),
            CheckoutOutcome::NotFound => before.order.is_none(),
        };
        self.check(right, "checkout", || {
            format!(
                "storing the checkout {new:?} returned {kept:?}; the rows before were {before:?}"
            )
        });
    }

    /// Checks that the store records only the first unanswered query after the end of the payment
    /// window.
    fn unanswered_recorded(
        &mut self,
        question: (&str, Millis),
        took: bool,
        before: &RowsBefore,
        now: Option<&Checkout>,
    ) {
        let ((session, at), was) = (question, before.checkout.as_ref());
        let keeps = was.is_some_and(|c| c.open && c.session == session);
        let due =
            before.order.as_ref().filter(|o| o.state == OrderState::Reserved && o.pay_by <= at);
        let counts = keeps && due.is_some_and(|o| asked_since(was, o.pay_by).is_none());
        let expected = was.map(|c| Checkout {
            asked_at: if counts { Some(at) } else { c.asked_at },
            ..c.clone()
        });
        let right = took == keeps && now == expected.as_ref();
        self.check(right, "checkout", || {
            format!(
                "recording an unanswered query about session {session} at {at:?} returned {took} \
                 and changed the checkout from {was:?} to {now:?}"
            )
        });
        if counts {
            self.count_case("provider did not answer");
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
        self.check(may == did, "extend", || {
            format!("extending the payment window to {pay_by:?} at {now:?} returned {changed:?}")
        });
        if did {
            self.count_case("extended");
        }
    }

    /// Checks that an order with an open checkout expires only after [`GRACE_MS`] or
    /// [`ASK_WITHIN_MS`], whichever ends first.
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
        let since = asked_since(open, order.pay_by);
        let bound = order.pay_by.0 + ASK_WITHIN_MS;
        let until = since.map_or(bound, |at| bound.min(at.0 + GRACE_MS));
        let waits = open.is_some() && now.0 < until;
        let did = matches!(changed, ChangeOutcome::Done(_));
        self.check(did != waits, "expiry", || {
            format!(
                "expiring the order {id} at {now:?} returned {changed:?}; is its checkout open: \
                 {}; the provider has not answered since {since:?}",
                open.is_some()
            )
        });
        if did && open.is_some() {
            self.count_case(if since.is_some() {
                "expired without an answer of the provider"
            } else {
                "expired without a query"
            });
        }
    }

    /// Checks that the provider takes no more money for a checkout that the store recorded as
    /// closed, and that the store has the checkout's payments.
    pub(crate) fn closed_checkout(
        &mut self,
        store: &SimStore,
        provider: &Provider,
        session: usize,
        mono: Millis,
    ) {
        let takes = provider.takes_money(session, mono);
        self.check(!takes, "checkout", || {
            format!("checkout {session} is recorded as closed, but still takes money")
        });
        for charge in provider.charges.iter().filter(|c| c.captured && c.session == Some(session)) {
            // A failover may have lost this payment. A node may then apply it again, after the
            // checkout is closed.
            let is_lost = self.has_failed_over
                && (charge.is_remembered(mono) || self.excused_payments.contains(&charge.payment));
            let known = is_applied(&store.model, &charge.payment);
            self.check(known || is_lost, "checkout", || {
                format!(
                    "checkout {session} is recorded as closed, but its payment {charge:?} is not \
                     recorded"
                )
            });
        }
        self.count_case("checkout closed");
    }

    pub(crate) fn nothing_reserved(&mut self, store: &SimStore) {
        let waits = store.model.orders.values().find(|o| o.state == OrderState::Reserved);
        if let Some(order) = waits {
            self.record_finding("expiry", || {
                format!("at the end of the run, the order {order:?} is still reserved")
            });
        }
    }
}
