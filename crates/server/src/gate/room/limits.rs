//! Every bound of the waiting rooms on a node.

use std::time::Duration;

use doorbuster_core::gate::room::CALLS_MAX;

/// Entries and look-ups that wait at the desk; at the bound whoever comes hears `503`.
pub(super) const DESK_MAX: usize = 32_768;
/// Entries or look-ups that go to the store at once; the rest waits for the next batch.
pub(super) const DESK_BATCH_MAX: usize = 500;
/// Places of one sale that a node keeps in memory; further ones are read from the store each time they are asked for.
pub(super) const PLACES_MAX: usize = 2_000_000;
/// Between two looks at the rooms of open sales.
pub(super) const TICK: Duration = Duration::from_millis(250);
/// So long a place that waited at the last look is believed to wait: the time from one look to the next, and what a look may take.
pub(super) const FRESH_FOR: Duration = Duration::from_millis(2 * TICK.as_millis() as u64);
/// Of so many looks one is taken while no sale with a room is open.
pub(super) const IDLE_TICKS: u32 = 4;
/// Rows that are read at once when whom others called in, or the lots of a draw, are read.
pub(super) const ROWS_MAX: usize = 5_000;
/// Longest time that an admission leaves to fetch a pass, beside the time that the pass is good for.
pub(super) const FETCH_WITHIN: Duration = Duration::from_secs(30);
/// How often a place is read again that is older than what is known of its line; past it whoever asks hears `503`.
pub(super) const LOOKS_MAX: usize = 4;
/// How many ranks can be called in within a second: what a node's admission takes. A room that opens by itself does when more come.
pub(super) const ARRIVALS_PER_SEC_MAX: u64 = CALLS_MAX * 1_000 / TICK.as_millis() as u64;
/// Buyers that are told apart among those who came since arrivals were last counted.
pub(super) const ARRIVALS_COUNTED_MAX: usize = 4 * ARRIVALS_PER_SEC_MAX as usize;
/// How long a room that opened by itself stays open after the last second with too many arrivals, or with somebody in line.
pub(super) const HOLD: Duration = Duration::from_secs(30);
/// Shortest time between two tellings of one sale's positions.
pub(super) const TELL_EVERY: Duration = Duration::from_secs(1);
/// Positions that are told within a second; with more readers each is told more seldom.
pub(super) const TOLD_PER_SEC: usize = 5_000;
