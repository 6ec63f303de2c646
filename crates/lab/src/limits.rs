//! Every bound of the lab, and what happens there.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Worker processes of each strategy, as a shop runs several application servers.
pub const WORKERS: usize = 2;
/// Connections to PostgreSQL of one worker at most; more requests wait for a free one.
pub const POOL_MAX: usize = 32;
/// Buyers of one run; more are refused.
pub const BUYERS: RangeInclusive<i64> = 1..=1_000_000;
/// Units on sale; more are refused.
pub const STOCK: RangeInclusive<i64> = 0..=1_000_000;
/// Units that each buyer asks for; more are refused.
pub const UNITS: RangeInclusive<i64> = 1..=10_000;
/// Simultaneous buyers; more are refused.
pub const LEVEL: RangeInclusive<i64> = 1..=1_024;
/// How often a buyer asks again after "busy" or no answer; then the buyer leaves without one.
pub const TRIES_MAX: u32 = 200;
/// A buyer without an answer for this long asks again.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// After this time no new buyer comes to a run; those who came get their answers.
pub const RUN_WITHIN: Duration = Duration::from_secs(6);
/// With a fault, buyers arrive over this time, so that the fault meets a sale under way.
pub const ARRIVALS_WITH_FAULT: Duration = Duration::from_secs(3);
/// How long accepted requests may wait for background work after the last answer.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(15);
/// How long a process of the lab may take to be ready.
pub const READY_WITHIN: Duration = Duration::from_secs(30);
/// How much later a byte arrives on a slow database connection.
pub const SLOW_BY: Duration = Duration::from_millis(200);
/// How old the snapshot is that Redis comes back from.
pub const SNAPSHOT_AGE: Duration = Duration::from_secs(1);
