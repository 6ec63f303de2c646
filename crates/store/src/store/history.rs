//! The history of the store.
use doorbuster_core::Millis;

use crate::contract::{HistoryCause, StoreHistoryRow};
use crate::failure::Done;
use crate::history::parse_paused;
use crate::limits::HISTORY_ROWS_MAX;
use crate::sql::{Row, Statement, bad_row, dialects, values};

use super::{Store, StoreResult};

/// In SQLite, the row of a restore also has the time of the backup. PostgreSQL has no such time.
const NEWEST: Statement = dialects!(
    "SELECT fence, token, at, cause, paused, ",
    "backup_at" | "NULL::bigint",
    " FROM store_history ORDER BY fence DESC LIMIT $1"
);

fn history_row(row: Row<'_>) -> Done<StoreHistoryRow> {
    let paused = parse_paused(row.text(4, "list of paused sales")?);
    Ok(StoreHistoryRow {
        fence: row.get(0)?,
        token: row.get(1)?,
        at: Millis(row.get(2)?),
        cause: row.parse(3, "cause", HistoryCause::parse)?,
        backup_at: row.time(5)?,
        paused: paused.ok_or_else(|| bad_row("list of paused sales"))?,
    })
}

impl Store {
    /// Returns the history of the store, newest first.
    pub async fn store_history(&self) -> StoreResult<Vec<StoreHistoryRow>> {
        self.all(NEWEST, values![HISTORY_ROWS_MAX], history_row).await
    }
}
