//! Challenges, in SQLite.
use rusqlite::params;

use doorbuster_core::Millis;

use crate::contract::{AnswerSpend, SpendOutcome};
use crate::limits::{DELETE_ROWS_MAX, SPENT_KEPT_MS};
use crate::store::StoreResult;

use super::Sqlite;
use super::failure::Failure;
use super::ledger::SqliteLedger;

fn spend_answer(
    ledger: &mut SqliteLedger<'_>,
    spending: &AnswerSpend,
) -> Result<SpendOutcome, Failure> {
    let AnswerSpend { id, until, by, is_correct, window_ms } = spending;
    let (now, sql) = (ledger.now, &mut ledger.sql);
    // The job waited in the queue, so the challenge may have ended and its record may be deleted.
    if *until <= now {
        return Ok(SpendOutcome::Expired);
    }
    let over = now.plus(-SPENT_KEPT_MS);
    sql.run(
        "DELETE FROM spent WHERE id IN (SELECT id FROM spent WHERE until <= ?1 ORDER BY until \
         LIMIT ?2)",
        params![over.0, DELETE_ROWS_MAX],
    )?;
    sql.run(
        "DELETE FROM miss WHERE by IN (SELECT by FROM miss WHERE until <= ?1 ORDER BY until LIMIT \
         ?2)",
        params![over.0, DELETE_ROWS_MAX],
    )?;
    if sql.run(
        "INSERT INTO spent (id, until) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        params![id, until.0],
    )? == 0
    {
        return Ok(SpendOutcome::AlreadySpent);
    }
    let counted = sql.one(
        "SELECT n, until FROM miss WHERE by = ?1 AND until > ?2",
        params![by, now.0],
        |row| Ok((row.get(0)?, Millis(row.get(1)?))),
    )?;
    let (misses, until) = counted.unwrap_or((0, now.plus(*window_ms)));
    if !is_correct {
        sql.run(
            "INSERT INTO miss (by, n, until) VALUES (?1, ?2, ?3)
             ON CONFLICT (by) DO UPDATE SET n = excluded.n, until = excluded.until",
            params![by, misses + 1, until.0],
        )?;
    }
    Ok(SpendOutcome::Now { misses, until })
}

impl Sqlite {
    pub(crate) async fn spend_answer(&self, spending: AnswerSpend) -> StoreResult<SpendOutcome> {
        self.job(move |ledger| spend_answer(ledger, &spending)).await
    }

    pub(crate) async fn spent_answers(&self) -> StoreResult<u64> {
        let count = self
            .read(|sql| sql.one("SELECT count(*) FROM spent", [], |row| Ok(row.get::<_, i64>(0)?)))
            .await?;
        Ok(count.unwrap_or_default().cast_unsigned())
    }
}
