//! Migrations. Each change of the schema adds a file, and the statements of existing files never
//! change. The first node that starts runs the migrations under a lock.
use std::time::Duration;

use tokio_postgres::{Client, Transaction};

use crate::contract::OpenError;
use crate::history_memory::KnownHistories;

use super::connect;
use super::connector::{Connector, ConnectorUse};

/// The number, name and text of every migration, sorted by number.
const MIGRATIONS: &[(i32, &str, &str)] = &[
    (1, "truth", include_str!("../../migrations/postgres/0001_truth.sql")),
    (2, "secret", include_str!("../../migrations/postgres/0002_secret.sql")),
    (3, "drain", include_str!("../../migrations/postgres/0003_drain.sql")),
    (4, "front_door", include_str!("../../migrations/postgres/0004_front_door.sql")),
    (5, "money", include_str!("../../migrations/postgres/0005_money.sql")),
    (6, "reversals", include_str!("../../migrations/postgres/0006_reversals.sql")),
    (7, "expiry", include_str!("../../migrations/postgres/0007_expiry.sql")),
    (8, "disputes", include_str!("../../migrations/postgres/0008_disputes.sql")),
    (9, "grace", include_str!("../../migrations/postgres/0009_grace.sql")),
    (10, "history", include_str!("../../migrations/postgres/0010_history.sql")),
    (11, "console", include_str!("../../migrations/postgres/0011_console.sql")),
    (12, "leave", include_str!("../../migrations/postgres/0012_leave.sql")),
    (13, "auto_spread", include_str!("../../migrations/postgres/0013_auto_spread.sql")),
    (14, "digest", include_str!("../../migrations/postgres/0014_digest.sql")),
    (15, "sign_in", include_str!("../../migrations/postgres/0015_sign_in.sql")),
    (16, "pages", include_str!("../../migrations/postgres/0016_pages.sql")),
    (17, "rate_limit", include_str!("../../migrations/postgres/0017_rate_limit.sql")),
    (18, "push", include_str!("../../migrations/postgres/0018_push.sql")),
    (19, "item_rooms", include_str!("../../migrations/postgres/0019_item_rooms.sql")),
    (20, "database_id", include_str!("../../migrations/postgres/0020_database_id.sql")),
    (21, "push_endpoint", include_str!("../../migrations/postgres/0021_push_endpoint.sql")),
    (22, "pass_key", include_str!("../../migrations/postgres/0022_pass_key.sql")),
    (23, "wrong_key", include_str!("../../migrations/postgres/0023_wrong_key.sql")),
    (24, "order_due", include_str!("../../migrations/postgres/0024_order_due.sql")),
];

/// The advisory lock ("Dbrm") that a node takes while it migrates.
const LOCK: i64 = 0x4462_726d;
/// How long a node waits for another node that migrates. After that time the start fails.
const WAIT: Duration = Duration::from_secs(120);
/// A node accepts a schema that is at most this many versions newer than its own, because nodes are
/// upgraded one after the other.
const NEWER_MAX: i32 = 1;

pub(crate) fn known_schema() -> i64 {
    MIGRATIONS.len() as i64
}

/// Migrates the database at this address to the schema of this program, or creates the schema.
/// Other nodes may run during the migration.
///
/// # Errors
///
/// Fails if the database is unreachable, contains tables of another program, or was migrated by a
/// program that is too new.
pub async fn migrate_postgres(url: &str, memory: &KnownHistories) -> Result<(), OpenError> {
    let address = connect::address(url)?;
    let connector = Connector::new(&address, memory.clone(), ConnectorUse::Store, 0);
    let mut client = connect::client(&connector).await?;
    connect::check_server(&client, true).await?;
    migrate(&mut client).await
}

/// Migrates the schema to the newest version that this program knows, in one transaction.
pub(super) async fn migrate(client: &mut Client) -> Result<(), OpenError> {
    let failed = |error: tokio_postgres::Error| {
        let reason =
            error.as_db_error().map_or_else(|| error.to_string(), |db| db.message().to_owned());
        OpenError::Failed(format!("failed to migrate the store's schema: {reason}"))
    };
    let transaction = client.transaction().await.map_err(failed)?;
    let wait = WAIT.as_millis();
    let settings = format!("SET LOCAL lock_timeout = {wait}; SET LOCAL statement_timeout = {wait}");
    transaction.batch_execute(&settings).await.map_err(failed)?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(failed)?;
    let tables = "SELECT to_regclass('schema_migration') IS NOT NULL,
                  to_regclass('orders') IS NOT NULL OR to_regclass('sale') IS NOT NULL";
    let row = transaction.query_one(tables, &[]).await.map_err(failed)?;
    let (migrated, foreign): (bool, bool) = (row.get(0), row.get(1));
    if foreign && !migrated {
        return Err(OpenError::Failed(
            "the database contains tables of another program: use an empty database".to_owned(),
        ));
    }
    let history = "CREATE TABLE IF NOT EXISTS schema_migration
                   (version integer PRIMARY KEY, name text NOT NULL,
                   applied_at timestamptz NOT NULL DEFAULT clock_timestamp())";
    transaction.batch_execute(history).await.map_err(failed)?;
    let row =
        transaction.query_one("SELECT coalesce(max(version), 0) FROM schema_migration", &[]).await;
    let (found, known): (i32, i32) = (row.map_err(failed)?.get(0), MIGRATIONS.len() as i32);
    if found > known + NEWER_MAX {
        return Err(OpenError::TooNew { found: found.into(), known: known.into() });
    }
    for (version, name, text) in MIGRATIONS.iter().filter(|(version, ..)| *version > found) {
        transaction.batch_execute(text).await.map_err(failed)?;
        let applied = "INSERT INTO schema_migration (version, name) VALUES ($1, $2)";
        transaction.execute(applied, &[version, name]).await.map_err(failed)?;
        tracing::info!(version, name, event = "store.migrated", "migrated the store");
    }
    reset_transaction_ids(&transaction).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// Rewrites rows whose transaction ids this database has not reached yet. Such rows come from
/// another database, for example from a dump. Every poll would treat such rows as new.
async fn reset_transaction_ids(transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
    // Nodes read digests only in a poll, and no node polls this database yet. So no node needs the
    // copied digests, and they are deleted.
    transaction
        .execute(
            "DELETE FROM commit_digest WHERE changed >= pg_snapshot_xmax(pg_current_snapshot())",
            &[],
        )
        .await?;
    let mut is_copied = false;
    for table in ["catalogue", "item", "slot_grant", "resolution", "orders"] {
        // The rows that this migration itself wrote also match the first condition, but their
        // transaction id is correct. So the second condition excludes them.
        let ahead = "changed >= pg_snapshot_xmax(pg_current_snapshot())
                     AND changed <> pg_current_xact_id()";
        // For orders, this query would be a long scan. The grants show whether there are such
        // orders, because a transaction that creates an order also writes the order's grant.
        if table != "orders" {
            let any = format!("SELECT EXISTS (SELECT FROM {table} WHERE {ahead})");
            let is_ahead: bool = transaction.query_one(&any, &[]).await?.get(0);
            is_copied |= is_ahead;
            if !is_ahead {
                continue;
            }
        } else if !is_copied {
            continue;
        }
        tracing::warn!(
            table,
            event = "store.rewriting",
            "rows have transaction ids of another database; rewriting these rows may take a while"
        );
        transaction.batch_execute("SET LOCAL statement_timeout = 0").await?;
        let anew = format!("UPDATE {table} SET changed = pg_current_xact_id() WHERE {ahead}");
        transaction.batch_execute(&anew).await?;
    }
    Ok(())
}
