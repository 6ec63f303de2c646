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
use crate::sql::{as_limit, to_i64};

use super::Postgres;
use super::ledger::PostgresLedger;
use super::transaction::RetryUnknown;

/// Locks the sequencer's row, which holds the last assigned position.
const LOCK_TURN: &str = "SELECT position FROM event_turn FOR NO KEY UPDATE";
/// The statement runs after the lock was taken, so the statement sees the positions that every
/// earlier sequencer assigned.
const ASSIGN_POSITIONS: &str = "UPDATE event SET position = $1 + t.place
     FROM (SELECT seq, row_number() OVER (ORDER BY seq) AS place
           FROM (SELECT seq FROM event WHERE position IS NULL ORDER BY position, seq
           LIMIT $2) AS fresh) AS t
     WHERE event.seq = t.seq";

fn sequence(ledger: &PostgresLedger<'_>, limit: usize) -> Done<u64> {
    let last = ledger.one(LOCK_TURN, &[], |row| row.get::<i64>(0))?;
    let last = last.ok_or_else(|| {
        Failure::Row("cannot assign positions to events: table event_turn is empty".to_owned())
    })?;
    let numbered = ledger.run(ASSIGN_POSITIONS, &[&last, &as_limit(limit)])?;
    if numbered > 0 {
        ledger.run("UPDATE event_turn SET position = $1", &[&(last + to_i64(numbered))])?;
    }
    Ok(numbered)
}

impl Postgres {
    /// Assigns positions to at most `limit` events, and returns their number. If the number is less
    /// than `limit`, every event that was committed before the call has a position.
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
