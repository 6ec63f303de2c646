//! Events in PostgreSQL, and the sequencer that assigns their positions.
//!
//! A row gets its `seq` before its commit, and transactions may commit in another order. So a
//! reader that continued by `seq` would skip rows. Instead, readers continue by `position`. One
//! transaction at a time assigns positions to visible rows, in the order of `seq`. New positions
//! are always higher than those that readers have seen. The events of one order are written under
//! one lock. So the later event has the higher `seq` and becomes visible later, and positions keep
//! the order of each order's events.
use tokio_postgres::Row;

use doorbuster_core::{ItemId, Millis, TicketId};

use crate::contract::{EventRead, StoredEvent, UnreadableEvent};
use crate::events::{EventRow, unreadable_about};
use crate::store::StoreResult;

use super::Postgres;
use super::failure::Failure;
use super::ledger::PostgresLedger;
use super::read::as_limit;
use super::rows::{self, int};
use super::transaction::RetryUnknown;

type Done<T> = Result<T, Failure>;

// The columns in the order in which `stored_event` reads them, and their tables. They are macros,
// because `concat!` accepts macros but not constants.
macro_rules! event_columns {
    () => {
        concat!(
            $crate::postgres::rows::order_columns!(),
            ", e.position, e.seq, e.type, e.item_id, e.sale_id, e.at, e.actor, e.why, e.pay_by, \
             e.paid_at, e.ended_at, e.data"
        )
    };
}
macro_rules! event_rows {
    () => {
        "event e LEFT JOIN orders o ON o.grant_id = e.grant_id AND o.n = e.n"
    };
}
pub(super) use {event_columns, event_rows};

/// Parses a row of `event_columns`.
pub(super) fn stored_event(row: &Row) -> Done<StoredEvent> {
    let order = match row.try_get::<_, Option<&str>>(0)? {
        Some(_) => Some(rows::order(row)?),
        None => None,
    };
    let seq = row.try_get(13)?;
    let event = EventRow {
        what: row.try_get(14)?,
        order,
        item: row.try_get::<_, Option<i64>>(15)?.map(ItemId),
        sale: row.try_get(16)?,
        at: Millis(row.try_get(17)?),
        actor: row.try_get(18)?,
        why: row.try_get(19)?,
        pay_by: rows::time(row, 20)?,
        paid_at: rows::time(row, 21)?,
        ended_at: rows::time(row, 22)?,
        data: row.try_get(23)?,
    };
    let event = event
        .event()
        .ok_or_else(|| Failure::Row(format!("event {seq} has an unknown type or invalid data")))?;
    Ok(StoredEvent { position: row.try_get::<_, Option<i64>>(12)?.unwrap_or(0), seq, event })
}

/// Parses a row of `event_columns`, also an invalid one.
pub(super) fn read(row: &Row) -> Done<EventRead> {
    let position = row.try_get::<_, Option<i64>>(12)?.unwrap_or(0);
    let word = |at: usize| row.try_get::<_, Option<String>>(at).ok().flatten();
    Ok(stored_event(row).map_err(|failure| UnreadableEvent {
        position,
        what: word(14).unwrap_or_default(),
        about: unreadable_about(position, word(0), word(16)),
        reason: failure.to_string(),
    }))
}

/// Locks the sequencer's row, which holds the last assigned position.
const LOCK_TURN: &str = "SELECT position FROM event_turn FOR NO KEY UPDATE";
/// Assigns the positions. It runs after the lock was taken, so it sees the positions that every
/// earlier sequencer assigned.
const ASSIGN_POSITIONS: &str = "UPDATE event SET position = $1 + t.place
     FROM (SELECT seq, row_number() OVER (ORDER BY seq) AS place
           FROM (SELECT seq FROM event WHERE position IS NULL ORDER BY position, seq
           LIMIT $2) AS fresh) AS t
     WHERE event.seq = t.seq";

/// Assigns positions to at most `limit` committed events, and returns their number.
fn sequence(ledger: &PostgresLedger<'_>, limit: usize) -> Done<u64> {
    let last = ledger.one(LOCK_TURN, &[], |row| Ok(row.try_get::<_, i64>(0)?))?;
    let last = last.ok_or_else(|| {
        Failure::Row("cannot number events: table event_turn is empty".to_owned())
    })?;
    let numbered = ledger.run(ASSIGN_POSITIONS, &[&last, &as_limit(limit)])?;
    if numbered > 0 {
        ledger.run("UPDATE event_turn SET position = $1", &[&(last + int(numbered))])?;
    }
    Ok(numbered)
}

impl Postgres {
    /// Assigns positions to at most `limit` committed events, and returns their number. If the
    /// number is less than `limit`, every event from before the call has a position.
    pub(crate) async fn sequence_events(&self, limit: usize) -> StoreResult<usize> {
        // Usually every event has a position. A query without a transaction shows that.
        let sql = "SELECT FROM event WHERE position IS NULL ORDER BY position, seq LIMIT 1";
        if self.one(sql, &[], |_| Ok(())).await?.is_none() {
            return Ok(0);
        }
        let numbered =
            self.job(RetryUnknown::Allowed, move |ledger| sequence(ledger, limit)).await?;
        Ok(usize::try_from(numbered).unwrap_or(limit))
    }

    pub(crate) async fn history(&self, id: TicketId) -> StoreResult<Vec<StoredEvent>> {
        let Some(parts) = id.parts() else { return Ok(Vec::new()) };
        const SQL: &str = concat!(
            "SELECT ",
            event_columns!(),
            " FROM ",
            event_rows!(),
            " WHERE e.grant_id = $1 AND e.n = $2 AND o.id = $3 ORDER BY e.seq"
        );
        let found = self
            .all(SQL, &[&int(parts.grant.0), &int(parts.n.0), &id.text().as_str()], read)
            .await?;
        Ok(found.into_iter().filter_map(EventRead::ok).collect())
    }
}
