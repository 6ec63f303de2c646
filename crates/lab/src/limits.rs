//! Every bound of the lab, and its effect.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The number of worker processes for each strategy. There are several, because a shop also runs
/// several servers.
pub const WORKERS: usize = 2;
/// The largest number of connections of one worker to PostgreSQL. Further requests wait.
pub const POOL_MAX: usize = 32;
/// The allowed number of buyers in one run. Other numbers are refused.
pub const BUYERS: RangeInclusive<i64> = 1..=1_000_000;
/// The allowed number of units on sale. Other numbers are refused.
pub const STOCK: RangeInclusive<i64> = 0..=1_000_000;
/// The allowed number of units that each buyer requests. Other numbers are refused.
pub const UNITS: RangeInclusive<i64> = 1..=10_000;
/// The allowed number of simultaneous buyers. Other numbers are refused.
pub const LEVEL: RangeInclusive<i64> = 1..=1_024;
/// A buyer sends its request at most this many times, and then gives up.
pub const TRIES_MAX: u32 = 200;
/// A buyer who gets no answer for this long repeats the request.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// After this time no new buyer starts in a run. Buyers who have started still get their answers.
pub const RUN_WITHIN: Duration = Duration::from_secs(6);
/// In a run with a fault, the arrivals of buyers take this time, so that the fault happens during
/// the sale.
pub const ARRIVALS_WITH_FAULT: Duration = Duration::from_secs(3);
/// After the last answer, the lab waits at most this long for the background work of accepted
/// requests.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(15);
/// How long a process of the lab may take to become ready.
pub const READY_WITHIN: Duration = Duration::from_secs(30);
/// The delay of everything that is sent on a slow database connection.
pub const SLOW_BY: Duration = Duration::from_millis(200);
/// The age of the snapshot from which Redis restarts.
pub const SNAPSHOT_AGE: Duration = Duration::from_secs(1);
