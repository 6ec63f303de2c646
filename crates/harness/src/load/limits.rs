//! The bounds of a crowd, and what happens at each bound.

use std::time::Duration;

/// The largest number of threads that send requests.
pub const GENERATORS_MAX: usize = 64;
/// The largest number of buyers in one run. A plan with more buyers is refused, because each
/// buyer's signature takes 32 bytes of memory, and a buyer's number has only eight digits.
pub const BUYERS_MAX: u32 = 10_000_000;
/// The largest number of connections in one run. A plan with more connections is refused, because
/// one client address has only about 28,000 ports for connections to one server.
pub const CONNECTIONS_MAX: usize = 20_000;
/// The number of connections if the plan gives no number.
pub const CONNECTIONS_DEFAULT: usize = 512;
const _: () = assert!(CONNECTIONS_DEFAULT >= 500, "the default must be many connections");
/// The number of file handles that a run needs besides its connections and event streams: for
/// standard streams, event loops and the answers file.
pub const HANDLES_SPARE: u64 = 64;
/// The largest number of worker threads if the plan gives no number. The remaining cores are for
/// the server.
pub const WORKERS_DEFAULT_MAX: usize = 8;
/// How long the first connection may take to open. After that time the run is refused.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer may take the seconds in `Prefer: wait` plus this time. After that, the generator
/// closes the connection and counts a connection error.
pub const ANSWER_GRACE: Duration = Duration::from_secs(10);
/// The largest size of one answer, in bytes. A larger answer counts as malformed.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// The largest number of headers of one answer. An answer with more headers counts as malformed.
pub const HEADERS_MAX: usize = 48;
/// How many times one buyer's request is repeated after 429 or 5xx, if the plan gives no number.
/// After that many repeats, the buyer counts as lost.
pub const OVERLOAD_TRIES_MAX: u16 = 60;
/// How many times one buyer's request is repeated after a broken connection, if the plan gives no
/// number. After that many repeats, the buyer counts as lost. All pauses before these repeats
/// together take 12 to 16 seconds.
pub const CONNECTION_TRIES_MAX: u16 = 16;
/// How many times a patient buyer's request is repeated. Nearly all pauses before these repeats are
/// one second long, so the repeats take about two minutes.
pub const PATIENT_TRIES_MAX: u16 = 120;
/// How long after `decide_by` a patient buyer waits for a verdict. After that time the buyer counts
/// as lost.
pub const PATIENT_GRACE: Duration = Duration::from_secs(30);
/// If no final answer arrives for this long, a run with patient buyers is stopped. Buyers without a
/// final answer count as lost.
pub const PATIENT_STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// The first pause after a broken connection. Each further pause is twice as long, up to
/// [`BACKOFF_MAX`].
pub const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest pause after a broken connection.
pub const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// The shortest pause after `429` or `5xx`, even if `Retry-After` asks for a shorter pause.
pub const RETRY_AFTER_MIN: Duration = Duration::from_millis(10);
/// The pause before the first poll of a queued purchase. Each further pause is 1.5 times as long as
/// the previous pause.
pub const POLL_MIN: Duration = Duration::from_millis(100);
/// The longest pause between two polls of a queued purchase.
pub const POLL_MAX: Duration = Duration::from_secs(1);
/// How long after `decide_by` the load generator waits for a verdict, if the plan gives no time.
/// After that time the buyer counts as lost.
pub const VERDICT_GRACE: Duration = Duration::from_secs(3);
/// The longest time that a buyer waits for a verdict, even if `decide_by` is later.
pub const VERDICT_WAIT_MAX: Duration = Duration::from_secs(60);
/// The largest number of queued buyers that open an event stream. These buyers also poll for their
/// verdict. All other queued buyers only poll.
pub const LISTENERS_MAX: usize = 64;
/// The largest number of bytes of an incomplete event that a listener stores. If the event is
/// larger, the listener stops, and the buyer only polls.
pub const EVENT_BYTES_MAX: usize = 256 * 1024;
/// If no final answer arrives for this long, the run is stopped. Buyers without a final answer
/// count as lost.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often progress is shown.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// The longest time that a line stays in the buffer before it is written to the answers file.
pub const ANSWERS_FLUSH_INTERVAL: Duration = Duration::from_millis(200);
/// The size of the answers buffer, in bytes. A buffer that reaches this size is written to the
/// answers file.
pub const ANSWERS_CHUNK_BYTES: usize = 64 * 1024;

const _: () = assert!(BUYERS_MAX <= 100_000_000, "a buyer's number must have at most eight digits");
const _: () = assert!(POLL_MIN.as_millis() < POLL_MAX.as_millis());
const _: () = assert!(VERDICT_GRACE.as_millis() < VERDICT_WAIT_MAX.as_millis());
