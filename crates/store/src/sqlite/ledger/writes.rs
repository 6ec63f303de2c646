//! Writes rows of feeds, recalls, waitlist entries, payments and refunds.
use doorbuster_core::money::{Payment, Refund};
use doorbuster_core::{BuyerId, FeedRow, Recall, RecallTarget, RequestKey, WaitlistEntry};
use rusqlite::params;

use super::super::events;
use super::super::statement_cache::Statements;
use super::SqliteLedger;
use crate::failure::Done;
use crate::sql::to_i64;

pub(super) fn append_feed(sql: &mut Statements<'_>, row: &FeedRow) -> Done<()> {
    let ticket = row.ticket.map(|t| t.text());
    sql.run(
        "INSERT INTO feed (grant_id, seq, ticket, buyer, request_key, units, counter, quota_delta,
         cause)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            to_i64(row.grant.0),
            to_i64(row.seq.0),
            ticket.as_ref().map(|t| t.as_str()),
            row.buyer.as_ref().map(BuyerId::as_str),
            row.key.as_ref().map(RequestKey::as_str),
            to_i64(row.units),
            row.counter.as_str(),
            row.quota_delta,
            row.cause.as_str()
        ],
    )?;
    Ok(())
}

pub(super) fn put_recall(sql: &mut Statements<'_>, recall: &Recall) -> Done<()> {
    let target = match recall.target {
        RecallTarget::Pool => None,
        RecallTarget::Grant(id) => Some(to_i64(id.0)),
    };
    sql.run(
        "INSERT INTO recall (id, grant_id, target_grant, asked, taken, done)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (id) DO UPDATE SET taken = excluded.taken, done = excluded.done",
        params![
            to_i64(recall.id.0),
            to_i64(recall.grant.0),
            target,
            to_i64(recall.asked),
            to_i64(recall.taken),
            recall.done
        ],
    )?;
    Ok(())
}

pub(super) fn put_waitlist_entry(sql: &mut Statements<'_>, entry: &WaitlistEntry) -> Done<()> {
    sql.run(
        "INSERT INTO waitlist (item_id, n, id, buyer, request_key, state, joined_at, ended_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (item_id, n) DO UPDATE SET state = excluded.state,
         ended_at = excluded.ended_at",
        params![
            entry.item.0,
            to_i64(entry.n.0),
            entry.id.text().as_str(),
            entry.buyer.as_str(),
            entry.key.as_str(),
            entry.state.as_str(),
            entry.joined_at.0,
            entry.ended_at.map(|t| t.0)
        ],
    )?;
    Ok(())
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

// Inserts or updates a refund. If the refund's state is not `failed`, its mark `discarded` is
// removed.
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
