//! Every bound of a store, and what happens at the bound.
use std::time::Duration;

/// Jobs that wait for the writer. At the bound a job is refused at once
/// ([`crate::StoreError::Unavailable`]) and has no effect.
pub const WRITE_QUEUE_MAX: usize = 8_192;
/// Jobs that wait for a reader; at the bound a job is refused at once.
pub const READ_QUEUE_MAX: usize = 4_096;
/// The number of reader threads.
pub const READERS: usize = 2;
/// Jobs in one commit; the remaining jobs wait for the next commit.
pub const GROUP_JOBS_MAX: usize = 1_000;
/// Tickets (and other jobs, each counted as one) after which a group accepts no further job.
pub const GROUP_WEIGHT_MAX: usize = 2_000;
/// Pages in the write-ahead log from which the checkpoint thread copies them into the database.
pub const CHECKPOINT_PAGES: i64 = 2_000;
/// Remaining pages that the writer copies itself, so that the log can restart from its beginning.
/// Callers wait for this, a few milliseconds.
pub const CHECKPOINT_LAST_PAGES: i64 = 100;
/// The same bound as a fraction of a long log. While orders arrive at full speed, the remaining
/// pages of a long log may never become as few as the bound above.
pub const CHECKPOINT_LAST_PART: i64 = 100;
/// Remaining pages from which the writer pauses after each commit while a checkpoint runs, so that
/// the disk keeps up with the log. While a reader holds an old snapshot no page can be copied, and
/// the log grows until the reader ends.
pub const LOG_PAGES_MAX: i64 = 256_000;
/// The length of such a pause.
pub const LOG_PAUSE: Duration = Duration::from_millis(5);
/// How long the writer tries to copy the log into the store's file after that file was removed.
pub const CHECKPOINT_WITHIN: Duration = Duration::from_secs(2);
/// How often an idle writer checks that its files are still in place. A busy writer checks after
/// each commit.
pub const FILES_CHECK_EVERY: Duration = Duration::from_secs(1);
/// Bytes of changed pages that wait for a continuous backup. At the bound they are dropped, and the
/// backup needs a new base.
pub const COPY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a connection waits for a lock that another process holds on the file; then the job is
/// refused.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Prepared statements that a connection keeps; beyond it, the least used statement is dropped.
pub const STATEMENTS_MAX: usize = 128;
/// Page cache of the writer, in KiB; pages beyond it are read from the file again.
pub const WRITER_CACHE_KIB: i64 = 65_536;
/// Page cache of a reader, in KiB.
pub const READER_CACHE_KIB: i64 = 4_096;
/// Rows of a page of orders; a larger limit is lowered to it.
pub const PAGE_ROWS_MAX: usize = 10_000;
/// Rows of the store's history that are read; older ones are left out.
pub const HISTORY_ROWS_MAX: i64 = 100;
/// Access codes of one sale; more are refused.
pub const CODES_MAX: u64 = 1_000_000;
/// The number of ended challenges, and of ended wrong-answer counts, that each new one deletes.
pub const DELETE_ROWS_MAX: i64 = 16;
/// How long ended rows are kept, in milliseconds. A caller whose clock is slightly behind must
/// still find a challenge that has not ended by its clock.
pub const SPENT_KEPT_MS: i64 = 60_000;
/// Orders that a check reads before it pauses.
pub const CHECK_ROWS_BETWEEN_PAUSES: usize = 1_000;
/// How long a check pauses: one to two times its reading time. It keeps its snapshot during the
/// pause, so the log grows.
pub const CHECK_PAUSE: Duration = Duration::from_micros(500);
/// Rows of each table that one transaction of an erasure replaces; further transactions replace the
/// rest.
pub const ERASE_ROWS_MAX: usize = 200;
/// Events that get their positions in one transaction; further transactions number the rest.
pub const SEQUENCE_ROWS_MAX: usize = 10_000;
/// Events without a position that are counted as waiting. More of them exist only if no node
/// assigns positions; their age shows that.
pub const UNSEQUENCED_COUNTED_MAX: usize = 10_000;
/// Findings that one check reports; further findings are left out.
pub const FINDINGS_MAX: usize = 100;
/// Notices that one check reports, newest first; the lists of payments contain all of them.
pub const NOTICES_MAX: usize = 100;
/// Differences of one kind that a reconciliation reports at once; for more, the report gives the
/// position to continue after.
pub const DIFFERENCES_MAX: usize = 1_000;

const _: () = assert!(CHECKPOINT_PAGES < LOG_PAGES_MAX, "a checkpoint starts before the pauses");
const _: () = assert!(
    GROUP_WEIGHT_MAX >= doorbuster_core::limits::SETTLE_BATCH_MAX,
    "a settle job fits in a group"
);

/// How often an outage of the database that continues is logged.
pub const OUTAGE_LOGGED_EVERY: Duration = Duration::from_secs(10);
/// Rows of commit checks; nodes whose numbers are equal modulo this share one.
pub const COMMIT_CHECK_SLOTS: u32 = 1_024;
/// How long a node remembers the orders that it committed, to compare them after a failover.
pub const ACKNOWLEDGED_KEPT: Duration = Duration::from_secs(300);
/// Orders that a node remembers for that; beyond it, the oldest are forgotten.
pub const ACKNOWLEDGED_MAX: usize = 100_000;
/// Orders that one query compares; further queries compare the rest.
pub const COMPARED_AT_ONCE: usize = 2_000;
/// Ids of lost orders that a node records. The number that it records counts all lost orders.
pub const LOST_SAMPLE_MAX: usize = 100;
/// Reports of nodes about lost orders that are read; further reports are left out.
pub const LOST_ROWS_MAX: i64 = 100;
/// Sessions of one node that write to PostgreSQL; when all are busy, callers wait.
pub const PG_WRITERS: usize = 6;
/// Sessions of one node that read from PostgreSQL.
pub const PG_READERS: usize = 4;
/// Calls that wait for a session; at the bound a call is refused at once.
pub const PG_WAITING_MAX: usize = 1_024;
/// How long a call waits for a session; then the call is refused.
pub const PG_POOL_WAIT: Duration = Duration::from_secs(3);
/// How long connecting may take; then the database counts as unreachable.
pub const PG_CONNECT_WAIT: Duration = Duration::from_secs(3);
/// How long a node that found a usable host waits for the other hosts of its address, which may
/// have a newer history. Then it uses the host that it found.
pub const PG_OTHER_HOSTS_WAIT: Duration = Duration::from_millis(500);
/// How long PostgreSQL runs a statement; then the statement fails.
pub const PG_STATEMENT_WAIT: Duration = Duration::from_secs(10);
/// How long PostgreSQL lets a statement wait for a lock; then the statement fails.
pub const PG_LOCK_WAIT: Duration = Duration::from_secs(4);
/// How long a session may stay idle in a transaction, for example because its node was suspended;
/// then PostgreSQL ends the session.
pub const PG_IDLE_IN_TRANSACTION: Duration = Duration::from_secs(5);
/// How long a node waits for an answer of PostgreSQL; then it closes the connection, and the
/// outcome of a COMMIT is unknown.
pub const PG_ANSWER_WAIT: Duration = Duration::from_secs(12);
/// How long an audit of all rows may take; then it fails.
pub const PG_CHECK_WAIT: Duration = Duration::from_secs(120);
/// How long a transaction is retried while PostgreSQL is unreachable; then the caller gets an
/// error.
pub const PG_RETRY_WITHIN: Duration = Duration::from_secs(4);
/// The pause before the first retry; it doubles up to [`PG_RETRY_PAUSE_MAX`].
pub const PG_RETRY_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause between two retries.
pub const PG_RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);
/// Retries of a transaction that conflicts with another one; then the caller gets an error.
pub const PG_CONFLICTS_MAX: u32 = 12;
/// How often a node polls for the commits of other nodes, with or without notifications.
pub const PG_POLL_EVERY: Duration = Duration::from_secs(1);
/// How long a poll may take; then the waiting callers get their answers, and the counts follow with
/// a later poll.
pub const PG_POLL_WAIT: Duration = Duration::from_secs(3);
/// How far back a poll starts after a lost connection; changes since then are published again.
/// PostgreSQL writes a commit that no session waits for within a second.
pub const PG_POLL_BACK: Duration = Duration::from_secs(30);
/// The shortest time between two polls; notifications that arrive closer together share one poll.
pub const PG_POLLS_APART: Duration = Duration::from_millis(5);
/// Orders, and resolutions, that one poll reads at once; the remaining ones are read in further
/// pages of the same snapshot.
pub const PG_POLL_ROWS: usize = 5_000;
/// Commit digests that one poll reads at once; the remaining ones are read in further pages of the
/// same snapshot. A digest has up to about 20 KiB.
pub const PG_POLL_DIGESTS: usize = 64;
/// A node whose last poll was longer ago reads all orders again in place of the digests, in
/// milliseconds.
pub const DIGESTS_READ_WITHIN_MS: i64 = 300_000;
/// How long commit digests are kept, in milliseconds. Longer than any node reads them, because the
/// deleting transaction may run while a node polls.
pub const DIGESTS_KEPT_MS: i64 = 2 * DIGESTS_READ_WITHIN_MS;
/// Commits of this node that wait to be published; at the bound further commits wait.
pub const PG_COMMITS_MAX: usize = 1_024;
/// A time sample with a longer round trip is discarded as too imprecise.
pub const PG_CLOCK_ROUND_TRIP_MAX: Duration = Duration::from_millis(250);
/// The difference between the database's time and its expected time beyond which an alarm is
/// raised.
pub const PG_CLOCK_STEP_MAX: Duration = Duration::from_secs(2);
/// The interval between two corrections of the monotonic clock toward the database's clock.
pub const PG_CLOCK_SLEW_EVERY: Duration = Duration::from_secs(1);
/// The largest change of one correction.
pub const PG_CLOCK_SLEW_MAX: Duration = Duration::from_millis(20);

const _: () = assert!(
    4 * PG_ANSWER_WAIT.as_millis() < SPENT_KEPT_MS.unsigned_abs() as u128,
    "a short transaction ends before a row that was valid at its beginning is deleted"
);
const _: () = assert!(
    PG_LOCK_WAIT.as_millis() < PG_STATEMENT_WAIT.as_millis(),
    "a wait for a lock ends before the statement times out"
);
const _: () = assert!(
    PG_STATEMENT_WAIT.as_millis() < PG_ANSWER_WAIT.as_millis(),
    "PostgreSQL ends a statement before the node stops waiting for it"
);
