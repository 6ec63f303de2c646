//! What may be used once, in PostgreSQL. Of two answers to one challenge, and of two answers of one
//! buyer, the second waits for the first one's transaction.
use doorbuster_core::Millis;

use crate::contract::{AnswerSpend, SpendOutcome};
use crate::limits::{DELETE_ROWS_MAX, SPENT_KEPT_MS};
use crate::store::StoreResult;

use super::failure::Failure;
use super::rows;
use super::run::RetryUnknown;
use super::{Postgres, PostgresLedger};

/// Whatever another transaction holds at this moment is left to it: nobody waits who forgets.
const DELETE_EXPIRED: [&str; 2] = [
    "DELETE FROM spent WHERE id IN (SELECT id FROM spent WHERE until <= $1 ORDER BY until LIMIT $2 \
     FOR UPDATE SKIP LOCKED)",
    "DELETE FROM miss WHERE by IN (SELECT by FROM miss WHERE until <= $1 ORDER BY until LIMIT $2 \
     FOR UPDATE SKIP LOCKED)",
];
/// Counts `$4` more, from one again if the others are over, and says how many there are with them.
/// It holds a row in any case, so that a right answer, which adds none, stands in one line with the
/// wrong ones: where none counts, it is a row that was over at the beginning of time.
const COUNT_WRONG: &str = "INSERT INTO miss (by, n, until) VALUES ($1, 1, $3)
     ON CONFLICT (by) DO UPDATE SET n = CASE WHEN miss.until > $2 THEN miss.n + $4 ELSE 1 END,
                                    until = CASE WHEN miss.until > $2 THEN miss.until ELSE excluded.until END
     RETURNING n, until";

fn spend_answer(
    ledger: &mut PostgresLedger<'_>,
    spending: &AnswerSpend,
) -> Result<SpendOutcome, Failure> {
    let AnswerSpend { id, until, by, is_correct, window_ms } = spending;
    let (id, by, now) = (id.as_slice(), by.as_slice(), ledger.now);
    // By the database's time, as whatever is forgotten.
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
    // Last, when nothing more is waited for: two transactions may forget each other's rows.
    for sql in DELETE_EXPIRED {
        ledger.run(sql, &[&now.plus(-SPENT_KEPT_MS).0, &DELETE_ROWS_MAX])?;
    }
    Ok(SpendOutcome::Now { misses, until })
}

impl Postgres {
    pub(crate) async fn spend_answer(&self, spending: AnswerSpend) -> StoreResult<SpendOutcome> {
        // Run again it would find its own row, and take a good answer for a second one.
        self.job(RetryUnknown::Never, move |ledger| spend_answer(ledger, &spending)).await
    }

    pub(crate) async fn spent_answers(&self) -> StoreResult<u64> {
        let count = self
            .one("SELECT count(*) FROM spent", &[], |row| Ok(row.try_get::<_, i64>(0)?))
            .await?;
        Ok(count.unwrap_or_default().cast_unsigned())
    }
}
