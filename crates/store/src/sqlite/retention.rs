//! Deletes expired rows, in SQLite.
use rusqlite::params;

use crate::contract::RetentionCutoffs;
use crate::store::StoreResult;

use super::Sqlite;
use super::failure::Failure;
use super::ledger::SqliteLedger;
use super::read::as_limit;

fn delete_expired(
    ledger: &mut SqliteLedger<'_>,
    what: &RetentionCutoffs,
    limit: usize,
) -> Result<usize, Failure> {
    let (sql, limit) = (&mut ledger.sql, as_limit(limit));
    let deliveries = sql.run(
        "DELETE FROM delivery WHERE seq IN (
             SELECT seq FROM delivery WHERE state IN ('dead', 'discarded') AND at < ?1 ORDER BY seq
             LIMIT ?2)",
        params![what.dead_before.0, limit],
    )?;
    let tickets = sql.run(
        "DELETE FROM dead_letter WHERE seq IN (SELECT seq FROM dead_letter WHERE at < ?1 ORDER BY \
         seq LIMIT ?2)",
        params![what.dead_before.0, limit],
    )?;
    // The newest row stays, because a new row would otherwise get its number again.
    let events = sql.run(
        "DELETE FROM event WHERE seq IN (
             SELECT e.seq FROM event e WHERE e.grant_id IS NULL AND e.at < ?1
                 AND e.seq < (SELECT max(seq) FROM event)
                 AND NOT EXISTS (SELECT 1 FROM endpoint p WHERE p.enabled = 1
                 AND p.position < e.seq)
                 AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.position = e.seq
                 AND d.state <> 'discarded')
             ORDER BY e.at LIMIT ?2)",
        params![what.events_before.0, limit],
    )?;
    let inbox = sql.run(
        "DELETE FROM inbox WHERE (provider, event_id) IN (
             SELECT provider, event_id FROM inbox WHERE at < ?1 ORDER BY at LIMIT ?2)",
        params![what.inbox_before.0, limit],
    )?;
    let actions = sql.run(
        "DELETE FROM action WHERE seq IN (
             SELECT seq FROM action WHERE at < ?1 ORDER BY at LIMIT ?2)",
        params![what.actions_before.0, limit],
    )?;
    let mut points = 0;
    for (step, before) in what.points_before() {
        points += sql.run(
            "DELETE FROM sale_point WHERE (sale_id, step_secs, at, node) IN (
                 SELECT sale_id, step_secs, at, node FROM sale_point
                 WHERE step_secs = ?1 AND at < ?2 ORDER BY at LIMIT ?3)",
            params![step.secs(), before.0, limit],
        )?;
    }
    Ok(deliveries + tickets + events + inbox + actions + points)
}

impl Sqlite {
    pub(crate) async fn delete_expired(
        &self,
        what: RetentionCutoffs,
        limit: usize,
    ) -> StoreResult<usize> {
        self.job(move |ledger| delete_expired(ledger, &what, limit)).await
    }
}
