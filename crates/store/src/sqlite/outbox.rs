//! The outbox in SQLite: events in order, endpoints, and pending deliveries.
use rusqlite::{Row, params};

use doorbuster_core::outbox::{PendingDelivery, PositionAdvance, RowChange};
use doorbuster_core::{Millis, NodeId};

use crate::actions;
use crate::contract::{
    Delivery, DeliveryQuery, DeliveryState, Endpoint, EndpointChange, EndpointKind, EndpointStatus,
    EventRead, NewEndpoint, OutboxPage,
};
use crate::endpoints::{self, EndpointRow};
use crate::limits::PAGE_ROWS_MAX;
use crate::store::StoreResult;

use super::Sqlite;
use super::events::{self, event_columns, event_rows};
use super::failure::Failure;
use super::ledger::SqliteLedger;
use super::read::as_limit;
use super::rows::{number, parse_text};
use super::statements::Statements;

type Done<T> = Result<T, Failure>;

macro_rules! endpoint_columns {
    () => {
        "id, kind, url, types, secrets, position, enabled, created_at"
    };
}

fn endpoint(row: &Row<'_>) -> Done<Endpoint> {
    let id: String = row.get(0)?;
    let found = EndpointRow {
        id: id.clone(),
        kind: row.get(1)?,
        url: row.get(2)?,
        types: row.get(3)?,
        secrets: row.get(4)?,
        position: row.get(5)?,
        enabled: row.get(6)?,
        created_at: Millis(row.get(7)?),
    };
    found.endpoint().ok_or_else(|| Failure::Row(format!("row of endpoint {id} is invalid")))
}

fn last_position(sql: &mut Statements<'_>) -> Done<i64> {
    let last =
        sql.one("SELECT max(seq) FROM event", [], |row| Ok(row.get::<_, Option<i64>>(0)?))?;
    Ok(last.flatten().unwrap_or(0))
}

pub(super) fn event_at(sql: &mut Statements<'_>, position: i64) -> Done<Option<EventRead>> {
    const SQL: &str =
        concat!("SELECT ", event_columns!(), " FROM ", event_rows!(), " WHERE e.seq = ?1");
    sql.one(SQL, params![position], events::read)
}

pub(super) fn find(sql: &mut Statements<'_>, id: &str) -> Done<Option<Endpoint>> {
    sql.one(
        concat!("SELECT ", endpoint_columns!(), " FROM endpoint WHERE id = ?1"),
        params![id],
        endpoint,
    )
}

fn insert(ledger: &mut SqliteLedger<'_>, new: &NewEndpoint, most: usize) -> Done<Option<Endpoint>> {
    let (now, sql) = (ledger.now, &mut ledger.sql);
    let count = sql.one("SELECT count(*) FROM endpoint", [], |row| number(row, 0))?;
    if count.unwrap_or(0) >= most as u64 {
        return Ok(None);
    }
    let secrets: Vec<_> = new.secret.iter().cloned().collect();
    let last = last_position(sql)?;
    sql.run(
        "INSERT INTO endpoint (id, kind, url, types, secrets, position, enabled, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            new.id,
            new.kind.as_str(),
            new.url,
            endpoints::types_to_json(&new.wanted),
            endpoints::secrets_to_json(&secrets),
            last,
            new.enabled,
            now.0
        ],
    )?;
    let made = find(sql, &new.id)?;
    ledger.record(&actions::changed_endpoint(None, made.as_ref()))?;
    Ok(made)
}

fn update(
    ledger: &mut SqliteLedger<'_>,
    id: &str,
    change: &EndpointChange,
) -> Done<Option<Endpoint>> {
    let (now, sql) = (ledger.now, &mut ledger.sql);
    let Some(before) = find(sql, id)? else { return Ok(None) };
    let mut endpoint = before.clone();
    change.apply(&mut endpoint, now);
    sql.run(
        "UPDATE endpoint SET url = ?2, types = ?3, secrets = ?4, enabled = ?5 WHERE id = ?1",
        params![
            id,
            endpoint.url,
            endpoints::types_to_json(&endpoint.wanted),
            endpoints::secrets_to_json(&endpoint.secrets),
            endpoint.enabled
        ],
    )?;
    if endpoint != before {
        ledger.record(&actions::changed_endpoint(Some(&before), Some(&endpoint)))?;
    }
    Ok(Some(endpoint))
}

fn lease(ledger: &mut SqliteLedger<'_>, id: &str, node: NodeId, lease_ms: i64) -> Done<bool> {
    let now = ledger.now;
    let taken = ledger.sql.run(
        "UPDATE endpoint SET node = ?2, until = ?3 WHERE id = ?1 AND (node = ?2 OR node IS NULL OR \
         until <= ?4)",
        params![id, node.0, now.plus(lease_ms).0, now.0],
    )?;
    Ok(taken > 0)
}

fn advance(ledger: &mut SqliteLedger<'_>, id: &str, progress: &PositionAdvance) -> Done<bool> {
    let (now, sql) = (ledger.now, &mut ledger.sql);
    let moved = sql.run(
        "UPDATE endpoint SET position = ?3 WHERE id = ?1 AND position = ?2",
        params![id, progress.from, progress.to],
    )?;
    if moved == 0 {
        return Ok(false);
    }
    for parcel in &progress.failed {
        sql.run(
            "INSERT INTO delivery (endpoint_id, position, about, state, tries, next_at, error, at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                id,
                parcel.position,
                &*parcel.about,
                parcel.state().as_str(),
                parcel.tries,
                parcel.next_at.0,
                parcel.error,
                now.0
            ],
        )?;
    }
    Ok(true)
}

fn record(ledger: &mut SqliteLedger<'_>, id: &str, notes: &[RowChange]) -> Done<()> {
    let (now, sql) = (ledger.now, &mut ledger.sql);
    for note in notes {
        match note {
            RowChange::Delivered(position) => sql.run(
                "DELETE FROM delivery WHERE endpoint_id = ?1 AND position = ?2 AND state = \
                 'pending'",
                params![id, position],
            )?,
            RowChange::Pending(parcel) => sql.run(
                "UPDATE delivery SET state = ?3, tries = ?4, next_at = ?5, error = ?6,
                 at = CASE state WHEN ?3 THEN at ELSE ?7 END
                 WHERE endpoint_id = ?1 AND position = ?2 AND state = 'pending'",
                params![
                    id,
                    parcel.position,
                    parcel.state().as_str(),
                    parcel.tries,
                    parcel.next_at.0,
                    parcel.error,
                    now.0
                ],
            )?,
        };
    }
    Ok(())
}

pub(super) fn pending_count(sql: &mut Statements<'_>, id: &str) -> Done<u64> {
    let count = "SELECT count(*) FROM delivery WHERE endpoint_id = ?1 AND state = 'pending'";
    Ok(sql.one(count, params![id], |row| number(row, 0))?.unwrap_or(0))
}

fn parcel(row: &Row<'_>) -> Done<PendingDelivery> {
    Ok(PendingDelivery {
        position: row.get(0)?,
        about: row.get::<_, String>(1)?.into(),
        tries: row.get(2)?,
        next_at: Millis(row.get(3)?),
        error: row.get(4)?,
        dead: false,
    })
}

/// Parses the event's type and time from these columns. Returns `None` if the event was deleted.
pub(super) fn event_summary(
    row: &Row<'_>,
    what: usize,
    at: usize,
) -> Done<Option<(String, Millis)>> {
    Ok(row.get::<_, Option<String>>(what)?.zip(row.get::<_, Option<i64>>(at)?.map(Millis)))
}

fn deliveries(sql: &mut Statements<'_>, query: &DeliveryQuery) -> Done<OutboxPage<Delivery>> {
    let limit = query.limit.min(PAGE_ROWS_MAX);
    let rows = sql.all(
        "SELECT d.seq, d.endpoint_id, d.position, e.type, d.about, d.state, d.tries, d.next_at,
         d.error, d.why, d.at, e.at
         FROM delivery d LEFT JOIN event e ON e.seq = d.position
         WHERE d.endpoint_id = ?1 AND (?2 IS NULL OR d.state = ?2) AND d.position < ?3
         ORDER BY d.position DESC LIMIT ?4",
        params![
            query.endpoint,
            query.state.map(DeliveryState::as_str),
            query.after.unwrap_or(i64::MAX),
            as_limit(limit + 1)
        ],
        |row| {
            Ok(Delivery {
                seq: row.get(0)?,
                endpoint: row.get(1)?,
                position: row.get(2)?,
                event: event_summary(row, 3, 11)?,
                about: row.get(4)?,
                state: parse_text(row, 5, "state", DeliveryState::parse)?,
                tries: row.get(6)?,
                next_at: Millis(row.get(7)?),
                error: row.get(8)?,
                why: row.get(9)?,
                at: Millis(row.get(10)?),
            })
        },
    )?;
    Ok(OutboxPage::of(rows, limit, |row| row.position))
}

fn endpoint_statuses(sql: &mut Statements<'_>) -> Done<Vec<EndpointStatus>> {
    let last = last_position(sql)?;
    sql.all(
        "SELECT p.id, p.kind, p.enabled, p.position,
             (SELECT count(*) FROM delivery d WHERE d.endpoint_id = p.id AND d.state = 'pending'),
             (SELECT count(*) FROM delivery d WHERE d.endpoint_id = p.id AND d.state = 'dead'),
             (SELECT e.at FROM event e WHERE e.seq > p.position ORDER BY e.seq LIMIT 1),
             (SELECT min(d.at) FROM delivery d WHERE d.endpoint_id = p.id AND d.state = 'pending')
         FROM endpoint p ORDER BY p.created_at, p.id",
        [],
        |row| {
            let position: i64 = row.get(3)?;
            let oldest = [row.get::<_, Option<i64>>(6)?, row.get(7)?].into_iter().flatten().min();
            Ok(EndpointStatus {
                endpoint: row.get(0)?,
                kind: parse_text(row, 1, "kind", EndpointKind::parse)?,
                enabled: row.get(2)?,
                waiting: (last - position).max(0).unsigned_abs(),
                pending: number(row, 4)?,
                dead: number(row, 5)?,
                oldest_at: oldest.map(Millis),
            })
        },
    )
}

impl Sqlite {
    pub(crate) async fn last_position(&self) -> StoreResult<i64> {
        self.read(last_position).await
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
            " WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2"
        );
        self.read(move |sql| sql.all(SQL, params![position, as_limit(limit)], events::read)).await
    }

    pub(crate) async fn event_at(&self, position: i64) -> StoreResult<Option<EventRead>> {
        self.read(move |sql| event_at(sql, position)).await
    }

    pub(crate) async fn endpoints(&self) -> StoreResult<Vec<Endpoint>> {
        const SQL: &str =
            concat!("SELECT ", endpoint_columns!(), " FROM endpoint ORDER BY created_at, id");
        self.read(|sql| sql.all(SQL, [], endpoint)).await
    }

    pub(crate) async fn insert_endpoint(
        &self,
        new: NewEndpoint,
        most: usize,
    ) -> StoreResult<Option<Endpoint>> {
        self.job(move |ledger| insert(ledger, &new, most)).await
    }

    pub(crate) async fn update_endpoint(
        &self,
        id: &str,
        change: EndpointChange,
    ) -> StoreResult<Option<Endpoint>> {
        let id = id.to_owned();
        self.job(move |ledger| update(ledger, &id, &change)).await
    }

    pub(crate) async fn delete_endpoint(&self, id: &str) -> StoreResult<bool> {
        let id = id.to_owned();
        self.job(move |ledger| {
            ledger.sql.run("DELETE FROM delivery WHERE endpoint_id = ?1", params![id])?;
            let before = find(&mut ledger.sql, &id)?;
            let deleted = ledger.sql.run("DELETE FROM endpoint WHERE id = ?1", params![id])? > 0;
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
        let id = id.to_owned();
        self.job(move |ledger| lease(ledger, &id, node, lease_ms)).await
    }

    pub(crate) async fn endpoint_statuses(&self) -> StoreResult<Vec<EndpointStatus>> {
        self.read(endpoint_statuses).await
    }

    pub(crate) async fn advance_endpoint(
        &self,
        id: &str,
        progress: PositionAdvance,
    ) -> StoreResult<bool> {
        let id = id.to_owned();
        self.job(move |ledger| advance(ledger, &id, &progress)).await
    }

    pub(crate) async fn pending_deliveries(
        &self,
        id: &str,
        limit: usize,
    ) -> StoreResult<Vec<PendingDelivery>> {
        const SQL: &str = "SELECT position, about, tries, next_at, error FROM delivery
             WHERE endpoint_id = ?1 AND state = 'pending' ORDER BY position LIMIT ?2";
        let id = id.to_owned();
        self.read(move |sql| sql.all(SQL, params![id, as_limit(limit)], parcel)).await
    }

    pub(crate) async fn record_deliveries(
        &self,
        id: &str,
        notes: Vec<RowChange>,
    ) -> StoreResult<()> {
        let id = id.to_owned();
        self.job(move |ledger| record(ledger, &id, &notes)).await
    }

    pub(crate) async fn deliveries(
        &self,
        query: DeliveryQuery,
    ) -> StoreResult<OutboxPage<Delivery>> {
        self.read(move |sql| deliveries(sql, &query)).await
    }
}
