//! Events in PostgreSQL, and the sequencer that assigns their positions.
//!
//! A transaction may commit later than a transaction with a higher `seq`, so a reader that
//! continued after the highest `seq` would skip rows. Instead, readers continue by `position`. One
//! transaction at a time assigns positions to visible rows, in the order of `seq`. New positions
//! are higher than all positions that readers have seen.
//!
//! The events of one order are written under one lock. So the later event has the higher `seq`,
//! becomes visible later, and gets the higher position.
use crate::contract::StoreResult;
use crate::failure::{Done, Failure};
use crate::sql::{Row, as_limit};

use super::Postgres;
use super::ledger::PostgresLedger;
use super::transaction::RetryUnknown;

/// Locks the sequencer's row, which holds the last assigned position.
const LOCK_TURN: &str = "SELECT position FROM event_turn FOR NO KEY UPDATE";
/// The statement runs after the lock was taken, so the statement sees the positions that every
/// earlier sequencer assigned. It returns the number of rows that it found, and the last position
/// that it assigned. Another transaction may delete some of the rows before they get positions, so
/// this position may be less than `$1` plus the number of rows.
const ASSIGN_POSITIONS: &str = "WITH fresh AS MATERIALIZED (
         SELECT seq, row_number() OVER (ORDER BY seq) AS place
         FROM (SELECT seq FROM event WHERE position IS NULL ORDER BY position, seq
               LIMIT $2) AS found),
     moved AS (UPDATE event SET position = $1 + fresh.place FROM fresh
               WHERE event.seq = fresh.seq RETURNING event.position)
     SELECT (SELECT count(*) FROM fresh), (SELECT max(position) FROM moved)";

fn sequence(ledger: &PostgresLedger<'_>, limit: usize) -> Done<u64> {
    let last = ledger.one(LOCK_TURN, &[], |row| row.get::<i64>(0))?;
    let last = last.ok_or_else(|| {
        Failure::Row("cannot assign positions to events: table event_turn is empty".to_owned())
    })?;
    let counts = |row: Row<'_>| Ok((row.number(0)?, row.get::<Option<i64>>(1)?));
    let (found, assigned) =
        ledger.one(ASSIGN_POSITIONS, &[&last, &as_limit(limit)], counts)?.unwrap_or_default();
    if let Some(assigned) = assigned {
        ledger.run("UPDATE event_turn SET position = $1", &[&assigned])?;
    }
    Ok(found)
}

impl Postgres {
    /// Assigns positions to at most `limit` events. Returns the number of events that had no
    /// position. If this number is less than `limit`, every event that was committed before the
    /// call now has a position or was deleted.
    pub(crate) async fn sequence_events(&self, limit: usize) -> StoreResult<usize> {
        // Usually every event already has a position. This query detects that, and then no
        // transaction is necessary.
        let sql = "SELECT FROM event WHERE position IS NULL ORDER BY position, seq LIMIT 1";
        if self.one(sql, &[], |_| Ok(())).await?.is_none() {
            return Ok(0);
        }
        let numbered =
            self.job(RetryUnknown::Allowed, move |ledger| sequence(ledger, limit)).await?;
        Ok(usize::try_from(numbered).unwrap_or(limit))
    }
}
