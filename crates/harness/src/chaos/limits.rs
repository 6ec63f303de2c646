//! Sizes of the rounds, and every bound of the harness.

use std::ops::Range;
use std::time::Duration;

/// New buyers a second: slow enough that a fault comes in mid storm.
pub(super) const ARRIVALS_PER_SEC: f64 = 250.0;
/// Keep-alive connections of a storm.
pub(super) const CONNECTIONS: usize = 64;
/// Units that a buyer asks for, which is also the limit.
pub(super) const UNITS_PER_BUYER: Range<u32> = 1..4;
/// Part of what buyers ask for that there is.
pub(super) const STOCK_PART: Range<f64> = 0.4..0.9;
/// In which part of the storm the fault comes.
pub(super) const FAULT_PART: Range<f64> = 0.05..0.35;
/// Partitions of an item in shape `cluster`, one of these.
pub(super) const PARTITIONS: [u32; 4] = [1, 1, 3, 8];
/// How long a process hangs or stays away.
pub(super) const HANG: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(4));
/// How long a network or a store is away.
pub(super) const OUTAGE: (Duration, Duration) =
    (Duration::from_millis(200), Duration::from_secs(3));
/// How much a slow network delays each chunk.
pub(super) const NETWORK_DELAY: (Duration, Duration) =
    (Duration::from_millis(10), Duration::from_millis(200));
/// How old a snapshot or a stale replica is.
pub(super) const SNAPSHOT_AGE: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_millis(600));
/// How wrong a clock is.
pub(super) const CLOCK_STEP_MS: i64 = 3_600_000;
/// A replica that has not taken over by then never will.
pub(super) const TAKEOVER_WITHIN: Duration = Duration::from_secs(30);
/// An installation that is not well again by then is not well.
pub(super) const RECOVERED_WITHIN: Duration = Duration::from_secs(30);
/// What is left must be sold by then.
pub(super) const SOLD_OUT_WITHIN: Duration = Duration::from_secs(60);
/// Buyers of what is left, at once, at most.
pub(super) const LAST_BUYERS_MAX: u64 = 200;
/// How often the identity of the stock is looked at.
pub(super) const POLL_EVERY: Duration = Duration::from_millis(100);
/// Findings of one round that are shown.
pub(super) const FINDINGS_SHOWN: usize = 12;
/// A node that does not know by then what another one wrote never will.
pub(super) const PROPAGATED_WITHIN: Duration = Duration::from_secs(5);
