//! Every bound of a store, with what happens at it.
use std::time::Duration;

/// Jobs that wait for the writer; at the bound a job is refused at once ([`crate::StoreError::Unavailable`]) and nothing is done.
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
pub const CHECKPOINT_PAGES: i64 = 8_000;
/// Pages still to be carried that the writer carries itself, so that the log can begin anew.
pub const CHECKPOINT_REST_PAGES: i64 = 400;
/// Pages in the write-ahead log at which the writer waits until they are carried, so that the log does not grow without end.
pub const LOG_PAGES_MAX: i64 = 32_000;
/// How long a connection waits for a lock that a foreign process holds on the file; past it the job is refused.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Prepared statements that a connection keeps; past it the least used one is prepared again.
pub const STATEMENTS_MAX: usize = 128;
/// Page cache of the writer, in KiB; past it pages are read from the file again.
pub const WRITER_CACHE_KIB: i64 = 65_536;
/// Page cache of a reader, in KiB.
pub const READER_CACHE_KIB: i64 = 4_096;
/// Rows of a page of orders; a larger limit is lowered to it.
pub const PAGE_ROWS_MAX: usize = 10_000;
/// Orders that a check reads before it rests.
pub const CHECK_ORDERS_AT_ONCE: usize = 500;
/// How long a check rests: three times as long as it reads.
pub const CHECK_REST: Duration = Duration::from_millis(2);
/// Findings that one check reports; the rest is as bad.
pub const FINDINGS_MAX: usize = 100;

const _: () = assert!(CHECKPOINT_REST_PAGES < CHECKPOINT_PAGES && CHECKPOINT_PAGES < LOG_PAGES_MAX, "in their order");
const _: () = assert!(GROUP_WEIGHT_MAX >= doorbuster_core::limits::SETTLE_BATCH_MAX, "a settle job fits in a group");
