//! All limits of the waiting rooms on a node.

use std::time::Duration;

use doorbuster_config::ADMITTED_PER_SEC;

/// The maximum number of requests that wait for the batcher. At the bound, further requests get
/// `503`.
pub(super) const BATCH_QUEUE_MAX: usize = 32_768;
/// The maximum number of requests in one batch. Further requests wait for the next batch.
pub(super) const BATCH_MAX: usize = 500;
/// The maximum number of positions that one batch changes at the same time. The others wait.
pub(super) const WRITES_AT_ONCE: usize = 16;
/// The maximum number of positions of one room in a node's memory. Further positions are read from
/// the store for each request.
pub(super) const POSITIONS_MAX: usize = 2_000_000;
/// Time between two checks of the rooms of open sales.
pub(super) const TICK: Duration = Duration::from_millis(250);
/// How long the state of a room counts as fresh after a read: long enough for the next check to
/// end.
pub(super) const FRESH_FOR: Duration = Duration::from_millis(2 * TICK.as_millis() as u64);
/// While no sale with a room is open, the node runs only every fourth check.
pub(super) const IDLE_TICKS: u32 = 4;
/// The maximum number of rows in one read of other nodes' admissions or of a draw's lots.
pub(super) const ROWS_MAX: usize = 5_000;
/// The time in which an admitted buyer must fetch a pass, but at most the validity of a pass. An
/// admission lasts for this time plus the validity of a pass.
pub(super) const PASS_FETCH_WITHIN: Duration = Duration::from_secs(30);
/// A request reads the buyer's position again if the position is older than the room's state in
/// memory. If the position is still too old after this many reads, the client gets `503`.
pub(super) const LOOKUPS_MAX: usize = 4;
/// Checks per second. At the lowest rate that a setting allows, each check admits one buyer.
const TICKS_PER_SEC: u64 = 1_000 / TICK.as_millis() as u64;
const _: () = assert!(TICKS_PER_SEC == *ADMITTED_PER_SEC.start());

pub(super) const fn admissions_max(per_sec: u64) -> u64 {
    per_sec / TICKS_PER_SEC
}

/// An automatic waiting room closes at most this long after it was last needed. A room is needed
/// while visitors wait, or while more buyers arrive than it admits.
pub(super) const KEEP_OPEN: Duration = Duration::from_secs(30);
/// Shortest time between two notifications about one room's positions.
pub(super) const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum number of notifications per second that a node sends about positions in one sale. At
/// the bound, each reader gets notifications less often.
pub(super) const NOTIFIED_PER_SEC: usize = 5_000;
