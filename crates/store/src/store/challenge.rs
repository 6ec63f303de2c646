//! Answered challenges. Each challenge can be used once. In PostgreSQL, concurrent answers to one
//! challenge or from one buyer wait for each other.
use doorbuster_core::Millis;

use crate::contract::{AnswerSpend, SpendOutcome};
use crate::failure::Done;
use crate::limits::{DELETE_ROWS_MAX, SPENT_KEPT_MS};
use crate::sql::{Row, Statement, bad_row, statement, values};
use crate::transaction::{RetryUnknown, Transaction};

use super::{Store, StoreResult};

/// Skips rows that another transaction has locked, so that the deletion never waits.
macro_rules! delete_ended {
    ($from:literal) => {
        Statement {
            sqlite: concat!($from, ")"),
            postgres: concat!($from, " FOR UPDATE SKIP LOCKED)"),
        }
    };
}
const DELETE_ENDED: [Statement; 2] = [
    delete_ended!(
        "DELETE FROM spent WHERE id IN
         (SELECT id FROM spent WHERE until <= $1 ORDER BY until LIMIT $2"
    ),
    delete_ended!(
        "DELETE FROM miss WHERE by IN
         (SELECT by FROM miss WHERE until <= $1 ORDER BY until LIMIT $2"
    ),
];
const SPEND: Statement =
    statement("INSERT INTO spent (id, until) VALUES ($1, $2) ON CONFLICT DO NOTHING");
/// Adds `$4` to the count of wrong answers, or restarts the count if its period is over. A right
/// answer runs this statement with `$4` = 0. In PostgreSQL, the statement locks the row, so the
/// right answer waits for concurrent wrong answers. If there is no count yet, a right answer
/// inserts a row whose period is already over.
const COUNT_WRONG: Statement = statement(
    "INSERT INTO miss (by, n, until) VALUES ($1, 1, $3)
     ON CONFLICT (by) DO UPDATE SET
     n = CASE WHEN miss.until > $2 THEN miss.n + $4 ELSE 1 END,
     until = CASE WHEN miss.until > $2 THEN miss.until ELSE excluded.until END
     RETURNING n, until",
);
const SPENT: Statement = statement("SELECT count(*) FROM spent");

fn spend_answer(tx: &mut Transaction<'_, '_>, spending: &AnswerSpend) -> Done<SpendOutcome> {
    let AnswerSpend { id, until, by, is_correct, window_ms } = spending;
    let now = tx.now();
    // The transaction may have waited so long that the challenge has ended and its row was deleted.
    // Deletions use the store's clock, so this check uses the same clock.
    if *until <= now {
        return Ok(SpendOutcome::Expired);
    }
    if tx.run(SPEND, &values![id, *until])? == 0 {
        return Ok(SpendOutcome::AlreadySpent);
    }
    let more = i64::from(!*is_correct);
    let ends = if *is_correct { Millis(0) } else { now.plus(*window_ms) };
    let read = |row: Row<'_>| Ok((row.get::<i64>(0)?, Millis(row.get(1)?)));
    let counted = tx.one(COUNT_WRONG, &values![by, now, ends, more], read)?;
    let (misses, until) = match counted.filter(|(_, until)| *until > now) {
        Some((n, until)) => {
            (u32::try_from(n - more).map_err(|_| bad_row("number of misses"))?, until)
        }
        None => (0, now.plus(*window_ms)),
    };
    // The deletion comes last. If transactions locked more rows after their deletions, two
    // transactions could wait for each other.
    for sql in DELETE_ENDED {
        tx.run(sql, &values![now.plus(-SPENT_KEPT_MS), DELETE_ROWS_MAX])?;
    }
    Ok(SpendOutcome::Now { misses, until })
}

impl Store {
    /// Spends a challenge, whether the answer is right or wrong, and counts a wrong answer. At most
    /// one answer to a challenge gets [`SpendOutcome::Now`]. The call also deletes a few old rows,
    /// so that the number of rows stays bounded.
    pub async fn spend_answer(&self, spending: AnswerSpend) -> StoreResult<SpendOutcome> {
        // A second run would find the row of the first run, and treat a valid answer as already
        // spent.
        self.job(RetryUnknown::Never, move |tx| spend_answer(tx, &spending)).await
    }

    /// Returns the number of spent challenges that are remembered.
    pub async fn spent_answers(&self) -> StoreResult<u64> {
        Ok(self.one(SPENT, [], |row| row.number(0)).await?.unwrap_or(0))
    }
}
