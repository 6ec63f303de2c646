//! Every bound of a private installation, and what happens there.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Ports that are tried: below those that the system gives to outgoing connections, so that nobody
/// takes one meanwhile. A Redis server in a cluster takes a second one, [`BUS_PORT_OFFSET`] higher,
/// which stays below them too.
pub(super) const PORTS: RangeInclusive<u16> = 10_100..=21_900;
/// How far above its port a Redis server listens to the others.
pub(super) const BUS_PORT_OFFSET: u16 = 10_000;
/// How many ports are tried; then there is none.
pub(super) const PORT_TRIES_MAX: usize = 200;
/// Nodes of one installation; more are refused.
pub const NODES_MAX: usize = 16;
/// How long a server may take until it is ready; then the start has failed.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a server may take to stop when asked; then it is killed.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(15);
/// How often something that is waited for is looked at.
pub(super) const POLL_EVERY: Duration = Duration::from_millis(20);
/// A server on this machine that is not reached by then is not there.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// A server on this machine that does not answer by then does not answer.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// After how long without a word the servers of a Redis Cluster hold one of them for dead, in
/// milliseconds.
pub(super) const NODE_TIMEOUT_MS: u32 = 1_000;
/// Servers that do not know each other after so long meet again.
pub(super) const MEET_RETRY_AFTER: Duration = Duration::from_secs(3);
/// Bytes of a server's log that are shown when it failed.
pub(super) const LOG_SHOWN_BYTES: usize = 2_000;
/// Bytes that a proxy reads at once.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;
/// How long a proxy tries to reach one of its targets; then it tries the next.
pub(super) const TARGET_WITHIN: Duration = Duration::from_secs(1);
/// Bytes of an answer to an operator that are read; a longer one is none.
pub(super) const REPLY_BYTES_MAX: u64 = 64 * 1024 * 1024;

const _: () = assert!(*PORTS.end() + BUS_PORT_OFFSET < 32_768);
