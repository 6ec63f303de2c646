//! The limits of the HTTP server, and what happens at each limit. A limit that only one file uses
//! is in that file. Limits that clients must know are in the API crate.

use std::time::Duration;

/// The maximum number of connections that wait for the server to accept them. The kernel refuses
/// further connections.
pub(crate) const BACKLOG: i32 = 8_192;
/// How long the accept loop pauses when no file descriptors are left.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// If the server has the maximum number of connections, it answers a new connection with `503`. At
/// most this many connections get this answer at the same time. Further connections are closed
/// without a response.
pub(crate) const OVER_CAPACITY_REPLIES_MAX: usize = 256;
/// How long a client over the limit of connections may take to read its `503`.
pub(crate) const OVER_CAPACITY_TIMEOUT: Duration = Duration::from_secs(1);
/// The number of file descriptors that the server needs besides one for each permitted connection.
/// It needs 256 for the store, the log, the event loop, the listener and its own requests. The rest
/// is for connections over the limit, while the server answers them.
pub const HANDLES_SPARE: u64 = 256 + OVER_CAPACITY_REPLIES_MAX as u64;

/// Largest head of a request, in bytes. For a larger head, the client gets 431.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The number of bytes that a connection may buffer before it stops reading.
pub(crate) const CONNECTION_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Longest path and query, in bytes. A longer request target gets 404.
pub(crate) const URI_BYTES_MAX: usize = 4 * 1024;

/// How long a request body may take to arrive. After this time, the server closes the connection.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The server refuses a body that is too large, but still reads and drops up to this many bytes of
/// it. Most clients read the response only after they have sent their whole body.
pub(crate) const DRAIN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The maximum time for which the server reads and drops a body that is too large.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// If a client reads nothing for this long while a write waits, the server closes the connection.
pub(crate) const WRITE_STALL: Duration = Duration::from_secs(30);
/// The number of bytes of a response that the kernel buffers if the client does not read. This
/// limits the memory for slow clients.
pub(crate) const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// How long running requests may take after the server has stopped accepting connections. After
/// this time, their connections are closed.
pub(crate) const FINISH_TIMEOUT: Duration = Duration::from_secs(3);

/// Requests for a sale's status cause at most one rendering of the status in each interval of this
/// length. Renderings for events come in addition.
pub(crate) const STATUS_INTERVAL: Duration = Duration::from_millis(200);

/// While one request renders a sale's status, other requests get the previously rendered status. If
/// the previous status is older than this time, the other requests wait for the new status.
pub(crate) const STATUS_STALE_MAX: Duration = Duration::from_millis(700);

/// `Retry-After` in seconds for a buyer who already has the maximum number of event streams.
pub(crate) const STREAM_RETRY_SECS: u32 = 10;
/// Time between two pings of an event stream.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(20);
/// If this many pings are unanswered when the next ping is due, the server closes the WebSocket.
/// The server counts pings instead of time: if the server itself pauses, it sends no pings, so no
/// WebSocket is closed.
pub(crate) const UNANSWERED_PINGS_MAX: u32 = 3;
/// The maximum length of a client's message, in bytes. A longer message closes the WebSocket. A
/// shorter message has an effect only if it contains a new token.
pub(crate) const WS_MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// The size in bytes of a WebSocket's read buffer, and also of its write buffer.
pub(crate) const WS_BUFFER_BYTES: usize = 1024;
/// The maximum number of bytes that wait in a WebSocket's write buffer. Further events wait in the
/// hub.
pub(crate) const WS_WRITE_BYTES_MAX: usize = 256 * 1024;
/// After this time without activity, a WebSocket becomes idle, and the server frees the WebSocket's
/// task and buffers.
pub(crate) const IDLE_AFTER: Duration = Duration::from_millis(100);
/// The maximum number of tasks that serve idle WebSockets. There is one such task for each worker
/// thread, up to this number.
pub(crate) const IDLE_TASKS_MAX: usize = 16;
/// The maximum number of WebSockets that wait until a task for idle WebSockets takes them over.
/// Other WebSockets stay active and try again later.
pub(crate) const IDLE_ARRIVALS_MAX: usize = 1_024;
/// The number of idle WebSockets that one task serves before the task lets other tasks run.
pub(crate) const IDLE_BATCH_MAX: usize = 32;
/// If more events than this wait for an idle WebSocket, the WebSocket becomes active.
pub(crate) const IDLE_EVENTS_MAX: usize = 16;
/// If the kernel cannot poll an idle WebSocket, the WebSocket becomes active and stays so for this
/// long. Also the minimum time between two log lines about this failure.
pub(crate) const IDLE_RETRY_AFTER: Duration = Duration::from_secs(60);
/// The pause before the server restarts a failed task that serves idle WebSockets.
pub(crate) const IDLE_RESTART_PAUSE: Duration = Duration::from_secs(1);
/// The size of one read after the server has sent its close frame. A few pongs and the client's
/// close frame fit into one read.
pub(crate) const CLOSE_READ_BYTES: usize = 256;
/// How long a new stream waits for its buyer's positions in waiting rooms.
pub(crate) const POSITIONS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a client may take to answer the server's close frame. After this time, the server
/// closes the connection.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum duration of an event stream, even if its token is valid for longer. After this time,
/// the client must connect again.
pub(crate) const STREAM_AGE_MAX: Duration = Duration::from_secs(30 * 86_400);

/// How long a request for metrics waits for the store or for the slots. If they answer later, the
/// response lacks the store's numbers, or its queue depth is too low. The limit is short, because
/// Prometheus waits only ten seconds for the response.
pub(crate) const METRICS_READ_MAX: Duration = Duration::from_secs(2);
/// The maximum number of items whose queue lengths one request reads at the same time.
pub(crate) const QUEUES_READ_MAX: usize = 32;

/// The maximum number of operators' keys. A request for one more key gets `409 wrong_state`.
pub(crate) const OPERATOR_KEYS_MAX: usize = 1_000;
pub(crate) const EXPORT_PAGE: usize = 1_000;
/// How long a guest's token is valid. Only demonstrations have guests.
pub(crate) const GUEST_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// The maximum number of guests' tokens that the server issues in one minute. A further request in
/// the same minute gets `429`.
pub(crate) const GUESTS_PER_MINUTE: u32 = 10_000;
/// `Retry-After` while a store or a slot is unavailable, in seconds.
pub(crate) use doorbuster_engine::purchase::RETRY_SECS;
/// The maximum number of running purchases, including those of disconnected clients. One more
/// purchase gets `503 overloaded`.
pub(crate) const PURCHASES_MAX: usize = 100_000;
/// After `503 overloaded`, the server pauses the connection. For each worker thread, it resumes
/// this many paused connections per second. If it refuses all of them again, the refusals take
/// about a thirtieth of the worker's time.
pub(crate) const OVERLOAD_RESUMES_PER_SEC: u64 = 5_000;
/// Initial size of a connection's buffer for a purchase, in bytes.
pub(crate) const FAST_PATH_BUFFER_BYTES: usize = 1024;
/// The maximum size of a request's head and body on the fast path, in bytes. The general server
/// handles larger requests.
pub(crate) const FAST_PATH_BYTES_MAX: usize = 32 * 1024;
