//! All limits of the waiting rooms on a node.

use std::time::Duration;

use doorbuster_config::ADMITTED_PER_SEC;

/// The maximum number of requests in the batcher's queue. If the queue is full, further requests
/// get `503`.
pub(super) const BATCH_QUEUE_MAX: usize = 32_768;
/// The maximum number of requests in one batch. Further requests wait for the next batch.
pub(super) const BATCH_MAX: usize = 500;
/// The maximum number of positions that a batch writes at the same time.
pub(super) const WRITES_AT_ONCE: usize = 16;
/// The maximum number of positions of one room in a node's memory. Further positions are read from
/// the store for each request.
pub(super) const POSITIONS_MAX: usize = 2_000_000;
/// The time between two checks of the waiting rooms.
pub(super) const TICK: Duration = Duration::from_millis(250);
/// How long the state of a room counts as fresh after this node read it. This is two checks, so the
/// state stays fresh if one check is late.
pub(super) const FRESH_FOR: Duration = Duration::from_millis(2 * TICK.as_millis() as u64);
/// While no sale with a waiting room is open, the node makes only one out of this many checks. It
/// skips the other checks.
pub(super) const IDLE_TICKS: u32 = 4;
/// The maximum number of rows in one read of admissions or of lots.
pub(super) const ROWS_MAX: usize = 5_000;
/// The time in which an admitted buyer must fetch a pass. If passes are valid for a shorter time,
/// that time applies. An admission lasts for this time plus the time for which a pass is valid.
pub(super) const PASS_FETCH_WITHIN: Duration = Duration::from_secs(30);
/// The maximum number of reads of a position for one request. The node reads the position again if
/// it is older than the room's state in memory. If the last read is too old as well, the client
/// gets `503`.
pub(super) const LOOKUPS_MAX: usize = 4;
/// The number of checks per second. It equals the lowest admission rate that can be configured, so
/// that each check can admit at least one buyer.
const TICKS_PER_SEC: u64 = 1_000 / TICK.as_millis() as u64;
const _: () = assert!(TICKS_PER_SEC == *ADMITTED_PER_SEC.start());

pub(super) const fn admissions_max(per_sec: u64) -> u64 {
    per_sec / TICKS_PER_SEC
}

/// The shortest time between two notifications about the positions of one room.
pub(super) const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum number of notifications per second that a node sends about the positions in one
/// sale. With more connected clients, each client gets notifications less often.
pub(super) const NOTIFIED_PER_SEC: usize = 5_000;
