//! Every bound of a store, and its effect.
use std::time::Duration;

/// The largest number of jobs that wait for the writer of SQLite, or that wait or run in
/// PostgreSQL. If so many jobs wait, the store refuses a further job at once
/// ([`crate::StoreError::Unavailable`]), without an effect. Renewals of the leases of nodes and of
/// the leader do not count in PostgreSQL.
pub const WRITE_QUEUE_MAX: usize = 8_192;
/// The largest number of jobs that wait for a reader. If so many jobs wait, the store refuses a
/// further job at once.
pub const READ_QUEUE_MAX: usize = 4_096;
/// The number of reader threads.
pub const READERS: usize = 2;
/// The largest number of jobs in one commit. Further jobs wait for the next commit.
pub const GROUP_JOBS_MAX: usize = 1_000;
/// When the jobs of one commit have this many tickets or visitors in total, the commit accepts no
/// further job. A job that has neither counts as one. The last accepted job may raise the total
/// above this number.
pub const GROUP_WEIGHT_MAX: usize = 2_000;
/// When the write-ahead log has at least this many pages, the checkpoint thread copies these pages
/// to the store's file.
pub const CHECKPOINT_PAGES: i64 = 2_000;
/// When a checkpoint has at most this many pages left to copy, the writer itself copies these
/// pages, so that the log can restart from its beginning. Callers wait a few milliseconds for this.
pub const CHECKPOINT_LAST_PAGES: i64 = 100;
/// For a long log, the writer uses a higher bound than [`CHECKPOINT_LAST_PAGES`]: the number of the
/// log's pages divided by this number. Otherwise, under full load, the number of pages left to copy
/// might never fall to the bound.
pub const CHECKPOINT_LAST_PART: i64 = 100;
/// If a running checkpoint has at least this many pages left to copy, the writer pauses after each
/// commit, so that the disk keeps up with the log. While a reader has an old snapshot, no page can
/// be copied, and the log grows.
pub const LOG_PAGES_MAX: i64 = 256_000;
/// The length of each pause of the writer during a checkpoint.
pub const LOG_PAUSE: Duration = Duration::from_millis(5);
/// After another program removed a file of the store, the writer tries for this long to copy the
/// log into the open store file.
pub const CHECKPOINT_WITHIN: Duration = Duration::from_secs(2);
/// The interval at which an idle writer checks that its files are still in place. A busy writer
/// checks after each commit.
pub const FILES_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The largest size, in bytes, of the changed pages that wait for a continuous backup. If the pages
/// would become larger, they are dropped, and the backup needs a new copy of the whole store.
pub const COPY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a connection waits for another process that has locked the file. After that time, the
/// job is refused.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);
/// The largest number of unused prepared statements that a connection keeps. If there are more, the
/// statement that was not used for the longest time is dropped. The writer and the readers keep
/// their statements in use until the connection closes. The number of these statements is bounded
/// by the number of constant SQL texts in this crate.
pub const STATEMENTS_MAX: usize = 128;
/// The size of the writer's page cache, in KiB. Pages that do not fit are read from the file again.
pub const WRITER_CACHE_KIB: i64 = 65_536;
/// The size of a reader's page cache, in KiB.
pub const READER_CACHE_KIB: i64 = 4_096;
/// The largest number of rows in a page of a list. A larger limit is lowered to this number.
pub const PAGE_ROWS_MAX: usize = 10_000;
/// The largest number of rows of the store's history that are read. Older rows are left out.
pub const HISTORY_ROWS_MAX: i64 = 100;
/// The largest number of access codes of one sale. More codes are refused.
pub const CODES_MAX: u64 = 1_000_000;
/// Each answer to a challenge deletes at most this many ended challenges. Each answer also deletes
/// at most this many expired counts of wrong answers.
pub const DELETE_ROWS_MAX: i64 = 16;
/// How long the rows of ended challenges are kept, in milliseconds. A node whose clock is slightly
/// behind may still accept an answer, and then sees from the row that the challenge was answered
/// before.
pub const SPENT_KEPT_MS: i64 = 60_000;
/// The number of rows that a check reads before each pause.
pub const CHECK_ROWS_BETWEEN_PAUSES: usize = 1_000;
/// How long a check pauses after each group of [`CHECK_ROWS_BETWEEN_PAUSES`] rows. The pause is one
/// to two times as long as the time in which the check reads the group. The check keeps its
/// snapshot during the pauses, so longer pauses would let the write-ahead log grow more.
pub const CHECK_PAUSE: Duration = Duration::from_micros(500);
/// The largest number of rows of each table that one transaction of an erasure replaces. Further
/// transactions replace the remaining rows.
pub const ERASE_ROWS_MAX: usize = 200;
/// The largest number of events that get their positions in one transaction. Further transactions
/// assign positions to the remaining events.
pub const SEQUENCE_ROWS_MAX: usize = 10_000;
/// At most this many events without a position are counted as waiting. More such events exist only
/// if no node assigns positions, and the age of the oldest event shows this fault.
pub const UNSEQUENCED_COUNTED_MAX: usize = 10_000;
/// The largest number of contradictions between rows that one check reports. Further contradictions
/// are left out.
pub const FINDINGS_MAX: usize = 100;
/// A check reports at most this many notices about mistaken payments: the newest ones. The lists of
/// payments contain all notices.
pub const NOTICES_MAX: usize = 100;
/// The largest number of differences of one kind in one report of a reconciliation. If there are
/// more, the report gives the position after which the next differences begin.
pub const DIFFERENCES_MAX: usize = 1_000;

const _: () =
    assert!(CHECKPOINT_PAGES < LOG_PAGES_MAX, "a checkpoint must start before the writer pauses");
const _: () = assert!(
    GROUP_WEIGHT_MAX >= doorbuster_core::limits::SETTLE_BATCH_MAX,
    "a settle job must fit in a group"
);

/// The interval at which the log repeats that the database is still unavailable.
pub const OUTAGE_LOG_INTERVAL: Duration = Duration::from_secs(10);
/// A lease that ends more than this many milliseconds from now is void, because it was taken before
/// the database's clock was set back. This number is greater than the length of every lease, so
/// that small differences between clocks make no lease void.
pub const LEASE_END_MAX_MS: i64 = 6_000;
/// A commit check ([`crate::Store::commit_check`]) writes one small row. This is the largest number
/// of these rows. Two nodes share a row if their node numbers are equal modulo this constant.
pub const COMMIT_CHECK_SLOTS: u32 = 1_024;
/// How long a node remembers the orders that it confirmed. After a failover, the node compares
/// these orders with the database.
pub const ACKNOWLEDGED_KEPT: Duration = Duration::from_secs(300);
/// The largest number of orders that a node remembers for the comparison after a failover. If there
/// are more, the node forgets the oldest orders.
pub const ACKNOWLEDGED_MAX: usize = 100_000;
/// The largest number of orders that one query compares. Further queries compare the remaining
/// orders.
pub const COMPARED_AT_ONCE: usize = 2_000;
/// How long a report of lost orders stays visible, in milliseconds. If the failover paused sales,
/// the time starts when such a sale is closed. Otherwise, the time starts at the failover.
pub const LOSS_SHOWN_MS: i64 = 86_400_000;
/// The largest number of ids of lost orders that a node records. The recorded count includes all
/// lost orders.
pub const LOST_SAMPLE_MAX: usize = 100;
/// At most this many reports of nodes about lost orders are read. Further reports are left out.
pub const LOST_ROWS_MAX: i64 = 100;
/// The largest number of sessions in which one node writes to PostgreSQL. If all sessions are busy,
/// callers wait.
pub const PG_WRITERS: usize = 6;
/// The largest number of sessions in which one node reads from PostgreSQL. If all sessions are
/// busy, callers wait.
pub const PG_READERS: usize = 4;
/// The largest number of calls that wait for a session. If so many calls wait, the store refuses a
/// further call at once.
pub const PG_WAITING_MAX: usize = 1_024;
/// The largest number of transactions that have a thread at the same time. This number is higher
/// than [`PG_WRITERS`], so that some transactions already have a thread when a session becomes
/// free. If all threads are busy, an attempt of a transaction waits for a thread for up to
/// [`PG_POOL_WAIT`]. A renewal of a lease does not wait.
pub const PG_JOB_THREADS_MAX: usize = 12;
/// How long a call waits for a session. After that time, the call is refused.
pub const PG_POOL_WAIT: Duration = Duration::from_secs(3);
/// How long connecting may take. After that time, the database counts as unreachable.
pub const PG_CONNECT_WAIT: Duration = Duration::from_secs(3);
/// After the first host answered, a node waits this long for the other hosts, which may have a
/// newer history. Then the node chooses among the hosts that have answered. A node that has used no
/// database yet waits for [`PG_CONNECT_WAIT`] instead.
pub const PG_OTHER_HOSTS_WAIT: Duration = Duration::from_millis(500);
/// How long PostgreSQL runs a statement. After that time, the statement fails.
pub const PG_STATEMENT_WAIT: Duration = Duration::from_secs(10);
/// How long PostgreSQL lets a statement wait for a lock. After that time, the statement fails.
pub const PG_LOCK_WAIT: Duration = Duration::from_secs(4);
/// How long a session may stay idle in a transaction, for example because its node was suspended.
/// After that time, PostgreSQL ends the session.
pub const PG_IDLE_IN_TRANSACTION: Duration = Duration::from_secs(5);
/// How long a rate limit's row is kept after the limit allows its full number of requests again, in
/// microseconds.
pub const RATE_LIMIT_KEPT_US: i64 = 60_000_000;
/// How long a node waits for an answer of PostgreSQL. After that time, the node closes the
/// connection, and the outcome of a COMMIT is unknown.
pub const PG_ANSWER_WAIT: Duration = Duration::from_secs(12);
/// How long an audit of all rows may take. After that time, the audit fails.
pub const PG_CHECK_WAIT: Duration = Duration::from_secs(120);
/// How long a transaction is retried while PostgreSQL is unreachable. After that time, the caller
/// gets an error.
pub const PG_RETRY_WITHIN: Duration = Duration::from_secs(4);
/// The pause before the first retry. Each further pause is twice as long, up to
/// [`PG_RETRY_PAUSE_MAX`].
pub const PG_RETRY_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause between two retries.
pub const PG_RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);
/// The largest number of retries of a transaction that conflicts with another transaction. After so
/// many retries, the caller gets an error.
pub const PG_CONFLICTS_MAX: u32 = 12;
/// The interval at which a node polls for the commits of other nodes, even without notifications.
pub const PG_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a poll may take. After that time, the calls that wait for the poll return, and a later
/// poll publishes the counts.
pub const PG_POLL_WAIT: Duration = Duration::from_secs(3);
/// The largest number of rows that one query of a poll reads. The rows are orders, or resolutions
/// (records of returned tickets). Further rows are read in further pages of the same snapshot.
pub const PG_POLL_ROWS: usize = 5_000;
/// The largest number of commit digests that one query of a poll reads. Further digests are read in
/// further pages of the same snapshot. A digest has up to about 20 KiB.
pub const PG_POLL_DIGESTS: usize = 64;
/// How long commit digests are kept, in milliseconds. Nodes read digests only during the first half
/// of this time, because digests may be deleted while a node polls.
pub const DIGESTS_KEPT_MS: i64 = 2 * doorbuster_core::limits::DIGESTS_READ_WITHIN_MS;
/// The largest number of this node's commits in the queue of the publisher. While the queue is
/// full, the callers of further commits wait.
pub const PG_COMMITS_MAX: usize = 1_024;
/// The longest permitted round trip of a sample of the database's clock. A sample with a longer
/// round trip is too imprecise, and is discarded. The first sample is kept in any case.
pub const PG_CLOCK_ROUND_TRIP_MAX: Duration = Duration::from_millis(250);
/// The largest permitted difference between the database's clock and the monotonic clock. If the
/// difference is larger, the node raises an alarm.
pub const PG_CLOCK_STEP_MAX: Duration = Duration::from_secs(2);
/// The interval between two corrections of the monotonic clock toward the database's clock.
pub const PG_CLOCK_SLEW_INTERVAL: Duration = Duration::from_secs(1);
/// The largest change that one correction makes to the monotonic clock.
pub const PG_CLOCK_SLEW_MAX: Duration = Duration::from_millis(20);

const _: () = assert!(
    4 * PG_ANSWER_WAIT.as_millis() < SPENT_KEPT_MS.unsigned_abs() as u128,
    "a row that was valid when a short transaction began must outlive the transaction"
);
const _: () = assert!(
    PG_JOB_THREADS_MAX > PG_WRITERS,
    "there must be a waiting transaction for each session that becomes free"
);
const _: () = assert!(
    PG_LOCK_WAIT.as_millis() < PG_STATEMENT_WAIT.as_millis(),
    "a wait for a lock must end before the statement times out"
);
const _: () = assert!(
    PG_STATEMENT_WAIT.as_millis() < PG_ANSWER_WAIT.as_millis(),
    "PostgreSQL must end a statement before the node stops waiting for it"
);
