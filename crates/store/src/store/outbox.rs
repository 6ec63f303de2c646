//! The outbox: endpoints with their progress. A change of an endpoint or of its deliveries locks
//! the endpoint's row.

use doorbuster_core::{Millis, NodeId};

use crate::contract::{Endpoint, EndpointChange, EndpointKind, EndpointStatus, NewEndpoint};
use crate::failure::{Done, Failure};
use crate::limits::{LEASE_END_MAX_MS, SEQUENCE_ROWS_MAX, UNSEQUENCED_COUNTED_MAX};
use crate::sql::{Row, Statement, as_limit, dialects, locking, statement, values};
use crate::transaction::{RetryUnknown, Transaction};
use crate::{actions, endpoints};

use super::events::LAST_POSITION;
use super::{Store, StoreResult};

macro_rules! endpoint_columns {
    () => {
        "id, kind, url, types, secrets, position, enabled, created_at"
    };
}
const ENDPOINTS: Statement =
    statement(concat!("SELECT ", endpoint_columns!(), " FROM endpoint ORDER BY created_at, id"));
pub(super) const ENDPOINT: Statement =
    locking!(concat!("SELECT ", endpoint_columns!(), " FROM endpoint WHERE id = $1"), "FOR UPDATE");
/// With the lock, concurrent additions wait for each other, so there are never too many endpoints.
const LOCK_ENDPOINTS: &str = "LOCK TABLE endpoint IN SHARE ROW EXCLUSIVE MODE";
const COUNT_ENDPOINTS: Statement = statement("SELECT count(*) FROM endpoint");
const INSERT_ENDPOINT: Statement = statement(
    "INSERT INTO endpoint (id, kind, url, types, secrets, position, enabled, created_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
);
const UPDATE_ENDPOINT: Statement =
    statement("UPDATE endpoint SET url = $2, types = $3, secrets = $4, enabled = $5 WHERE id = $1");
const DELETE_DELIVERIES: Statement = statement("DELETE FROM delivery WHERE endpoint_id = $1");
pub(super) const DELETE_PENDING: Statement = statement(
    "DELETE FROM delivery WHERE endpoint_id = $1 AND position = $2 AND state = 'pending'",
);
/// Selects an endpoint's pending deliveries with the types of their events. A delivery that an
/// operator requested is left out until its first attempt fails.
const PENDING_TYPES: Statement = dialects!(
    "SELECT d.position, e.type FROM delivery d JOIN event e ON ",
    "e.seq" | "e.position",
    " = d.position
     WHERE d.endpoint_id = $1 AND d.state = 'pending' AND NOT (d.tries = 0 AND d.next_at = d.at)"
);
const DELETE_ENDPOINT: Statement = statement("DELETE FROM endpoint WHERE id = $1");
/// Takes the endpoint's lease if this node already has it, or if the lease has expired or is void
/// (`LEASE_END_MAX_MS`).
const LEASE_ENDPOINT: Statement = statement(
    "UPDATE endpoint SET node = $2, until = $3
     WHERE id = $1 AND (node = $2 OR node IS NULL OR until <= $4 OR until > $5)",
);
/// In PostgreSQL, events without a position come after all events with a position. So events
/// without a position count as waiting for every endpoint, even while no node assigns positions.
const ENDPOINT_STATUSES: Statement = Statement {
    sqlite: "SELECT p.id, p.kind, p.enabled,
             (SELECT coalesce(max(e.seq), 0) FROM event e) - p.position,
             (SELECT count(*) FROM delivery d WHERE d.endpoint_id = p.id AND d.state = 'pending'),
             (SELECT count(*) FROM delivery d WHERE d.endpoint_id = p.id AND d.state = 'dead'),
             (SELECT e.at FROM event e WHERE e.seq > p.position ORDER BY e.seq LIMIT 1),
             (SELECT min(d.at) FROM delivery d WHERE d.endpoint_id = p.id AND d.state = 'pending'),
             NULL
         FROM endpoint p ORDER BY p.created_at, p.id",
    postgres: "WITH unplaced AS MATERIALIZED (
             SELECT count(*) AS many, min(e.at) AS oldest
             FROM (SELECT at FROM event WHERE position IS NULL ORDER BY position, seq
             LIMIT $1) AS e)
         SELECT p.id, p.kind, p.enabled,
             CASE WHEN ahead.many < $1 THEN ahead.many ELSE t.position - p.position END + u.many,
             (SELECT count(*) FROM delivery d WHERE d.endpoint_id = p.id AND d.state = 'pending'),
             (SELECT count(*) FROM delivery d WHERE d.endpoint_id = p.id AND d.state = 'dead'),
             (SELECT e.at FROM event e WHERE e.position > p.position ORDER BY e.position LIMIT 1),
             (SELECT min(d.at) FROM delivery d WHERE d.endpoint_id = p.id AND d.state = 'pending'),
             u.oldest
         FROM endpoint p, event_turn t, unplaced u,
             LATERAL (SELECT count(*) AS many
                 FROM (SELECT FROM event e WHERE e.position > p.position
                 ORDER BY e.position LIMIT $1) AS e) AS ahead
         ORDER BY p.created_at, p.id",
};

pub(super) fn endpoint(row: Row<'_>) -> Done<Endpoint> {
    let id: String = row.get(0)?;
    let invalid = || Failure::Row(format!("row of endpoint {id} is invalid"));
    Ok(Endpoint {
        kind: EndpointKind::parse(row.text(1, "kind")?).ok_or_else(invalid)?,
        url: row.get(2)?,
        wanted: endpoints::types_from_json(row.text(3, "types")?).ok_or_else(invalid)?,
        secrets: endpoints::secrets_from_json(row.text(4, "secrets")?).ok_or_else(invalid)?,
        position: row.get(5)?,
        enabled: row.get(6)?,
        created_at: Millis(row.get(7)?),
        id,
    })
}

fn endpoint_status(row: Row<'_>) -> Done<EndpointStatus> {
    let oldest = [row.time(6)?, row.time(7)?, row.time(8)?].into_iter().flatten().min();
    Ok(EndpointStatus {
        endpoint: row.get(0)?,
        kind: row.parse(1, "kind", EndpointKind::parse)?,
        enabled: row.get(2)?,
        waiting: row.get::<i64>(3)?.max(0).unsigned_abs(),
        pending: row.number(4)?,
        dead: row.number(5)?,
        oldest_at: oldest,
    })
}

fn insert(tx: &mut Transaction<'_, '_>, new: &NewEndpoint, most: usize) -> Done<Option<Endpoint>> {
    if let Transaction::Postgres(ledger) = tx {
        ledger.run(LOCK_ENDPOINTS, &[])?;
    }
    if let Some(there) = tx.one(ENDPOINT, &values![&new.id], endpoint)? {
        // An earlier attempt of this call, whose outcome was unknown, already added the endpoint.
        return Ok(Some(there));
    }
    let count = tx.one(COUNT_ENDPOINTS, &[], |row| row.number(0))?;
    if count.unwrap_or(0) >= most as u64 {
        return Ok(None);
    }
    let last = tx.one(LAST_POSITION, &[], |row| row.get::<Option<i64>>(0))?.flatten().unwrap_or(0);
    let secrets: Vec<_> = new.secret.iter().cloned().collect();
    let (types, secrets) =
        (endpoints::types_to_json(&new.wanted), endpoints::secrets_to_json(&secrets));
    let (kind, now) = (new.kind.as_str(), tx.now());
    let values = values![&new.id, kind, &new.url, types, secrets, last, new.enabled, now];
    tx.run(INSERT_ENDPOINT, &values)?;
    let made = tx.one(ENDPOINT, &values![&new.id], endpoint)?;
    tx.record(&actions::changed_endpoint(None, made.as_ref()))?;
    Ok(made)
}

fn update(
    tx: &mut Transaction<'_, '_>,
    id: &str,
    change: &EndpointChange,
) -> Done<Option<Endpoint>> {
    let Some(before) = tx.one(ENDPOINT, &values![id], endpoint)? else { return Ok(None) };
    let mut endpoint = before.clone();
    change.apply(&mut endpoint, tx.now());
    let (types, secrets) =
        (endpoints::types_to_json(&endpoint.wanted), endpoints::secrets_to_json(&endpoint.secrets));
    let values = values![id, &endpoint.url, types, secrets, endpoint.enabled];
    tx.run(UPDATE_ENDPOINT, &values)?;
    if endpoint.wanted != before.wanted {
        delete_unwanted(tx, &endpoint)?;
    }
    if endpoint != before {
        tx.record(&actions::changed_endpoint(Some(&before), Some(&endpoint)))?;
    }
    Ok(Some(endpoint))
}

fn position_and_type(row: Row<'_>) -> Done<(i64, String)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn delete_unwanted(tx: &mut Transaction<'_, '_>, endpoint: &Endpoint) -> Done<()> {
    for (position, what) in tx.all(PENDING_TYPES, &values![&endpoint.id], position_and_type)? {
        if !endpoint.wanted.has(&what) {
            tx.run(DELETE_PENDING, &values![&endpoint.id, position])?;
        }
    }
    Ok(())
}

impl Store {
    /// Returns every endpoint, oldest first.
    pub async fn endpoints(&self) -> StoreResult<Vec<Endpoint>> {
        self.all(ENDPOINTS, [], endpoint).await
    }

    /// Adds an endpoint, which receives the events that happen from now on. Returns `None` if there
    /// are already `most` endpoints.
    pub async fn insert_endpoint(
        &self,
        new: NewEndpoint,
        most: usize,
    ) -> StoreResult<Option<Endpoint>> {
        if let Self::Postgres(s) = self {
            // The new endpoint starts after the last position, so all earlier events must get
            // positions first. If there was no endpoint before, many events may lack a position.
            while Box::pin(s.sequence_events(SEQUENCE_ROWS_MAX)).await? == SEQUENCE_ROWS_MAX {}
        }
        self.job(RetryUnknown::Allowed, move |tx| insert(tx, &new, most)).await
    }

    /// Changes an endpoint. If the types of its events change, deletes the pending deliveries of
    /// unwanted events. Returns `None` if the endpoint does not exist.
    pub async fn update_endpoint(
        &self,
        id: &str,
        change: EndpointChange,
    ) -> StoreResult<Option<Endpoint>> {
        let id = id.to_owned();
        self.job(RetryUnknown::Allowed, move |tx| update(tx, &id, &change)).await
    }

    /// Deletes the pending deliveries of events whose types the endpoint does not want. A delivery
    /// that an operator requested is kept until its first attempt fails.
    pub async fn delete_unwanted_deliveries(&self, id: &str) -> StoreResult<()> {
        let id = id.to_owned();
        self.job(RetryUnknown::Allowed, move |tx| {
            let found = tx.one(ENDPOINT, &values![&id], endpoint)?;
            found.map_or(Ok(()), |found| delete_unwanted(tx, &found))
        })
        .await
    }

    /// Disables an endpoint if it still has this address. Returns false if the endpoint has another
    /// address or does not exist.
    pub async fn disable_endpoint(&self, id: &str, url: &str) -> StoreResult<bool> {
        let (id, url) = (id.to_owned(), url.to_owned());
        self.job(RetryUnknown::Allowed, move |tx| {
            let found = tx.one(ENDPOINT, &values![&id], endpoint)?;
            if found.is_none_or(|found| found.url != url) {
                return Ok(false);
            }
            let off = EndpointChange { enabled: Some(false), ..EndpointChange::default() };
            Ok(update(tx, &id, &off)?.is_some())
        })
        .await
    }

    /// Removes an endpoint with all its deliveries. Returns false if the endpoint does not exist.
    pub async fn delete_endpoint(&self, id: &str) -> StoreResult<bool> {
        let id = id.to_owned();
        self.job(RetryUnknown::Never, move |tx| {
            let before = tx.one(ENDPOINT, &values![&id], endpoint)?;
            tx.run(DELETE_DELIVERIES, &values![&id])?;
            let deleted = tx.run(DELETE_ENDPOINT, &values![&id])? > 0;
            if deleted {
                tx.record(&actions::changed_endpoint(before.as_ref(), None))?;
            }
            Ok(deleted)
        })
        .await
    }

    /// Takes or renews the lease of an endpoint for this node. A `lease_ms` of 0 releases the
    /// lease. The lease only saves work: without the lease, an endpoint would get some events
    /// twice, but would miss no event.
    pub async fn lease_endpoint(&self, id: &str, node: NodeId, lease_ms: i64) -> StoreResult<bool> {
        let id = id.to_owned();
        self.job(RetryUnknown::Allowed, move |tx| {
            let now = tx.now();
            let (until, end_max) = (now.plus(lease_ms), now.plus(LEASE_END_MAX_MS));
            Ok(tx.run(LEASE_ENDPOINT, &values![&id, node, until, now, end_max])? > 0)
        })
        .await
    }

    /// Returns the progress of each endpoint, oldest endpoint first.
    pub async fn endpoint_statuses(&self) -> StoreResult<Vec<EndpointStatus>> {
        let limit = as_limit(UNSEQUENCED_COUNTED_MAX);
        self.all(ENDPOINT_STATUSES, values![limit], endpoint_status).await
    }
}
