//! Every bound of the waiting rooms on a node.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Entries and look-ups that wait at the desk; at the bound whoever comes hears `503`.
pub(super) const BATCH_QUEUE_MAX: usize = 32_768;
/// Entries or look-ups that go to the store at once; the rest waits for the next batch.
pub(super) const BATCH_MAX: usize = 500;
/// Places of one sale that a node keeps in memory; further ones are read from the store each time
/// they are asked for.
pub(super) const POSITIONS_MAX: usize = 2_000_000;
/// Between two looks at the rooms of open sales.
pub(super) const TICK: Duration = Duration::from_millis(250);
/// So long a place that waited at the last look is believed to wait: the time from one look to the
/// next, and what a look may take.
pub(super) const FRESH_FOR: Duration = Duration::from_millis(2 * TICK.as_millis() as u64);
/// Of so many looks one is taken while no sale with a room is open.
pub(super) const IDLE_TICKS: u32 = 4;
/// Rows that are read at once when whom others called in, or the lots of a draw, are read.
pub(super) const ROWS_MAX: usize = 5_000;
/// Longest time that an admission leaves to fetch a pass, beside the time that the pass is good
/// for.
pub(super) const PASS_FETCH_WITHIN: Duration = Duration::from_secs(30);
/// How often a place is read again that is older than what is known of its line; past it whoever
/// asks hears `503`.
pub(super) const LOOKUPS_MAX: usize = 4;
/// Looks within a second.
const TICKS_PER_SEC: u64 = 1_000 / TICK.as_millis() as u64;
/// How many ranks of a sale the settings may have called in within a second: what admission takes.
/// A room that opens by itself does when more come.
pub(crate) const ADMITTED_PER_SEC: RangeInclusive<u64> = TICKS_PER_SEC..=100_000;
/// Bits for each who may be called in within a second, by which those who come are told apart.
const BITS_PER_ARRIVAL: usize = 64;

/// Ranks that are called at one look, of so many in a second.
pub(super) const fn admissions_max(per_sec: u64) -> u64 {
    per_sec / TICKS_PER_SEC
}

/// Buyers that are told apart among those who came since arrivals were last counted.
pub(super) const fn arrivals_counted_max(per_sec: u64) -> usize {
    4 * per_sec as usize
}

/// Bits by which they are told apart.
pub(super) const fn arrivals_bits(per_sec: u64) -> usize {
    (BITS_PER_ARRIVAL * per_sec as usize).next_power_of_two()
}

/// How long a room that opened by itself stays open after the last second with too many arrivals,
/// or with somebody in line.
pub(super) const KEEP_OPEN: Duration = Duration::from_secs(30);
/// Shortest time between two tellings of one sale's positions.
pub(super) const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// Positions that are told within a second; with more readers each is told more seldom.
pub(super) const NOTIFIED_PER_SEC: usize = 5_000;
