//! Sizes and durations of the comparisons.
use std::time::Duration;

/// The number of measured rounds, without the warm-up round. The reported ratio is the median of
/// the rounds' ratios.
pub const ROUNDS: usize = 5;
/// [`ROUNDS`] with `--quick`.
pub const ROUNDS_QUICK: usize = 1;
/// How long a round measures our server. Most figures measure the peer for the same time.
pub const ROUND: Duration = Duration::from_secs(3);
/// [`ROUND`] with `--quick`.
pub const ROUND_QUICK: Duration = Duration::from_secs(1);

/// The measured time is this many times as long as the warm-up.
pub const WARM_UP_PART: u32 = 5;

/// Connections for refused requests.
pub const REFUSAL_CONNECTIONS: usize = 64;
/// The requests per second that all visitors of a sale page send together. One nginx worker can
/// serve more than this, even while the generator runs on the same machine.
pub const REQUESTS_PER_SEC: f64 = 32_000.0;
/// Connections for orders.
pub const ORDER_CONNECTIONS: usize = 512;
/// Connections to Redis.
pub const REDIS_CONNECTIONS: usize = 50;
/// Clients of PostgreSQL.
pub const POSTGRES_CLIENTS: usize = 16;
/// Connections of an overloading crowd.
pub const CROWD_CONNECTIONS: usize = 8_000;
/// The request rate of the usual overloading crowd, as a multiple of the server's capacity.
pub const OVERLOAD: f64 = 5.0;
/// The request rate of the larger crowd, as a multiple of the server's capacity.
pub const OVERLOAD_LARGE: f64 = 10.0;
/// Connections of an overloading crowd, if hostile clients run beside it. This number is smaller
/// than [`CROWD_CONNECTIONS`], because the connections of all clients must stay within the usual
/// limit of open files.
pub const CROWD_CONNECTIONS_BESIDE: usize = 6_000;
/// Unread WebSockets of hostile clients.
pub const DEAD_SOCKETS: usize = 10_000;
/// The number of request heads that hostile clients send at the same time, and never complete.
pub const SLOW_HEADS: usize = 2_000;
/// The oversized headers that hostile clients send per second.
pub const BOMBS_PER_SEC: u32 = 200;

/// The number of different buyers whose requests are refused. The buyers send in turn. Because
/// there are so many buyers, the server has forgotten a buyer's token before the buyer sends again.
pub const REFUSED_BUYERS: u32 = 400_000;
/// How often the bench checks a pass, to measure the mean time of a check.
pub const PASS_CHECKS: u32 = 1_000_000;
/// More orders per second than any server reaches. The benches prepare enough buyers for this rate.
pub const ORDERS_PER_SEC_MAX: u32 = 150_000;
/// Stock of a sale that does not sell out.
pub const PLENTY_OF_STOCK: u64 = 1_000_000_000;

/// Idle WebSockets whose memory is measured.
pub const SOCKETS: usize = 10_000;
/// The number of open tabs: an eighth of 100,000, because of the usual limit of open files. The
/// server's tables double when they are full, and 8 is a power of two. So with an eighth of the
/// tabs, the tables are full to the same degree as with 100,000.
pub const OPEN_TABS: u32 = 12_500;
/// The number of tabs that the bench opens per second. Before the opening of a busy sale, visitors
/// open fewer tabs per second.
pub const TABS_PER_SEC: u32 = 1_500;
/// The number of waiting requests in the measurement of their memory.
pub const WAITING: usize = 8_000;
/// Number of entries of a waiting room whose memory the bench measures.
pub const POSITIONS: u32 = 100_000;
/// After an opening, the waiting room must admit its first visitor within this time. Otherwise the
/// measurement fails.
pub const ADMITTED_WITHIN: Duration = Duration::from_secs(60);
/// Known buyers (buyers with an order) in the measurements of memory and growth.
pub const KNOWN_BUYERS: u32 = 1_000_000;
/// [`KNOWN_BUYERS`] with `--quick`.
pub const KNOWN_BUYERS_QUICK: u32 = 100_000;
/// [`KNOWN_BUYERS`] with `--large`.
pub const KNOWN_BUYERS_LARGE: u32 = 10_000_000;
/// Orders placed before the memory is measured, so that caches of bounded size are full.
pub const WARM_ORDERS: u32 = 200_000;
/// The number of sales that are open at the same time, in the measurements of growth.
pub const SALES: u32 = 1_000;
/// The number of connections that are open at the same time, in the measurements of growth.
pub const CONNECTIONS: usize = 10_000;

/// The number of tickets that one round settles without HTTP.
pub const TICKETS: usize = 400_000;
/// [`TICKETS`] with `--quick`.
pub const TICKETS_QUICK: usize = 50_000;
/// The number of tickets that a slot issues in one round of S1, which uses no store.
pub const ISSUED_TICKETS: u32 = 500_000;
/// [`ISSUED_TICKETS`] with `--quick`.
pub const ISSUED_TICKETS_QUICK: u32 = 50_000;
/// Rows that the peer inserts in one transaction.
pub const PEER_BATCH: usize = 1_000;

/// Number of measured starts.
pub const STARTS: usize = 11;
/// To measure the duration of a sync, the bench takes the median of this many synced writes.
pub const SYNCS: usize = 200;
/// If the median sync takes less than this, the directory is in memory and not on a disk.
pub const SYNC_MIN: Duration = Duration::from_micros(5);

/// Longest time until a server is ready.
pub const READY_WITHIN: Duration = Duration::from_secs(30);
/// A server that takes longer than this to stop is killed.
pub const STOP_WITHIN: Duration = Duration::from_secs(12);
/// A duration that is longer than any load takes.
pub const NO_DEADLINE: Duration = Duration::from_secs(1_800);
/// Longest duration of an operator's request.
pub const ADMIN_WITHIN: Duration = Duration::from_secs(60);
