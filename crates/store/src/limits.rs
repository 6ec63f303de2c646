//! Every bound of a store, with what happens at it.
use std::time::Duration;

/// Jobs that wait for the writer; at the bound a job is refused at once
/// ([`crate::StoreError::Unavailable`]) and nothing is done.
pub const WRITE_QUEUE_MAX: usize = 8_192;
/// Jobs that wait for a reader; at the bound a job is refused at once.
pub const READ_QUEUE_MAX: usize = 4_096;
/// Threads that read.
pub const READERS: usize = 2;
/// Jobs that one commit takes along; the rest waits for the next one.
pub const GROUP_JOBS_MAX: usize = 1_000;
/// Tickets (and other jobs, each counted as one) after which a group takes no further job along.
pub const GROUP_WEIGHT_MAX: usize = 2_000;
/// Pages in the write-ahead log from which they are carried into the database beside the writer.
pub const CHECKPOINT_PAGES: i64 = 2_000;
/// Pages still to be carried that the writer carries itself, so that the log can begin anew: a few
/// milliseconds for everybody who waits.
pub const CHECKPOINT_LAST_PAGES: i64 = 100;
/// The same as a part of a long log, whose rest may never be so small while orders come as fast as
/// they can.
pub const CHECKPOINT_LAST_PART: i64 = 100;
/// Pages still to be carried at which the writer rests after each commit while they are, so that
/// the log stays behind the disk. Under a reader's old snapshot nothing can be carried: the log
/// then grows as long as that lasts.
pub const LOG_PAGES_MAX: i64 = 256_000;
/// How long it rests.
pub const LOG_PAUSE: Duration = Duration::from_millis(5);
/// How long it is tried to carry the log of a store that is taken away into its file.
pub const CHECKPOINT_WITHIN: Duration = Duration::from_secs(2);
/// Between two looks of a writer without work at whether its files are where they were; one that
/// has work looks after each commit.
pub const FILES_CHECK_EVERY: Duration = Duration::from_secs(1);
/// How long a connection waits for a lock that a foreign process holds on the file; past it the job
/// is refused.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Prepared statements that a connection keeps; past it the least used one is prepared again.
pub const STATEMENTS_MAX: usize = 128;
/// Page cache of the writer, in KiB; past it pages are read from the file again.
pub const WRITER_CACHE_KIB: i64 = 65_536;
/// Page cache of a reader, in KiB.
pub const READER_CACHE_KIB: i64 = 4_096;
/// Rows of a page of orders; a larger limit is lowered to it.
pub const PAGE_ROWS_MAX: usize = 10_000;
/// Access codes of one sale; more are refused.
pub const CODES_MAX: u64 = 1_000_000;
/// Spent challenges, and buyers with wrong answers, that are over and are forgotten with each new
/// one.
pub const DELETE_ROWS_MAX: i64 = 16;
/// How long after their end they are kept, in milliseconds: nobody who asks by a time that is a
/// little behind may find forgotten what is not over for them.
pub const SPENT_KEPT_MS: i64 = 60_000;
/// Orders that a check reads before it rests.
pub const CHECK_ROWS_BETWEEN_PAUSES: usize = 1_000;
/// How long a check rests: one to two times as long as it reads. It keeps its snapshot meanwhile,
/// and the log grows.
pub const CHECK_PAUSE: Duration = Duration::from_micros(500);
/// Rows of each table that one transaction of an erasure replaces; more are replaced in further
/// ones.
pub const ERASE_ROWS_MAX: usize = 200;
/// Events that get their positions in one transaction; the rest gets them in further ones.
pub const SEQUENCE_ROWS_MAX: usize = 10_000;
/// Events without a position that are counted as waiting; there are more only where nobody gives
/// positions, and their age says it.
pub const UNSEQUENCED_COUNTED_MAX: usize = 10_000;
/// Findings that one check reports; the rest is as bad.
pub const FINDINGS_MAX: usize = 100;
/// Notices that one check reports, the newest; lists of payments have them all.
pub const NOTICES_MAX: usize = 100;
/// Differences of one kind that the books name at once; past it they say after which place there
/// are more.
pub const DIFFERENCES_MAX: usize = 1_000;

const _: () = assert!(CHECKPOINT_PAGES < LOG_PAGES_MAX, "in their order");
const _: () = assert!(
    GROUP_WEIGHT_MAX >= doorbuster_core::limits::SETTLE_BATCH_MAX,
    "a settle job fits in a group"
);

/// Sessions of one node that write to PostgreSQL; who finds them all busy waits.
pub const PG_WRITERS: usize = 6;
/// Sessions of one node that read from PostgreSQL.
pub const PG_READERS: usize = 4;
/// Calls that wait for a session; at the bound a call is refused at once.
pub const PG_WAITING_MAX: usize = 1_024;
/// How long a call waits for a session; past it it is refused.
pub const PG_POOL_WAIT: Duration = Duration::from_secs(3);
/// How long making a connection may take; past it the database counts as away.
pub const PG_CONNECT_WAIT: Duration = Duration::from_secs(3);
/// How long PostgreSQL lets a statement run; past it the statement fails.
pub const PG_STATEMENT_WAIT: Duration = Duration::from_secs(10);
/// How long PostgreSQL lets a statement wait for a lock; past it the statement fails.
pub const PG_LOCK_WAIT: Duration = Duration::from_secs(4);
/// How long a session may hold a transaction and say nothing, as a stopped node does; past it
/// PostgreSQL ends the session.
pub const PG_IDLE_IN_TRANSACTION: Duration = Duration::from_secs(5);
/// How long a node waits for an answer of PostgreSQL; past it the connection is given up, and the
/// outcome of a COMMIT is unknown.
pub const PG_ANSWER_WAIT: Duration = Duration::from_secs(12);
/// How long an audit of all rows may take; past it it fails.
pub const PG_CHECK_WAIT: Duration = Duration::from_secs(120);
/// How long a transaction is run again while PostgreSQL is away; past it the caller hears of it.
pub const PG_RETRY_WITHIN: Duration = Duration::from_secs(4);
/// Rest before the first repetition; it doubles up to [`PG_RETRY_PAUSE_MAX`].
pub const PG_RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Longest rest between two repetitions.
pub const PG_RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);
/// Repetitions of a transaction that met another one; past it the caller hears of it.
pub const PG_CONFLICTS_MAX: u32 = 12;
/// How often a node looks for what others committed, hints or not.
pub const PG_POLL_EVERY: Duration = Duration::from_secs(1);
/// How long a look may take; past it those who wait are answered, and counts follow with a later
/// look.
pub const PG_POLL_WAIT: Duration = Duration::from_secs(3);
/// How far a look goes back after a lost connection; what was told since then is told again.
/// PostgreSQL writes what nobody waits for within a second.
pub const PG_POLL_BACK: Duration = Duration::from_secs(30);
/// Shortest time between two looks for what others committed: hints that come closer together share
/// one.
pub const PG_POLLS_APART: Duration = Duration::from_millis(5);
/// Orders, and resolutions, that one look reads at once; more are read in further pages of the same
/// snapshot.
pub const PG_POLL_ROWS: usize = 5_000;
/// Commits of this node that wait to be told; at the bound they wait for room.
pub const PG_COMMITS_MAX: usize = 1_024;
/// Round trip beyond which an answer says too little about the database's time.
pub const PG_CLOCK_ROUND_TRIP_MAX: Duration = Duration::from_millis(250);
/// A difference between the database's time and what it would be had nobody set its clock; beyond
/// it an alarm is raised.
pub const PG_CLOCK_STEP_MAX: Duration = Duration::from_secs(2);
/// Between two pulls of the careful clock towards the database's.
pub const PG_CLOCK_SLEW_EVERY: Duration = Duration::from_secs(1);
/// How far one pull moves it.
pub const PG_CLOCK_SLEW_MAX: Duration = Duration::from_millis(20);

const _: () = assert!(
    4 * PG_ANSWER_WAIT.as_millis() < SPENT_KEPT_MS.unsigned_abs() as u128,
    "a transaction of a few statements is over before what was not over at its beginning is \
     forgotten"
);
const _: () = assert!(
    PG_LOCK_WAIT.as_millis() < PG_STATEMENT_WAIT.as_millis(),
    "a lock is given up before its statement"
);
const _: () = assert!(
    PG_STATEMENT_WAIT.as_millis() < PG_ANSWER_WAIT.as_millis(),
    "the server gives up before the node does"
);
