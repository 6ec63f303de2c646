//! All limits of the waiting rooms on a node.

use std::time::Duration;

use doorbuster_config::ADMITTED_PER_SEC;

/// The maximum number of requests that wait for the batcher. At the bound, further requests get
/// `503`.
pub(super) const BATCH_QUEUE_MAX: usize = 32_768;
/// The maximum number of requests in one batch. Further requests wait for the next batch.
pub(super) const BATCH_MAX: usize = 500;
/// The maximum number of turns that one batch extends at the same time. Further turns of the batch
/// wait.
pub(super) const KEPT_AT_ONCE: usize = 16;
/// The maximum number of positions of one room in a node's memory. Other positions are read from
/// the store each time.
pub(super) const POSITIONS_MAX: usize = 2_000_000;
/// Time between two checks of the rooms of open sales.
pub(super) const TICK: Duration = Duration::from_millis(250);
/// The state of a room counts as fresh for this long after the node read it. This is long enough
/// for the next check to begin and to end.
pub(super) const FRESH_FOR: Duration = Duration::from_millis(2 * TICK.as_millis() as u64);
/// While no sale with a room is open, the node skips most checks. Out of this many checks, it runs
/// one.
pub(super) const IDLE_TICKS: u32 = 4;
/// The maximum number of rows that one read returns. A read returns other nodes' admissions or the
/// lots of a draw.
pub(super) const ROWS_MAX: usize = 5_000;
/// The time in which an admitted buyer must fetch a pass. The admission lasts this long plus the
/// time for which a pass is valid.
pub(super) const PASS_FETCH_WITHIN: Duration = Duration::from_secs(30);
/// The maximum number of times that a request reads its position. It reads the position again if
/// the position is older than the room's state. After the last read, it gets `503`.
pub(super) const LOOKUPS_MAX: usize = 4;
/// Checks per second. Each check can admit a buyer at the lowest allowed rate.
const TICKS_PER_SEC: u64 = 1_000 / TICK.as_millis() as u64;
const _: () = assert!(TICKS_PER_SEC == *ADMITTED_PER_SEC.start());

/// Returns the maximum number of admissions in one check.
pub(super) const fn admissions_max(per_sec: u64) -> u64 {
    per_sec / TICKS_PER_SEC
}

/// How long an automatic waiting room stays open after it was last needed. A room is needed while
/// visitors wait, or while enough buyers arrive to open it.
pub(super) const KEEP_OPEN: Duration = Duration::from_secs(30);
/// Shortest time between two notifications about one room's positions.
pub(super) const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum number of notifications about positions that a node sends per second. If a sale has
/// more readers, each reader gets notifications less often.
pub(super) const NOTIFIED_PER_SEC: usize = 5_000;
