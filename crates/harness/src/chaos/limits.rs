//! The sizes of the rounds, and the time limits of the harness.

use std::ops::Range;
use std::time::Duration;

/// New buyers per second. At this rate, buyers still arrive when the fault happens.
pub(super) const ARRIVALS_PER_SEC: f64 = 250.0;
/// New buyers per second for the faults `restore` and `postgres-failover-async`. At this low rate,
/// buyers still arrive after the backup, or after the standby is cut off.
pub(super) const ARRIVALS_PER_SEC_SLOW: f64 = 60.0;
pub(super) const CONNECTIONS: usize = 64;
/// The range of the units in a request. Each round chooses one number for all requests; this number
/// is also the limit for each buyer.
pub(super) const UNITS_PER_BUYER: Range<u32> = 1..4;
/// The range of the stock, as a fraction of the units that all buyers request. The stock is always
/// smaller than the demand.
pub(super) const STOCK_PART: Range<f64> = 0.4..0.9;
/// The fault happens at a random moment in this part of the load run: 0 is the start of the run,
/// and 1 is its end.
pub(super) const FAULT_PART: Range<f64> = 0.05..0.35;
/// The numbers of partitions from which the harness chooses, in shape `cluster`.
pub(super) const PARTITIONS: [u32; 4] = [1, 1, 3, 8];
/// The shortest and the longest time between two changes of the spread.
pub(super) const SPREAD_STAYS: (Duration, Duration) =
    (Duration::from_millis(300), Duration::from_millis(1_500));
/// The shortest and the longest time for which a process hangs or stays stopped.
pub(super) const HANG: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(4));
/// The shortest and the longest time for which a network or a store is unavailable.
pub(super) const OUTAGE: (Duration, Duration) =
    (Duration::from_millis(200), Duration::from_secs(3));
/// The shortest and the longest time for which a disk is full. The harness fails if PostgreSQL
/// reports no error. So the disk must stay full until PostgreSQL tries to make a file longer.
pub(super) const DISK_FULL: (Duration, Duration) =
    (Duration::from_millis(800), Duration::from_secs(3));
/// The shortest and the longest time by which a slow network delays each chunk of data.
pub(super) const NETWORK_DELAY: (Duration, Duration) =
    (Duration::from_millis(10), Duration::from_millis(200));
/// The shortest and the longest age of the old data that a fault brings back: of a snapshot, or of
/// the data of a stale replica.
pub(super) const SNAPSHOT_AGE: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_millis(600));
/// How far a node's clock is set forward or back.
pub(super) const CLOCK_STEP_MS: i64 = 3_600_000;
/// How long a replica may take to take over. After that time the harness fails.
pub(super) const TAKEOVER_WITHIN: Duration = Duration::from_secs(30);
/// How long an installation may take to recover. After that time the harness fails.
pub(super) const RECOVERED_WITHIN: Duration = Duration::from_secs(30);
/// The time in which the remaining units must be sold. If units remain after that time, the round
/// has a finding.
pub(super) const SOLD_OUT_WITHIN: Duration = Duration::from_secs(60);
pub(super) const LAST_BUYERS_MAX: u64 = 200;
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The report of one round shows at most this many findings, and the number of further findings.
pub(super) const FINDINGS_SHOWN: usize = 12;
/// Within this time after one node wrote a row, every node must know the row. Until then, the
/// harness repeats an operator's request that gets status 404.
pub(super) const PROPAGATED_WITHIN: Duration = Duration::from_secs(5);
