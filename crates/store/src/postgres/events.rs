//! What happened, in PostgreSQL, and the sequencer.
//!
//! A row gets its `seq` before it is committed, and rows of several transactions become visible in
//! whatever order these commit: whoever continued by `seq` would skip some. So readers continue by
//! `position`, which a row gets once it is visible, in the order of `seq`, by one transaction at a
//! time. Positions that readers see only grow at their end. An order's later event has the higher
//! `seq`, as it is written under the lock that the earlier one's transaction held, and is visible
//! later: positions keep the order of each order.
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
use super::run::RetryUnknown;

type Done<T> = Result<T, Failure>;

// Columns in the order that `told` reads them, and where they come from, as macros so that
// `concat!` takes them.
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

/// A row of `event_columns`.
pub(super) fn told(row: &Row) -> Done<StoredEvent> {
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
        .ok_or_else(|| Failure::Row(format!("event {seq} tells of nothing that is known")))?;
    Ok(StoredEvent { position: row.try_get::<_, Option<i64>>(12)?.unwrap_or(0), seq, event })
}

/// A row of `event_columns`, whatever stands in it.
pub(super) fn read(row: &Row) -> Done<EventRead> {
    let position = row.try_get::<_, Option<i64>>(12)?.unwrap_or(0);
    let word = |at: usize| row.try_get::<_, Option<String>>(at).ok().flatten();
    Ok(told(row).map_err(|failure| UnreadableEvent {
        position,
        what: word(14).unwrap_or_default(),
        about: unreadable_about(position, word(0), word(16)),
        reason: failure.to_string(),
    }))
}

/// Whoever sequences has this row; it holds the last position that was given.
const LOCK_TURN: &str = "SELECT position FROM event_turn FOR NO KEY UPDATE";
/// Read after the turn was had: rows of every sequencer before are visible, with their positions.
const ASSIGN_POSITIONS: &str = "UPDATE event SET position = $1 + t.place
     FROM (SELECT seq, row_number() OVER (ORDER BY seq) AS place
           FROM (SELECT seq FROM event WHERE position IS NULL ORDER BY position, seq LIMIT $2) AS fresh) AS t
     WHERE event.seq = t.seq";

/// Gives at most `limit` committed events their positions; how many.
fn sequence(ledger: &PostgresLedger<'_>, limit: usize) -> Done<u64> {
    let last = ledger.one(LOCK_TURN, &[], |row| Ok(row.try_get::<_, i64>(0)?))?;
    let last = last
        .ok_or_else(|| Failure::Row("nobody can number events: event_turn is empty".to_owned()))?;
    let numbered = ledger.run(ASSIGN_POSITIONS, &[&last, &as_limit(limit)])?;
    if numbered > 0 {
        ledger.run("UPDATE event_turn SET position = $1", &[&(last + int(numbered))])?;
    }
    Ok(numbered)
}

impl Postgres {
    /// Gives committed events their positions, at most `limit` of them; how many. Less than
    /// `limit`: all that was committed before has one.
    pub(crate) async fn sequence_events(&self, limit: usize) -> StoreResult<usize> {
        // Most of the time there is none: that is seen without a transaction.
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
