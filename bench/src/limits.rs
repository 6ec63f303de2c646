//! Sizes and durations of the comparisons.
use std::time::Duration;

/// The number of measured rounds, without the warm-up round. The reported ratio is the median of
/// the rounds' ratios.
pub const ROUNDS: usize = 5;
/// [`ROUNDS`] with `--quick`.
pub const ROUNDS_QUICK: usize = 1;
/// How long a round measures our server. In most figures, a round measures the peer for the same
/// time.
pub const ROUND: Duration = Duration::from_secs(3);
/// [`ROUND`] with `--quick`.
pub const ROUND_QUICK: Duration = Duration::from_secs(1);

/// The measured time is this many times as long as the warm-up.
pub const WARM_UP_PART: u32 = 5;

/// Connections for refused requests.
pub const REFUSAL_CONNECTIONS: usize = 64;
/// The requests per second that all page views send together. One nginx worker beside the generator
/// can serve more.
pub const REQUESTS_PER_SEC: f64 = 32_000.0;
/// Connections for orders.
pub const ORDER_CONNECTIONS: usize = 512;
/// Connections to Redis.
pub const REDIS_CONNECTIONS: usize = 50;
/// Clients of PostgreSQL.
pub const POSTGRES_CLIENTS: usize = 16;
/// Connections of an overloading crowd.
pub const CROWD_CONNECTIONS: usize = 8_000;
/// The load that an overloading crowd offers, as a multiple of the server's capacity.
pub const OVERLOAD: f64 = 5.0;
/// The load that a larger crowd offers, as a multiple of the server's capacity.
pub const OVERLOAD_LARGE: f64 = 10.0;
/// Connections of an overloading crowd, if hostile clients run beside it. All connections together
/// stay within the usual limit of open files.
pub const CROWD_CONNECTIONS_BESIDE: usize = 6_000;
/// Unread WebSockets of hostile clients.
pub const DEAD_SOCKETS: usize = 10_000;
/// The number of endless request heads that hostile clients send at the same time.
pub const SLOW_HEADS: usize = 2_000;
/// The oversized headers that hostile clients send per second.
pub const BOMBS_PER_SEC: u32 = 200;

/// The number of different refused buyers. They send their requests in turn, so the server has not
/// seen a request's token recently.
pub const REFUSED_BUYERS: u32 = 400_000;
/// How often the bench checks a pass, to measure the mean time of a check.
pub const PASS_CHECKS: u32 = 1_000_000;
/// An upper bound of the orders per second. The benches prepare enough buyers for this rate.
pub const ORDERS_PER_SEC_MAX: u32 = 150_000;
/// Stock of a sale that does not sell out.
pub const PLENTY_OF_STOCK: u64 = 1_000_000_000;

/// Idle WebSockets whose memory is measured.
pub const SOCKETS: usize = 10_000;
/// The number of open tabs: an eighth of 100,000, because of the usual limit of open files. The
/// server's tables grow by doubling, so they are as full as with 100,000 tabs.
pub const OPEN_TABS: u32 = 12_500;
/// The number of tabs opened per second. This is more than before the opening of a busy sale.
pub const TABS_PER_SEC: u32 = 1_500;
/// Waiting requests whose memory is measured.
pub const WAITING: usize = 8_000;
/// Waiting room entries whose memory is measured.
pub const POSITIONS: u32 = 100_000;
/// Longest time from an opening to the first admission.
pub const ADMITTED_WITHIN: Duration = Duration::from_secs(60);
/// Known buyers (buyers with an order) in the measurements of memory and growth.
pub const KNOWN_BUYERS: u32 = 1_000_000;
/// [`KNOWN_BUYERS`] with `--quick`.
pub const KNOWN_BUYERS_QUICK: u32 = 100_000;
/// [`KNOWN_BUYERS`] with `--large`.
pub const KNOWN_BUYERS_LARGE: u32 = 10_000_000;
/// Orders placed before the memory is measured, so that caches of bounded size are full.
pub const WARM_ORDERS: u32 = 200_000;
/// The number of open sales at the same time.
pub const SALES: u32 = 1_000;
/// The number of connections at the same time.
pub const CONNECTIONS: usize = 10_000;

/// Tickets settled in one round without HTTP.
pub const TICKETS: usize = 400_000;
/// [`TICKETS`] with `--quick`.
pub const TICKETS_QUICK: usize = 50_000;
/// Tickets issued in one round by a slot alone.
pub const ISSUED_TICKETS: u32 = 500_000;
/// [`ISSUED_TICKETS`] with `--quick`.
pub const ISSUED_TICKETS_QUICK: u32 = 50_000;
/// Rows that the peer inserts in one transaction.
pub const PEER_BATCH: usize = 1_000;

/// Number of measured starts.
pub const STARTS: usize = 11;
/// The number of synced writes. Their median duration is reported as the duration of a sync.
pub const SYNCS: usize = 200;
/// If the median sync is faster than this, the directory is not on a disk.
pub const SYNC_MIN: Duration = Duration::from_micros(5);

/// Longest time until a server is ready.
pub const READY_WITHIN: Duration = Duration::from_secs(30);
/// A server that takes longer than this to stop is killed.
pub const STOP_WITHIN: Duration = Duration::from_secs(12);
/// A duration that is longer than any load takes.
pub const NO_DEADLINE: Duration = Duration::from_secs(1_800);
/// Longest duration of an operator's request.
pub const ADMIN_WITHIN: Duration = Duration::from_secs(60);
