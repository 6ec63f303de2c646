//! Reads the state of the server and the history of the database through a new connection, before
//! the connection is used.
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use doorbuster_core::database_history::{
    DatabaseDecision, DatabaseHistory, HistoryChange, SeenDatabase, decide,
};
use doorbuster_core::outbox::last_position_after_failover;

use crate::failure::{Done, Failure};

/// The advisory lock ("Dbrf") that a node takes while it adds a row to the history.
const LOCK: i64 = 0x4462_7266;
/// Selects the id and the timeline of the database cluster, the position in the write-ahead log,
/// and whether some tables and columns exist. A standby has no timeline and no position of its own,
/// so both are 0.
const SERVER: &str = "SELECT pg_is_in_recovery(),
        (SELECT system_identifier::text FROM pg_control_system()),
        CASE WHEN pg_is_in_recovery() THEN 0
             ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint END,
        to_regclass('store_history') IS NOT NULL AND to_regclass('identity') IS NOT NULL,
        to_regclass('commit_check') IS NOT NULL,
        EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('store_history')
                AND attname = 'database_id'),
        CASE WHEN pg_is_in_recovery() THEN 0
             ELSE pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint END";
/// Selects the newest thousand rows, because older rows are never compared. An older schema has no
/// column `database_id`, so the query reads the column through JSON.
const ROWS: &str = "SELECT h.fence, h.token, h.system_id, h.timeline,
        (SELECT id_key FROM identity),
        to_jsonb(h) ->> 'database_id' <>
            (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
            || '/' || h.tableoid
        FROM store_history h ORDER BY h.fence DESC LIMIT 1000";
/// Writes the ids of the database and of its table `store_history` to the newest row. A dump
/// contains these ids, but a database into which the dump is restored has other ids. By this
/// difference, a node sees that the rows come from a dump.
pub(super) const SET_DATABASE_ID: &str = "UPDATE store_history h
        SET database_id = d.oid || '/' || h.tableoid
        FROM pg_database d
        WHERE d.datname = current_database() AND h.database_id IS NULL
        AND h.fence = (SELECT max(fence) FROM store_history)";

/// What a new connection has read about a database that accepts writes.
#[derive(Clone, Debug)]
pub(super) struct Inspected {
    pub(super) seen: SeenDatabase,
    /// The fingerprint of the deployment's key, if a node has started on this database.
    pub(super) deployment: Option<String>,
    pub(super) has_commit_check: bool,
    /// Whether the database's schema has the column `store_history.database_id`.
    has_database_id: bool,
}

/// Reads the server's state and the database's history. Returns `None` if the database is a
/// standby.
pub(super) async fn inspect(client: &Client) -> Done<Option<Inspected>> {
    let server = rows(client, SERVER).await?.into_iter().next();
    let server =
        server.ok_or_else(|| Failure::Row("the server returned no row about itself".to_owned()))?;
    if word(&server, 0)? == "t" {
        return Ok(None);
    }
    let (mut deployment, mut history, mut is_from_dump) = (None, Vec::new(), false);
    if word(&server, 3)? == "t" {
        for row in rows(client, ROWS).await? {
            deployment = row.try_get(4)?.map(str::to_owned);
            is_from_dump |= history.is_empty() && row.try_get(5)? == Some("t");
            history.push(DatabaseHistory {
                fence: number(&row, 0)?,
                token: word(&row, 1)?.to_owned(),
                system_id: word(&row, 2)?.to_owned(),
                timeline: number(&row, 3)?,
                position: 0,
            });
        }
    }
    let (system_id, timeline) = (word(&server, 1)?.to_owned(), number(&server, 2)?);
    let has_commit_check = word(&server, 4)? == "t";
    let has_database_id = word(&server, 5)? == "t";
    let position = number(&server, 6)?;
    let seen = SeenDatabase { system_id, timeline, position, rows: history, is_from_dump };
    Ok(Some(Inspected { seen, deployment, has_commit_check, has_database_id }))
}

/// Adds a row for a change of the database's history. Also skips event positions, because the
/// database may lack events whose positions were assigned before the change. `pauses` says whether
/// sales must be paused after the change. Returns `None` if another node has already added the row.
/// The caller must then inspect the database again.
pub(super) async fn register(
    client: &Client,
    known: Option<&DatabaseHistory>,
    pauses: impl Fn(HistoryChange) -> bool,
) -> Done<Option<(HistoryChange, DatabaseHistory)>> {
    client.batch_execute("BEGIN").await?;
    client.batch_execute(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
    let now = inspect(client).await?;
    let change = now.as_ref().map(|now| decide(known, &now.seen));
    let (Some(now), Some(DatabaseDecision::Register(change))) = (now, change) else {
        client.batch_execute("ROLLBACK").await?;
        return Ok(None);
    };
    let row = DatabaseHistory {
        fence: now.seen.newest().map_or(0, |newest| newest.fence) + 1,
        token: format!("{:032x}", rand::random::<u128>()),
        system_id: now.seen.system_id,
        timeline: now.seen.timeline,
        position: 0,
    };
    let cause = match change {
        HistoryChange::Promoted => "promoted",
        HistoryChange::Moved => "moved",
    };
    let pause = if pauses(change) { "pending" } else { "none" };
    let sql = "INSERT INTO store_history
                   (fence, token, at, cause, system_id, timeline, paused, pause)
               VALUES ($1, $2, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint,
                       $3, $4, $5, '[]', $6)";
    client
        .execute(sql, &[&row.fence, &row.token, &cause, &row.system_id, &row.timeline, &pause])
        .await?;
    if now.has_database_id {
        client.batch_execute(SET_DATABASE_ID).await?;
    }
    let last = client.query_one("SELECT position FROM event_turn FOR NO KEY UPDATE", &[]).await?;
    let last = last_position_after_failover(last.try_get(0)?);
    client.execute("UPDATE event_turn SET position = $1", &[&last]).await?;
    client.batch_execute("COMMIT").await.map_err(|error| Failure::from(error).after_commit())?;
    Ok(Some((change, row)))
}

/// Commits one small row. After that, every earlier commit that this session can see is as durable
/// as this commit, also at a synchronous standby.
///
/// Returns the token of the newest row of the history, and a position in the write-ahead log before
/// this commit. Returns `None` if `synchronous_commit` is off, because a crash may then lose this
/// commit.
pub(super) async fn commit_check(client: &Client, slot: i32) -> Done<Option<(String, i64)>> {
    // The server runs both statements in one transaction. The second statement reads a position in
    // the log, and the commit writes its record after this position. So when the commit is durable,
    // the log is durable up to this position.
    let sql = format!(
        "INSERT INTO commit_check (slot, at)
         VALUES ({slot}, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint)
         ON CONFLICT (slot) DO UPDATE SET at = excluded.at;
         SELECT token, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint
         FROM store_history WHERE current_setting('synchronous_commit') <> 'off'
         ORDER BY fence DESC LIMIT 1"
    );
    let found = rows(client, &sql).await.map_err(Failure::after_commit)?;
    let parse = |row: &SimpleQueryRow| Ok((word(row, 0)?.to_owned(), number(row, 1)?));
    found.first().map(parse).transpose()
}

async fn rows(client: &Client, sql: &str) -> Done<Vec<SimpleQueryRow>> {
    let messages = client.simple_query(sql).await?;
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    };
    Ok(messages.into_iter().filter_map(row).collect())
}

fn word(row: &SimpleQueryRow, at: usize) -> Done<&str> {
    row.try_get(at)?.ok_or_else(|| Failure::Row("a column of the history is NULL".to_owned()))
}

fn number(row: &SimpleQueryRow, at: usize) -> Done<i64> {
    let bad = |_| Failure::Row("invalid number in the history of the database".to_owned());
    word(row, at)?.parse().map_err(bad)
}
