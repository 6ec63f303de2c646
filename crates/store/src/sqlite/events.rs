//! Events in SQLite: each change appends one row in its transaction. There is only one writer, so
//! `seq` is the commit order, and readers continue by `seq`.
use rusqlite::{Row, params};

use doorbuster_core::event::{Event, Subject};
use doorbuster_core::{ItemId, Ledger, Millis, TicketId};

use crate::contract::{EventRead, StoredEvent, UnreadableEvent};
use crate::events::{EventRow, actor_text, subject_json, unreadable_about};

use super::failure::Failure;
use super::ledger::SqliteLedger;
use super::read::{Reader, order};
use super::rows::{self, int};

type Done<T> = Result<T, Failure>;

// The columns in the order in which `stored_event` reads them, and their tables. They are macros,
// because `concat!` accepts macros but not constants.
macro_rules! event_columns {
    () => {
        "o.id, o.item_id, o.buyer, o.request_key, o.units, o.state, o.grant_id, o.n, o.reserved_at, o.pay_by, o.paid_at, o.ended_at, \
         e.seq, e.type, e.item_id, e.sale_id, e.at, e.actor, e.why, e.pay_by, e.paid_at, e.ended_at, e.data"
    };
}
macro_rules! event_rows {
    () => {
        "event e LEFT JOIN orders o ON o.grant_id = e.grant_id AND o.n = e.n"
    };
}
pub(super) use {event_columns, event_rows};

/// Appends an event. Events of orders are numerous, so they store only the order's number.
pub(super) fn append(ledger: &mut SqliteLedger<'_>, event: &Event) -> Done<()> {
    let (what, at, by) = (event.what.as_str(), event.at.0, actor_text(&event.by.actor));
    let why = event.by.why.as_deref();
    ledger.events = true;
    if let Subject::Order(order) = &event.subject {
        ledger.sql.run(
            "INSERT INTO event (type, grant_id, n, at, actor, why, pay_by, paid_at, ended_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                what,
                int(order.grant.0),
                int(order.n.0),
                at,
                by,
                why,
                order.pay_by.0,
                order.paid_at.map(|t| t.0),
                order.ended_at.map(|t| t.0)
            ],
        )?;
        return Ok(());
    }
    let named = match &event.subject {
        Subject::Payment { order, .. } | Subject::Reversal { order, .. } => {
            order_numbers(ledger, order)?
        }
        _ => None,
    };
    let (item, sale) = match &event.subject {
        Subject::Ticket { item, .. } | Subject::Item(item) => (Some(item.0), None),
        Subject::Sale(sale) => (None, Some(sale)),
        Subject::Order(_) | Subject::Payment { .. } | Subject::Reversal { .. } => (None, None),
    };
    ledger.sql.run(
        "INSERT INTO event (type, grant_id, n, item_id, sale_id, at, actor, why, data) VALUES (?1, \
         ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            what,
            named.map(|o| o.0),
            named.map(|o| o.1),
            item,
            sale,
            at,
            by,
            why,
            subject_json(&event.subject)
        ],
    )?;
    Ok(())
}

/// Returns the grant and number of a named order, if it exists.
pub(super) fn order_numbers(
    ledger: &mut SqliteLedger<'_>,
    order: &str,
) -> Done<Option<(i64, i64)>> {
    let Some(id) = TicketId::parse(order) else { return Ok(None) };
    Ok(ledger.order(&id)?.map(|order| (int(order.grant.0), int(order.n.0))))
}

/// Parses a row of [`event_columns`].
pub(super) fn stored_event(row: &Row<'_>) -> Done<StoredEvent> {
    let time = |at: usize| row.get::<_, Option<i64>>(at).map(|t| t.map(Millis));
    let order = match row.get_ref(0)? {
        rusqlite::types::ValueRef::Null => None,
        _ => Some(rows::order(row)?),
    };
    let seq = row.get(12)?;
    let event = EventRow {
        what: row.get(13)?,
        order,
        item: row.get::<_, Option<i64>>(14)?.map(ItemId),
        sale: row.get(15)?,
        at: Millis(row.get(16)?),
        actor: row.get(17)?,
        why: row.get(18)?,
        pay_by: time(19)?,
        paid_at: time(20)?,
        ended_at: time(21)?,
        data: row.get(22)?,
    };
    let event = event
        .event()
        .ok_or_else(|| Failure::Row(format!("event {seq} has an unknown type or invalid data")))?;
    Ok(StoredEvent { position: seq, seq, event })
}

/// Parses a row of [`event_columns`], also an invalid one.
pub(super) fn read(row: &Row<'_>) -> Done<EventRead> {
    let position = row.get(12)?;
    let word = |at: usize| row.get::<_, Option<String>>(at).ok().flatten();
    Ok(stored_event(row).map_err(|failure| UnreadableEvent {
        position,
        what: word(13).unwrap_or_default(),
        about: unreadable_about(position, word(0), word(15)),
        reason: failure.to_string(),
    }))
}

/// Returns the history of an order, oldest event first. Rows that cannot be read are left out.
pub(super) fn history(sql: &mut Reader<'_>, id: &TicketId) -> Done<Vec<StoredEvent>> {
    let Some(order) = order(sql, id)? else { return Ok(Vec::new()) };
    let found = sql.all(
        concat!(
            "SELECT ",
            event_columns!(),
            " FROM ",
            event_rows!(),
            " WHERE e.grant_id IS NOT NULL AND e.grant_id = ?1 AND e.n = ?2 ORDER BY e.seq"
        ),
        params![int(order.grant.0), int(order.n.0)],
        read,
    )?;
    Ok(found.into_iter().filter_map(EventRead::ok).collect())
}
