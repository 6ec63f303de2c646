//! Checkouts: an order has at most one open checkout. A checkout is recorded as closed only after
//! its provider has confirmed that the checkout accepts no more money.
pub use super::rows::Checkout;
use crate::id::TicketId;
use crate::ledger::Ledger;
use crate::order;
use crate::rows::{Order, OrderState};
use crate::rules::{Rule, enforces};
use crate::value::Millis;

/// The result of [`keep_checkout`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckoutOutcome {
    /// The order keeps this checkout: either the new checkout, or the open checkout of an earlier
    /// request.
    Kept(Checkout),
    /// The order does not wait for a payment. The caller must close the new checkout at the
    /// provider.
    WrongState(Order),
    /// No such order exists.
    NotFound,
}

/// Stores a new checkout for its order, which must be in the state `reserved`. If the order already
/// has an open checkout, that checkout stays, and the new checkout is not stored.
pub fn keep_checkout<L: Ledger + ?Sized>(
    ledger: &mut L,
    new: &Checkout,
) -> Result<CheckoutOutcome, L::Error> {
    let Some(order) = order::lock_order(ledger, &new.order)? else {
        return Ok(CheckoutOutcome::NotFound);
    };
    if order.state != OrderState::Reserved && enforces(Rule::CheckoutWhileReserved) {
        return Ok(CheckoutOutcome::WrongState(order));
    }
    if let Some(kept) = ledger.checkout(&new.order)?
        && kept.open
        && enforces(Rule::CheckoutOnce)
    {
        return Ok(CheckoutOutcome::Kept(kept));
    }
    ledger.put_checkout(new)?;
    Ok(CheckoutOutcome::Kept(new.clone()))
}

/// Records that the provider took no money for this session and will take none. Returns false if
/// the order has no checkout with this session.
pub fn close_checkout<L: Ledger + ?Sized>(
    ledger: &mut L,
    order: &TicketId,
    session: &str,
) -> Result<bool, L::Error> {
    if order::lock_order(ledger, order)?.is_none() {
        return Ok(false);
    }
    let same = |c: &Checkout| c.session == session || !enforces(Rule::CloseNamesSession);
    let Some(mut kept) = ledger.checkout(order)?.filter(same) else { return Ok(false) };
    if kept.open {
        kept.open = false;
        ledger.put_checkout(&kept)?;
    }
    Ok(true)
}

/// Records that a query to the provider about this session failed. If the order is overdue, the
/// first failed query starts the order's grace period. Returns false if the order has no open
/// checkout with this session.
pub fn record_unanswered_check<L: Ledger + ?Sized>(
    ledger: &mut L,
    order: &TicketId,
    session: &str,
    now: Millis,
) -> Result<bool, L::Error> {
    let Some(order) = order::lock_order(ledger, order)? else { return Ok(false) };
    let same = |c: &Checkout| c.open && c.session == session;
    let Some(mut kept) = ledger.checkout(&order.id)?.filter(same) else { return Ok(false) };
    let is_due = order.state == OrderState::Reserved && order.pay_by <= now;
    if is_due && kept.unanswered_since(order.pay_by).is_none() {
        kept.asked_at = Some(now);
        ledger.put_checkout(&kept)?;
    }
    Ok(true)
}

/// Deletes the record of a failed query to the provider, because the order's payment window was
/// extended. The first failed query after the new `pay_by` then starts the grace period.
pub(crate) fn reset_unanswered_check<L: Ledger + ?Sized>(
    ledger: &mut L,
    order: &TicketId,
) -> Result<(), L::Error> {
    if let Some(mut kept) = ledger.checkout(order)?
        && kept.asked_at.is_some()
        && enforces(Rule::GraceAnew)
    {
        kept.asked_at = None;
        ledger.put_checkout(&kept)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
