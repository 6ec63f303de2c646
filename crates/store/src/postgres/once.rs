//! What may be used once, in PostgreSQL. Of two answers to one challenge, and of two answers of one buyer, the second waits for the first one's transaction.
use doorbuster_core::Millis;

use crate::contract::{Spending, Spent};
use crate::limits::{FORGET_AFTER_MS, FORGET_AT_ONCE};
use crate::store::StoreResult;

use super::failure::Failure;
use super::rows;
use super::run::Again;
use super::{Postgres, PostgresLedger};

/// Whatever another transaction holds at this moment is left to it: nobody waits who forgets.
const FORGET: [&str; 2] = [
    "DELETE FROM spent WHERE id IN (SELECT id FROM spent WHERE until <= $1 ORDER BY until LIMIT $2 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM miss WHERE by IN (SELECT by FROM miss WHERE until <= $1 ORDER BY until LIMIT $2 FOR UPDATE SKIP LOCKED)",
];
/// Counts `$4` more, from one again if the others are over, and says how many there are with them. It holds a row in any case, so that a right answer, which
/// adds none, stands in one line with the wrong ones: where none counts, it is a row that was over at the beginning of time.
const MISSES: &str = "INSERT INTO miss (by, n, until) VALUES ($1, 1, $3)
     ON CONFLICT (by) DO UPDATE SET n = CASE WHEN miss.until > $2 THEN miss.n + $4 ELSE 1 END,
                                    until = CASE WHEN miss.until > $2 THEN miss.until ELSE excluded.until END
     RETURNING n, until";

fn spend(ledger: &mut PostgresLedger<'_>, spending: &Spending) -> Result<Spent, Failure> {
    let Spending { id, until, by, is_right, window_ms } = spending;
    let (id, by, now) = (id.as_slice(), by.as_slice(), ledger.now);
    // By the database's time, as whatever is forgotten.
    if *until <= now {
        return Ok(Spent::Over);
    }
    let sql = "INSERT INTO spent (id, until) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    if ledger.run(sql, &[&id, &until.0])? == 0 {
        return Ok(Spent::Before);
    }
    let more = i64::from(!*is_right);
    let ends = if *is_right { Millis(0) } else { now.plus(*window_ms) };
    let read = |row: &tokio_postgres::Row| Ok((row.try_get::<_, i64>(0)?, Millis(row.try_get(1)?)));
    let counted = ledger.one(MISSES, &[&by, &now.0, &ends.0, &more], read)?;
    let (misses, until) = match counted.filter(|(_, until)| *until > now) {
        Some((n, until)) => {
            (u32::try_from(n - more).map_err(|_| rows::bad("number of misses"))?, until)
        }
        None => (0, now.plus(*window_ms)),
    };
    // Last, when nothing more is waited for: two transactions may forget each other's rows.
    for sql in FORGET {
        ledger.run(sql, &[&now.plus(-FORGET_AFTER_MS).0, &FORGET_AT_ONCE])?;
    }
    Ok(Spent::Now { misses, until })
}

impl Postgres {
    pub(crate) async fn spend(&self, spending: Spending) -> StoreResult<Spent> {
        // Run again it would find its own row, and take a good answer for a second one.
        self.job(Again::Never, move |ledger| spend(ledger, &spending)).await
    }

    pub(crate) async fn spent(&self) -> StoreResult<u64> {
        let count = self
            .one("SELECT count(*) FROM spent", &[], |row| Ok(row.try_get::<_, i64>(0)?))
            .await?;
        Ok(count.unwrap_or_default().cast_unsigned())
    }
}
