//! The position at which a poll ended: a snapshot of the committed transactions, and the database's
//! history.
use std::time::Instant;

use doorbuster_core::Millis;

use crate::failure::Failure;
use crate::limits::DIGESTS_READ_WITHIN_MS;
use crate::sql::Row;

use super::clock::Clock;

/// Selects the snapshot, the database's time, and its timeline. The timeline is needed because a
/// promoted standby assigns transaction ids again, after the last id that it received.
pub(super) const SNAPSHOT: &str = "SELECT pg_current_snapshot()::text, floor(extract(epoch
     FROM clock_timestamp()) * 1000)::bigint,
            left(pg_walfile_name(pg_current_wal_lsn()), 8),
            (SELECT max(fence) FROM store_history)";
/// The snapshot that includes nothing.
const UNKNOWN: &str = "1:1:";

/// The position where one poll ended and the next one begins.
#[derive(Clone, Debug)]
pub(super) struct SnapshotPosition {
    /// The snapshot.
    pub(super) snapshot: String,
    /// The database's timeline.
    pub(super) timeline: String,
    /// The newest fencing number in the database's history.
    pub(super) fence: Option<i64>,
    /// The database's time.
    pub(super) at: Millis,
}

impl SnapshotPosition {
    /// Returns the transaction id below which the snapshot includes every transaction.
    pub(super) fn xmin(&self) -> &str {
        self.snapshot.split(':').next().unwrap_or("0")
    }

    /// Returns whether the snapshot includes this committed transaction.
    pub(super) fn includes(&self, transaction: &str) -> bool {
        let mut parts = self.snapshot.split(':').skip(1);
        let (xmax, running) = (parts.next().unwrap_or("0"), parts.next().unwrap_or(""));
        let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
        number(transaction) < number(xmax)
            && !running.split(',').any(|running| running == transaction)
    }

    /// Returns whether digests of transactions since `before` may have been deleted.
    pub(super) fn is_long_after(&self, before: &Self) -> bool {
        !before.is_unknown() && self.at.0.saturating_sub(before.at.0) > DIGESTS_READ_WITHIN_MS
    }

    /// Returns a position of the same timeline that includes no transaction.
    pub(super) fn with_unknown_past(&self) -> Self {
        Self::beginning(self.timeline.clone())
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.snapshot == UNKNOWN
    }

    /// Returns the beginning of a timeline.
    pub(super) fn beginning(timeline: String) -> Self {
        Self { snapshot: UNKNOWN.to_owned(), timeline, fence: None, at: Millis(0) }
    }
}

/// Reads the position, and the database's time for the clock.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_includes_transactions_that_ended_before_it() {
        let since = SnapshotPosition {
            snapshot: "10:20:10,14".to_owned(),
            timeline: String::new(),
            fence: None,
            at: Millis(0),
        };
        for (transaction, shown) in
            [("9", true), ("10", false), ("11", true), ("14", false), ("19", true), ("20", false)]
        {
            assert_eq!(since.includes(transaction), shown, "{transaction}");
        }
        assert_eq!(since.xmin(), "10");
        assert!(!SnapshotPosition::beginning(String::new()).includes("3"));
    }

    #[test]
    fn digests_are_trusted_for_some_minutes() {
        let at = |ms| SnapshotPosition {
            snapshot: "10:20:".to_owned(),
            timeline: String::new(),
            fence: None,
            at: Millis(ms),
        };
        assert!(!at(DIGESTS_READ_WITHIN_MS).is_long_after(&at(0)));
        assert!(at(DIGESTS_READ_WITHIN_MS + 1).is_long_after(&at(0)));
        assert!(
            !at(0).is_long_after(&at(5_000)),
            "a clock that was set back does not count as a long time"
        );
        assert!(!at(i64::MAX).is_long_after(&SnapshotPosition::beginning(String::new())));
    }
}
