//! The limits of the HTTP side, and what happens at each limit. If only one file uses a limit, the
//! limit is in that file. Limits that clients must know are in the API crate.

use std::time::Duration;

/// The maximum number of connections that wait for the server to accept them. The kernel refuses
/// further connections.
pub(crate) const BACKLOG: i32 = 8_192;
/// How long the accept loop pauses when no file descriptors are left.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// At most this many connections over the limit get an answer at the same time. Further connections
/// close without an answer.
pub(crate) const OVER_CAPACITY_REPLIES_MAX: usize = 256;
/// How long a connection over the limit may take to read its answer.
pub(crate) const OVER_CAPACITY_TIMEOUT: Duration = Duration::from_secs(1);
/// The number of file descriptors reserved for the store, the log, the event loop and the listener.
pub const HANDLES_SPARE: u64 = 256;

/// Largest head of a request, in bytes. For a larger head, the client gets 431.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The number of bytes that a connection may buffer before it stops reading.
pub(crate) const CONNECTION_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Longest path and query, in bytes. A longer request target gets 404.
pub(crate) const URI_BYTES_MAX: usize = 4 * 1024;

/// How long a body may take to arrive. After this time, the connection closes.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The server reads and drops at most this many bytes of an oversized body. Most clients read the
/// answer only after they have sent their body.
pub(crate) const DRAIN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The server stops reading an oversized body after this time.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// If a peer reads nothing for this long during a write, the server closes the connection.
pub(crate) const WRITE_STALL: Duration = Duration::from_secs(30);
/// For a client that does not read, the kernel buffers this many bytes of an answer. This bounds
/// the memory for slow clients.
pub(crate) const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// How long running requests may take after a stop signal. Then their connections close.
pub(crate) const FINISH_TIMEOUT: Duration = Duration::from_secs(3);

/// In each interval of this length, requests cause at most one rendering of a status. Events cause
/// further renderings.
pub(crate) const STATUS_INTERVAL: Duration = Duration::from_millis(200);

/// While one request renders a status, other requests get the previous status. If the previous
/// status is older than this, they wait.
pub(crate) const STATUS_STALE_MAX: Duration = Duration::from_millis(700);

/// `Retry-After` for a buyer with the maximum number of event streams, in seconds.
pub(crate) const STREAM_RETRY_SECS: u32 = 10;
/// Time between two pings of an event stream.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(20);
/// After this many pings without an answer, the server closes the WebSocket at the next ping. The
/// server counts pings, so that a pause of the server itself closes no WebSocket.
pub(crate) const UNANSWERED_PINGS_MAX: u32 = 3;
/// In bytes. A longer message closes the WebSocket. Of the shorter messages, all except a renewed
/// token are ignored.
pub(crate) const WS_MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// The size in bytes of a WebSocket's read buffer, and also of its write buffer.
pub(crate) const WS_BUFFER_BYTES: usize = 1024;
/// The bytes that may wait in a WebSocket's write buffer. Further events wait in the hub.
pub(crate) const WS_WRITE_BYTES_MAX: usize = 256 * 1024;
/// After this time without activity, a WebSocket becomes idle, and the server frees the WebSocket's
/// task and buffers.
pub(crate) const IDLE_AFTER: Duration = Duration::from_millis(100);
/// The server has one task for idle WebSockets for each worker thread, but at most this many tasks.
pub(crate) const IDLE_TASKS_MAX: usize = 16;
/// At most this many WebSockets may wait for a task of idle WebSockets. Further WebSockets stay
/// active and try again later.
pub(crate) const IDLE_ARRIVALS_MAX: usize = 1_024;
/// The number of idle WebSockets that a task serves before it lets other tasks run.
pub(crate) const IDLE_BATCH_MAX: usize = 32;
/// If more events than this wait for an idle WebSocket, the WebSocket becomes active.
pub(crate) const IDLE_EVENTS_MAX: usize = 16;
/// If the kernel cannot poll a WebSocket, the WebSocket stays active for this long. Also the
/// shortest time between two log lines about this failure.
pub(crate) const IDLE_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Pause before a failed task of idle WebSockets is restarted.
pub(crate) const IDLE_RESTART_PAUSE: Duration = Duration::from_secs(1);
/// The size of one read after the server's close frame. A few pongs and the client's close frame
/// fit into one read.
pub(crate) const CLOSE_READ_BYTES: usize = 256;
/// How long a new stream waits for its buyer's positions in waiting rooms.
pub(crate) const POSITIONS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a client may take to read the server's close frame. Then the connection is dropped.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest life of an event stream, even if its token is valid for longer. Then the client must
/// connect again.
pub(crate) const STREAM_MAX: Duration = Duration::from_secs(30 * 86_400);

/// How long a request for metrics waits for the store or the slots. Prometheus waits ten seconds.
/// After this time, the answer lacks the store's numbers, and shows a queue depth that is too low.
pub(crate) const METRICS_READ_MAX: Duration = Duration::from_secs(2);
/// The number of items whose queues one request reads at the same time.
pub(crate) const QUEUES_READ_MAX: usize = 32;

/// The maximum number of operators' keys. A request for one more key gets `409 wrong_state`.
pub(crate) const OPERATOR_KEYS_MAX: usize = 1_000;
pub(crate) const EXPORT_PAGE: usize = 1_000;
/// How long a guest's token is valid. Only demonstrations have guests.
pub(crate) const GUEST_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// After this many requests for guests' tokens in a minute, the next request gets `429`.
pub(crate) const GUESTS_PER_MINUTE: u32 = 10_000;
/// `Retry-After` while a store or a slot is unavailable, in seconds.
pub(crate) use doorbuster_engine::purchase::RETRY_SECS;
/// The maximum number of running purchases, including those of disconnected clients. One more
/// purchase gets `503 overloaded`.
pub(crate) const PURCHASES_MAX: usize = 100_000;
/// After a pause for `503 overloaded`, the server serves connections again: this many per second
/// for each worker thread. Their answers take about a thirtieth of a worker's time.
pub(crate) const OVERLOAD_RESUMES_PER_SEC: u64 = 5_000;
/// Initial size of a connection's buffer for a purchase, in bytes.
pub(crate) const FAST_PATH_BUFFER_BYTES: usize = 1024;
/// In bytes. A purchase whose head and body together are larger goes to the general server.
pub(crate) const FAST_PATH_BYTES_MAX: usize = 32 * 1024;
