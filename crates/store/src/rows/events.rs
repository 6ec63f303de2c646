//! Reads events. In SQLite there is only one writer, so `seq` is the commit order, and readers
//! continue by `seq`. In PostgreSQL readers continue by `position`, which a sequencer assigns.
use doorbuster_core::{ItemId, Millis};

use crate::contract::{EventRead, StoredEvent, UnreadableEvent};
use crate::events::{EventRow, unreadable_about};
use crate::failure::{Done, Failure};
use crate::rows;
use crate::sql::Row;

/// Makes a `SELECT` of events with the columns that [`stored_event`] reads. The first argument is
/// the column of the position.
macro_rules! select_events {
    ($position:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $crate::rows::order_columns!(),
            ", ",
            $position,
            ", e.seq, e.type, e.item_id, e.sale_id, e.at, e.actor, e.why, e.pay_by, e.paid_at, \
             e.ended_at, e.data \
             FROM event e LEFT JOIN orders o ON o.grant_id = e.grant_id AND o.n = e.n ",
            $rest
        )
    };
}
pub(crate) use select_events;

pub(crate) fn stored_event(row: Row<'_>) -> Done<StoredEvent> {
    let order = match row.text_opt(0, "order id")? {
        Some(_) => Some(rows::order(row)?),
        None => None,
    };
    let seq = row.get(13)?;
    let event = EventRow {
        what: row.get(14)?,
        order,
        item: row.get::<Option<i64>>(15)?.map(ItemId),
        sale: row.get(16)?,
        at: Millis(row.get(17)?),
        actor: row.get(18)?,
        why: row.get(19)?,
        pay_by: row.time(20)?,
        paid_at: row.time(21)?,
        ended_at: row.time(22)?,
        data: row.get(23)?,
    };
    let event = event
        .event()
        .ok_or_else(|| Failure::Row(format!("event {seq} has an unknown type or invalid data")))?;
    Ok(StoredEvent { position: row.get::<Option<i64>>(12)?.unwrap_or(0), seq, event })
}

/// Reads a row of events. If the row is invalid, the value is an [`UnreadableEvent`].
pub(crate) fn read(row: Row<'_>) -> Done<EventRead> {
    let position = row.get::<Option<i64>>(12)?.unwrap_or(0);
    let word = |at: usize| row.get::<Option<String>>(at).ok().flatten();
    Ok(stored_event(row).map_err(|failure| UnreadableEvent {
        position,
        what: word(14).unwrap_or_default(),
        about: unreadable_about(position, word(0), word(16)),
        reason: failure.to_string(),
    }))
}
