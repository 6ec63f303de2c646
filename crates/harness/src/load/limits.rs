//! The bounds of a crowd, and what happens at each bound.

use std::time::Duration;

/// Most threads that send requests.
pub const GENERATORS_MAX: usize = 64;
/// Buyers in one run; a plan with more is refused. A name has eight digits, and each buyer takes
/// 32 bytes for a signature.
pub const BUYERS_MAX: u32 = 10_000_000;
/// Connections in one run; a plan with more is refused. One client address has about 28,000 ports
/// to one server.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Connections if the plan gives no number.
pub const CONNECTIONS_DEFAULT: usize = 512;
const _: () =
    assert!(CONNECTIONS_DEFAULT >= 500, "the default must load a server with many connections");
/// File handles that are not connections: standard streams, event loops, answers file, listeners.
pub const HANDLES_SPARE: u64 = 64;
/// Worker threads by default, at most, because the server needs the other cores.
pub const WORKERS_DEFAULT_MAX: usize = 8;
/// How long the first connection may take to open; then the run is refused.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much longer than `Prefer: wait` an answer may take; then the connection is closed and counts
/// as an error.
pub const ANSWER_GRACE: Duration = Duration::from_secs(10);
/// Bytes of one answer; a larger one is malformed.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Headers of one answer; an answer with more is malformed.
pub const HEADERS_MAX: usize = 48;
/// Repeats of one buyer's request after 429, 503 or another 5xx, unless the plan gives a number;
/// then the buyer is lost.
pub const OVERLOAD_TRIES_MAX: u16 = 60;
/// Repeats of one buyer's request after a broken connection; then the buyer is lost. With the
/// back-off below this covers a server that is away for about ten seconds.
pub const CONNECTION_TRIES_MAX: u16 = 16;
/// First pause after a broken connection; doubles up to [`BACKOFF_MAX`].
pub const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest pause after a broken connection.
pub const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Shortest pause after an overload answer, whatever `Retry-After` says.
pub const RETRY_AFTER_MIN: Duration = Duration::from_millis(10);
/// First pause before a queued order is polled; each further pause is half as long again.
pub const POLL_MIN: Duration = Duration::from_millis(100);
/// Longest pause between two polls of a queued order.
pub const POLL_MAX: Duration = Duration::from_secs(1);
/// How long after `decide_by` the load generator waits for a verdict, unless the plan gives a time;
/// then the answer is lost.
pub const VERDICT_GRACE: Duration = Duration::from_secs(3);
/// Longest wait for one verdict, whatever `decide_by` says.
pub const VERDICT_WAIT_MAX: Duration = Duration::from_secs(60);
/// Queued buyers that also listen for their verdict by event; the others only poll.
pub const LISTENERS_MAX: usize = 64;
/// Undelivered event text of one listener; beyond it the listener stops, and its buyer only polls.
pub const EVENT_BYTES_MAX: usize = 256 * 1024;
/// A run without a final answer for this long is stopped; buyers without a final answer are lost.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often progress is shown.
pub const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Longest time that an answer stays in the buffer of the answers file.
pub const ANSWERS_FLUSH_EVERY: Duration = Duration::from_millis(200);
/// Buffered answers in bytes; a larger buffer is written to the answers file.
pub const ANSWERS_CHUNK_BYTES: usize = 64 * 1024;

const _: () = assert!(BUYERS_MAX <= 100_000_000, "names have eight digits");
const _: () = assert!(POLL_MIN.as_millis() < POLL_MAX.as_millis());
const _: () = assert!(VERDICT_GRACE.as_millis() < VERDICT_WAIT_MAX.as_millis());
