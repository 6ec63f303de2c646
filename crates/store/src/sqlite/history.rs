//! The store's key and its history.
use rusqlite::params;

use crate::failure::{Done, Failure};

use super::ledger::SqliteLedger;

/// Records the fingerprint of the key for order ids, if the store has no such fingerprint yet.
/// Returns the recorded fingerprint.
pub(super) fn bind_key(ledger: &mut SqliteLedger<'_>, fingerprint: &str) -> Done<String> {
    let now = ledger.now;
    let sql = &mut ledger.sql;
    sql.run(
        "INSERT INTO store_history (fence, token, at, cause, paused)
         SELECT 1, lower(hex(randomblob(8))), ?1, 'created', '[]'
         WHERE NOT EXISTS (SELECT 1 FROM store_history)",
        params![now.0],
    )?;
    sql.run(
        "INSERT INTO identity (one, id_key) VALUES (1, ?1) ON CONFLICT (one) DO NOTHING",
        params![fingerprint],
    )?;
    let kept = sql.one("SELECT id_key FROM identity", [], |row| row.get::<String>(0))?;
    kept.ok_or_else(|| Failure::Row("table identity is empty".to_owned()))
}

/// Records the fingerprint of the file `pass_key`. If the store already has such a fingerprint,
/// replaces it only if the file is new (`is_new`). Returns the recorded fingerprint.
pub(super) fn bind_pass_key(
    ledger: &mut SqliteLedger<'_>,
    fingerprint: &str,
    is_new: bool,
) -> Done<String> {
    let sql = &mut ledger.sql;
    sql.run(
        "UPDATE identity SET pass_key = ?1 WHERE one = 1 AND (pass_key IS NULL OR ?2)",
        params![fingerprint, is_new],
    )?;
    let kept = sql.one("SELECT pass_key FROM identity", [], |row| row.get::<String>(0))?;
    kept.ok_or_else(|| Failure::Row("table identity is empty".to_owned()))
}

pub(super) fn commit_check(ledger: &mut SqliteLedger<'_>) -> Done<()> {
    let now = ledger.now;
    ledger.sql.run(
        "INSERT INTO commit_check (slot, at) VALUES (0, ?1)
         ON CONFLICT (slot) DO UPDATE SET at = excluded.at",
        params![now.0],
    )?;
    Ok(())
}
