//! Every bound of the load generator, and what happens there.

use std::time::Duration;

/// Buyers in one storm; more is refused. Seven digits name a buyer, 32 bytes of signature are kept
/// for each.
pub const BUYERS_MAX: u32 = 10_000_000;
/// Connections in one storm; more is refused. One client address has about 28,000 ports to one
/// server.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Connections when none are asked for.
pub const CONNECTIONS_DEFAULT: usize = 512;
const _: () = assert!(CONNECTIONS_DEFAULT >= 500, "a crowd");
/// File handles that are not connections: standard streams, event loops, answers file, listeners.
pub const HANDLES_SPARE: u64 = 64;
/// Worker threads by default, at most: a generator should leave the cores to the server.
pub const WORKERS_DEFAULT_MAX: usize = 8;
/// Connections that are being opened at once by one worker; the others wait their turn, so that a
/// listen queue is not overrun before the storm begins.
pub const CONNECTING_MAX: usize = 64;
/// A connection that is not open by then counts as a connection error.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much longer than `Prefer: wait` an answer may take; then the connection is dropped and
/// counts as an error.
pub const ANSWER_GRACE: Duration = Duration::from_secs(10);
/// A connection that lay idle for longer is looked at before it is used.
pub const IDLE_CHECK_AFTER: Duration = Duration::from_secs(1);
/// An answer larger than this is malformed.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// What a connection reads into at first.
pub const ANSWER_BYTES_START: usize = 4 * 1024;
/// Headers of one answer; more is malformed.
pub const HEADERS_MAX: usize = 48;
/// How often one buyer is sent again after 429, 503 or another 5xx, unless the plan says otherwise;
/// then it is lost.
pub const OVERLOAD_TRIES_MAX: u16 = 60;
/// How often one buyer is sent again after a broken connection; then it is lost. With the back-off
/// below this bridges a server that is away for about ten seconds.
pub const CONNECTION_TRIES_MAX: u16 = 16;
/// First pause after a broken connection; doubles up to [`BACKOFF_MAX`].
pub const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest pause after a broken connection.
pub const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Shortest pause after an overload answer, whatever `Retry-After` says.
pub const RETRY_AFTER_MIN: Duration = Duration::from_millis(10);
/// First look at a queued order; each further one comes half as long again after the last.
pub const POLL_MIN: Duration = Duration::from_millis(100);
/// Longest pause between two looks at a queued order.
pub const POLL_MAX: Duration = Duration::from_secs(1);
/// How long after `decide_by` a verdict is still waited for, unless the plan says otherwise; then
/// the answer is lost.
pub const VERDICT_GRACE: Duration = Duration::from_secs(3);
/// Longest wait for one verdict, whatever `decide_by` says.
pub const VERDICT_WAIT_MAX: Duration = Duration::from_secs(60);
/// Queued buyers that also listen for their verdict by event; the others only poll.
pub const LISTENERS_MAX: usize = 64;
/// Undelivered event text of one listener; beyond it the listener gives up and its buyer only
/// polls.
pub const EVENT_BYTES_MAX: usize = 256 * 1024;
/// A storm that gets no final answer for this long is stopped; what is open then is lost.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a worker looks at what is due, and publishes its counts.
pub const TICK: Duration = Duration::from_millis(2);
/// How often progress is shown.
pub const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// How often answers go to their file at the latest.
pub const ANSWERS_FLUSH_EVERY: Duration = Duration::from_millis(200);
/// Answers gathered in memory before they go to their file.
pub const ANSWERS_CHUNK_BYTES: usize = 64 * 1024;
/// Shortest pause of the arrival clock: about what a thread can sleep.
pub const PACE_MIN: Duration = Duration::from_micros(100);
/// Longest pause of the arrival clock, so that it notices the end.
pub const PACE_MAX: Duration = Duration::from_millis(20);

const _: () = assert!(BUYERS_MAX == 10_000_000, "names have seven digits");
const _: () = assert!(ANSWER_BYTES_START <= ANSWER_BYTES_MAX);
const _: () = assert!(POLL_MIN.as_millis() < POLL_MAX.as_millis());
const _: () = assert!(VERDICT_GRACE.as_millis() < VERDICT_WAIT_MAX.as_millis());
