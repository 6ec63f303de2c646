//! The sizes of the rounds and the bounds of the harness.

use std::ops::Range;
use std::time::Duration;

/// New buyers per second. The rate is low enough that the fault happens during the run.
pub(super) const ARRIVALS_PER_SEC: f64 = 250.0;
/// New buyers per second for the faults `restore` and `postgres-failover-async`. At this low rate,
/// buyers still arrive after the backup, or after the standby is cut off.
pub(super) const ARRIVALS_PER_SEC_SLOW: f64 = 60.0;
pub(super) const CONNECTIONS: usize = 64;
/// The range from which the number of units in a request is chosen. The chosen number is also the
/// limit for each buyer.
pub(super) const UNITS_PER_BUYER: Range<u32> = 1..4;
/// The range of the stock, as a fraction of the requested units.
pub(super) const STOCK_PART: Range<f64> = 0.4..0.9;
/// The range of the moment at which the fault happens, as a fraction of the run.
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
/// The shortest and the longest time for which a disk is full: long enough that PostgreSQL tries to
/// make a file longer. The harness fails if PostgreSQL reports no error.
pub(super) const DISK_FULL: (Duration, Duration) =
    (Duration::from_millis(800), Duration::from_secs(3));
/// The shortest and the longest time by which a slow network delays each chunk of data.
pub(super) const NETWORK_DELAY: (Duration, Duration) =
    (Duration::from_millis(10), Duration::from_millis(200));
/// The lowest and the highest age of the data of a snapshot or of a stale replica.
pub(super) const SNAPSHOT_AGE: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_millis(600));
/// How far a node's clock is set forward or back.
pub(super) const CLOCK_STEP_MS: i64 = 3_600_000;
/// How long a replica may take to take over. After that time the harness fails.
pub(super) const TAKEOVER_WITHIN: Duration = Duration::from_secs(30);
/// How long an installation may take to recover. After that time the harness fails.
pub(super) const RECOVERED_WITHIN: Duration = Duration::from_secs(30);
/// How long selling the remaining units may take. After that time the round has a finding.
pub(super) const SOLD_OUT_WITHIN: Duration = Duration::from_secs(60);
pub(super) const LAST_BUYERS_MAX: u64 = 200;
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The largest number of findings in the report of one round. Of the other findings, the report
/// shows only the number.
pub(super) const FINDINGS_SHOWN: usize = 12;
/// How long a row that one node wrote may be invisible to another node. After that time, an
/// operator's request fails.
pub(super) const PROPAGATED_WITHIN: Duration = Duration::from_secs(5);
