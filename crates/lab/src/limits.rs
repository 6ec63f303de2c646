//! Every bound of the lab, and its effect.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The number of worker processes that run one strategy. There are several, because a shop also has
/// several application servers.
pub const WORKERS: usize = 2;
/// The largest number of connections of one worker to PostgreSQL. A request that needs a further
/// connection waits.
pub const POOL_MAX: usize = 32;
/// The allowed number of buyers in one run. Other numbers are refused.
pub const BUYERS: RangeInclusive<i64> = 1..=1_000_000;
/// The allowed number of units on sale. Other numbers are refused.
pub const STOCK: RangeInclusive<i64> = 0..=1_000_000;
/// The allowed number of units that each buyer requests. Other numbers are refused.
pub const UNITS: RangeInclusive<i64> = 1..=10_000;
/// The allowed number of buyers who buy at the same time. Other numbers are refused.
pub const LEVEL: RangeInclusive<i64> = 1..=1_024;
/// A buyer sends its request at most this many times, and then gives up.
pub const TRIES_MAX: u32 = 200;
/// If a buyer gets no answer for this long, the buyer repeats the request.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// In a run, no new buyer starts after this time. Buyers who have started before continue until
/// they have a final answer.
pub const RUN_WITHIN: Duration = Duration::from_secs(6);
/// In a run with a fault, the buyers arrive over this time, so that the fault happens during the
/// sale.
pub const ARRIVALS_WITH_FAULT: Duration = Duration::from_secs(3);
/// After the last answer, the lab waits at most this long for the background work that accepted
/// requests still need.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(15);
/// How long a process of the lab may take to become ready.
pub const READY_WITHIN: Duration = Duration::from_secs(30);
/// The delay of all data on a slow database connection.
pub const SLOW_BY: Duration = Duration::from_millis(200);
/// The age of the snapshot from which Redis starts again.
pub const SNAPSHOT_AGE: Duration = Duration::from_secs(1);
