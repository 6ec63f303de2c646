//! The bounds of the HTTP side, with what happens there; a bound of one file alone stands in that
//! file. Those a client's author must know stand in the API's limits.

use std::time::Duration;

/// Connections that the kernel keeps for us before they are accepted; more are refused by it.
pub(crate) const BACKLOG: i32 = 8_192;
/// Pause of the accept loop when there are no file handles left, instead of trying again at once.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections over the cap that are told so at once; further ones are just closed.
pub(crate) const OVER_CAPACITY_REPLIES_MAX: usize = 256;
/// How long a connection over the cap has to take its answer.
pub(crate) const OVER_CAPACITY_TIMEOUT: Duration = Duration::from_secs(1);
/// File handles that are not connections: store, log, event loop, listener.
pub(crate) const HANDLES_SPARE: u64 = 256;

/// Largest request head, in bytes; a larger one is answered 431 and the connection closed.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// What a connection may buffer, in bytes, before it reads no further.
pub(crate) const CONNECTION_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Longest path and query, in bytes; longer: not found.
pub(crate) const URI_BYTES_MAX: usize = 4 * 1024;

/// How long a body may take to arrive; then the connection is closed.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Of a body that is too large, so much is read and dropped that the client can hear it; the rest
/// is not.
pub(crate) const DRAIN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long that reading may take.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that takes nothing of what was written to it for so long is closed.
pub(crate) const WRITE_STALL: Duration = Duration::from_secs(30);
/// What the kernel may hold of an answer that its reader does not take, in bytes. Bounds the memory
/// of slow readers.
pub(crate) const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// After a signal, requests in progress have so long; then their connections are closed.
pub(crate) const FINISH_TIMEOUT: Duration = Duration::from_secs(3);

/// A status is made anew at most this often for requests; each event makes it anew as well.
pub(crate) const STATUS_EVERY: Duration = Duration::from_millis(200);

/// While one request makes a status anew, others are shown the one before if it is not older; then
/// they wait.
pub(crate) const STATUS_STALE_MAX: Duration = Duration::from_millis(700);

/// A buyer who has as many event streams as one may have is told to come again after so many
/// seconds.
pub(crate) const STREAM_RETRY_SECS: u32 = 10;
/// Between two pings of an event stream.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(20);
/// A WebSocket from which nothing came since so many pings, not even a pong, is closed when the
/// next is due. Pings are counted and not time, so that nobody is taken for gone because this
/// program stood still.
pub(crate) const UNANSWERED_PINGS_MAX: u32 = 3;
/// Largest message that a WebSocket may send us, in bytes; a larger one closes it. Nothing that is
/// sent is used.
pub(crate) const WS_MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// Read and write buffers of a WebSocket, in bytes.
pub(crate) const WS_BUFFER_BYTES: usize = 1024;
/// What a WebSocket may have waiting in its own write buffer, in bytes; events wait in the hub.
pub(crate) const WS_WRITE_BYTES_MAX: usize = 256 * 1024;
/// A WebSocket to which nothing happened for so long is put to sleep: its task and its buffers are
/// given back, and made again when something happens.
pub(crate) const IDLE_AFTER: Duration = Duration::from_millis(100);
/// Dormitories for sleeping WebSockets: one for each worker, and no more than these.
pub(crate) const IDLE_TASKS_MAX: usize = 16;
/// WebSockets on their way to a dormitory; others stay awake for a quiet moment more.
pub(crate) const IDLE_ARRIVALS_MAX: usize = 1_024;
/// Sleeping WebSockets that are told, heard or pinged before somebody else has a turn.
pub(crate) const IDLE_BATCH_MAX: usize = 32;
/// Events that a sleeping WebSocket is told in a row; one for which more wait is woken.
pub(crate) const IDLE_EVENTS_MAX: usize = 16;
/// A WebSocket that the kernel has no room to listen to in its sleep stays awake for so long before
/// it tries again, and so often at most that is said.
pub(crate) const IDLE_RETRY_AFTER: Duration = Duration::from_secs(60);
/// A dormitory that broke down is opened again after so long.
pub(crate) const IDLE_RESTART_PAUSE: Duration = Duration::from_secs(1);
/// What is read at once of what one says who was told farewell, in bytes: more than a few answers
/// to pings and a farewell.
pub(crate) const CLOSE_READ_BYTES: usize = 256;
/// How long a stream that begins waits for its buyer's places in waiting rooms.
pub(crate) const POSITIONS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a reader that is dropped has to take the close frame.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Operators' keys beside the configured one; more: `409 wrong_state`.
pub(crate) const OPERATOR_KEYS_MAX: usize = 1_000;
/// Rows that an export reads at once.
pub(crate) const EXPORT_PAGE: usize = 1_000;
/// How long a guest's token is good for; only in a demonstration.
pub(crate) const GUEST_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// Guests' tokens in any one minute; more: `429`. Only in a demonstration.
pub(crate) const GUESTS_PER_MINUTE: u32 = 10_000;
/// `Retry-After` of answers that come from a store or a slot being away, in seconds.
pub(crate) use crate::purchase::RETRY_SECS;
/// Purchases in progress at once, with those whose clients are gone; one more hears `503
/// overloaded`.
pub(crate) const PURCHASES_MAX: usize = 100_000;
/// Connections that heard `503 overloaded` and are heard again, each second and for each worker,
/// which spends a thirtieth of its time on them; more wait.
pub(crate) const OVERLOAD_RESUMES_PER_SEC: u64 = 5_000;
/// What a connection has ready for a purchase that comes, in bytes; it grows with larger ones.
pub(crate) const FAST_PATH_BUFFER_BYTES: usize = 1024;
/// Most bytes of a purchase, head and body, that are read straight off a connection; the general
/// server takes the rest.
pub(crate) const FAST_PATH_BYTES_MAX: usize = 32 * 1024;
