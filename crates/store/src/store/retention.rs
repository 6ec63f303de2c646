//! Deletes expired rows.
use crate::contract::RetentionCutoffs;
use crate::failure::Done;
use crate::limits::DIGESTS_KEPT_MS;
use crate::sql::{Statement, as_limit, statement, values};
use crate::transaction::{RetryUnknown, Transaction};

use super::{Store, StoreResult};

/// In PostgreSQL, skips rows that another transaction has locked, so that the deletion never waits.
macro_rules! delete_unlocked {
    ($text:literal) => {
        Statement {
            sqlite: concat!($text, ")"),
            postgres: concat!($text, " FOR UPDATE SKIP LOCKED)"),
        }
    };
}
const DELIVERIES: Statement = delete_unlocked!(
    "DELETE FROM delivery WHERE seq IN (
         SELECT seq FROM delivery WHERE state IN ('dead', 'discarded') AND at < $1 ORDER BY seq
         LIMIT $2"
);
const DEAD_TICKETS: Statement = delete_unlocked!(
    "DELETE FROM dead_letter WHERE seq IN (
         SELECT seq FROM dead_letter WHERE at < $1 ORDER BY seq LIMIT $2"
);
/// In SQLite, the newest event stays. If the newest event were deleted, the next event would get
/// the same number.
const EVENTS: Statement = Statement {
    sqlite: "DELETE FROM event WHERE seq IN (
             SELECT e.seq FROM event e WHERE e.grant_id IS NULL AND e.at < $1
                 AND e.seq < (SELECT max(seq) FROM event)
                 AND NOT EXISTS (SELECT 1 FROM endpoint p WHERE p.enabled = 1
                 AND p.position < e.seq)
                 AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.position = e.seq
                 AND d.state <> 'discarded')
             ORDER BY e.at LIMIT $2)",
    postgres: "DELETE FROM event WHERE seq IN (
             SELECT e.seq FROM event e WHERE e.grant_id IS NULL AND e.at < $1
                 AND NOT EXISTS (SELECT FROM endpoint p WHERE p.enabled AND (e.position IS NULL
                 OR p.position < e.position))
                 AND NOT EXISTS (SELECT FROM delivery d WHERE d.position = e.position
                 AND d.state <> 'discarded')
             ORDER BY e.at LIMIT $2)",
};
const INBOX: Statement = delete_unlocked!(
    "DELETE FROM inbox WHERE (provider, event_id) IN (
         SELECT provider, event_id FROM inbox WHERE at < $1 ORDER BY at LIMIT $2"
);
const ACTIONS: Statement = delete_unlocked!(
    "DELETE FROM action WHERE seq IN (SELECT seq FROM action WHERE at < $1 ORDER BY at LIMIT $2"
);
const SECONDS: Statement = statement(
    "DELETE FROM sale_point WHERE (sale_id, step_secs, at, node) IN (
         SELECT sale_id, step_secs, at, node FROM sale_point
         WHERE step_secs = 1 AND at < $1 ORDER BY at LIMIT $2)",
);
/// Deletes per-minute statistics. Keeps the statistics of sales that are not closed, or that closed
/// after the cutoff.
const MINUTES: Statement = statement(
    "DELETE FROM sale_point WHERE (sale_id, step_secs, at, node) IN (
         SELECT sale_id, step_secs, at, node FROM sale_point
         WHERE step_secs = 60 AND at < $1
             AND sale_id NOT IN (SELECT id FROM sale WHERE closed_at IS NULL OR closed_at >= $1)
         ORDER BY at LIMIT $2)",
);
const SUBSCRIPTIONS: Statement = delete_unlocked!(
    "DELETE FROM push_subscription WHERE id IN (
         SELECT id FROM push_subscription WHERE until < $1 ORDER BY until LIMIT $2"
);
const SURPLUS_SUBSCRIPTIONS: Statement = statement(
    "DELETE FROM push_subscription WHERE id IN (
         SELECT id FROM push_subscription ORDER BY until DESC, id DESC LIMIT $1 OFFSET $2)",
);
const WRONG_KEYS: Statement = delete_unlocked!(
    "DELETE FROM wrong_key WHERE network IN (
         SELECT network FROM wrong_key WHERE minute < $1 LIMIT $2"
);
const BLOCKS: Statement = delete_unlocked!(
    "DELETE FROM block WHERE (kind, value) IN (
         SELECT kind, value FROM block WHERE until <= $1 LIMIT $2"
);
/// Only PostgreSQL has digests of commits.
const DIGESTS: &str = "DELETE FROM commit_digest WHERE ctid IN (
     SELECT ctid FROM commit_digest WHERE at < $1 ORDER BY at LIMIT $2)";

fn delete_expired(
    tx: &mut Transaction<'_, '_>,
    what: &RetentionCutoffs,
    limit: usize,
) -> Done<u64> {
    let limit = as_limit(limit);
    let mut rows = 0;
    for (sql, before) in [
        (DELIVERIES, what.dead_before),
        (DEAD_TICKETS, what.dead_before),
        (EVENTS, what.events_before),
        (INBOX, what.inbox_before),
        (ACTIONS, what.actions_before),
        (SECONDS, what.seconds_before),
        (MINUTES, what.minutes_before),
        (SUBSCRIPTIONS, what.subscriptions_before),
    ] {
        rows += tx.run(sql, &values![before, limit])?;
    }
    rows += tx.run(SURPLUS_SUBSCRIPTIONS, &values![limit, what.subscriptions_max])?;
    let minute = tx.now().0.div_euclid(60_000);
    rows += tx.run(WRONG_KEYS, &values![minute, limit])?;
    rows += tx.run(BLOCKS, &values![tx.now(), limit])?;
    if let Transaction::Postgres(ledger) = tx {
        rows += ledger.execute(DIGESTS, &values![ledger.now.plus(-DIGESTS_KEPT_MS), limit])?;
    }
    Ok(rows)
}

impl Store {
    /// Deletes at most `limit` unneeded rows of each kind. Returns the number of all deleted rows.
    pub async fn delete_expired(&self, what: RetentionCutoffs, limit: usize) -> StoreResult<usize> {
        let delete = move |tx: &mut Transaction<'_, '_>| delete_expired(tx, &what, limit);
        let rows = self.job(RetryUnknown::Allowed, delete).await?;
        Ok(usize::try_from(rows).unwrap_or(usize::MAX))
    }
}
