//! Money: what a provider says it captured becomes a paid order or one refund, never both, never neither.
//!
//! Each message of a provider is taken once (the inbox: its id, in the transaction of its effect), each payment once (its own id), and each
//! payment is refunded at most once (a refund's id is made of its payment's). Amounts are whole minor units; what was captured is
//! compared with what the order costs, and nothing is ever computed from what a message says.
mod checkout;
mod refund;
mod rows;

use crate::event::{self, By, EventType, Subject};
use crate::id::TicketId;
use crate::ledger::Ledger;
use crate::order::{self, Paid};
use crate::rows::{Order, OrderState};
use crate::rules::{Rule, keeps};
use crate::value::{Millis, Stock};

pub(crate) use checkout::ask_anew;
pub use checkout::{Checkout, CheckoutKept, asked_in_vain, close_checkout, keep_checkout};
pub(crate) use refund::refund;
pub use refund::{RefundNews, RefundTold, answer_refund, note_refund, retry_refund, settle_refund};
pub use rows::{
    Capture, Money, Payment, PaymentId, PaymentState, Refund, RefundCause, RefundId, RefundState,
    ReversalKind,
};

/// What a captured payment came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Captured {
    /// This message, or this payment, was taken before.
    Repeated,
    /// The order is paid by it.
    Paid(Order),
    /// The money goes back.
    Refund(Refund),
    /// Nothing was written: the order had ended, and the pool lacks this many of its units, which may be in slots. Recall them and try again, the last time with `last`.
    Lacks {
        /// The order.
        order: Order,
        /// Units that the pool lacks.
        units: u64,
    },
}

/// Takes a captured payment: its order is paid by it, or it is refunded.
pub fn capture<L: Ledger>(
    ledger: &mut L,
    told: &Capture,
    now: Millis,
    last: bool,
) -> Result<Captured, L::Error> {
    // The order's locks come first, as everywhere.
    let id = TicketId::parse(&told.order);
    let order = match id {
        Some(id) => order::locked(ledger, &id)?,
        None => None,
    };
    if ledger.inbox(&told.provider, &told.event)? && keeps(Rule::InboxOnce) {
        return Ok(Captured::Repeated);
    }
    let known = ledger.payment(&told.payment)?;
    let is_final = |p: Payment| p.state != PaymentState::Failed || !keeps(Rule::FailedMaySucceed);
    if known.is_some_and(is_final) && keeps(Rule::PaymentOnce) {
        ledger.insert_inbox(&told.provider, &told.event, now)?;
        return Ok(Captured::Repeated);
    }
    let by = By::actor(event::Actor::Provider(told.provider.clone()));
    let decided = match order {
        None => Err(RefundCause::UnknownOrder),
        Some(order)
            if price(ledger, &order)?.as_ref() != Some(&told.money)
                && keeps(Rule::AmountMatches) =>
        {
            Err(RefundCause::Mismatch)
        }
        Some(order) => {
            if !last
                && keeps(Rule::LatePayRecalls)
                && let Some(units) = lacks(ledger, &order)?
            {
                return Ok(Captured::Lacks { order, units });
            }
            match order::pay(ledger, &order.id, &by, now)? {
                Paid::Done(order) => Ok(order),
                Paid::Already(_) => Err(RefundCause::Second),
                Paid::Refund(_) => Err(RefundCause::Late),
                Paid::NotFound => Err(RefundCause::UnknownOrder),
            }
        }
    };
    ledger.insert_inbox(&told.provider, &told.event, now)?;
    let state = if decided.is_ok() { PaymentState::Captured } else { PaymentState::Refunded };
    let payment = Payment {
        id: told.payment.clone(),
        provider: told.provider.clone(),
        order: told.order.clone(),
        money: told.money.clone(),
        state,
        at: now,
    };
    ledger.put_payment(&payment)?;
    match decided {
        Ok(order) => Ok(Captured::Paid(order)),
        Err(cause) => {
            let subject = Subject::Payment {
                payment: payment.id.clone(),
                order: payment.order.clone(),
                money: payment.money.clone(),
                cause,
            };
            event::append(ledger, EventType::PaymentRefunded, subject, &by, now)?;
            Ok(Captured::Refund(refund(ledger, &payment, cause, now)?))
        }
    }
}

/// What an order costs.
pub fn price<L: Ledger>(ledger: &mut L, order: &Order) -> Result<Option<Money>, L::Error> {
    let Some(each) = ledger.price(order.item)? else { return Ok(None) };
    let minor = each.minor.checked_mul(i64::from(order.units.get()));
    Ok(minor.map(|minor| Money { minor, currency: each.currency }))
}

/// How many units the pool lacks for an order that ended, if they may be in slots and the buyer's limit allows it.
fn lacks<L: Ledger>(ledger: &mut L, order: &Order) -> Result<Option<u64>, L::Error> {
    if !matches!(order.state, OrderState::Cancelled | OrderState::Expired) {
        return Ok(None);
    }
    let Some(item) = ledger.item(order.item)? else { return Ok(None) };
    let holds = ledger.quota(order.item, &order.buyer)?.saturating_add(order.units.get());
    if holds > item.limit && keeps(Rule::RecallWithinLimit) {
        return Ok(None);
    }
    let units = order.units.wide();
    let in_slots: u64 =
        ledger.open_grants(order.item)?.iter().map(crate::rows::Grant::unsettled).sum();
    let is_short = matches!(item.total, Stock::Counted(_))
        && item.pool < units
        && item.pool + in_slots >= units;
    Ok(is_short.then(|| units - item.pool))
}

/// Takes a provider's message that a payment did not succeed. False if the message was taken before. The order is as it was.
pub fn fail<L: Ledger>(ledger: &mut L, told: &Capture, now: Millis) -> Result<bool, L::Error> {
    if ledger.inbox(&told.provider, &told.event)? {
        return Ok(false);
    }
    ledger.insert_inbox(&told.provider, &told.event, now)?;
    if ledger.payment(&told.payment)?.is_none() || !keeps(Rule::CaptureStays) {
        ledger.put_payment(&Payment {
            id: told.payment.clone(),
            provider: told.provider.clone(),
            order: told.order.clone(),
            money: told.money.clone(),
            state: PaymentState::Failed,
            at: now,
        })?;
    }
    Ok(true)
}
