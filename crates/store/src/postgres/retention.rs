//! Deletes expired rows, in PostgreSQL.
use crate::contract::RetentionCutoffs;
use crate::limits::DIGESTS_KEPT_MS;
use crate::store::StoreResult;

use super::Postgres;
use super::failure::Failure;
use super::ledger::PostgresLedger;
use super::read::as_limit;
use super::transaction::RetryUnknown;

fn delete_expired(
    ledger: &PostgresLedger<'_>,
    what: &RetentionCutoffs,
    limit: usize,
) -> Result<u64, Failure> {
    let limit = as_limit(limit);
    let deliveries = "DELETE FROM delivery WHERE seq IN (
             SELECT seq FROM delivery WHERE state IN ('dead', 'discarded') AND at < $1 ORDER BY seq
             LIMIT $2 FOR UPDATE SKIP LOCKED)";
    let tickets = "DELETE FROM dead_letter WHERE seq IN (
             SELECT seq FROM dead_letter WHERE at < $1 ORDER BY seq
             LIMIT $2 FOR UPDATE SKIP LOCKED)";
    let events = "DELETE FROM event WHERE seq IN (
             SELECT e.seq FROM event e WHERE e.grant_id IS NULL AND e.at < $1
                 AND NOT EXISTS (SELECT FROM endpoint p WHERE p.enabled AND (e.position IS NULL
                 OR p.position < e.position))
                 AND NOT EXISTS (SELECT FROM delivery d WHERE d.position = e.position
                 AND d.state <> 'discarded')
             ORDER BY e.at LIMIT $2)";
    let inbox = "DELETE FROM inbox WHERE (provider, event_id) IN (
             SELECT provider, event_id FROM inbox WHERE at < $1 ORDER BY at
             LIMIT $2 FOR UPDATE SKIP LOCKED)";
    let mut rows = ledger.run(deliveries, &[&what.dead_before.0, &limit])?;
    rows += ledger.run(tickets, &[&what.dead_before.0, &limit])?;
    rows += ledger.run(events, &[&what.events_before.0, &limit])?;
    rows += ledger.run(inbox, &[&what.inbox_before.0, &limit])?;
    let actions = "DELETE FROM action WHERE seq IN (
             SELECT seq FROM action WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)";
    rows += ledger.run(actions, &[&what.actions_before.0, &limit])?;
    let digests = "DELETE FROM commit_digest WHERE ctid IN (
             SELECT ctid FROM commit_digest WHERE at < $1 ORDER BY at LIMIT $2)";
    rows += ledger.run(digests, &[&(ledger.now.0 - DIGESTS_KEPT_MS), &limit])?;
    let points = "DELETE FROM sale_point WHERE (sale_id, step_secs, at, node) IN (
             SELECT sale_id, step_secs, at, node FROM sale_point
             WHERE step_secs = $1::bigint AND at < $2 ORDER BY at LIMIT $3)";
    for (step, before) in what.points_before() {
        rows += ledger.run(points, &[&step.secs(), &before.0, &limit])?;
    }
    Ok(rows)
}

impl Postgres {
    pub(crate) async fn delete_expired(
        &self,
        what: RetentionCutoffs,
        limit: usize,
    ) -> StoreResult<usize> {
        let rows = self
            .job(RetryUnknown::Allowed, move |ledger| delete_expired(ledger, &what, limit))
            .await?;
        Ok(usize::try_from(rows).unwrap_or(usize::MAX))
    }
}
