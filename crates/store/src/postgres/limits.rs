//! Rate limits that nodes share, in PostgreSQL. The table is unlogged, so the table is empty after
//! a crash of the database. Every limit then allows its full number of requests again.
use std::collections::BTreeMap;

use doorbuster_core::gate::shared_limit::{LimitAnswer, LimitCall};

use crate::contract::StoreResult;
use crate::failure::Done;
use crate::limits::RATE_LIMIT_KEPT_US;
use crate::sql::{Row, as_limit};

use super::transaction::RetryUnknown;
use super::{Postgres, PostgresLedger};

/// Adds missing rows in the order of the keys, so that two nodes never wait for each other.
const ADD: &str = "INSERT INTO rate_limit (key, state_us)
     SELECT key, 0 FROM unnest($1::bigint[]) AS t (key) ORDER BY key ON CONFLICT DO NOTHING";
/// Locks the rows in the order of the keys. [`NOW_US`] reads the clock after all locks are taken.
const LOCK: &str = "SELECT key, state_us FROM rate_limit WHERE key = ANY($1) ORDER BY key
     FOR NO KEY UPDATE";
const NOW_US: &str = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
const SET: &str = "UPDATE rate_limit r SET state_us = t.state_us
     FROM unnest($1::bigint[], $2::bigint[]) AS t (key, state_us) WHERE r.key = t.key";
const DELETE: &str = "DELETE FROM rate_limit WHERE key IN (
         SELECT key FROM rate_limit
         WHERE state_us < floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint - $1
         LIMIT $2 FOR UPDATE SKIP LOCKED)";

fn take(ledger: &PostgresLedger<'_>, calls: &[(u64, LimitCall)]) -> Done<Vec<LimitAnswer>> {
    let mut keys: Vec<i64> = calls.iter().map(|(key, _)| key.cast_signed()).collect();
    keys.sort_unstable();
    keys.dedup();
    let row = |row: Row<'_>| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?));
    let mut states = BTreeMap::new();
    // If another node deletes an unused row between `ADD` and `LOCK`, the second round adds the row
    // again. No other node can delete a row that this transaction added.
    for _ in 0..2 {
        ledger.run(ADD, &[&keys])?;
        states = ledger.all(LOCK, &[&keys], row)?.into_iter().collect::<BTreeMap<i64, i64>>();
        if states.len() == keys.len() {
            break;
        }
    }
    let now_us = ledger.one(NOW_US, &[], |row| row.get::<i64>(0))?.unwrap_or_default();
    let mut answers = Vec::with_capacity(calls.len());
    for (key, call) in calls {
        let state = states.entry(key.cast_signed()).or_default();
        let (next, answer) = call.apply((*state).cast_unsigned(), now_us.cast_unsigned());
        *state = next.cast_signed();
        answers.push(answer);
    }
    let (keys, states): (Vec<i64>, Vec<i64>) = states.into_iter().unzip();
    ledger.run(SET, &[&keys, &states])?;
    Ok(answers)
}

impl Postgres {
    pub(crate) async fn apply_limit_calls(
        &self,
        calls: Vec<(u64, LimitCall)>,
    ) -> StoreResult<Vec<LimitAnswer>> {
        self.job(RetryUnknown::Never, move |ledger| take(ledger, &calls)).await
    }

    pub(crate) async fn delete_unused_limits(&self, most: usize) -> StoreResult<usize> {
        let most = as_limit(most);
        let rows = self
            .job(RetryUnknown::Allowed, move |ledger| {
                ledger.run(DELETE, &[&RATE_LIMIT_KEPT_US, &most])
            })
            .await?;
        Ok(usize::try_from(rows).unwrap_or(usize::MAX))
    }
}
