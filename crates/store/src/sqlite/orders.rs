//! Settles tickets and expires orders.
use std::sync::Arc;

use rusqlite::params;

use doorbuster_core::event::Attribution;
use doorbuster_core::order::{ChangeOutcome, EndReason};
use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{
    IdKey, Ledger, Millis, Order, OrderState, Ticket, TicketId, Verdict, order, settle,
};

use crate::failure::Done;
use crate::queries::INSERT_DEAD_LETTER;
use crate::rows;
use crate::sql::as_limit;

use super::ledger::SqliteLedger;
use super::txn::Txn;

/// Settles the tickets together. If a ticket fails, settles the tickets one by one, and makes the
/// failing ticket a dead letter.
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
        "failed to settle a ticket; recording it as a dead letter"
    );
    // At the time `late`, the ticket's `decide_by` has passed, so `settle` returns the ticket.
    let late = ticket.decide_by.plus(1).max(now);
    let returned = txn.attempt(|ledger| {
        let resolved = settle::settle(ledger, key, ticket, late)?;
        insert_dead_ticket(ledger, &resolved.id, ticket, &reason)?;
        Ok(resolved)
    });
    match returned {
        Err(failure) if !failure.is_fatal() => {
            // The attempt to return the ticket failed too. The ticket's units return to the pool
            // when the grant is closed.
            let id = key.id_of(ticket);
            let reason = format!("{reason}; the ticket could not be returned either: {failure}");
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
        INSERT_DEAD_LETTER.sqlite,
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
            // The rules do not let this order expire yet. The previous version of the program may
            // have stored a wait for the provider (`ask_ms`) that is too short. So `ask_ms` is
            // computed and written again.
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
