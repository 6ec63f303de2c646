//! Pending deliveries of the outbox.
use rusqlite::params;

use doorbuster_core::Millis;
use doorbuster_core::outbox::{PendingDelivery, PositionAdvance, RowChange};

use crate::contract::{Delivery, DeliveryQuery, DeliveryState, Page, Redelivery, event_about};
use crate::failure::Done;
use crate::limits::PAGE_ROWS_MAX;
use crate::rows::events;
use crate::sql::{Row, Statement, as_limit, dialects, statement, values};
use crate::transaction::{RetryUnknown, Transaction};

use super::events::EVENT_AT;
use super::outbox::{DELETE_PENDING, ENDPOINT, endpoint};
use super::{Store, StoreResult};

const MOVE_POSITION: Statement =
    statement("UPDATE endpoint SET position = $3 WHERE id = $1 AND position = $2");
const INSERT_DELIVERY: &str =
    "INSERT INTO delivery (endpoint_id, position, about, state, tries, next_at, error, at)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const INSERT_DELIVERIES: &str =
    "INSERT INTO delivery (endpoint_id, position, about, state, tries, next_at, error, at)
     SELECT $1, t.position, t.about, t.state, t.tries, t.next_at, t.error, $8
     FROM unnest($2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[])
          AS t (position, about, state, tries, next_at, error)";
const PENDING_DELIVERIES: Statement = statement(
    "SELECT position, about, tries, next_at, error FROM delivery
     WHERE endpoint_id = $1 AND state = 'pending' ORDER BY position LIMIT $2",
);
/// The condition on `tries` is the same as in [`PendingDelivery::can_follow`].
const UPDATE_DELIVERY: Statement = statement(
    "UPDATE delivery SET state = $3, tries = $4, next_at = $5, error = $6,
            at = CASE WHEN state = $3 THEN at ELSE $7 END
     WHERE endpoint_id = $1 AND position = $2 AND state = 'pending'
           AND tries <= $4 AND tries + 1 >= $4",
);
const COUNT_PENDING: Statement =
    statement("SELECT count(*) FROM delivery WHERE endpoint_id = $1 AND state = 'pending'");
const IS_PENDING: Statement = statement(
    "SELECT 1 FROM delivery WHERE endpoint_id = $1 AND position = $2 AND state = 'pending'",
);
const DELIVERIES: Statement = dialects!(
    "SELECT d.seq, d.endpoint_id, d.position, e.type, d.about, d.state, d.tries, d.next_at,
            d.error, d.why, d.at, e.at
     FROM delivery d LEFT JOIN event e ON ",
    "e.seq" | "e.position",
    " = d.position
     WHERE d.endpoint_id = $1 AND (CAST($2 AS text) IS NULL OR d.state = $2) AND d.position < $3
     ORDER BY d.position DESC LIMIT $4"
);
const REDELIVER: Statement = statement(
    "INSERT INTO delivery (endpoint_id, position, about, state, tries, next_at, at)
     VALUES ($1, $2, $3, 'pending', 0, $4, $4)
     ON CONFLICT (endpoint_id, position) DO UPDATE
     SET state = 'pending', tries = 0, next_at = excluded.next_at, why = NULL, at = excluded.at",
);

fn pending_delivery(row: Row<'_>) -> Done<PendingDelivery> {
    Ok(PendingDelivery {
        position: row.get(0)?,
        about: row.text(1, "subject")?.into(),
        tries: row.number_u32(2, "number of tries")?,
        next_at: Millis(row.get(3)?),
        error: row.get(4)?,
        dead: false,
    })
}

/// Returns the event's type and time, or `None` if the event was deleted.
pub(super) fn event_summary(
    row: Row<'_>,
    what: usize,
    at: usize,
) -> Done<Option<(String, Millis)>> {
    Ok(row.get::<Option<String>>(what)?.zip(row.time(at)?))
}

fn delivery(row: Row<'_>) -> Done<Delivery> {
    Ok(Delivery {
        seq: row.get(0)?,
        endpoint: row.get(1)?,
        position: row.get(2)?,
        event: event_summary(row, 3, 11)?,
        about: row.get(4)?,
        state: row.parse(5, "state", DeliveryState::parse)?,
        tries: row.number_u32(6, "number of tries")?,
        next_at: Millis(row.get(7)?),
        error: row.get(8)?,
        why: row.get(9)?,
        at: Millis(row.get(10)?),
    })
}

fn advance(tx: &mut Transaction<'_, '_>, id: &str, progress: &PositionAdvance) -> Done<bool> {
    if tx.run(MOVE_POSITION, &values![id, progress.from, progress.to])? == 0 {
        return Ok(false);
    }
    match tx {
        Transaction::Sqlite(ledger) => {
            for delivery in &progress.failed {
                let state = delivery.state().as_str();
                let (next, now) = (delivery.next_at.0, ledger.now.0);
                let (at, about) = (delivery.position, &*delivery.about);
                let params =
                    params![id, at, about, state, delivery.tries, next, delivery.error, now];
                ledger.sql.run(INSERT_DELIVERY, params)?;
            }
        }
        Transaction::Postgres(ledger) if !progress.failed.is_empty() => {
            let failed = &progress.failed;
            let positions: Vec<i64> = failed.iter().map(|delivery| delivery.position).collect();
            let about: Vec<&str> = failed.iter().map(|delivery| &*delivery.about).collect();
            let states: Vec<&str> =
                failed.iter().map(|delivery| delivery.state().as_str()).collect();
            let tries: Vec<i64> = failed.iter().map(|delivery| i64::from(delivery.tries)).collect();
            let next: Vec<i64> = failed.iter().map(|delivery| delivery.next_at.0).collect();
            let errors: Vec<Option<&str>> =
                failed.iter().map(|delivery| delivery.error.as_deref()).collect();
            let now = ledger.now.0;
            ledger.run(
                INSERT_DELIVERIES,
                &[&id, &positions, &about, &states, &tries, &next, &errors, &now],
            )?;
        }
        Transaction::Postgres(_) => {}
    }
    Ok(true)
}

fn record(tx: &mut Transaction<'_, '_>, id: &str, notes: &[RowChange]) -> Done<bool> {
    let mut is_current = true;
    for note in notes {
        match note {
            RowChange::Delivered(position) => {
                tx.run(DELETE_PENDING, &values![id, *position])?;
            }
            RowChange::Pending(delivery) => {
                let (state, now) = (delivery.state().as_str(), tx.now());
                let PendingDelivery { position, tries, next_at, error, .. } = delivery;
                let error = error.as_deref();
                let values = values![id, *position, state, *tries, *next_at, error, now];
                is_current &= tx.run(UPDATE_DELIVERY, &values)? > 0;
            }
        }
    }
    Ok(is_current)
}

/// Counts an endpoint's pending deliveries. The endpoint's row must be locked, so that no other
/// transaction adds deliveries.
pub(super) fn pending_count(tx: &mut Transaction<'_, '_>, id: &str) -> Done<u64> {
    Ok(tx.one(COUNT_PENDING, &values![id], |row| row.number(0))?.unwrap_or(0))
}

fn redeliver(
    tx: &mut Transaction<'_, '_>,
    id: &str,
    position: i64,
    most: usize,
) -> Done<Redelivery> {
    let Some(endpoint) = tx.one(ENDPOINT, &values![id], endpoint)? else {
        return Ok(Redelivery::NoEndpoint);
    };
    let Some(event) = tx.one(EVENT_AT, &values![position], events::read)? else {
        return Ok(Redelivery::NoEvent);
    };
    if position > endpoint.position {
        return Ok(Redelivery::Ahead);
    }
    // If the event already waits for delivery, the request adds no row. So the maximum number of
    // pending deliveries does not apply.
    let waits = tx.one(IS_PENDING, &values![id, position], |_| Ok(()))?.is_some();
    if !waits && pending_count(tx, id)? >= most as u64 {
        return Ok(Redelivery::Full);
    }
    tx.run(REDELIVER, &values![id, position, event_about(&event), tx.now()])?;
    tx.record(&[])?;
    Ok(Redelivery::Done)
}

impl Store {
    /// Moves an endpoint's position forward, and inserts rows for the undelivered events up to the
    /// new position. Returns false and changes nothing if the endpoint is not at the position that
    /// the caller expects.
    pub async fn advance_endpoint(&self, id: &str, progress: PositionAdvance) -> StoreResult<bool> {
        let id = id.to_owned();
        self.job(RetryUnknown::Allowed, move |tx| advance(tx, &id, &progress)).await
    }

    /// Returns at most `limit` pending deliveries of an endpoint, sorted by position.
    pub async fn pending_deliveries(
        &self,
        id: &str,
        limit: usize,
    ) -> StoreResult<Vec<PendingDelivery>> {
        let values = values![id.to_owned(), as_limit(limit)];
        self.all(PENDING_DELIVERIES, values, pending_delivery).await
    }

    /// Records the results of attempts for deliveries that are still pending. A failed attempt is
    /// ignored if the row's number of attempts has changed meanwhile. The call then returns false,
    /// and the caller must read the pending deliveries again.
    pub async fn record_deliveries(&self, id: &str, notes: Vec<RowChange>) -> StoreResult<bool> {
        let id = id.to_owned();
        self.job(RetryUnknown::Allowed, move |tx| record(tx, &id, &notes)).await
    }

    /// Returns a page of the deliveries of an endpoint.
    pub async fn deliveries(&self, query: DeliveryQuery) -> StoreResult<Page<Delivery>> {
        let limit = query.limit.min(PAGE_ROWS_MAX);
        let state = query.state.map(DeliveryState::as_str);
        let after = query.after.unwrap_or(i64::MAX);
        let values = values![query.endpoint, state, after, as_limit(limit + 1)];
        let rows = self.all(DELIVERIES, values, delivery).await?;
        Ok(Page::of(rows, limit, |row| row.position))
    }

    /// Makes the delivery of one event to an endpoint pending again, whatever the delivery's state
    /// is. Returns [`Redelivery::Full`] if this delivery is not pending, and the endpoint already
    /// has `most` pending deliveries.
    pub async fn redeliver(&self, id: &str, position: i64, most: usize) -> StoreResult<Redelivery> {
        let id = id.to_owned();
        self.job(RetryUnknown::Never, move |tx| redeliver(tx, &id, position, most)).await
    }
}
