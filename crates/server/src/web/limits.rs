//! The limits of the HTTP side and what happens at each. A limit that only one file uses is in that
//! file. Limits that authors of clients must know are in the API's limits.

use std::time::Duration;

/// Connections that wait in the kernel to be accepted; the kernel refuses more.
pub(crate) const BACKLOG: i32 = 8_192;
/// Pause of the accept loop if no file descriptors are left.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections over the limit that get an answer at once; further ones are closed without one.
pub(crate) const OVER_CAPACITY_REPLIES_MAX: usize = 256;
/// How long a connection over the limit may take to read its answer.
pub(crate) const OVER_CAPACITY_TIMEOUT: Duration = Duration::from_secs(1);
/// File descriptors that are not connections: store, log, event loop, listener.
pub(crate) const HANDLES_SPARE: u64 = 256;

/// Largest request head, in bytes; a larger one is answered 431 and the connection closed.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes that a connection may buffer before it stops reading.
pub(crate) const CONNECTION_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Longest path and query, in bytes; longer ones get 404.
pub(crate) const URI_BYTES_MAX: usize = 4 * 1024;

/// How long a body may take to arrive; then the connection is closed.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a body that is too large that are read and dropped, so that the client reads the
/// answer. The rest is not read.
pub(crate) const DRAIN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long the server reads such a body.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection whose peer reads nothing for this long during a write is closed.
pub(crate) const WRITE_STALL: Duration = Duration::from_secs(30);
/// Bytes of an answer that the kernel buffers if the client does not read it. It bounds the memory
/// of slow readers.
pub(crate) const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// How long requests in progress may take after a stop signal; then their connections are closed.
pub(crate) const FINISH_TIMEOUT: Duration = Duration::from_secs(3);

/// Requests render a status at most this often. Each event renders it too.
pub(crate) const STATUS_EVERY: Duration = Duration::from_millis(200);

/// While one request renders a status, others get the previous one if it is not older than this;
/// otherwise they wait.
pub(crate) const STATUS_STALE_MAX: Duration = Duration::from_millis(700);

/// `Retry-After` for a buyer who has the most event streams that are allowed, in seconds.
pub(crate) const STREAM_RETRY_SECS: u32 = 10;
/// Time between two pings of an event stream.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(20);
/// A WebSocket from which nothing arrived for this many pings, not even a pong, is closed at the
/// next one. Pings are counted instead of time, so that no socket is closed because this program
/// stood still.
pub(crate) const UNANSWERED_PINGS_MAX: u32 = 3;
/// Largest message that a WebSocket may send, in bytes; a larger one closes it. Every message but a
/// renewed token is ignored.
pub(crate) const WS_MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// Read and write buffers of a WebSocket, in bytes.
pub(crate) const WS_BUFFER_BYTES: usize = 1024;
/// Bytes that may wait in a WebSocket's own write buffer; further events wait in the hub.
pub(crate) const WS_WRITE_BYTES_MAX: usize = 256 * 1024;
/// A WebSocket without activity for this long becomes idle: its task and its buffers are freed, and
/// created again when something happens.
pub(crate) const IDLE_AFTER: Duration = Duration::from_millis(100);
/// Most tasks that hold idle WebSockets; each worker gets one, up to this number.
pub(crate) const IDLE_TASKS_MAX: usize = 16;
/// WebSockets that wait to become idle; others stay active and try again after the same time.
pub(crate) const IDLE_ARRIVALS_MAX: usize = 1_024;
/// Idle WebSockets that get events, input or pings before other tasks have a turn.
pub(crate) const IDLE_BATCH_MAX: usize = 32;
/// Events that an idle WebSocket gets in a row; if more wait, it becomes active.
pub(crate) const IDLE_EVENTS_MAX: usize = 16;
/// If the kernel cannot watch one more idle WebSocket, the socket stays active for this long before
/// the next try. It is logged at most this often.
pub(crate) const IDLE_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Pause before a failed task of idle WebSockets is restarted.
pub(crate) const IDLE_RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Bytes that are read at once from a WebSocket after its close frame was sent: enough for a few
/// pongs and the close frame.
pub(crate) const CLOSE_READ_BYTES: usize = 256;
/// How long a new stream waits for its buyer's positions in waiting rooms.
pub(crate) const POSITIONS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a reader that is dropped may take to read the close frame.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest life of an event stream, whatever its token says; the client connects again.
pub(crate) const STREAM_MAX: Duration = Duration::from_secs(30 * 86_400);

/// Most operators' keys beside the configured one; one more gets `409 wrong_state`.
pub(crate) const OPERATOR_KEYS_MAX: usize = 1_000;
/// Rows that an export reads at once.
pub(crate) const EXPORT_PAGE: usize = 1_000;
/// How long a guest's token is valid; only in a demonstration.
pub(crate) const GUEST_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// Guests' tokens in a minute; one more gets `429`. Only in a demonstration.
pub(crate) const GUESTS_PER_MINUTE: u32 = 10_000;
/// `Retry-After` while a store or a slot is unavailable, in seconds.
pub(crate) use crate::purchase::RETRY_SECS;
/// Most purchases in progress, including those whose clients disconnected; one more gets `503
/// overloaded`.
pub(crate) const PURCHASES_MAX: usize = 100_000;
/// Connections refused with `503 overloaded` that are served again per second and worker, which
/// costs a worker a thirtieth of its time; more wait.
pub(crate) const OVERLOAD_RESUMES_PER_SEC: u64 = 5_000;
/// Initial size of a connection's buffer for a purchase, in bytes; it grows with a larger one.
pub(crate) const FAST_PATH_BUFFER_BYTES: usize = 1024;
/// Most bytes of a purchase, head and body, that the fast path reads; the general server takes
/// larger ones.
pub(crate) const FAST_PATH_BYTES_MAX: usize = 32 * 1024;
