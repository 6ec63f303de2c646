//! Where orders are paid for at a provider: one open checkout for each, which is closed only once
//! its provider takes no money there any more.
use crate::id::TicketId;
use crate::ledger::Ledger;
use crate::limits::{PROVIDER_CHECK_WITHIN_MS, PROVIDER_GRACE_MS};
use crate::order;
use crate::rows::{Order, OrderState};
use crate::rules::{Rule, enforces};
use crate::value::Millis;

/// Where a buyer pays for an order at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// For which order.
    pub order: TicketId,
    /// At which provider.
    pub provider: String,
    /// The provider's id of it.
    pub session: String,
    /// Where the buyer's browser goes.
    pub url: String,
    /// Until when the provider takes money there, as far as we asked for.
    pub expires_at: Millis,
    /// Whether the provider may still take money there: it is closed only once the provider said
    /// that it does not, and has not.
    pub open: bool,
    /// When it was made.
    pub at: Millis,
    /// When its provider was first asked in vain since its order is due: it could not be asked, or
    /// did not decide.
    pub asked_at: Option<Millis>,
}

impl Checkout {
    /// How long after its `pay_by` an order with this checkout waits for the provider's word, in
    /// milliseconds: for [`PROVIDER_GRACE_MS`] after the first question in vain, and for
    /// [`PROVIDER_CHECK_WITHIN_MS`] in all, also where nobody could ask yet.
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

    /// When its provider was first asked in vain since then. A program of the version before does
    /// not forget what was asked when it gives an order more time.
    fn unanswered_since(&self, pay_by: Millis) -> Option<Millis> {
        self.asked_at.filter(|at| *at >= pay_by || !enforces(Rule::GraceAnew))
    }
}

/// What an attempt to keep a checkout came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckoutOutcome {
    /// The order's checkout: this one, or the one that was kept before.
    Kept(Checkout),
    /// The order does not wait for a payment (any more): the new checkout is to be closed at the
    /// provider.
    WrongState(Order),
    /// No such order.
    NotFound,
}

/// Keeps a checkout with its order, which must wait for its payment. An order keeps one open
/// checkout; a closed one is replaced.
pub fn keep_checkout<L: Ledger>(
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

/// Notes that a provider takes no money at this session any more, and took none. False if the order
/// keeps another one.
pub fn close_checkout<L: Ledger>(
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

/// Notes that a provider was asked about this session in vain: the order that is due waits for its
/// word for a while longer, and that while begins with the first question. False if the order keeps
/// another session, or a closed one.
pub fn record_unanswered_check<L: Ledger>(
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

/// An order got more time: what its provider was asked before does not count any more.
pub(crate) fn reset_unanswered_check<L: Ledger>(
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
