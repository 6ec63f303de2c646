//! The sizes of the rounds and the bounds of the harness.

use std::ops::Range;
use std::time::Duration;

/// New buyers per second. The rate is low enough that the fault happens during the run.
pub(super) const ARRIVALS_PER_SEC: f64 = 250.0;
/// New buyers per second for the faults `restore` and `postgres-failover-async`. The rate is so low
/// that buyers still arrive after the backup, or after the standby is cut off.
pub(super) const ARRIVALS_PER_SEC_SLOW: f64 = 60.0;
/// The number of keep-alive connections of the load run.
pub(super) const CONNECTIONS: usize = 64;
/// The range from which the number of units in a request is chosen. The chosen number is also the
/// limit for each buyer.
pub(super) const UNITS_PER_BUYER: Range<u32> = 1..4;
/// The range of the stock, as a fraction of the requested units.
pub(super) const STOCK_PART: Range<f64> = 0.4..0.9;
/// The fraction of the run after which the fault happens.
pub(super) const FAULT_PART: Range<f64> = 0.05..0.35;
/// The numbers of partitions of an item in shape `cluster`. The harness chooses one of these
/// numbers at random.
pub(super) const PARTITIONS: [u32; 4] = [1, 1, 3, 8];
/// The shortest and the longest time between two changes of the spread, if the plan asks for
/// repeated changes.
pub(super) const SPREAD_STAYS: (Duration, Duration) =
    (Duration::from_millis(300), Duration::from_millis(1_500));
/// The shortest and the longest time for which a process hangs or stays stopped.
pub(super) const HANG: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(4));
/// The shortest and the longest time for which a network or a store is unavailable.
pub(super) const OUTAGE: (Duration, Duration) =
    (Duration::from_millis(200), Duration::from_secs(3));
/// The shortest and the longest time for which a disk is full. The time is long enough that
/// PostgreSQL tries to make a file longer. If PostgreSQL reports no error about the full disk, the
/// harness fails.
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
/// The largest number of concurrent buyers of the remaining units.
pub(super) const LAST_BUYERS_MAX: u64 = 200;
/// How often the stock is checked.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The largest number of findings that the report of one round shows. The report gives only the
/// number of the other findings.
pub(super) const FINDINGS_SHOWN: usize = 12;
/// How long a row that one node wrote may be invisible to another node. After that time, an
/// operator's request that needs this row fails.
pub(super) const PROPAGATED_WITHIN: Duration = Duration::from_secs(5);
