//! Converts rows of payments, refunds and checkouts to the types of `doorbuster-core`.
use doorbuster_core::Millis;
use doorbuster_core::money::{
    Checkout, Money, Payment, PaymentId, PaymentState, Refund, RefundCause, RefundId, RefundState,
    Reversal, ReversalKey, ReversalKind,
};

use crate::failure::Done;
use crate::sql::Row;

use super::ticket;

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
/// The columns of a refund that somebody made by hand at the provider ([`reversal`]).
macro_rules! returned_columns {
    () => {
        "r.payment_id, r.kind, '', r.amount_minor, r.currency, r.stands, r.at, r.at"
    };
}
/// The columns of a dispute ([`reversal`]).
macro_rules! dispute_columns {
    () => {
        "d.payment_id, 'disputed', d.id, d.amount_minor, d.currency, d.stands, d.said_at, d.at"
    };
}
macro_rules! checkout_columns {
    () => {
        "c.order_id, c.provider, c.session, c.url, c.expires_at, c.open, c.at, c.asked_at"
    };
}
/// The SQL condition for irregular refunds ([`RefundCause::is_irregular`]).
macro_rules! notices {
    () => {
        "r.cause IN ('mismatch', 'second', 'unknown_order')"
    };
}
pub(crate) use {
    checkout_columns, dispute_columns, notices, payment_columns, refund_columns, returned_columns,
};

fn amount(row: Row<'_>, at: usize) -> Done<Money> {
    Ok(Money { minor: row.get(at)?, currency: row.get(at + 1)? })
}

pub(crate) fn payment(row: Row<'_>) -> Done<Payment> {
    Ok(Payment {
        id: PaymentId(row.get(0)?),
        provider: row.get(1)?,
        order: row.get(2)?,
        money: amount(row, 3)?,
        state: row.parse(5, "payment's state", PaymentState::parse)?,
        at: Millis(row.get(6)?),
    })
}

pub(crate) fn refund(row: Row<'_>) -> Done<Refund> {
    Ok(Refund {
        id: RefundId(row.get(0)?),
        payment: PaymentId(row.get(1)?),
        provider: row.get(2)?,
        order: row.get(3)?,
        money: amount(row, 4)?,
        cause: row.parse(6, "cause of a refund", RefundCause::parse)?,
        state: row.parse(7, "refund's state", RefundState::parse)?,
        accepted: row.get(8)?,
        tries: row.number_u32(9, "number of tries")?,
        next_at: Millis(row.get(10)?),
        error: row.get(11)?,
        at: Millis(row.get(12)?),
        settled_at: row.time(13)?,
    })
}

pub(crate) fn reversal(row: Row<'_>) -> Done<Reversal> {
    let kind = row.parse(1, "kind of a reversal", ReversalKind::parse)?;
    Ok(Reversal {
        key: ReversalKey { payment: PaymentId(row.get(0)?), kind, dispute: row.get(2)? },
        money: amount(row, 3)?,
        stands: row.get(5)?,
        reported_at: Millis(row.get(6)?),
        at: Millis(row.get(7)?),
    })
}

pub(crate) fn checkout(row: Row<'_>) -> Done<Checkout> {
    checkout_at(row, 0)
}

pub(crate) fn checkout_at(row: Row<'_>, from: usize) -> Done<Checkout> {
    Ok(Checkout {
        order: ticket(row, from)?,
        provider: row.get(from + 1)?,
        session: row.get(from + 2)?,
        url: row.get(from + 3)?,
        expires_at: Millis(row.get(from + 4)?),
        open: row.get(from + 5)?,
        at: Millis(row.get(from + 6)?),
        asked_at: row.time(from + 7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::RefundCause;

    #[test]
    fn rows_know_the_notices_that_the_rules_know() {
        let notices = RefundCause::ALL.iter().filter(|cause| cause.is_irregular());
        let notices: Vec<_> = notices.map(|cause| format!("'{}'", cause.as_str())).collect();
        let expected = format!("cause IN ({})", notices.join(", "));
        assert_eq!(notices!(), format!("r.{expected}"));
        let causes: Vec<_> =
            RefundCause::ALL.iter().map(|cause| format!("'{}'", cause.as_str())).collect();
        for schema in [
            include_str!("../../migrations/V4__money.sql"),
            include_str!("../../migrations/postgres/0005_money.sql"),
        ] {
            let index = format!("refund_notice ON refund (seq) WHERE {expected};");
            assert!(schema.contains(&index), "{expected}");
            let check = format!("CHECK (cause IN ({}))", causes.join(", "));
            assert!(schema.contains(&check), "{causes:?}");
        }
    }
}
