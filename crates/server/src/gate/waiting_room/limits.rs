//! All bounds of the waiting rooms on a node.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Most requests that wait for the batcher. At the bound, further requests get `503`.
pub(super) const BATCH_QUEUE_MAX: usize = 32_768;
/// Most requests in one batch; the rest waits for the next one.
pub(super) const BATCH_MAX: usize = 500;
/// Turns that one batch keeps at a time; the rest waits for them.
pub(super) const KEPT_AT_ONCE: usize = 16;
/// Most positions of one sale in a node's memory. Further ones are read from the store each time.
pub(super) const POSITIONS_MAX: usize = 2_000_000;
/// Time between two checks of the rooms of open sales.
pub(super) const TICK: Duration = Duration::from_millis(250);
/// A position that waited at the last check counts as waiting for this long: the time between two
/// checks and the duration of one.
pub(super) const FRESH_FOR: Duration = Duration::from_millis(2 * TICK.as_millis() as u64);
/// One of this many checks runs while no sale with a room is open.
pub(super) const IDLE_TICKS: u32 = 4;
/// Rows that one read returns at most, for other nodes' admissions and for the lots of a draw.
pub(super) const ROWS_MAX: usize = 5_000;
/// The longest extra time of an admission, in which the buyer fetches a pass. The time for which a
/// pass is valid is added to it.
pub(super) const PASS_FETCH_WITHIN: Duration = Duration::from_secs(30);
/// How often a request reads a position again if it is older than the room's state. After that the
/// request gets `503`.
pub(super) const LOOKUPS_MAX: usize = 4;
/// Checks per second.
const TICKS_PER_SEC: u64 = 1_000 / TICK.as_millis() as u64;
/// The allowed settings of admissions per second. An automatic waiting room opens when more buyers
/// arrive.
pub(crate) const ADMITTED_PER_SEC: RangeInclusive<u64> = TICKS_PER_SEC..=100_000;
/// Bits for each admission per second. They distinguish arriving buyers.
const BITS_PER_ARRIVAL: usize = 64;

/// Admissions in one check, for a number of admissions per second.
pub(super) const fn admissions_max(per_sec: u64) -> u64 {
    per_sec / TICKS_PER_SEC
}

/// Most buyers that are distinguished since the last count of arrivals.
pub(super) const fn arrivals_counted_max(per_sec: u64) -> usize {
    4 * per_sec as usize
}

/// The number of bits that distinguish arriving buyers.
pub(super) const fn arrivals_bits(per_sec: u64) -> usize {
    (BITS_PER_ARRIVAL * per_sec as usize).next_power_of_two()
}

/// How long an automatic waiting room stays open after the last second with too many arrivals or
/// with a waiting visitor.
pub(super) const KEEP_OPEN: Duration = Duration::from_secs(30);
/// Shortest time between two notifications of one sale's positions.
pub(super) const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// Position notifications per second. With more readers, each reader gets them less often.
pub(super) const NOTIFIED_PER_SEC: usize = 5_000;
