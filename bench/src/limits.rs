//! How large and how long the comparisons are.
use std::time::Duration;

/// Rounds whose ratios count, besides the warm-up; the reported ratio is their median.
pub const ROUNDS: usize = 5;
/// The same with `--quick`.
pub const ROUNDS_QUICK: usize = 1;
/// How long one side of one round is measured.
pub const ROUND: Duration = Duration::from_secs(3);
/// The same with `--quick`.
pub const ROUND_QUICK: Duration = Duration::from_secs(1);

/// What is measured begins to count after this part of its time.
pub const WARM_UP_PART: u32 = 5;

/// Connections that refusals are asked over.
pub const REFUSAL_CONNECTIONS: usize = 64;
/// Requests of page views that are due each second: below what one worker of nginx serves beside
/// the generator.
pub const REQUESTS_PER_SEC: f64 = 32_000.0;
/// Connections that orders are placed over.
pub const ORDER_CONNECTIONS: usize = 512;
/// Connections to Redis.
pub const REDIS_CONNECTIONS: usize = 50;
/// Clients of PostgreSQL.
pub const POSTGRES_CLIENTS: usize = 16;
/// Connections of an overloading crowd.
pub const CROWD_CONNECTIONS: usize = 8_000;
/// How many times its capacity a server is offered.
pub const OVERLOAD: f64 = 5.0;
/// And how many times with a crowd that is larger still.
pub const OVERLOAD_LARGE: f64 = 10.0;
/// Connections of an overloading crowd beside attack clients: with theirs as many as a process may
/// usually have.
pub const CROWD_CONNECTIONS_BESIDE: usize = 6_000;
/// WebSockets of attack clients, which are never read.
pub const DEAD_SOCKETS: usize = 10_000;
/// Request heads of attack clients that never end, at any time.
pub const SLOW_HEADS: usize = 2_000;
/// Headers too large that attack clients send each second.
pub const BOMBS_PER_SEC: u32 = 200;

/// Different buyers whom refusals are told: more than one round serves, so that each request shows
/// a token not seen lately.
pub const REFUSED_BUYERS: u32 = 400_000;
/// Passes that are checked one after the other.
pub const PASS_CHECKS: u32 = 1_000_000;
/// Orders a second beyond which no round will go: how many buyers are made ready.
pub const ORDERS_PER_SEC_MAX: u32 = 150_000;
/// Stock of a sale that shall not sell out.
pub const PLENTY_OF_STOCK: u64 = 1_000_000_000;

/// Idle WebSockets that are counted.
pub const SOCKETS: usize = 10_000;
/// Tabs left open in a waiting room whose memory is counted: more connections a process may often
/// not have. An eighth of 100,000, so that tables of twice the size at each growth are as full as
/// they would be then.
pub const OPEN_TABS: u32 = 12_500;
/// How many of them are opened in a second: more than a busy sale has comers before its opening.
pub const TABS_PER_SEC: u32 = 1_500;
/// Requests that wait for their verdict when their memory is counted.
pub const WAITING: usize = 8_000;
/// Places in a waiting room whose memory is counted.
pub const POSITIONS: u32 = 100_000;
/// Nobody waits longer than this until the first are called in after an opening.
pub const ADMITTED_WITHIN: Duration = Duration::from_secs(60);
/// Buyers whose memory is counted.
pub const KNOWN_BUYERS: u32 = 1_000_000;
/// The same with `--quick`.
pub const KNOWN_BUYERS_QUICK: u32 = 100_000;
/// The same with `--large`.
pub const KNOWN_BUYERS_LARGE: u32 = 10_000_000;
/// Orders placed before memory is counted, so that caches of bounded size are full.
pub const WARM_ORDERS: u32 = 200_000;
/// Sales at once.
pub const SALES: u32 = 1_000;
/// Connections at once.
pub const CONNECTIONS: usize = 10_000;

/// Tickets settled in one round without HTTP.
pub const TICKETS: usize = 400_000;
/// The same with `--quick`.
pub const TICKETS_QUICK: usize = 50_000;
/// Tickets cut in one round by a slot alone.
pub const ISSUED_TICKETS: u32 = 500_000;
/// The same with `--quick`.
pub const ISSUED_TICKETS_QUICK: u32 = 50_000;
/// Rows that the peer inserts in one transaction.
pub const PEER_BATCH: usize = 1_000;

/// Starts measured.
pub const STARTS: usize = 11;
/// Synced writes whose median is what the disk needs.
pub const SYNCS: usize = 200;
/// A disk that syncs faster than this is none.
pub const SYNC_MIN: Duration = Duration::from_micros(5);

/// A server that is not ready by then has failed.
pub const READY_WITHIN: Duration = Duration::from_secs(30);
/// A server that did not stop by then is killed.
pub const STOP_WITHIN: Duration = Duration::from_secs(12);
/// Longer than any number of orders takes.
pub const NO_DEADLINE: Duration = Duration::from_secs(1_800);
/// A single request of an operator may take this long.
pub const ADMIN_WITHIN: Duration = Duration::from_secs(60);
