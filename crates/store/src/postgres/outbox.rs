//! The outbox in PostgreSQL: events in order, endpoints, and pending deliveries. A change of an
//! endpoint or of its deliveries locks the endpoint's row.
use tokio_postgres::Row;

use doorbuster_core::outbox::{PendingDelivery, PositionAdvance, RowChange};
use doorbuster_core::{Millis, NodeId};

use crate::actions;
use crate::contract::{
    Delivery, DeliveryQuery, DeliveryState, Endpoint, EndpointChange, EndpointKind, EndpointStatus,
    EventRead, NewEndpoint, OutboxPage, Redelivery, event_about,
};
use crate::endpoints::{self, EndpointRow};
use crate::limits::{PAGE_ROWS_MAX, SEQUENCE_ROWS_MAX, UNSEQUENCED_COUNTED_MAX};
use crate::store::StoreResult;

use super::Postgres;
use super::events::{self, event_columns, event_rows};
use super::failure::Failure;
use super::ledger::PostgresLedger;
use super::read::as_limit;
use super::rows::{number, parse_text, small, time};
use super::transaction::RetryUnknown;

type Done<T> = Result<T, Failure>;

macro_rules! endpoint_columns {
    () => {
        "id, kind, url, types, secrets, position, enabled, created_at"
    };
}

const FIND: &str =
    concat!("SELECT ", endpoint_columns!(), " FROM endpoint WHERE id = $1 FOR UPDATE");
pub(super) const EVENT_AT: &str =
    concat!("SELECT ", event_columns!(), " FROM ", event_rows!(), " WHERE e.position = $1");
const LAST: &str = "SELECT position FROM event_turn";

fn endpoint(row: &Row) -> Done<Endpoint> {
    let id: String = row.try_get(0)?;
    let found = EndpointRow {
        id: id.clone(),
        kind: row.try_get(1)?,
        url: row.try_get(2)?,
        types: row.try_get(3)?,
        secrets: row.try_get(4)?,
        position: row.try_get(5)?,
        enabled: row.try_get(6)?,
        created_at: Millis(row.try_get(7)?),
    };
    found.endpoint().ok_or_else(|| Failure::Row(format!("row of endpoint {id} is invalid")))
}

fn insert(ledger: &PostgresLedger<'_>, new: &NewEndpoint, most: usize) -> Done<Option<Endpoint>> {
    // The lock makes concurrent additions wait for each other, so that the count is right.
    ledger.run("LOCK TABLE endpoint IN SHARE ROW EXCLUSIVE MODE", &[])?;
    if let Some(there) = ledger.one(FIND, &[&new.id], endpoint)? {
        // An earlier attempt of this call, whose outcome was unknown, already added the endpoint.
        return Ok(Some(there));
    }
    let count = ledger.one("SELECT count(*) FROM endpoint", &[], |row| number(row, 0))?;
    if count.unwrap_or(0) >= most as u64 {
        return Ok(None);
    }
    let last = ledger.one(LAST, &[], |row| Ok(row.try_get::<_, i64>(0)?))?.unwrap_or(0);
    let secrets: Vec<_> = new.secret.iter().cloned().collect();
    let sql = "INSERT INTO endpoint (id, kind, url, types, secrets, position, enabled, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let (types, secrets) =
        (endpoints::types_to_json(&new.wanted), endpoints::secrets_to_json(&secrets));
    ledger.run(
        sql,
        &[
            &new.id,
            &new.kind.as_str(),
            &new.url,
            &types,
            &secrets,
            &last,
            &new.enabled,
            &ledger.now.0,
        ],
    )?;
    let made = ledger.one(FIND, &[&new.id], endpoint)?;
    ledger.record(&actions::changed_endpoint(None, made.as_ref()))?;
    Ok(made)
}

fn update(
    ledger: &PostgresLedger<'_>,
    id: &str,
    change: &EndpointChange,
) -> Done<Option<Endpoint>> {
    let Some(before) = ledger.one(FIND, &[&id], endpoint)? else { return Ok(None) };
    let mut endpoint = before.clone();
    change.apply(&mut endpoint, ledger.now);
    let (types, secrets) =
        (endpoints::types_to_json(&endpoint.wanted), endpoints::secrets_to_json(&endpoint.secrets));
    let sql = "UPDATE endpoint SET url = $2, types = $3, secrets = $4, enabled = $5 WHERE id = $1";
    ledger.run(sql, &[&id, &endpoint.url, &types, &secrets, &endpoint.enabled])?;
    if endpoint != before {
        ledger.record(&actions::changed_endpoint(Some(&before), Some(&endpoint)))?;
    }
    Ok(Some(endpoint))
}

fn advance(ledger: &PostgresLedger<'_>, id: &str, progress: &PositionAdvance) -> Done<bool> {
    let sql = "UPDATE endpoint SET position = $3 WHERE id = $1 AND position = $2";
    if ledger.run(sql, &[&id, &progress.from, &progress.to])? == 0 {
        return Ok(false);
    }
    let failed = &progress.failed;
    if !failed.is_empty() {
        let positions: Vec<i64> = failed.iter().map(|parcel| parcel.position).collect();
        let about: Vec<&str> = failed.iter().map(|parcel| &*parcel.about).collect();
        let states: Vec<&str> = failed.iter().map(|parcel| parcel.state().as_str()).collect();
        let tries: Vec<i64> = failed.iter().map(|parcel| i64::from(parcel.tries)).collect();
        let next: Vec<i64> = failed.iter().map(|parcel| parcel.next_at.0).collect();
        let errors: Vec<Option<&str>> =
            failed.iter().map(|parcel| parcel.error.as_deref()).collect();
        let sql =
            "INSERT INTO delivery (endpoint_id, position, about, state, tries, next_at, error,
                   at)
             SELECT $1, t.position, t.about, t.state, t.tries, t.next_at, t.error, $8
             FROM unnest($2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],
             $7::text[])
                  AS t (position, about, state, tries, next_at, error)";
        ledger
            .run(sql, &[&id, &positions, &about, &states, &tries, &next, &errors, &ledger.now.0])?;
    }
    Ok(true)
}

fn record(ledger: &PostgresLedger<'_>, id: &str, notes: &[RowChange]) -> Done<()> {
    for note in notes {
        match note {
            RowChange::Delivered(position) => {
                let sql = "DELETE FROM delivery WHERE endpoint_id = $1 AND position = $2
                           AND state = 'pending'";
                ledger.run(sql, &[&id, position])?;
            }
            RowChange::Pending(parcel) => {
                let sql = "UPDATE delivery SET state = $3, tries = $4, next_at = $5, error = $6,
                                               at = CASE WHEN state = $3 THEN at ELSE $7 END
                     WHERE endpoint_id = $1 AND position = $2 AND state = 'pending'";
                let tries = i64::from(parcel.tries);
                let (at, next, now) = (&parcel.position, &parcel.next_at.0, &ledger.now.0);
                ledger.run(
                    sql,
                    &[&id, at, &parcel.state().as_str(), &tries, next, &parcel.error, now],
                )?;
            }
        }
    }
    Ok(())
}

/// Returns the number of pending deliveries of an endpoint whose row is locked. No other
/// transaction can add deliveries while the row is locked.
pub(super) fn pending_count(ledger: &PostgresLedger<'_>, id: &str) -> Done<u64> {
    let count = "SELECT count(*) FROM delivery WHERE endpoint_id = $1 AND state = 'pending'";
    Ok(ledger.one(count, &[&id], |row| number(row, 0))?.unwrap_or(0))
}

fn redeliver(
    ledger: &PostgresLedger<'_>,
    id: &str,
    position: i64,
    most: usize,
) -> Done<Redelivery> {
    let Some(endpoint) = ledger.one(FIND, &[&id], endpoint)? else {
        return Ok(Redelivery::NoEndpoint);
    };
    let Some(event) = ledger.one(EVENT_AT, &[&position], events::read)? else {
        return Ok(Redelivery::NoEvent);
    };
    if position > endpoint.position {
        return Ok(Redelivery::Ahead);
    }
    if pending_count(ledger, id)? >= most as u64 {
        return Ok(Redelivery::Full);
    }
    let sql = "INSERT INTO delivery (endpoint_id, position, about, state, tries, next_at, at)
         VALUES ($1, $2, $3, 'pending', 0, $4, $4)
         ON CONFLICT (endpoint_id, position) DO UPDATE
         SET state = 'pending', tries = 0, next_at = excluded.next_at, why = NULL,
         at = excluded.at";
    ledger.run(sql, &[&id, &position, &event_about(&event), &ledger.now.0])?;
    ledger.record(&[])?;
    Ok(Redelivery::Done)
}

/// Parses the event's type and time from these columns. Returns `None` if the event was deleted.
pub(super) fn event_summary(row: &Row, what: usize, at: usize) -> Done<Option<(String, Millis)>> {
    Ok(row.try_get::<_, Option<String>>(what)?.zip(time(row, at)?))
}

fn delivery(row: &Row) -> Done<Delivery> {
    Ok(Delivery {
        seq: row.try_get(0)?,
        endpoint: row.try_get(1)?,
        position: row.try_get(2)?,
        event: event_summary(row, 3, 11)?,
        about: row.try_get(4)?,
        state: parse_text(row, 5, "state", DeliveryState::parse)?,
        tries: small(row, 6, "number of tries")?,
        next_at: Millis(row.try_get(7)?),
        error: row.try_get(8)?,
        why: row.try_get(9)?,
        at: Millis(row.try_get(10)?),
    })
}

fn endpoint_status(row: &Row) -> Done<EndpointStatus> {
    let oldest = [time(row, 6)?, time(row, 7)?, time(row, 8)?].into_iter().flatten().min();
    Ok(EndpointStatus {
        endpoint: row.try_get(0)?,
        kind: parse_text(row, 1, "kind", EndpointKind::parse)?,
        enabled: row.try_get(2)?,
        waiting: row.try_get::<_, i64>(3)?.max(0).unsigned_abs(),
        pending: number(row, 4)?,
        dead: number(row, 5)?,
        oldest_at: oldest,
    })
}

impl Postgres {
    pub(crate) async fn last_position(&self) -> StoreResult<i64> {
        Ok(self.one(LAST, &[], |row| Ok(row.try_get(0)?)).await?.unwrap_or(0))
    }

    pub(crate) async fn events_after(
        &self,
        position: i64,
        limit: usize,
    ) -> StoreResult<Vec<EventRead>> {
        const SQL: &str = concat!(
            "SELECT ",
            event_columns!(),
            " FROM ",
            event_rows!(),
            " WHERE e.position > $1 ORDER BY e.position LIMIT $2"
        );
        self.all(SQL, &[&position, &as_limit(limit)], events::read).await
    }

    pub(crate) async fn event_at(&self, position: i64) -> StoreResult<Option<EventRead>> {
        self.one(EVENT_AT, &[&position], events::read).await
    }

    pub(crate) async fn endpoints(&self) -> StoreResult<Vec<Endpoint>> {
        const SQL: &str =
            concat!("SELECT ", endpoint_columns!(), " FROM endpoint ORDER BY created_at, id");
        self.all(SQL, &[], endpoint).await
    }

    pub(crate) async fn insert_endpoint(
        &self,
        new: NewEndpoint,
        most: usize,
    ) -> StoreResult<Option<Endpoint>> {
        // Earlier events must not be delivered, so they get their positions first. If there was no
        // endpoint before, there may be many such events.
        while self.sequence_events(SEQUENCE_ROWS_MAX).await? == SEQUENCE_ROWS_MAX {}
        self.job(RetryUnknown::Allowed, move |ledger| insert(ledger, &new, most)).await
    }

    pub(crate) async fn update_endpoint(
        &self,
        id: &str,
        change: EndpointChange,
    ) -> StoreResult<Option<Endpoint>> {
        let id = id.to_owned();
        self.job(RetryUnknown::Allowed, move |ledger| update(ledger, &id, &change)).await
    }

    pub(crate) async fn delete_endpoint(&self, id: &str) -> StoreResult<bool> {
        let id = id.to_owned();
        self.job(RetryUnknown::Never, move |ledger| {
            let before = ledger.one(FIND, &[&id], endpoint)?;
            let deleted = ledger.run("DELETE FROM endpoint WHERE id = $1", &[&id])? > 0;
            if deleted {
                ledger.record(&actions::changed_endpoint(before.as_ref(), None))?;
            }
            Ok(deleted)
        })
        .await
    }

    pub(crate) async fn lease_endpoint(
        &self,
        id: &str,
        node: NodeId,
        lease_ms: i64,
    ) -> StoreResult<bool> {
        let (id, node) = (id.to_owned(), i64::from(node.0));
        let lease = move |ledger: &mut PostgresLedger<'_>| {
            let sql = "UPDATE endpoint SET node = $2, until = $3
                 WHERE id = $1 AND (node = $2 OR node IS NULL OR until <= $4)";
            Ok(ledger.run(sql, &[&id, &node, &ledger.now.plus(lease_ms).0, &ledger.now.0])? > 0)
        };
        self.job(RetryUnknown::Allowed, lease).await
    }

    pub(crate) async fn endpoint_statuses(&self) -> StoreResult<Vec<EndpointStatus>> {
        // Events without a position come after all events with one. They wait for every endpoint,
        // even if no node assigns positions.
        let sql = "WITH unplaced AS MATERIALIZED (
                 SELECT count(*) AS many, min(e.at) AS oldest
                 FROM (SELECT at FROM event WHERE position IS NULL ORDER BY position, seq
                 LIMIT $1) AS e)
             SELECT p.id, p.kind, p.enabled, greatest(t.position - p.position, 0) + u.many,
                 (SELECT count(*) FROM delivery d WHERE d.endpoint_id = p.id
                 AND d.state = 'pending'),
                 (SELECT count(*) FROM delivery d WHERE d.endpoint_id = p.id AND d.state = 'dead'),
                 (SELECT e.at FROM event e WHERE e.position > p.position ORDER BY e.position
                 LIMIT 1),
                 (SELECT min(d.at) FROM delivery d WHERE d.endpoint_id = p.id
                 AND d.state = 'pending'),
                 u.oldest
             FROM endpoint p, event_turn t, unplaced u ORDER BY p.created_at, p.id";
        self.all(sql, &[&as_limit(UNSEQUENCED_COUNTED_MAX)], endpoint_status).await
    }

    pub(crate) async fn advance_endpoint(
        &self,
        id: &str,
        progress: PositionAdvance,
    ) -> StoreResult<bool> {
        let id = id.to_owned();
        self.job(RetryUnknown::Allowed, move |ledger| advance(ledger, &id, &progress)).await
    }

    pub(crate) async fn pending_deliveries(
        &self,
        id: &str,
        limit: usize,
    ) -> StoreResult<Vec<PendingDelivery>> {
        let sql = "SELECT position, about, tries, next_at, error FROM delivery
             WHERE endpoint_id = $1 AND state = 'pending' ORDER BY position LIMIT $2";
        let parcel = |row: &Row| {
            Ok(PendingDelivery {
                position: row.try_get(0)?,
                about: row.try_get::<_, &str>(1)?.into(),
                tries: small(row, 2, "number of tries")?,
                next_at: Millis(row.try_get(3)?),
                error: row.try_get(4)?,
                dead: false,
            })
        };
        self.all(sql, &[&id, &as_limit(limit)], parcel).await
    }

    pub(crate) async fn record_deliveries(
        &self,
        id: &str,
        notes: Vec<RowChange>,
    ) -> StoreResult<()> {
        let id = id.to_owned();
        self.job(RetryUnknown::Allowed, move |ledger| record(ledger, &id, &notes)).await
    }

    pub(crate) async fn deliveries(
        &self,
        query: DeliveryQuery,
    ) -> StoreResult<OutboxPage<Delivery>> {
        let limit = query.limit.min(PAGE_ROWS_MAX);
        let sql = "SELECT d.seq, d.endpoint_id, d.position, e.type, d.about, d.state, d.tries,
                   d.next_at, d.error, d.why, d.at, e.at
             FROM delivery d LEFT JOIN event e ON e.position = d.position
             WHERE d.endpoint_id = $1 AND ($2::text IS NULL OR d.state = $2) AND d.position < $3
             ORDER BY d.position DESC LIMIT $4";
        let state = query.state.map(DeliveryState::as_str);
        let after = query.after.unwrap_or(i64::MAX);
        let rows = self
            .all(sql, &[&query.endpoint, &state, &after, &as_limit(limit + 1)], delivery)
            .await?;
        Ok(OutboxPage::of(rows, limit, |row| row.position))
    }

    pub(crate) async fn redeliver(
        &self,
        id: &str,
        position: i64,
        most: usize,
    ) -> StoreResult<Redelivery> {
        let id = id.to_owned();
        self.job(RetryUnknown::Allowed, move |ledger| redeliver(ledger, &id, position, most)).await
    }
}
