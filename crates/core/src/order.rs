//! The end, payment and extension of an order. Every change checks the order's state first, and
//! writes the new state in the same transaction.
use crate::event::{Attribution, EventType, Subject};
use crate::event_log;
use crate::id::TicketId;
use crate::ledger::Ledger;
use crate::limits::EXTEND_MS_MAX;
use crate::money::{self, PaymentState, RefundCause};
use crate::rows::{FeedCause, FeedRow, Item, Order, OrderState};
use crate::rules::{Rule, enforces};
use crate::stock;
use crate::value::{Millis, Stock};

/// The result of changing an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// This transaction changed the order.
    Done(Order),
    /// The order was already in the requested state.
    Already(Order),
    /// The order's state does not allow the change.
    WrongState(Order),
    /// No such order exists.
    NotFound,
}

/// The reason for the end of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The order is cancelled. Only a reserved order can be cancelled.
    Cancel,
    /// The order expires without a payment. Only a reserved order can expire, and only after its
    /// `pay_by`. An open checkout delays the expiry by [`money::Checkout::provider_wait_ms`].
    Expire,
    /// The order is refunded. Only a paid order can be refunded. Each of its captured payments gets
    /// a refund.
    Refund,
}

impl EndReason {
    fn state_before(self) -> OrderState {
        match self {
            Self::Cancel | Self::Expire => OrderState::Reserved,
            Self::Refund => OrderState::Paid,
        }
    }

    fn state_after(self) -> OrderState {
        match self {
            Self::Cancel => OrderState::Cancelled,
            Self::Expire => OrderState::Expired,
            Self::Refund => OrderState::Refunded,
        }
    }
}

/// Locks an order's grant, and then the order, until the transaction ends.
pub(crate) fn lock_order<L: Ledger + ?Sized>(
    ledger: &mut L,
    id: &TicketId,
) -> Result<Option<Order>, L::Error> {
    let Some(seen) = ledger.order(id)? else { return Ok(None) };
    // The grant must be locked before the order. So the first read serves only to find the grant.
    // After the grant is locked, a second read gets the order itself.
    ledger.grant(seen.grant)?;
    ledger.order(id)
}

/// Ends an order: its units go back to the pool, and the buyer's quota falls by these units. If the
/// grant of the order's ticket is still open, a feed row also lowers the slot's count of the quota.
pub fn end<L: Ledger + ?Sized>(
    ledger: &mut L,
    id: &TicketId,
    how: EndReason,
    by: &Attribution,
    now: Millis,
) -> Result<ChangeOutcome, L::Error> {
    let Some(mut order) = lock_order(ledger, id)? else { return Ok(ChangeOutcome::NotFound) };
    if order.state == how.state_after() && enforces(Rule::EndOnce) {
        return Ok(ChangeOutcome::Already(order));
    }
    let early = how == EndReason::Expire && now < order.pay_by && enforces(Rule::ExpireWhenDue);
    if (order.state != how.state_before() && enforces(Rule::EndOnce)) || early {
        return Ok(ChangeOutcome::WrongState(order));
    }
    if how == EndReason::Expire && may_be_paid(ledger, &order, now)? {
        return Ok(ChangeOutcome::WrongState(order));
    }
    order.state = how.state_after();
    order.ended_at = Some(now);
    ledger.put_order(&order)?;
    let units = order.units.to_u64();
    if enforces(Rule::QuotaBack) {
        let used = ledger.quota(order.item, &order.buyer)?;
        ledger.put_quota(order.item, &order.buyer, used.saturating_sub(order.units.get()))?;
    }
    if let Some(mut item) = ledger.item(order.item)? {
        item.ended += units;
        if how == EndReason::Refund {
            item.paid = item.paid.saturating_sub(units);
        }
        if item.total.is_counted() && enforces(Rule::UnitsBack) {
            item.pool += units;
        }
        ledger.put_item(&item)?;
    }
    if let Some(mut grant) = ledger.grant(order.grant)?
        && grant.open
        && enforces(Rule::QuotaBackToSlot)
    {
        feed_quota_change(ledger, &mut grant, &order, -(units as i64), FeedCause::OrderEnded)?;
    }
    if how == EndReason::Refund && enforces(Rule::RefundWithOrder) {
        for mut payment in ledger.payments_of(&order.id)? {
            let is_new = payment.state != PaymentState::Refunded || !enforces(Rule::RefundOnce);
            if payment.state != PaymentState::Failed && is_new {
                payment.state = PaymentState::Refunded;
                ledger.put_payment(&payment)?;
                money::refund(ledger, &payment, RefundCause::Operator, now)?;
            }
        }
    }
    event_log::append_order_event(ledger, &order, by, now)?;
    Ok(ChangeOutcome::Done(order))
}

/// Returns whether the order must not expire yet, because its payment provider may still report a
/// payment. The server waits for this report for at most `provider_wait_ms` after `pay_by`.
fn may_be_paid<L: Ledger + ?Sized>(
    ledger: &mut L,
    order: &Order,
    now: Millis,
) -> Result<bool, L::Error> {
    if !enforces(Rule::AskBeforeExpiry) {
        return Ok(false);
    }
    let waits = |checkout: money::Checkout| {
        now < order.pay_by.plus(checkout.provider_wait_ms(order.pay_by))
    };
    Ok(ledger.checkout(&order.id)?.is_some_and(waits))
}

/// Extends a reserved order's payment window until `pay_by`. The new `pay_by` must be in the
/// future, later than the old one, and at most [`EXTEND_MS_MAX`] from now. An order whose checkout
/// is still being closed can be reserved after its old `pay_by`.
pub fn extend<L: Ledger + ?Sized>(
    ledger: &mut L,
    id: &TicketId,
    pay_by: Millis,
    by: &Attribution,
    now: Millis,
) -> Result<ChangeOutcome, L::Error> {
    let Some(mut order) = lock_order(ledger, id)? else { return Ok(ChangeOutcome::NotFound) };
    if order.state == OrderState::Reserved && order.pay_by == pay_by {
        return Ok(ChangeOutcome::Already(order));
    }
    let later = (pay_by > order.pay_by.max(now) || !enforces(Rule::ExtendOnlyLater))
        && pay_by <= now.plus(EXTEND_MS_MAX);
    if order.state != OrderState::Reserved || !later {
        return Ok(ChangeOutcome::WrongState(order));
    }
    order.pay_by = pay_by;
    ledger.put_order(&order)?;
    money::reset_unanswered_check(ledger, id)?;
    event_log::append(ledger, EventType::OrderExtended, Subject::Order(order.clone()), by, now)?;
    Ok(ChangeOutcome::Done(order))
}

/// The result of a captured payment for an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayOutcome {
    /// The payment pays for the order.
    Done(Order),
    /// The order was already paid by another payment.
    Already(Order),
    /// The caller must refund the money. Either the order was refunded before, or the order had
    /// ended and cannot become paid. An ended order cannot become paid if the pool has too few
    /// units, or if the buyer's limit does not allow the order.
    Refund(Order),
    /// No such order exists, so the caller must refund the money.
    NotFound,
}

/// Marks an order as paid. An order that was cancelled or expired can also become paid, if the pool
/// has enough units and the buyer's limit allows the order.
pub fn pay<L: Ledger + ?Sized>(
    ledger: &mut L,
    id: &TicketId,
    by: &Attribution,
    now: Millis,
) -> Result<PayOutcome, L::Error> {
    let Some(mut order) = lock_order(ledger, id)? else { return Ok(PayOutcome::NotFound) };
    let Some(mut item) = ledger.item(order.item)? else { return Ok(PayOutcome::NotFound) };
    let units = order.units.to_u64();
    match order.state {
        OrderState::Paid => return Ok(PayOutcome::Already(order)),
        OrderState::Refunded => return Ok(PayOutcome::Refund(order)),
        OrderState::Reserved => {}
        OrderState::Cancelled | OrderState::Expired => {
            let used = ledger.quota(order.item, &order.buyer)?;
            let counted = item.total.is_counted();
            let holds = used.saturating_add(order.units.get());
            let allowed = holds <= item.limit || !enforces(Rule::LatePayHoldsLimit);
            let has = !counted || item.pool >= units || !enforces(Rule::LatePayTakesUnits);
            if !allowed || !has {
                return Ok(PayOutcome::Refund(order));
            }
            ledger.put_quota(order.item, &order.buyer, holds)?;
            item.ended = item.ended.saturating_sub(units);
            item.pool = item.pool.saturating_sub(if counted { units } else { 0 });
            if let Some(mut grant) = ledger.grant(order.grant)?
                && grant.open
            {
                feed_quota_change(
                    ledger,
                    &mut grant,
                    &order,
                    units as i64,
                    FeedCause::OrderRevived,
                )?;
            }
        }
    }
    item.paid += units;
    ledger.put_item(&item)?;
    order.state = OrderState::Paid;
    order.paid_at = Some(now);
    order.ended_at = None;
    ledger.put_order(&order)?;
    event_log::append_order_event(ledger, &order, by, now)?;
    append_if_sold_out(ledger, &item, now)?;
    Ok(PayOutcome::Done(order))
}

/// Appends the event "sold out" if all units of the item are paid. An item without any paid unit is
/// not sold out, even if an operator has lowered its total to zero.
pub(crate) fn append_if_sold_out<L: Ledger + ?Sized>(
    ledger: &mut L,
    item: &Item,
    now: Millis,
) -> Result<(), L::Error> {
    if item.paid > 0 && item.total == Stock::Counted(item.paid) {
        event_log::append(
            ledger,
            EventType::ItemSoldOut,
            Subject::Item(item.id),
            Attribution::ENGINE,
            now,
        )?;
    }
    Ok(())
}

fn feed_quota_change<L: Ledger + ?Sized>(
    ledger: &mut L,
    grant: &mut crate::rows::Grant,
    order: &Order,
    quota_delta: i64,
    cause: FeedCause,
) -> Result<(), L::Error> {
    let row =
        FeedRow { buyer: Some(order.buyer.clone()), quota_delta, ..stock::blank_feed_row(cause) };
    stock::append_feed_row(ledger, grant, row)?;
    ledger.put_grant(grant)
}
