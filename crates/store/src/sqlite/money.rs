//! Reads and writes provider messages, payments and refunds for the SQLite ledger.
use rusqlite::params;

use doorbuster_core::money::{Money, Payment, PaymentId, Refund, RefundId};
use doorbuster_core::{ItemId, Millis, TicketId};

use crate::failure::Done;
use crate::queries;
use crate::rows::money::{payment as payment_row, refund as refund_row};

use super::events;
use super::ledger::SqliteLedger;
use super::statement_cache::Statements;

pub(super) fn price(sql: &mut Statements<'_>, item: ItemId) -> Done<Option<Money>> {
    sql.one(queries::PRICE.sqlite, params![item.0], |row| {
        Ok(Money { minor: row.get(0)?, currency: row.get(1)? })
    })
}

pub(super) fn inbox(sql: &mut Statements<'_>, provider: &str, event: &str) -> Done<bool> {
    Ok(sql.one(queries::INBOX.sqlite, params![provider, event], |_| Ok(()))?.is_some())
}

pub(super) fn insert_inbox(
    sql: &mut Statements<'_>,
    provider: &str,
    event: &str,
    at: Millis,
) -> Done<()> {
    sql.run(
        "INSERT INTO inbox (provider, event_id, at) VALUES (?1, ?2, ?3)",
        params![provider, event, at.0],
    )?;
    Ok(())
}

pub(super) fn payment(sql: &mut Statements<'_>, id: &PaymentId) -> Done<Option<Payment>> {
    sql.one(queries::PAYMENT.sqlite, params![id.0], payment_row)
}

pub(super) fn payments_of(sql: &mut Statements<'_>, order: &TicketId) -> Done<Vec<Payment>> {
    sql.all(queries::PAYMENTS_OF.sqlite, params![order.text().as_str()], payment_row)
}

pub(super) fn put_payment(ledger: &mut SqliteLedger<'_>, payment: &Payment) -> Done<()> {
    let named = events::order_numbers(ledger, &payment.order)?;
    ledger.sql.run(
        "INSERT INTO payment (id, provider, order_id, grant_id, n, amount_minor, currency, state,
         at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (id) DO UPDATE SET provider = excluded.provider, order_id = excluded.order_id,
         grant_id = excluded.grant_id,
                                        n = excluded.n, amount_minor = excluded.amount_minor,
                                        currency = excluded.currency,
                                        state = excluded.state, at = excluded.at",
        params![
            payment.id.0,
            payment.provider,
            payment.order,
            named.map(|o| o.0),
            named.map(|o| o.1),
            payment.money.minor,
            payment.money.currency,
            payment.state.as_str(),
            payment.at.0
        ],
    )?;
    Ok(())
}

pub(super) fn refund(sql: &mut Statements<'_>, id: &RefundId) -> Done<Option<Refund>> {
    sql.one(queries::REFUND.sqlite, params![id.0], refund_row)
}

// A refund that is requested again no longer counts as discarded.
pub(super) fn put_refund(sql: &mut Statements<'_>, refund: &Refund) -> Done<()> {
    sql.run(
        "INSERT INTO refund (id, payment_id, provider, order_id, amount_minor, currency, cause,
         state, accepted, tries, next_at, error,
                             at, settled_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, accepted = excluded.accepted,
         tries = excluded.tries,
                                        next_at = excluded.next_at, error = excluded.error,
                                        settled_at = excluded.settled_at,
                                        discarded = CASE WHEN excluded.state = 'failed' THEN
                                        discarded END",
        params![
            refund.id.0,
            refund.payment.0,
            refund.provider,
            refund.order,
            refund.money.minor,
            refund.money.currency,
            refund.cause.as_str(),
            refund.state.as_str(),
            refund.accepted,
            refund.tries,
            refund.next_at.0,
            refund.error,
            refund.at.0,
            refund.settled_at.map(|t| t.0)
        ],
    )?;
    Ok(())
}
