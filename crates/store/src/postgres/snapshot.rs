//! Reads the position at which a poll ends.
use std::time::Instant;

use doorbuster_core::Millis;
use doorbuster_core::digest::SnapshotPosition;

use crate::failure::Failure;
use crate::sql::Row;

use super::clock::Clock;

/// Selects the snapshot, and the time and the timeline of the database. The timeline is needed
/// because a promoted standby assigns the same transaction ids again.
pub(super) const SNAPSHOT: &str = "SELECT pg_current_snapshot()::text, floor(extract(epoch
     FROM clock_timestamp()) * 1000)::bigint,
            left(pg_walfile_name(pg_current_wal_lsn()), 8),
            (SELECT max(fence) FROM store_history)";
/// Reads a row of [`SNAPSHOT`], and gives the row's time to the clock as a sample.
pub(super) fn since(
    row: Row<'_>,
    sent: Instant,
    answered: Instant,
    clock: &Clock,
) -> Result<SnapshotPosition, Failure> {
    let at = Millis(row.get(1)?);
    clock.add_sample(sent, at, answered);
    let (snapshot, timeline, fence) = (row.get(0)?, row.get(2)?, row.get(3)?);
    Ok(SnapshotPosition { snapshot, timeline, fence, at })
}
