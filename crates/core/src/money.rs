//! Payments: a captured payment pays for its order. If the payment cannot pay for the order, the
//! payment is refunded once.
//!
//! - A provider reports a payment in a webhook, or in the answer to a query. Each report takes
//!   effect once, because one transaction applies the effect and stores the report's id in the
//!   inbox.
//! - Each payment takes effect once, because the payment's id is stored too.
//! - The server compares the captured amount with the order's price. It never takes the price from
//!   a report.
mod checkout;
mod refund;
mod reversal;
mod rows;

use crate::event::{self, Attribution, EventType, Subject};
use crate::event_log;
use crate::id::{TicketId, TicketParts};
use crate::ledger::Ledger;
use crate::limits::DECIDE_WITHIN_MS;
use crate::order::{self, PayOutcome};
use crate::rows::{Grant, Order, OrderState};
use crate::rules::{Rule, enforces};
use crate::value::{Millis, Stock};

pub(crate) use checkout::reset_unanswered_check;
pub use checkout::{
    Checkout, CheckoutOutcome, close_checkout, keep_checkout, record_unanswered_check,
};
pub(crate) use refund::refund;
pub use refund::{
    RefundMessageOutcome, RefundUpdate, apply_refund_answer, apply_refund_message,
    apply_refund_update, retry_refund,
};
pub use reversal::{Reversal, ReversalKey, ReversalOutcome, ReversalReport, record_reversal};
pub use rows::{
    Capture, Money, Payment, PaymentId, PaymentState, Refund, RefundCause, RefundId, RefundState,
    ReversalKind,
};

/// The result of a captured payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureOutcome {
    /// The server has already processed this report, or another report about the same payment.
    Repeated,
    /// The payment pays for the order.
    Paid(Order),
    /// The payment is refunded.
    Refund(Refund),
    /// Nothing was written, because the order's ticket has no verdict yet. The provider must report
    /// the payment again.
    TooEarly,
    /// Nothing was written. The order had ended. To make the order active again, the pool has too
    /// few units, but slots may have these units. The caller must recall the units, and then call
    /// `capture` again. In the last attempt, the caller must set `last`.
    UnitsMissing {
        /// The order.
        order: Order,
        /// Units that the pool lacks.
        units: u64,
    },
}

/// Handles a captured payment: the payment either pays for its order or is refunded. `last` means
/// that the caller can recall no more units: if the pool lacks units, the payment is then refunded,
/// and the result is not [`CaptureOutcome::UnitsMissing`].
pub fn capture<L: Ledger + ?Sized>(
    ledger: &mut L,
    message: &Capture,
    now: Millis,
    last: bool,
) -> Result<CaptureOutcome, L::Error> {
    // Every transaction that changes an order locks the order's rows first.
    let id = TicketId::parse(&message.order);
    let order = match id {
        Some(id) => order::lock_order(ledger, &id)?,
        None => None,
    };
    let is_early = match id {
        Some(id) if order.is_none() => is_undecided(ledger, &id, now)?,
        _ => false,
    };
    if ledger.inbox(&message.provider, &message.event)? && enforces(Rule::InboxOnce) {
        return Ok(CaptureOutcome::Repeated);
    }
    let known = ledger.payment(&message.payment)?;
    let is_final =
        |p: Payment| p.state != PaymentState::Failed || !enforces(Rule::FailedMaySucceed);
    if known.is_some_and(is_final) && enforces(Rule::PaymentOnce) {
        ledger.insert_inbox(&message.provider, &message.event, now)?;
        return Ok(CaptureOutcome::Repeated);
    }
    if is_early {
        return Ok(CaptureOutcome::TooEarly);
    }
    let by = Attribution::from_actor(event::Actor::Provider(message.provider.clone()));
    let decided = match order {
        None => Err(RefundCause::UnknownOrder),
        Some(order)
            if order_price(ledger, &order)?.as_ref() != Some(&message.money)
                && enforces(Rule::AmountMatches) =>
        {
            Err(RefundCause::Mismatch)
        }
        Some(order) => {
            if !last
                && enforces(Rule::LatePayRecalls)
                && let Some(units) = missing_units(ledger, &order)?
            {
                return Ok(CaptureOutcome::UnitsMissing { order, units });
            }
            match order::pay(ledger, &order.id, &by, now)? {
                PayOutcome::Done(order) => Ok(order),
                PayOutcome::Already(_) => Err(RefundCause::Second),
                PayOutcome::Refund(_) => Err(RefundCause::Late),
                PayOutcome::NotFound => Err(RefundCause::UnknownOrder),
            }
        }
    };
    ledger.insert_inbox(&message.provider, &message.event, now)?;
    let state = if decided.is_ok() { PaymentState::Captured } else { PaymentState::Refunded };
    let payment = payment(message, state, now);
    ledger.put_payment(&payment)?;
    match decided {
        Ok(order) => Ok(CaptureOutcome::Paid(order)),
        Err(cause) => {
            let subject = Subject::Payment {
                payment: payment.id.clone(),
                order: payment.order.clone(),
                money: payment.money.clone(),
                cause,
            };
            event_log::append(ledger, EventType::PaymentRefunded, subject, &by, now)?;
            Ok(CaptureOutcome::Refund(refund(ledger, &payment, cause, now)?))
        }
    }
}

fn payment(message: &Capture, state: PaymentState, at: Millis) -> Payment {
    Payment {
        id: message.payment.clone(),
        provider: message.provider.clone(),
        order: message.order.clone(),
        money: message.money.clone(),
        state,
        at,
    }
}

/// Returns whether this id can belong to a ticket without a verdict. The caller has found no order
/// with this id. The MAC of the id is not verified, because it cannot be verified without the
/// buyer.
fn is_undecided<L: Ledger + ?Sized>(
    ledger: &mut L,
    id: &TicketId,
    now: Millis,
) -> Result<bool, L::Error> {
    let Some(TicketParts { grant, n, decide_by, .. }) = id.parts() else { return Ok(false) };
    // The read of the grant waits for a transaction that is settling this ticket. If the order now
    // exists, the ticket became an order after the caller's read. The id then counts as undecided,
    // so that the provider reports the payment again.
    let row = ledger.grant(grant)?;
    if ledger.order(id)?.is_some() {
        return Ok(true);
    }
    let may_settle = |row: Grant| row.open && !row.slot.is_waitlist();
    if now > decide_by
        || decide_by > now.plus(DECIDE_WITHIN_MS)
        || row.is_none_or(|row| !may_settle(row))
    {
        return Ok(false);
    }
    // Each ticket of a grant has its own number, so a ticket with a verdict has this number.
    Ok(ledger.ticket_of(grant, n)?.is_none())
}

/// Returns the price of an order.
pub fn order_price<L: Ledger + ?Sized>(
    ledger: &mut L,
    order: &Order,
) -> Result<Option<Money>, L::Error> {
    let Some(each) = ledger.price(order.item)? else { return Ok(None) };
    let minor = each.minor.checked_mul(i64::from(order.units.get()));
    Ok(minor.map(|minor| Money { minor, currency: each.currency }))
}

/// Returns how many more units the pool needs to make an ended order active again. Returns `None`
/// if the pool needs no more units, if the slots have too few units, or if the buyer's limit does
/// not allow the order.
fn missing_units<L: Ledger + ?Sized>(
    ledger: &mut L,
    order: &Order,
) -> Result<Option<u64>, L::Error> {
    if !matches!(order.state, OrderState::Cancelled | OrderState::Expired) {
        return Ok(None);
    }
    let Some(item) = ledger.item(order.item)? else { return Ok(None) };
    let holds = ledger.quota(order.item, &order.buyer)?.saturating_add(order.units.get());
    if holds > item.limit && enforces(Rule::RecallWithinLimit) {
        return Ok(None);
    }
    let units = order.units.to_u64();
    let in_slots: u64 = ledger.open_grants(order.item)?.iter().map(Grant::unsettled).sum();
    let is_short = matches!(item.total, Stock::Counted(_))
        && item.pool < units
        && item.pool + in_slots >= units;
    Ok(is_short.then(|| units - item.pool))
}

/// Records that an attempt to pay failed. Returns false if the provider's report was processed
/// before.
pub fn record_failure<L: Ledger + ?Sized>(
    ledger: &mut L,
    message: &Capture,
    now: Millis,
) -> Result<bool, L::Error> {
    if ledger.inbox(&message.provider, &message.event)? {
        return Ok(false);
    }
    ledger.insert_inbox(&message.provider, &message.event, now)?;
    if ledger.payment(&message.payment)?.is_none() || !enforces(Rule::CaptureStays) {
        ledger.put_payment(&payment(message, PaymentState::Failed, now))?;
    }
    Ok(true)
}
