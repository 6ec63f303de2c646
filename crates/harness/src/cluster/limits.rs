//! The bounds of a private installation, and what happens at each bound.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The ports of the servers. For each Redis server, the cluster bus also uses the port that is
/// [`BUS_PORT_OFFSET`] higher. All these ports are below the range that Linux uses for outgoing
/// connections.
pub(super) const PORTS: RangeInclusive<u16> = 10_100..=19_900;
/// The distance from a Redis server's port to its cluster bus port.
pub(super) const BUS_PORT_OFFSET: u16 = 10_000;
/// The harness tries at most this many random ports for one server. If none of them is free, the
/// start fails.
pub(super) const PORT_TRIES_MAX: usize = 200;
/// The largest number of nodes of one installation. A plan with more nodes fails.
pub const NODES_MAX: usize = 16;
/// How long a server may take until it is ready. After that time the start has failed.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a server may take to stop. After that time it is killed.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(15);
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long connecting to a server on this machine may take. After that time the server counts as
/// unreachable.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long a server on this machine may take to answer a request. After that time the request
/// fails.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// If a server of a Redis Cluster is silent for this many milliseconds, the other servers consider
/// it failed.
pub(super) const NODE_TIMEOUT_MS: u32 = 1_000;
/// If the servers of a Redis Cluster do not know each other after this time, the harness sends the
/// commands that introduce them again.
pub(super) const MEET_RETRY_AFTER: Duration = Duration::from_secs(3);
/// If a server fails, the error shows at most this many bytes from the end of its log.
pub(super) const LOG_SHOWN_BYTES: usize = 2_000;
pub(super) const CHUNK_BYTES: usize = 64 * 1024;
/// How long a proxy tries to connect to a target. After that time it tries the next target.
pub(super) const TARGET_WITHIN: Duration = Duration::from_secs(1);
/// The largest number of bytes that the harness reads of one response. It ignores further bytes.
pub(super) const REPLY_BYTES_MAX: u64 = 64 * 1024 * 1024;

const _: () = assert!(*PORTS.end() + BUS_PORT_OFFSET < 32_768);
