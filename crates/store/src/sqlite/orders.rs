//! Orders: settling tickets, ending and paying orders, and lists of them.
use std::sync::Arc;

use rusqlite::{params, params_from_iter, types::Value};

use doorbuster_core::event::{Actor, Attribution};
use doorbuster_core::order::{self, ChangeOutcome, EndReason};
use doorbuster_core::settle::{self, TicketVerdict};
use doorbuster_core::{
    BuyerId, GrantId, IdKey, ItemId, Ledger, Millis, Order, OrderState, Ticket, TicketId, Verdict,
};

use crate::contract::{DeadLetterTicket, OrderPage, OrderQuery};
use crate::events::actor_text;
use crate::limits::PAGE_ROWS_MAX;

use super::failure::Failure;
use super::ledger::SqliteLedger;
use super::read::{Reader, as_limit};
use super::rows::{self, int};
use super::statements::Statements;
use super::txn::Txn;

type Done<T> = Result<T, Failure>;

/// Settles all tickets together. If one fails, they are settled one by one, and the failing ticket
/// becomes a dead letter.
pub(super) fn settle(
    txn: &mut Txn<'_>,
    key: &IdKey,
    tickets: &[Arc<Ticket>],
) -> Done<Vec<TicketVerdict>> {
    let now = txn.now();
    let together = txn.attempt(|ledger| {
        let mut resolved = Vec::with_capacity(tickets.len());
        for ticket in tickets {
            resolved.push(settle::settle(ledger, key, ticket, now)?);
        }
        Ok(resolved)
    });
    match together {
        Err(failure) if !failure.is_fatal() => {
            tracing::warn!(
                %failure,
                tickets = tickets.len(),
                event = "settle.split",
                "failed to settle a batch; settling its tickets one by one"
            );
            tickets.iter().map(|ticket| settle_alone(txn, key, ticket, now)).collect()
        }
        outcome => outcome,
    }
}

fn settle_alone(
    txn: &mut Txn<'_>,
    key: &IdKey,
    ticket: &Ticket,
    now: Millis,
) -> Done<TicketVerdict> {
    let failure = match txn.attempt(|ledger| settle::settle(ledger, key, ticket, now)) {
        Err(failure) if !failure.is_fatal() => failure,
        outcome => return outcome,
    };
    let reason = failure.to_string();
    tracing::error!(
        %reason,
        ticket = %key.id_of(ticket),
        event = "settle.dead_letter",
        "failed to settle a ticket; returning it as a dead letter"
    );
    // A ticket is never consumed after its `decide_by`, so the rules can only return it.
    let late = ticket.decide_by.plus(1).max(now);
    let returned = txn.attempt(|ledger| {
        let resolved = settle::settle(ledger, key, ticket, late)?;
        insert_dead_ticket(ledger, &resolved.id, ticket, &reason)?;
        Ok(resolved)
    });
    match returned {
        Err(failure) if !failure.is_fatal() => {
            // The return failed too. The units come back when the grant is closed.
            let id = key.id_of(ticket);
            let reason = format!("{reason}; and it cannot be returned: {failure}");
            if let Err(failure) =
                txn.attempt(|ledger| insert_dead_ticket(ledger, &id, ticket, &reason))
            {
                if failure.is_fatal() {
                    return Err(failure);
                }
                tracing::error!(
                    %failure,
                    ticket = %id,
                    event = "settle.dead_letter_unwritten",
                    "failed to write a dead letter"
                );
            }
            Ok(TicketVerdict { id, verdict: Verdict::Unavailable, order: None, fresh: true })
        }
        outcome => outcome,
    }
}

fn insert_dead_ticket(
    ledger: &mut SqliteLedger<'_>,
    id: &TicketId,
    ticket: &Ticket,
    reason: &str,
) -> Done<()> {
    let now = ledger.now;
    ledger.sql.run(
        "INSERT INTO dead_letter (ticket, item_id, buyer, request_key, units, reason, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (ticket) DO NOTHING",
        params![
            id.text().as_str(),
            ticket.item.0,
            ticket.buyer.as_str(),
            ticket.key.as_str(),
            ticket.units.get(),
            reason,
            now.0
        ],
    )?;
    Ok(())
}

pub(super) fn orders_of_buyer(
    sql: &mut Statements<'_>,
    buyer: &BuyerId,
    item: ItemId,
) -> Done<Vec<Order>> {
    let mut orders = sql.all(
        concat!(
            "SELECT ",
            rows::order_columns!(),
            " FROM orders WHERE buyer = ?1 AND item_id = ?2"
        ),
        params![buyer.as_str(), item.0],
        rows::order,
    )?;
    orders.sort_unstable_by_key(|order| order.id);
    Ok(orders)
}

/// Searches the buyer's orders. The `+` prevents SQLite from reading all orders of the grant.
pub(super) fn first_unpaid(
    sql: &mut Statements<'_>,
    grant: GrantId,
    buyer: &BuyerId,
    by: Option<&Actor>,
) -> Done<Option<Order>> {
    sql.one(
        concat!(
            "SELECT ",
            rows::order_columns!(),
            " FROM orders WHERE buyer = ?1 AND +grant_id = ?2 AND (state = 'expired'
             OR (state = 'cancelled' AND (?3 IS NULL OR ?3 =
                  (SELECT e.actor FROM event e WHERE e.grant_id IS NOT NULL
                  AND e.grant_id = orders.grant_id AND e.n = orders.n
                   AND e.type = 'order.cancelled' LIMIT 1))))
              ORDER BY n LIMIT 1"
        ),
        params![buyer.as_str(), int(grant.0), by.map(actor_text)],
        rows::order,
    )
}

/// Returns at most `limit` dead letters, newest first.
pub(super) fn dead_letter_tickets(
    sql: &mut Reader<'_>,
    limit: usize,
) -> Done<Vec<DeadLetterTicket>> {
    sql.all(
        "SELECT ticket, reason, at FROM dead_letter ORDER BY seq DESC LIMIT ?1",
        params![as_limit(limit)],
        |row| {
            Ok(DeadLetterTicket {
                ticket: rows::ticket(row, 0)?,
                reason: row.get(1)?,
                at: Millis(row.get(2)?),
            })
        },
    )
}

/// Expires at most `limit` due orders.
pub(super) fn expire_due(ledger: &mut SqliteLedger<'_>, limit: usize) -> Done<Vec<Order>> {
    let now = ledger.now;
    let due = ledger.sql.all(
        "SELECT id FROM orders WHERE state = 'reserved' AND pay_by + ask_ms <= ?1 ORDER BY pay_by \
         + ask_ms LIMIT ?2",
        params![now.0, as_limit(limit)],
        |row| rows::ticket(row, 0),
    )?;
    let mut expired = Vec::with_capacity(due.len());
    for id in due {
        match order::end(ledger, &id, EndReason::Expire, Attribution::ENGINE, now)? {
            ChangeOutcome::Done(order) => expired.push(order),
            // The provider still has time, because the previous version wrote another
            // `provider_wait_ms`. The row is rewritten, and found again when that time is over.
            ChangeOutcome::WrongState(order) if order.state == OrderState::Reserved => {
                if let Some(checkout) = ledger.checkout(&id)? {
                    ledger.put_checkout(&checkout)?;
                }
            }
            _ => {}
        }
    }
    Ok(expired)
}

/// The order of a list of orders.
#[derive(Clone, Copy)]
pub(super) enum PageOrder {
    Newest,
    Oldest,
}

/// Returns a page of orders.
pub(super) fn page(sql: &mut Reader<'_>, query: &OrderQuery, first: PageOrder) -> Done<OrderPage> {
    let limit = query.limit.min(PAGE_ROWS_MAX);
    let (beyond, start, direction) = match first {
        PageOrder::Newest => ("<", i64::MAX, "DESC"),
        PageOrder::Oldest => (">", 0, "ASC"),
    };
    let mut text = format!(
        concat!("SELECT ", rows::order_columns!(), ", seq FROM orders WHERE seq {} ?"),
        beyond
    );
    let mut values = vec![Value::Integer(query.after.unwrap_or(start))];
    if let Some(buyer) = &query.buyer {
        text.push_str(" AND buyer = ?");
        values.push(Value::Text(buyer.as_str().to_owned()));
    }
    if let Some(items) = &query.items {
        let marks = vec!["?"; items.len()].join(", ");
        text.push_str(&format!(" AND item_id IN ({marks})"));
        values.extend(items.iter().map(|item| Value::Integer(item.0)));
    }
    if let Some(state) = query.state {
        text.push_str(" AND state = ?");
        values.push(Value::Text(state.as_str().to_owned()));
    }
    text.push_str(&format!(" ORDER BY seq {direction} LIMIT ?"));
    // One row more than the limit shows whether there is a next page.
    values.push(Value::Integer(as_limit(limit + 1)));
    let mut statement = sql.conn().prepare_cached(&text)?;
    let mut found = statement.query(params_from_iter(values))?;
    let mut page = OrderPage::default();
    let mut last = None;
    while let Some(row) = found.next()? {
        if page.orders.len() == limit {
            page.next = last;
            break;
        }
        page.orders.push(rows::order(row)?);
        last = Some(row.get(12)?);
    }
    Ok(page)
}

/// Returns the requests that hold an order of one of these items, oldest first, and the position
/// after which the next page begins.
pub(super) fn request_hashes_of(
    sql: &mut Reader<'_>,
    key: &IdKey,
    items: &[ItemId],
    after: i64,
    limit: usize,
) -> Done<(Vec<u64>, Option<i64>)> {
    let limit = limit.min(PAGE_ROWS_MAX);
    let mut last = None;
    let numbers: Vec<String> = items.iter().map(|item| item.0.to_string()).collect();
    let requests = sql.all(
        "SELECT buyer, request_key, seq FROM orders
         WHERE seq > ?1 AND item_id IN (SELECT value FROM json_each(?2)) ORDER BY seq LIMIT ?3",
        params![after, format!("[{}]", numbers.join(",")), as_limit(limit)],
        |row| {
            last = Some(row.get(2)?);
            let text =
                |at: usize| row.get_ref(at)?.as_str().map_err(|e| Failure::Row(e.to_string()));
            Ok(key.request_hash(text(0)?, text(1)?).low_64_bits())
        },
    )?;
    let next = if requests.len() < limit { None } else { last };
    Ok((requests, next))
}
