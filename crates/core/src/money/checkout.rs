//! Checkouts: an order has at most one open checkout. A checkout closes only after its provider
//! accepts no more money for it.
use crate::id::TicketId;
use crate::ledger::Ledger;
use crate::limits::{PROVIDER_CHECK_WITHIN_MS, PROVIDER_GRACE_MS};
use crate::order;
use crate::rows::{Order, OrderState};
use crate::rules::{Rule, enforces};
use crate::value::Millis;

/// A page at a payment provider where a buyer pays for one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// The order.
    pub order: TicketId,
    /// The provider.
    pub provider: String,
    /// The provider's id of the checkout.
    pub session: String,
    /// The URL for the buyer's browser.
    pub url: String,
    /// The time from which the provider accepts no money at this checkout, as the server requested.
    pub expires_at: Millis,
    /// Whether the provider may still accept money at this checkout. It becomes false only after
    /// the provider confirms that the checkout is closed and unpaid.
    pub open: bool,
    /// When the checkout was created.
    pub at: Millis,
    /// When the server sent the first query that got no definite answer. Only queries after the
    /// order's `pay_by` count.
    pub asked_at: Option<Millis>,
}

impl Checkout {
    /// Returns how long an order with this checkout waits for the provider after its `pay_by`, in
    /// milliseconds. The wait ends [`PROVIDER_GRACE_MS`] after the first failed query. It ends at
    /// the latest [`PROVIDER_CHECK_WITHIN_MS`] after `pay_by`, even if no query was possible.
    #[must_use]
    pub fn provider_wait_ms(&self, pay_by: Millis) -> i64 {
        if !self.open {
            return 0;
        }
        match self.unanswered_since(pay_by) {
            Some(_) if !enforces(Rule::GraceEnds) => i64::MAX,
            Some(at) => {
                let until = at.plus(PROVIDER_GRACE_MS).min(pay_by.plus(PROVIDER_CHECK_WITHIN_MS));
                until.0.saturating_sub(pay_by.0)
            }
            None if !enforces(Rule::AskedWithin) => i64::MAX,
            None if !enforces(Rule::GraceAfterQuestion) => PROVIDER_GRACE_MS,
            None => PROVIDER_CHECK_WITHIN_MS,
        }
    }

    /// Returns when the server sent the first failed query after `pay_by`. The previous version of
    /// the program does not clear this time when an operator extends the payment window, so a time
    /// before `pay_by` is ignored.
    fn unanswered_since(&self, pay_by: Millis) -> Option<Millis> {
        self.asked_at.filter(|at| *at >= pay_by || !enforces(Rule::GraceAnew))
    }
}

/// The result of [`keep_checkout`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckoutOutcome {
    /// The order keeps this checkout: the new one, or one from an earlier request.
    Kept(Checkout),
    /// The order does not wait for a payment: the caller must close the new checkout at the
    /// provider.
    WrongState(Order),
    /// No such order exists.
    NotFound,
}

/// Stores a new checkout for its order, which must be reserved. If the order has an open checkout,
/// that checkout stays, and the new one is not stored. A new checkout replaces a closed one.
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

/// Records that the provider took no money for this session and accepts none from now on. Returns
/// false if the order's checkout has another session.
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

/// Records that a query to the provider about this session failed. The first failed query starts
/// the grace period of the overdue order. Returns false if the order's checkout has another session
/// or is closed.
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

/// Clears earlier failed queries to the provider, because the order's payment window was extended.
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
