//! Checks the invariant I5: each payment captured at the provider ends as one paid order or one
//! refund. The checker uses its own table of the rules, and compares the store's sums with the
//! provider's.
use std::collections::BTreeSet;

use doorbuster_core::model::Model;
use doorbuster_core::money::{
    Capture, CaptureOutcome, Payment, PaymentId, PaymentState, Refund, RefundCause, RefundId,
    RefundState, RefundUpdate,
};
use doorbuster_core::{ItemId, Order, OrderState, Stock, TicketId};

use super::Checker;
use super::rows_before::RowsBefore;
use crate::state::{Provider, ProviderRefund};
use crate::store::{SimStore, Tx, TxResult};

/// Returns whether the refund's money came back, and the provider has not accepted a new attempt of
/// the refund since then.
pub(super) fn came_back(refund: &Refund) -> bool {
    refund.error.as_deref().is_some_and(|error| error.starts_with("came back: "))
}

/// Returns whether a message that arrives now may be from before the refund's money came back.
fn is_doubted(refund: &Refund) -> bool {
    let once = refund.error.as_deref().is_some_and(|error| error.starts_with("came back once: "));
    (once && refund.state != RefundState::Settled)
        || (came_back(refund) && refund.state == RefundState::Pending)
}

/// Returns whether the message may be about an earlier attempt of the refund. The server must not
/// believe such a message, but must query the provider.
fn must_ask(refund: &Refund, update: &RefundUpdate) -> bool {
    match update {
        RefundUpdate::Accepted { .. } | RefundUpdate::Settled | RefundUpdate::Arrived(_) => {
            is_doubted(refund)
        }
        RefundUpdate::CameBack(_) => match refund.state {
            RefundState::Pending => is_doubted(refund),
            RefundState::Settled => true,
            RefundState::Failed => false,
        },
        RefundUpdate::Failed(_) | RefundUpdate::CheckAgain { .. } => false,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum ExpectedCapture {
    Repeat,
    Pay,
    Wait(u64),
    Refund(RefundCause),
    /// The payment comes before its ticket's verdict. In the simulation, this happens only after a
    /// failover.
    TooEarly,
}

fn expected_capture(before: &RowsBefore, capture: &Capture, last: bool) -> ExpectedCapture {
    let known = before.payment.as_ref().is_some_and(|p| p.state != PaymentState::Failed);
    if before.taken || known {
        return ExpectedCapture::Repeat;
    }
    let (Some(order), Some(item)) = (&before.order, &before.item) else {
        return ExpectedCapture::Refund(RefundCause::UnknownOrder);
    };
    if before.price.as_ref() != Some(&capture.money) {
        return ExpectedCapture::Refund(RefundCause::Mismatch);
    }
    let units = u64::from(order.units.get());
    match order.state {
        OrderState::Reserved => ExpectedCapture::Pay,
        OrderState::Paid => ExpectedCapture::Refund(RefundCause::Second),
        OrderState::Refunded => ExpectedCapture::Refund(RefundCause::Late),
        OrderState::Cancelled | OrderState::Expired
            if before.used + order.units.get() > item.limit =>
        {
            ExpectedCapture::Refund(RefundCause::Late)
        }
        _ if item.total == Stock::Unlimited || item.pool >= units => ExpectedCapture::Pay,
        _ if !last && item.pool + before.in_slots >= units => {
            ExpectedCapture::Wait(units - item.pool)
        }
        _ => ExpectedCapture::Refund(RefundCause::Late),
    }
}

/// Returns whether the store has this payment. A failed attempt does not count.
pub(crate) fn is_applied(model: &Model, payment: &PaymentId) -> bool {
    model.payments.get(payment).is_some_and(|row| row.state != PaymentState::Failed)
}

impl Checker {
    pub(super) fn money(
        &mut self,
        store: &SimStore,
        (tx, done): (&Tx, &TxResult),
        before: &RowsBefore,
    ) {
        match (tx, done) {
            (Tx::Capture(capture, last, _), TxResult::CaptureOutcome(captured)) => {
                self.captured(capture, *last, captured, before)
            }
            (Tx::FailPayment(capture, _), TxResult::Taken(took)) => {
                let now = store.model.payments.get(&capture.payment);
                let kept = before.payment.as_ref().is_none_or(|p| now == Some(p));
                self.check(kept && *took != before.taken, "I5", || {
                    format!(
                        "recording the failed payment {capture:?} returned {took}; the payment is \
                         now {now:?}"
                    )
                });
            }
            (Tx::SettleRefund(_, id, update, at), TxResult::Taken(took)) => {
                let now = store.model.refunds.get(id);
                if before.taken {
                    let same = now == before.refund.as_ref() && !took;
                    return self.check(same, "I5", || {
                        format!(
                            "a repeated message changed the refund {id:?} from {:?} to {now:?}",
                            before.refund
                        )
                    });
                }
                if let Some(was) = before.refund.as_ref().filter(|was| must_ask(was, update)) {
                    let asks = |r: &Refund| r.state == RefundState::Pending && r.next_at == *at;
                    let waits = now.is_some_and(|r| asks(r) && is_doubted(r) == is_doubted(was));
                    return self.check(waits, "refund", || {
                        format!(
                            "the message {update:?} changed the refund from {:?} to {now:?} without \
                             a query to the provider",
                            before.refund
                        )
                    });
                }
                self.refund_message(update, before, now);
            }
            (Tx::AnswerRefund(sent, update, at), _) => {
                self.refund_answer((sent, update, *at), before, store.model.refunds.get(&sent.id));
            }
            _ => self.checkouts(store, tx, done, before),
        }
        self.check_totals(store);
    }

    fn captured(
        &mut self,
        capture: &Capture,
        last: bool,
        captured: &CaptureOutcome,
        before: &RowsBefore,
    ) {
        // After a failover, the ticket of a lost order can become an order again. The server cannot
        // verify the MAC of the id in the message, so it compares only the grant and the number.
        let ticket = |id: &TicketId| id.parts().map(|parts| (parts.grant, parts.n));
        let named = TicketId::parse(&capture.order).and_then(|id| ticket(&id));
        let waits = *captured == CaptureOutcome::TooEarly
            && before.order.is_none()
            && named.is_some_and(|named| self.lost.iter().any(|id| ticket(id) == Some(named)));
        let expected = match waits {
            true => ExpectedCapture::TooEarly,
            false => expected_capture(before, capture, last),
        };
        let actual = match captured {
            CaptureOutcome::Repeated => ExpectedCapture::Repeat,
            CaptureOutcome::Paid(_) => ExpectedCapture::Pay,
            CaptureOutcome::UnitsMissing { units, .. } => ExpectedCapture::Wait(*units),
            CaptureOutcome::Refund(refund) => ExpectedCapture::Refund(refund.cause),
            CaptureOutcome::TooEarly => ExpectedCapture::TooEarly,
        };
        self.check(actual == expected, "I5", || {
            format!(
                "the payment {capture:?} had the effect {actual:?} instead of {expected:?}; the \
                 rows before were {before:?}"
            )
        });
        let in_time = before.order.as_ref().is_some_and(|o| o.state == OrderState::Reserved);
        self.count_case(match actual {
            ExpectedCapture::Repeat => "payment repeated",
            ExpectedCapture::Wait(_) => "payment waits for units",
            ExpectedCapture::TooEarly => "payment too early",
            ExpectedCapture::Pay if in_time => "payment in time",
            ExpectedCapture::Pay => "payment late, paid",
            ExpectedCapture::Refund(cause) => match cause {
                RefundCause::Late => "payment late, refunded",
                RefundCause::Mismatch => "payment mismatched",
                RefundCause::Second => "payment second",
                RefundCause::UnknownOrder => "payment for no order",
                RefundCause::Operator => "payment refunded by an operator",
            },
        });
    }

    /// Checks that each paid order has one payment, each refunded payment has one refund, and all
    /// amounts match.
    fn check_totals(&mut self, store: &SimStore) {
        let model = &store.model;
        let captured = |p: &&Payment| p.state == PaymentState::Captured;
        let captured: Vec<_> = model.payments.values().filter(captured).collect();
        let may_be_paid = |o: &&Order| !captured.is_empty() || o.state == OrderState::Paid;
        for order in model.orders.values().filter(may_be_paid) {
            let name = order.id.text();
            let paying = captured.iter().filter(|p| p.order == name.as_str()).count();
            let expected = usize::from(order.state == OrderState::Paid);
            self.check(paying == expected, "I5", || {
                format!(
                    "order {} is {}, but {paying} payments pay for it",
                    order.id,
                    order.state.as_str()
                )
            });
        }
        for payment in model.payments.values() {
            let back: Vec<_> = model.refunds.values().filter(|r| r.payment == payment.id).collect();
            let expected = usize::from(payment.state == PaymentState::Refunded);
            let right = back.len() == expected && back.iter().all(|r| r.money == payment.money);
            self.check(right, "I5", || format!("the refunds {back:?} do not match {payment:?}"));
        }
        let lone = model.refunds.values().find(|r| !model.payments.contains_key(&r.payment));
        if let Some(refund) = lone {
            self.record_finding("I5", || format!("the refund {refund:?} has no payment"));
        }
    }

    /// Checks that a refund's cause and amount never change, and that a settled refund stays
    /// settled. Returns the new refunds.
    pub(super) fn new_refunds(&mut self, model: &Model, tx: &Tx) -> Vec<RefundId> {
        // One message may say that the money arrived, and another that it came back. The server
        // does not know which is newer. So the server may query the provider about a settled
        // refund. Until the provider answers, the refund is pending.
        let may_ask = matches!(
            tx,
            Tx::AnswerRefund(_, RefundUpdate::CameBack(_), _)
                | Tx::SettleRefund(_, _, RefundUpdate::CameBack(_), _)
        );
        let mut new = Vec::new();
        for refund in model.refunds.values() {
            match self.sent.get(&refund.id) {
                Some(was) if was == refund => continue,
                Some(was) => {
                    let same = (was.at, was.cause, &was.money, &was.payment)
                        == (refund.at, refund.cause, &refund.money, &refund.payment);
                    let stays = was.state != RefundState::Settled
                        || (refund.state == RefundState::Failed && came_back(refund))
                        || (refund.state == RefundState::Pending && refund.accepted && may_ask);
                    if !same || !stays {
                        let was = was.clone();
                        self.record_finding("I5", || {
                            format!("refund {was:?} must not become {refund:?}")
                        });
                    }
                }
                None => new.push(refund.id.clone()),
            }
            self.sent.insert(refund.id.clone(), refund.clone());
        }
        new
    }

    /// Checks a refund that the provider sends. The store must have marked the payment as refunded.
    /// `back` must have the full amount. Earlier refunds of this payment must have failed, so that
    /// their money came back.
    pub(crate) fn refund_sent(
        &mut self,
        store: &SimStore,
        provider: &Provider,
        back: &ProviderRefund,
    ) {
        let twice = provider.backs.iter().any(|b| b.payment == back.payment && !b.came_back);
        self.check(!twice, "I5", || {
            format!("the provider sent a second refund of the same payment: {back:?}")
        });
        let state = store.model.payments.get(&back.payment).map(|p| p.state);
        let is_due = state == Some(PaymentState::Refunded);
        self.check(is_due || self.excused_refunds.contains(&back.payment), "I5", || {
            format!("the provider sent the refund {back:?} for a payment in the state {state:?}")
        });
        let charge = provider.charges.iter().find(|c| c.payment == back.payment);
        let right = charge.is_some_and(|c| c.captured && c.money == back.money);
        self.check(right, "I5", || {
            format!("the refund {back:?} does not match the payment {charge:?}")
        });
        self.count_case("sent back");
    }

    pub(crate) fn money_at_rest(&mut self, store: &SimStore, provider: &Provider) {
        let model = &store.model;
        let counts = |payment: &PaymentId| {
            let is_lost = self.excused_payments.contains(payment) && !is_applied(model, payment);
            !is_lost && !self.excused_refunds.contains(payment)
        };
        let counted: BTreeSet<&PaymentId> =
            provider.charges.iter().map(|c| &c.payment).filter(|payment| counts(payment)).collect();
        let charges = provider.charges.iter();
        let captured = charges.filter(|c| c.captured && counted.contains(&c.payment));
        for charge in captured.clone() {
            let row = model.payments.get(&charge.payment);
            let same = row.is_some_and(|p| p.money == charge.money && p.order == charge.order);
            self.check(same, "I5", || {
                format!("the provider captured {charge:?}, but the store has the payment {row:?}")
            });
            let back =
                provider.backs.iter().filter(|b| b.payment == charge.payment && b.arrived).count();
            let order = model.orders.values().find(|o| o.id.to_string() == charge.order);
            let pays = row.is_some_and(|p| p.state == PaymentState::Captured)
                && order.is_some_and(|o| o.state == OrderState::Paid);
            self.check(back + usize::from(pays) == 1, "I5", || {
                format!(
                    "the payment {charge:?} was sent back {back} times; does it pay for an order: \
                     {pays}"
                )
            });
        }
        let unsettled = model.refunds.values().find(|r| r.state != RefundState::Settled);
        if let Some(refund) = unsettled {
            self.record_finding("refund", || {
                format!("at the end of the run, the refund {refund:?} is not settled")
            });
        }
        let taken: i64 = captured.map(|c| c.money.minor).sum();
        let sent = provider.backs.iter().filter(|b| !b.came_back && counted.contains(&b.payment));
        let sent: i64 = sent.map(|b| b.money.minor).sum();
        let paying = model.payments.values();
        let paying =
            paying.filter(|p| p.state == PaymentState::Captured && counted.contains(&p.id));
        let paid = paying.filter_map(|p| model.orders.get(&TicketId::parse(&p.order)?));
        let price = |item: ItemId| model.prices.get(&item).map_or(0, |p| p.minor);
        let earned: i64 = paid.map(|o| price(o.item) * i64::from(o.units.get())).sum();
        self.check(taken - sent == earned, "I5", || {
            format!(
                "the provider captured {taken} and sent back {sent}, but the paid orders cost \
                 {earned}"
            )
        });
    }
}
