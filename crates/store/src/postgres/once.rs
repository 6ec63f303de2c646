//! What may be used once, in PostgreSQL. Of two answers to one challenge, the second waits for the first one's transaction.
use doorbuster_core::Millis;

use crate::contract::{Spending, Spent};
use crate::limits::FORGET_AT_ONCE;
use crate::store::StoreResult;

use super::failure::Failure;
use super::rows;
use super::run::Again;
use super::{Postgres, PostgresLedger};

/// Whatever another transaction forgets at this moment is left to it.
const FORGET: [&str; 2] = [
    "DELETE FROM spent WHERE id IN (SELECT id FROM spent WHERE until <= $1 ORDER BY until LIMIT $2 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM miss WHERE by IN (SELECT by FROM miss WHERE until <= $1 ORDER BY until LIMIT $2 FOR UPDATE SKIP LOCKED)",
];
/// Counts one more, from one again if the others are forgotten, and says how many there are with it.
const MISS: &str = "INSERT INTO miss (by, n, until) VALUES ($1, 1, $3)
     ON CONFLICT (by) DO UPDATE SET n = CASE WHEN miss.until > $2 THEN miss.n + 1 ELSE 1 END,
                                    until = CASE WHEN miss.until > $2 THEN miss.until ELSE excluded.until END
     RETURNING n, until";

fn spend(ledger: &mut PostgresLedger<'_>, spending: &Spending) -> Result<Spent, Failure> {
    let Spending { id, until, by, is_right, window_ms } = spending;
    let (id, by, now) = (id.as_slice(), by.as_slice(), ledger.now);
    for sql in FORGET {
        ledger.run(sql, &[&now.0, &FORGET_AT_ONCE])?;
    }
    let sql = "INSERT INTO spent (id, until) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    if ledger.run(sql, &[&id, &until.0])? == 0 {
        return Ok(Spent::Before);
    }
    let ends = now.plus(*window_ms);
    let read = |row: &tokio_postgres::Row| {
        let n: i64 = row.try_get(0)?;
        Ok((u32::try_from(n).map_err(|_| rows::bad("number of misses"))?, Millis(row.try_get(1)?)))
    };
    let (misses, until) = if *is_right {
        let sql = "SELECT n, until FROM miss WHERE by = $1 AND until > $2";
        ledger.one(sql, &[&by, &now.0], read)?.unwrap_or((0, ends))
    } else {
        let counted = ledger.one(MISS, &[&by, &now.0, &ends.0], read)?;
        counted.map_or((0, ends), |(n, until)| (n - 1, until))
    };
    Ok(Spent::Now { misses, until })
}

impl Postgres {
    pub(crate) async fn spend(&self, spending: Spending) -> StoreResult<Spent> {
        // Run again it would find its own row, and take a good answer for a second one.
        self.job(Again::Never, move |ledger| spend(ledger, &spending)).await
    }

    pub(crate) async fn spent(&self) -> StoreResult<u64> {
        let count = self.one("SELECT count(*) FROM spent", &[], |row| Ok(row.try_get::<_, i64>(0)?)).await?;
        Ok(count.unwrap_or_default().cast_unsigned())
    }
}
