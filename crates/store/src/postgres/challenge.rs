//! Challenges, in PostgreSQL. If two answers to one challenge or from one buyer arrive together,
//! the second transaction waits for the first.
use doorbuster_core::Millis;

use crate::contract::{AnswerSpend, SpendOutcome};
use crate::limits::{DELETE_ROWS_MAX, SPENT_KEPT_MS};
use crate::store::StoreResult;

use super::failure::Failure;
use super::rows;
use super::transaction::RetryUnknown;
use super::{Postgres, PostgresLedger};

/// Skips rows that another transaction has locked, so that the deletion never waits.
const DELETE_EXPIRED: [&str; 2] = [
    "DELETE FROM spent WHERE id IN (SELECT id FROM spent WHERE until <= $1 ORDER BY until LIMIT $2 \
     FOR UPDATE SKIP LOCKED)",
    "DELETE FROM miss WHERE by IN (SELECT by FROM miss WHERE until <= $1 ORDER BY until LIMIT $2 \
     FOR UPDATE SKIP LOCKED)",
];
/// Adds `$4` to the count, or restarts the count if the period is over. Returns the new count. It
/// always locks a row. So a right answer, which adds nothing, waits for concurrent wrong answers.
/// If no count exists, it inserts a row whose period is already over.
const COUNT_WRONG: &str = "INSERT INTO miss (by, n, until) VALUES ($1, 1, $3)
     ON CONFLICT (by) DO UPDATE SET n = CASE WHEN miss.until > $2 THEN miss.n + $4 ELSE 1 END,
                                    until = CASE WHEN miss.until > $2 THEN miss.until ELSE
                                    excluded.until END
     RETURNING n, until";

fn spend_answer(
    ledger: &mut PostgresLedger<'_>,
    spending: &AnswerSpend,
) -> Result<SpendOutcome, Failure> {
    let AnswerSpend { id, until, by, is_correct, window_ms } = spending;
    let (id, by, now) = (id.as_slice(), by.as_slice(), ledger.now);
    // The database's clock decides, as for every deletion of expired rows.
    if *until <= now {
        return Ok(SpendOutcome::Expired);
    }
    let sql = "INSERT INTO spent (id, until) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    if ledger.run(sql, &[&id, &until.0])? == 0 {
        return Ok(SpendOutcome::AlreadySpent);
    }
    let more = i64::from(!*is_correct);
    let ends = if *is_correct { Millis(0) } else { now.plus(*window_ms) };
    let read = |row: &tokio_postgres::Row| Ok((row.try_get::<_, i64>(0)?, Millis(row.try_get(1)?)));
    let counted = ledger.one(COUNT_WRONG, &[&by, &now.0, &ends.0, &more], read)?;
    let (misses, until) = match counted.filter(|(_, until)| *until > now) {
        Some((n, until)) => {
            (u32::try_from(n - more).map_err(|_| rows::bad_row("number of misses"))?, until)
        }
        None => (0, now.plus(*window_ms)),
    };
    // The deletion comes last, when no other row must be locked, because two transactions may
    // delete each other's rows.
    for sql in DELETE_EXPIRED {
        ledger.run(sql, &[&now.plus(-SPENT_KEPT_MS).0, &DELETE_ROWS_MAX])?;
    }
    Ok(SpendOutcome::Now { misses, until })
}

impl Postgres {
    pub(crate) async fn spend_answer(&self, spending: AnswerSpend) -> StoreResult<SpendOutcome> {
        // A second run would find the row of the first run, and treat a valid answer as already
        // spent.
        self.job(RetryUnknown::Never, move |ledger| spend_answer(ledger, &spending)).await
    }

    pub(crate) async fn spent_answers(&self) -> StoreResult<u64> {
        let count = self
            .one("SELECT count(*) FROM spent", &[], |row| Ok(row.try_get::<_, i64>(0)?))
            .await?;
        Ok(count.unwrap_or_default().cast_unsigned())
    }
}
