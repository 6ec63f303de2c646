//! Where orders are paid for at a provider: one open checkout for each, which is closed only once its provider takes no money there any more.
use crate::id::TicketId;
use crate::ledger::Ledger;
use crate::order;
use crate::rows::{Order, OrderState};
use crate::rules::{Rule, keeps};
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
    /// Whether the provider may still take money there: it is closed only once the provider said that it does not, and has not.
    pub open: bool,
    /// When it was made.
    pub at: Millis,
}

/// What an attempt to keep a checkout came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckoutKept {
    /// The order's checkout: this one, or the one that was kept before.
    Kept(Checkout),
    /// The order does not wait for a payment (any more): the new checkout is to be closed at the provider.
    WrongState(Order),
    /// No such order.
    NotFound,
}

/// Keeps a checkout with its order, which must wait for its payment. An order keeps one open checkout; a closed one is replaced.
pub fn keep_checkout<L: Ledger>(ledger: &mut L, new: &Checkout) -> Result<CheckoutKept, L::Error> {
    let Some(order) = order::locked(ledger, &new.order)? else { return Ok(CheckoutKept::NotFound) };
    if order.state != OrderState::Reserved && keeps(Rule::CheckoutWhileReserved) {
        return Ok(CheckoutKept::WrongState(order));
    }
    if let Some(kept) = ledger.checkout(&new.order)?
        && kept.open
        && keeps(Rule::CheckoutOnce)
    {
        return Ok(CheckoutKept::Kept(kept));
    }
    ledger.put_checkout(new)?;
    Ok(CheckoutKept::Kept(new.clone()))
}

/// Notes that a provider takes no money at this session any more, and took none. False if the order keeps another one.
pub fn close_checkout<L: Ledger>(ledger: &mut L, order: &TicketId, session: &str) -> Result<bool, L::Error> {
    if order::locked(ledger, order)?.is_none() {
        return Ok(false);
    }
    let same = |c: &Checkout| c.session == session || !keeps(Rule::CloseNamesSession);
    let Some(mut kept) = ledger.checkout(order)?.filter(same) else { return Ok(false) };
    if kept.open {
        kept.open = false;
        ledger.put_checkout(&kept)?;
    }
    Ok(true)
}
