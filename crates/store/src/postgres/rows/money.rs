//! Converts rows of payments, refunds and checkouts to the values of the rules.
use tokio_postgres::Row;

use doorbuster_core::Millis;
use doorbuster_core::money::{
    Checkout, Money, Payment, PaymentId, PaymentState, Refund, RefundCause, RefundId, RefundState,
};

use super::{RowResult, parse_text, small, ticket, time};

macro_rules! payment_columns {
    () => {
        "p.id, p.provider, p.order_id, p.amount_minor, p.currency, p.state, p.at"
    };
}
macro_rules! refund_columns {
    () => {
        "r.id, r.payment_id, r.provider, r.order_id, r.amount_minor, r.currency, r.cause, r.state, r.accepted, r.tries, r.next_at, \
         r.error, r.at, r.settled_at"
    };
}
macro_rules! checkout_columns {
    () => {
        "c.order_id, c.provider, c.session, c.url, c.expires_at, c.open, c.at, c.asked_at"
    };
}
pub(in crate::postgres) use {checkout_columns, payment_columns, refund_columns};

fn amount(row: &Row, at: usize) -> RowResult<Money> {
    Ok(Money { minor: row.try_get(at)?, currency: row.try_get(at + 1)? })
}

pub(in crate::postgres) fn payment(row: &Row) -> RowResult<Payment> {
    Ok(Payment {
        id: PaymentId(row.try_get(0)?),
        provider: row.try_get(1)?,
        order: row.try_get(2)?,
        money: amount(row, 3)?,
        state: parse_text(row, 5, "payment's state", PaymentState::parse)?,
        at: Millis(row.try_get(6)?),
    })
}

pub(in crate::postgres) fn refund(row: &Row) -> RowResult<Refund> {
    Ok(Refund {
        id: RefundId(row.try_get(0)?),
        payment: PaymentId(row.try_get(1)?),
        provider: row.try_get(2)?,
        order: row.try_get(3)?,
        money: amount(row, 4)?,
        cause: parse_text(row, 6, "cause of a refund", RefundCause::parse)?,
        state: parse_text(row, 7, "refund's state", RefundState::parse)?,
        accepted: row.try_get(8)?,
        tries: small(row, 9, "number of tries")?,
        next_at: Millis(row.try_get(10)?),
        error: row.try_get(11)?,
        at: Millis(row.try_get(12)?),
        settled_at: time(row, 13)?,
    })
}

pub(in crate::postgres) fn checkout(row: &Row) -> RowResult<Checkout> {
    checkout_at(row, 0)
}

/// Returns a checkout whose columns begin at `from`.
pub(in crate::postgres) fn checkout_at(row: &Row, from: usize) -> RowResult<Checkout> {
    Ok(Checkout {
        order: ticket(row, from)?,
        provider: row.try_get(from + 1)?,
        session: row.try_get(from + 2)?,
        url: row.try_get(from + 3)?,
        expires_at: Millis(row.try_get(from + 4)?),
        open: row.try_get(from + 5)?,
        at: Millis(row.try_get(from + 6)?),
        asked_at: time(row, from + 7)?,
    })
}
